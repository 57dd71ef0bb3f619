"""What an ``adapter_config.json`` says, as PEFT writes and reads it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..location import cached_model, is_hub_name
from ..text import printable
from .base import parse_json
from .datafile import Place, bad
from .describe import read_config
from .name_patterns import is_plain, matches

NAME = "adapter_config.json"
_LIMIT = 4 << 20  # bytes; real ones have some thousands
_MOST_SIGNS = 5_000  # of all patterns together, but for those that are plain words

# What makes the update something else than scale · B · A.
_OTHER_UPDATES = {
    "use_dora": "DoRA",
    "use_qalora": "QA-LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "target_parameters": "LoRA of parameters (target_parameters)",
}
# What subtracts the first product of B and A from the base model's weights.
_CHANGES_BASE = re.compile(r"pissa.*|olora|corda|loftq|lora_ga", re.IGNORECASE)


@dataclass(frozen=True)
class Settings:
    """The part of an adapter's configuration that its update follows from.

    Attributes
    ----------
    kind
        ``peft_type``, in capitals.
    alpha
        ``lora_alpha``.
    alphas
        ``alpha_pattern``: from a pattern that a module's name ends with to its alpha.
    ranks
        Every rank that a module may have, by ``r`` and ``rank_pattern``.
    unsupported
        What makes the update another one than the product, or "".
    changes_base
        How A and B began, where that took the product out of the base model's weights; or "".
    bad_pattern
        Why ``alpha_pattern`` cannot be followed, or "".
    base
        ``base_model_name_or_path``, or "".
    """

    kind: str
    alpha: float = 0.0
    alphas: Mapping[str, float] = field(default_factory=dict)
    ranks: frozenset[int] = frozenset()
    use_rslora: bool = False
    fan_in_fan_out: bool = False
    unsupported: str = ""
    changes_base: str = ""
    bad_pattern: str = ""
    base: str = ""

    def alpha_of(self, module: str) -> float:
        """Return a module's alpha: the first pattern counts that the name ends with."""
        found = (alpha for pattern, alpha in self.alphas.items() if matches(pattern, module))
        return next(found, self.alpha)


def read_settings(folder: Place) -> Settings | None:
    """Read the ``adapter_config.json`` of a folder.

    Returns
    -------
    Settings or None
        None where there is no such file.

    Raises
    ------
    CheckpointError
        It is not what PEFT writes.
    """
    path = folder / NAME
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > _LIMIT:
            raise bad(path, f"it is larger than {_LIMIT >> 20} MiB")
        said = parse_json(path.read_bytes(), path, "it")
    except OSError as error:
        raise bad(path, f"it cannot be read ({error.strerror or error})") from None
    kind, base = said.get("peft_type"), said.get("base_model_name_or_path")
    if type(kind) is not str:
        raise bad(path, "it has no peft_type")
    base = base if type(base) is str else ""
    if kind.upper() != "LORA":
        return Settings(kind.upper(), unsupported=kind.upper(), base=base)
    return _lora(said, path, base)


def _lora(said: dict[str, Any], path: Place, base: str) -> Settings:
    rank, alpha = said.get("r"), said.get("lora_alpha", math.nan)
    ranks, alphas = said.get("rank_pattern") or {}, said.get("alpha_pattern") or {}
    if type(rank) is not int or not _is_real(alpha):
        raise bad(path, "it does not say r and lora_alpha")
    if type(ranks) is not dict or not all(type(r) is int for r in ranks.values()):
        raise bad(path, "its rank_pattern is not an object of ranks")
    if type(alphas) is not dict or not all(map(_is_real, alphas.values())):
        raise bad(path, "its alpha_pattern is not an object of numbers")
    first = said.get("init_lora_weights")
    changed = first if type(first) is str and _CHANGES_BASE.fullmatch(first) else ""
    other = next((what for key, what in _OTHER_UPDATES.items() if said.get(key)), "")
    return Settings(
        "LORA",
        float(alpha),
        {key: float(value) for key, value in alphas.items()},
        frozenset((rank, *ranks.values())),
        said.get("use_rslora") is True,
        said.get("fan_in_fan_out") is True,
        other,
        changed,
        _bad_pattern(alphas),
        base,
    )


def _is_real(value: Any) -> bool:
    if type(value) is int:
        return abs(value) < 1 << 53
    return type(value) is float and math.isfinite(value)


def _bad_pattern(patterns: Mapping[str, float]) -> str:
    """Return why patterns are not followed, or ""."""
    if sum(len(pattern) for pattern in patterns if not is_plain(pattern)) > _MOST_SIGNS:
        return f"the patterns in alpha_pattern have more than {_MOST_SIGNS:,} letters"
    for pattern in patterns:
        try:
            matches(pattern, "")
        except ValueError as error:
            return f"{printable(pattern)} in alpha_pattern is not followed: {error}"
    return ""


def base_config(base: str, folder: Place) -> Mapping[str, Any]:
    """Return the ``config.json`` of a base model that is on this machine, else an empty mapping.

    Parameters
    ----------
    base
        ``base_model_name_or_path``: a folder, also one relative to the adapter's, or the name of a
        model that the Hugging Face cache has.
    folder
        The adapter's.
    """
    # A folder of another machine ("\\\\host\\share") would be asked for over the network.
    if not base or base.startswith(("\\\\", "//")):
        return {}
    places = [Path(base)]
    if isinstance(folder, Path):
        places.append(folder / base)
    try:
        if is_hub_name(base) and (cached := cached_model(base)):
            places.append(cached)
        found = next((place for place in places if (place / "config.json").is_file()), None)
        return read_config(found)[0] if found else {}
    except (CheckpointError, OSError, ValueError):  # a name with a NUL, say
        return {}
