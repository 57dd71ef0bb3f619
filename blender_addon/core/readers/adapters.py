"""PEFT's LoRA adapters: beside A and B the update ΔW = scale · B · A of each weight.

Where an ``adapter_config.json`` lies beside the tensors, each pair ``….q_proj.lora_A.weight``,
``….q_proj.lora_B.weight`` gives ``….q_proj.delta_weight``, named, shaped and laid out as the weight
that it is added to. The base model is not needed for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..text import printable
from .adapter_settings import NAME, Settings, base_config, read_settings
from .base import Tensor
from .datafile import Place, bad
from .products import MOST_COLUMNS, MOST_WORK, Product
from .values import Unreadable, Values

Notes = tuple[str, ...]

# Module, "A" or "B", and the adapter's own name, which a file that holds one adapter leaves out.
_LORA = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.(?!weight$|bias$)(\w+))?(?:\.weight)?")
_MAGNITUDE = re.compile(r"(.+)\.lora_magnitude_vector(?:\..+)?")
_OF_ADAPTERS = re.compile(r"\.(?:lora_|ia3_|hada_|lokr_|oft_|vera_|boft_|ln_tuning|prompt_)")
_PREFIX = "base_model.model."
_LONGEST = 1000  # letters of a name that patterns are followed in


@dataclass(frozen=True)
class _Pair:
    """A and B of a module; `embedding` tells that they are of one, and lie transposed."""

    module: str
    adapter: str
    embedding: bool
    a: Tensor
    b: Tensor


def logical(
    tensors: list[Tensor], config: Mapping[str, Any], folder: Place, where: Place
) -> tuple[list[Tensor], Notes]:
    """Return the tensors of an adapter with the updates that they make up, each before its A.

    Parameters
    ----------
    tensors
        As they lie in the files.
    config
        The model's ``config.json``; where there is none beside an adapter, that of its base model
        is looked for on this machine, for it tells how the heads lie.
    folder
        Where an ``adapter_config.json`` may lie.
    where
        What was opened, for notes.

    Returns
    -------
    tensors
        A, B and all others are kept as they are. An update that cannot be made out says why.
    notes
        On what is not shown, and why.
    """
    pairs = _pairs(tensors)
    if not isinstance(folder, Path) and not any(_OF_ADAPTERS.search(t.name) for t in tensors):
        return tensors, ()  # to look for a file that is mostly not there would take a request
    try:
        settings = read_settings(folder)
    except CheckpointError as error:
        return tensors, (f"no update of the weights is shown: {error}",)
    if settings is None:
        what = f"the scale of its updates is not known without an {NAME}; A and B are shown"
        return tensors, (f"{printable(where, 1000)}: {what}",) if pairs else ()
    if not pairs:
        return tensors, _notes_without(tensors, settings, folder)
    reason = settings.unsupported
    if not reason and any(_MAGNITUDE.fullmatch(t.name) for t in tensors):
        reason = "DoRA"
    if reason:
        said = f"updates by {printable(reason)} are not supported"
        alone = "the adapter's own tensors are shown alone"
        return tensors, (f"{printable(where, 1000)}: {said}; {alone}",)
    config = config or base_config(settings.base, folder)
    updates = {id(pair.a): _update(pair, settings, config) for pair in pairs}
    shown = [one for t in tensors for one in (*filter(None, [updates.get(id(t))]), t)]
    others = _others(folder) if folder == where else ()
    return shown, (*_notes_with(settings, tensors, pairs, where), *others)


def _pairs(tensors: list[Tensor]) -> list[_Pair]:
    """Find A and B of each module. Of several adapters in one file, only "default" is meant."""
    found: dict[tuple[str, str], dict[str, tuple[Tensor, bool]]] = {}
    for tensor in tensors:
        match = _LORA.fullmatch(tensor.name) if ".lora_" in tensor.name else None
        if match:
            module, embedding, letter, adapter = match.groups()
            key = module.removeprefix(_PREFIX), adapter or ""
            found.setdefault(key, {})[letter] = tensor, embedding is not None
    meant = {adapter for _, adapter in found}
    meant = meant if len(meant) == 1 else meant & {"", "default"}
    return [
        _Pair(module, adapter, pair["A"][1], pair["A"][0], pair["B"][0])
        for (module, adapter), pair in found.items()
        if adapter in meant and len(pair) == 2 and pair["A"][1] == pair["B"][1]
    ]


def _update(pair: _Pair, settings: Settings, config: Mapping[str, Any]) -> Tensor:
    """Return ΔW of a module."""
    a, b = pair.a, pair.b
    turned = pair.embedding or settings.fan_in_fan_out
    rank = a.shape[0] if a.shape else 0
    out, inner = (b.shape[0] if b.shape else 0), a.shape[1:]
    reason = _why_not(pair, settings, rank, turned)
    values: Values = Unreadable(reason)
    if not reason:
        values = Product(a, b, lambda: _scale(pair.module, rank, settings), turned=turned)
    shape = (*inner, out) if turned else (out, *inner)
    sources = tuple(dict.fromkeys((*a.sources, *b.sources)))
    name = f"{pair.module}.delta_weight"
    return Tensor(name, shape, f"ΔW r={rank}", a.nbytes + b.nbytes, values, sources, config)


def _why_not(pair: _Pair, settings: Settings, rank: int, turned: bool) -> str:
    """Return why A and B give no update, or ""."""
    a, b = pair.a, pair.b
    unread = next((t for t in (a, b) if t.reason or not t.is_float), None)
    if unread is not None:
        letter = "A" if unread is a else "B"
        return f"its {letter} cannot be read: {unread.reason or 'it is not of real numbers'}"
    if len(a.shape) < 2 or len(b.shape) != len(a.shape) or (turned and len(a.shape) > 2):
        return f"its A and B have the shapes {list(a.shape)} and {list(b.shape)}"
    if b.shape[1] != rank or prod(b.shape[2:]) != 1:
        return f"its A has the rank {rank}, its B the shape {list(b.shape)}"
    if rank not in settings.ranks:
        said = ", ".join(map(str, sorted(settings.ranks)[:4]))
        return f"its A has the rank {rank}, {NAME} says {said}"
    cols = b.shape[0] if turned else prod(a.shape[1:])
    if not rank or max(cols, rank) > MOST_COLUMNS or rank * cols > MOST_WORK:
        return f"a product of rank {rank} with rows of {cols:,} entries is not made"
    too_long = settings.alphas and len(pair.module) > _LONGEST
    return f"its name has more than {_LONGEST:,} letters" if too_long else settings.bad_pattern


def _scale(module: str, rank: int, settings: Settings) -> float:
    """Return alpha / r, or alpha / √r with ``use_rslora``, in double precision."""
    return settings.alpha_of(module) / (sqrt(rank) if settings.use_rslora else rank)


def _notes_with(
    settings: Settings, tensors: list[Tensor], pairs: list[_Pair], where: Place
) -> Notes:
    notes = []
    start = f"{printable(where, 1000)}: "
    if settings.changes_base:
        what = f"init_lora_weights is {printable(settings.changes_base)}"
        rest = "ΔW is added to a base model whose weights were changed before, not as published"
        notes.append(f"{start}{what}: {rest}")
    used = {id(t) for pair in pairs for t in (pair.a, pair.b)}
    left = [t.name for t in tensors if _LORA.fullmatch(t.name) and id(t) not in used]
    if left:
        what = f"{len(left)} of A and B, such as {printable(left[0])}"
        notes.append(f"{start}{what}, make up no update: they have no partner, or are another's")
    return tuple(notes)


def _others(folder: Place) -> Notes:
    """Say which adapters lie in folders within an adapter's: PEFT puts all but the first there."""
    if not isinstance(folder, Path):
        return ()
    names = sorted(path.parent.name for path in folder.glob(f"*/{NAME}"))
    if not names:
        return ()
    listed = ", ".join(map(printable, names[:6])) + (", …" if len(names) > 6 else "")
    return (f"{bad(folder, f'there are other adapters in: {listed}')}",)


def _notes_without(tensors: list[Tensor], settings: Settings, folder: Place) -> Notes:
    """Say what an adapter's configuration beside other tensors means."""
    if settings.kind != "LORA" or any(_OF_ADAPTERS.search(t.name) for t in tensors):
        what = f"adapters of the type {printable(settings.kind)} are shown by their own tensors"
        return (f"{printable(folder, 1000)}: {what}; the updates that these make are not",)
    names = ("adapter_model.safetensors", "adapter_model.bin")
    beside = next((name for name in names if (folder / name).is_file()), None)
    opened = {file.path.name for tensor in tensors for file in tensor.sources}
    if beside is None or beside in opened:
        return ()
    return (f"{bad(folder, f'there is also an adapter here; to see it, open {beside}')}",)
