"""Float8 and int8 weights with scales: per tensor, per channel, per block.

A weight keeps its own name and shape; its scales stand beside it as ``weight_scale_inv`` (DeepSeek:
one for 128×128, or what ``weight_block_size`` says, the last blocks cut), ``weight_scale`` (one, or
one a channel) or ``scale``. Whatever they are called they are multiplied with: W = w · s, both as
float32; ``weight_zero_point`` (int8) is taken away before. A scale of powers of two (E8M0, also as
bytes) may be one for 32 numbers of a row (MXFP8). Bytes are two E2M1 each, see `microscaling`.
``input_scale`` and the like belong to activations and are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ..base import Packing, Tensor
from . import microscaling
from .microscaling import MX_GROUP, POWERS_OF_TWO, scale_numbers
from .pack import Pack, RefusedError, Settings, grouped, shared, spell
from .scaled import Blocks, Grid, Plain, Scaled, as_matrix

SCALES = ("weight_scale_inv", "weight_scale", "scale")
FLOAT8 = ("F8_E4M3", "F8_E5M2")
_PACKED_AS = frozenset((*FLOAT8, "I8", "U8", "F4"))

_Shape = tuple[int, ...]


def unpack(pack: Pack) -> Tensor | None:
    """Return the scaled weight; None where the weight is not packed, whatever stands beside it.

    Raises
    ------
    RefusedError
    """
    weight = pack.parts["weight"]
    if weight.dtype not in _PACKED_AS:
        return None
    word = next((word for word in SCALES if word in pack.parts), None)
    if word is None:
        raise RefusedError("packed weights whose scales are missing")
    scale = pack.need(word)
    if weight.dtype in ("U8", "F4"):
        return microscaling.of_bytes(pack, "weight", word)
    key = weight.dtype, weight.shape, scale.dtype, scale.shape
    layout = pack.known.get(key)
    if layout is None:  # once for all experts, of which there are tens of thousands
        layout = pack.known[key] = _lay(pack.settings, weight, scale)
    width = weight.shape[-1]
    grid = Grid(scale_numbers(scale, layout.blocks.wide), layout.blocks)
    zeros = pack.parts.get("weight_zero_point")
    if zeros is not None and (zeros.reason or zeros.size != scale.size):
        raise RefusedError(f"8-bit weights with zero points {zeros.dtype} {spell(zeros.shape)}")
    points = None if zeros is None else replace(grid, numbers=Plain(zeros.values, grid.blocks.wide))
    values = Scaled(layout.matrix, Plain(weight.values, width), grid, points)
    return pack.tensor(weight, weight.shape, layout.dtype, values, layout.packing)


@dataclass(frozen=True)
class _Layout:
    """How the scales of weights of one shape lie."""

    matrix: tuple[int, int]
    blocks: Blocks
    dtype: str
    packing: Packing


def _lay(settings: Settings, weight: Tensor, scale: Tensor) -> _Layout:
    """Lay the scales over the weight, the way that their shape allows."""
    shape, by = weight.shape, scale.shape
    matrix = as_matrix(shape)
    method = "FP8" if weight.dtype in FLOAT8 else "INT"
    small = scale.dtype in POWERS_OF_TWO and by == (*shape[:-1], _blocks(shape[-1], MX_GROUP))
    method = f"MX{method}" if small else method
    known = [(1, MX_GROUP)] if small else block_sizes(settings)
    cuts = {size: tuple(map(_blocks, shape[-2:], size)) for size in known}
    block, packing = None, None
    if scale.size == 1:
        by = (1,) * len(shape)
    elif len(by) == 1 and by[0] == shape[0]:
        by = (*by, *(1 for _ in shape[1:]))
    if len(by) == len(shape) and (by[:-2] == shape[:-2] or scale.size == 1):
        if by[-2:] == (1, 1):
            packing = shared(method, 8, "tensor")
        elif by[-2:] in ((shape[-2], 1), (1, shape[-1])):
            packing = shared(method, 8, "channel")
        elif by[-2:] in cuts.values():
            high, wide = block = next(size for size in known if cuts[size] == by[-2:])
            text = f"{high}×{wide}"
            packing = grouped(method, 8, wide) if high == 1 else shared(method, 8, text)
    if packing is None:
        what = f"8-bit weights {spell(shape)} with scales {spell(scale.shape)}"
        if not known:
            raise RefusedError(f"{what}, and no quantization_config with the size of a block")
        raise RefusedError(f"{what}, which does not fit the quantization_config")
    dtype = weight.dtype if weight.is_float else f"{method}8"
    return _Layout(matrix, _cut(shape, by, block), dtype, packing)


def _cut(shape: _Shape, by: _Shape, block: tuple[int, int] | None) -> Blocks:
    """Cut a weight in so many blocks; a size unset is as large as they then are."""
    (rows, width), (high, wide) = shape[-2:], by[-2:]
    if by[:-2] != shape[:-2]:
        rows = as_matrix(shape)[0]  # one scale for a whole stack
    rows, width = max(rows, 1), max(width, 1)
    return Blocks(high, wide, rows, block or (rows // max(high, 1), width // max(wide, 1)))


def _blocks(length: int, size: int) -> int:
    return -(-length // size)


def block_sizes(settings: Settings) -> list[tuple[int, int]]:
    """Return rows and columns of blocks, out of the settings of either spelling."""
    told: list[Any] = [settings.get("weight_block_size")]
    for weights in groups_of(settings):
        if weights.get("strategy") == "block":
            told.append(weights.get("block_structure"))
        if weights.get("strategy") == "group":
            told.append([1, weights.get("group_size")])
    lists = [size for size in told if type(size) is list and len(size) == 2]
    return [
        (size[0], size[1])
        for size in lists
        if all(type(n) is int and 0 < n <= 1 << 30 for n in size)
    ]


def groups_of(settings: Settings) -> list[Settings]:
    """Return what compressed-tensors says of the weights of each group of layers."""
    groups = settings.get("config_groups")
    listed = list(groups.values()) if isinstance(groups, dict) else []
    weights = [group.get("weights") for group in listed if isinstance(group, dict)]
    return [each for each in weights if isinstance(each, dict)]
