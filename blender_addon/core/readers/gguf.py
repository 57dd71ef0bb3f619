"""The GGUF format of llama.cpp: one file, or the parts of a split one.

The header is parsed in `gguf_header`, the numbers are made in `gguf_blocks`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from typing import Any

from ..text import printable
from .base import Tensor
from .datafile import DataFile, Place, bad, look_ahead, open_file
from .dtypes import DTYPES
from .foreign import what_it_is
from .gguf_blocks import TYPES, Blocks, GgmlType
from .gguf_config import config_of
from .gguf_header import MAGIC, Entry, Header, Listed, read_header
from .index import Listing, choose_in, claimed
from .values import Raw

_MAX_ELEMENTS = (1 << 60) - 1  # what numpy can address as float64
_PART = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})(\.gguf)", re.IGNORECASE)
# Their blocks have room for a part of the scale only; the rest of it is a tensor beside them.
_SCALED_TYPES = ("NVFP4", "TQ1_0", "TQ2_0")
_MAX_SCALES = 1 << 16

_Part = tuple[DataFile, Header]


def claims(path: Place) -> bool:
    """Whether `path` is for this reader, by its name or its first bytes."""
    return claimed(path, _is_ours, lambda head: head.startswith(MAGIC))


def load(path: Place, config: Mapping[str, Any]) -> Listing:
    """List the tensors of a file, of all parts of a split one, or of the one model in a folder.

    Only headers are read. The tensors' config is made of the header, which describes these very
    tensors; a ``config.json`` beside them, `config`, counts only where the header says nothing.

    Raises
    ------
    CheckpointError
        A file is damaged, a part is missing, or it is unclear what to open.
    """
    if path.is_dir():
        path = _in_folder(path)
    parts = _parts(path)
    fields = parts[0][1].fields
    own = config_of(fields) or config
    tensors: dict[str, Tensor] = {}
    for part in parts:
        for tensor in _tensors(*part, own):
            if tensor.name in tensors:
                raise bad(part[0].path, f"tensor {printable(tensor.name)} is in another part, too")
            tensors[tensor.name] = tensor
    told = fields.get("split.tensors.count", len(tensors))
    if len(parts) > 1 and told != len(tensors):
        what = f"the parts have {len(tensors):,} tensors, the model {printable(told, 40)}"
        raise bad(path, what)
    _apply_scales(tensors)
    return list(tensors.values()), {key: _text(value) for key, value in fields.items()}, ()


def _is_ours(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(".gguf")


def _text(value: Any) -> str:
    if isinstance(value, Listed | str | int) and not isinstance(value, bool):
        return str(value)
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


# --- which files ------------------------------------------------------------------------------


def _in_folder(folder: Place) -> Place:
    """Choose the one model that a folder stands for; the parts of a split one are one."""
    models: dict[object, str] = {}
    for name in sorted(entry.name for entry in folder.iterdir() if _is_ours(entry.name)):
        part = _PART.fullmatch(name)
        models.setdefault(part.group(1, 3) if part else name, name)
    return choose_in(folder, models.values(), ())


def _parts(path: Place) -> list[_Part]:
    """Read the headers of a file and of the others that it is a part of, in their order."""
    one = _open(path)
    count = one[1].fields.get("split.count", 1)
    if type(count) is not int or count < 2:
        return [one]
    name = _PART.fullmatch(path.name)
    if name is None or int(name[3]) != count:
        what = f"this is one of {printable(count, 40)} parts of a model, but its name does not say"
        raise bad(path, f"{what} which one, as in model-00001-of-{count:05}.gguf")
    places = []
    for number in range(1, count + 1):
        places.append(path.parent / f"{name[1]}-{number:05}-of-{name[3]}{name[4]}")
        if not places[-1].exists():
            raise bad(path, f"part {printable(places[-1].name)} is missing")
    look_ahead(places)
    parts = []
    for number, each in enumerate(places, 1):
        part = one if each.name == path.name else _open(each)
        told = [part[1].fields.get(key) for key in ("split.no", "split.count")]
        if told != [number - 1, count]:
            raise bad(each, f"this is not part {number} of {count}, as its name says")
        parts.append(part)
    return parts


def _open(path: Place) -> _Part:
    data = open_file(path)
    if data.size >= len(MAGIC) and data.read(0, len(MAGIC)) != MAGIC:
        raise bad(path, what_it_is(path, "this is not a GGUF file"))
    return data, read_header(data)


# --- tensors ----------------------------------------------------------------------------------


def _tensors(data: DataFile, header: Header, config: Mapping[str, Any]) -> Iterator[Tensor]:
    """Check each tensor by itself and against the others, and make it."""
    spans: list[tuple[int, int, str]] = []
    tensors: list[Tensor] = []
    for entry in header.entries:
        try:
            kind, nbytes = _checked(entry, header.alignment)
        except ValueError as error:
            raise bad(data.path, f"tensor {printable(entry.name)}: {error}") from None
        begin, size = header.data_start + entry.offset, prod(entry.shape)
        spans.append((begin, begin + nbytes, entry.name))
        dtype = DTYPES.get(kind.name)
        values = Raw(data, begin, size, dtype) if dtype else Blocks(data, begin, size, kind)
        what = entry.name, entry.shape, kind.name, nbytes
        tensors.append(Tensor(*what, values, (data,), config, kind.packing))
    _check_spans(spans, data)
    yield from tensors


def _checked(entry: Entry, alignment: int) -> tuple[GgmlType, int]:
    """Return type and bytes; a ValueError says what is wrong."""
    kind = TYPES.get(entry.kind)
    if kind is None:
        raise ValueError(f"its GGML type {entry.kind:,} is unknown")
    if prod(n for n in entry.shape if n) > _MAX_ELEMENTS:
        raise ValueError("its shape has more elements than can be addressed")
    row = entry.shape[-1] if entry.shape else 1
    if row % kind.elements:
        blocks = f"blocks of {kind.elements} numbers"
        raise ValueError(f"its rows of {row:,} numbers are not whole {blocks} of {kind.name}")
    if entry.offset % alignment:
        raise ValueError(f"its offset {entry.offset:,} is not a multiple of {alignment:,}")
    return kind, prod(entry.shape) // kind.elements * kind.nbytes


def _check_spans(spans: list[tuple[int, int, str]], data: DataFile) -> None:
    """Check that the tensors lie in the file and not in each other; between them may be gaps."""
    spans.sort()
    position = 0
    for begin, end, name in spans:
        if end > data.size:
            where = f"ends at byte {end:,} of the file, which has only {data.size:,}"
            raise bad(data.path, f"tensor {printable(name)} {where}: it was cut")
        if begin < position and begin < end:
            raise bad(data.path, f"tensor {printable(name)} overlaps the one before it")
        position = max(position, end)


def _apply_scales(tensors: dict[str, Tensor]) -> None:
    """Make ``blk.0.ffn_up.scale`` a part of ``blk.0.ffn_up.weight`` for types that need it.

    So llama.cpp computes: what comes out of the product with the weight is multiplied with the
    scale, one number or one an expert (its pull requests 19769 and 20427).
    """
    for name, tensor in list(tensors.items()):
        if tensor.dtype not in _SCALED_TYPES or not isinstance(tensor.values, Blocks):
            continue
        scale = _scale_of(tensor, tensors)
        if scale is None or not isinstance(scale.values, Raw):
            continue
        values = tensor.values.scaled(scale.values)
        sources = tuple(dict.fromkeys(tensor.sources + scale.sources))
        nbytes = tensor.nbytes + scale.nbytes
        tensors[name] = replace(tensor, values=values, sources=sources, nbytes=nbytes)
        del tensors[scale.name]


def _scale_of(tensor: Tensor, tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Return the tensor beside it that has a number for all of it or one for each expert."""
    names = (f"{tensor.name}.scale", f"{tensor.name.removesuffix('.weight')}.scale")
    scale = next((tensors[each] for each in names if each in tensors), None)
    experts = tensor.shape[0] if len(tensor.shape) == 3 else 1
    fits = scale is not None and scale.dtype == "F32" and scale.size in (1, experts)
    return scale if fits and 0 < experts <= _MAX_SCALES and tensor.size else None
