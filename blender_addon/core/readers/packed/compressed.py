"""compressed-tensors: whole numbers packed in words ("pack-quantized"), and four-bit floats.

``weight_packed`` (out, in · bits / 32) holds a row's numbers plus 2^(bits − 1), the lowest bits
first; ``weight_scale`` is (out, in / group), or one a row or for all; ``weight_zero_point``, where
there is one, is packed alike but down its columns; ``weight_shape`` says (out, in), which the words
may overhang; ``weight_g_idx`` is the group of each input, where their order says so. How many bits
and how large a group the ``config_groups`` say. W = (number − zero point) · scale: the difference
is exact, the product is rounded to float32 once.

Bytes in ``weight_packed`` are NVFP4 or MXFP4, see `microscaling`; weights of 8 bits keep their own
name, see `eightbits`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...text import printable
from ..base import Tensor
from ..datafile import Array, bad
from ..values import Span, Values
from . import microscaling
from .eightbits import groups_of
from .pack import (
    Pack,
    RefusedError,
    Settings,
    entries,
    everything,
    grouped,
    raw_bytes,
    shared,
    spell,
    unpack,
)
from .scaled import Blocks, Coded, Grid, Numbers, Plain, Scaled, as_matrix, whole_numbers

_BITS = (2, 4, 8)


@dataclass(frozen=True)
class _Scheme:
    """How a weight is packed: bits, inputs of a group (0: a row or all), inputs in all."""

    bits: int
    size: int
    inputs: int


def make(pack: Pack) -> Tensor:
    """Return the weight (out, in).

    Raises
    ------
    RefusedError
    """
    words, scale = pack.parts.get("weight_packed"), pack.need("weight_scale")
    if words is None:
        raise RefusedError("packed weights whose weight_packed is missing")
    if words.dtype in ("U8", "F4"):
        return microscaling.of_bytes(pack, "weight_packed", "weight_scale")
    if words.dtype != "I32" or not scale.is_float or len(words.shape) != 2:
        raise RefusedError(f"packed weights of {words.dtype} with scales of {scale.dtype}")
    scheme = _scheme(pack, words, scale)
    out, pitch = words.shape
    shape = as_matrix((out, scheme.inputs))
    by = (1, 1) if scale.size == 1 else scale.shape
    rows, size = max(out, 1), scheme.size or max(scheme.inputs, 1)
    blocks = Blocks(by[0], by[1], rows, (rows if by[0] == 1 else 1, size))
    grid = Grid(Plain(scale.values, by[1]), blocks)
    zeros = _zeros(pack, scheme, grid)
    numbers = Coded(raw_bytes(words), pitch * 4, whole_numbers(scheme.bits, 1 << scheme.bits - 1))
    order = pack.parts.get("weight_g_idx")
    if order is not None and (order.shape != (scheme.inputs,) or order.is_float):
        raise RefusedError(f"packed weights whose weight_g_idx is {spell(order.shape)}")
    values = Packed(shape, numbers, grid, zeros, order=order)
    values.told = pack.parts.get("weight_shape")
    method, bits = "INT", scheme.bits
    group = "tensor" if scale.size == 1 else "channel"
    packing = grouped(method, bits, scheme.size) if scheme.size else shared(method, bits, group)
    return pack.tensor(words, shape, f"INT{bits}", values, packing)


def _scheme(pack: Pack, words: Tensor, scale: Tensor) -> _Scheme:
    """Find the one group of the settings that fits the shapes of the parts."""
    if not pack.settings:
        raise RefusedError("packed weights, and no quantization_config says with how many bits")
    listed = {_bits_and_size(weights) for weights in groups_of(pack.settings)}
    known = [(bits, size) for bits, size in listed if bits in _BITS]
    # Where a group of settings and the header leave no doubt, no number is read.
    sure = len(known) == 1 and _tiles(words, scale, *known[0])
    told = None if sure else _told_inputs(pack)
    fitting = []
    for bits, size in known:
        inputs = words.shape[1] * (32 // bits) if told is None else told
        if _fits((words.shape, scale.shape, scale.size), bits, size, inputs):
            fitting.append(_Scheme(bits, size, inputs))
    if len(fitting) != 1:
        many = "more than one group" if fitting else "no group"
        what = f"packed weights {spell(words.shape)} with scales {spell(scale.shape)}"
        raise RefusedError(f"{what}, which {many} of the quantization_config fits")
    return fitting[0]


def _bits_and_size(weights: Settings) -> tuple[int, int]:
    """Return bits and inputs of a group out of the settings; 0 where they say nothing of use."""
    bits, size = weights.get("num_bits"), weights.get("group_size")
    if weights.get("type", "int") != "int" or type(bits) is not int:
        return 0, 0
    return bits, size if type(size) is int and 0 < size <= 1 << 30 else 0


def _tiles(words: Tensor, scale: Tensor, bits: int, size: int) -> bool:
    """Whether whole groups fill whole words: then the shape needs no telling."""
    return bool(size) and scale.shape[1:] == (words.shape[1] * (32 // bits) / size,)


def _told_inputs(pack: Pack) -> int:
    shape = everything(pack.need("weight_shape")).tolist()
    out = pack.parts["weight_packed"].shape[0]
    if not isinstance(shape, list) or len(shape) != 2 or shape[0] != out or shape[1] < 0:
        raise RefusedError(f"packed weights whose weight_shape is {printable(shape, 60)}")
    return int(shape[1])


def _fits(
    shapes: tuple[tuple[int, ...], tuple[int, ...], int], bits: int, size: int, inputs: int
) -> bool:
    (out, pitch), scale, count = shapes
    if -(-inputs * bits // 32) != pitch:
        return False
    if size:
        return scale == (out, -(-inputs // size))
    return count == 1 or scale == (out, 1)


def _zeros(pack: Pack, scheme: _Scheme, scales: Grid) -> Grid | None:
    """Return the zero points in the blocks of the scales; None where they are all zero."""
    zeros = pack.parts.get("weight_zero_point")
    high, wide = scales.blocks.high, scales.blocks.wide
    if zeros is None:
        if any(weights.get("symmetric") is False for weights in groups_of(pack.settings)):
            raise RefusedError("packed weights whose weight_zero_point is missing")
        return None
    zeros = pack.need("weight_zero_point")
    offset, words = 1 << scheme.bits - 1, -(-high * scheme.bits // 32)
    if zeros.dtype == "I8" and zeros.size == high * wide:
        numbers: Numbers = Plain(zeros.values, wide)
    elif zeros.dtype == "I32" and zeros.shape == (words, wide):
        numbers = Down(zeros.values, wide, scheme.bits, offset)
    else:
        raise RefusedError(f"packed weights whose weight_zero_point is {spell(zeros.shape)}")
    return replace(scales, numbers=numbers)


@dataclass(frozen=True, slots=True)
class Down(Numbers):
    """Whole numbers packed in words down the columns of a matrix."""

    values: Values
    width: int
    bits: int
    offset: int

    def rows(self, first: int, last: int) -> Array:
        """Return rows as float32."""
        each = 32 // self.bits
        top, bottom = first // each, -(-last // each)
        words = entries(self.values, top * self.width, bottom * self.width)
        laid = words.astype("<i4", copy=False).view(np.uint8).reshape(-1, 4)
        found = unpack(laid, self.bits).reshape(-1, self.width, each).transpose(0, 2, 1)
        rows: Array = found.reshape(-1, self.width)[first - top * each : last - top * each]
        return rows.astype(np.float32) - np.float32(self.offset)

    def spans(self, first: int, last: int) -> Iterator[Span]:
        """Yield the bytes of the words that hold rows."""
        each = 32 // self.bits
        bottom = -(-last // each)
        yield from self.values.spans(first // each * self.width, bottom * self.width)


class Packed(Scaled):
    """Numbers whose words may overhang the weight.

    Attributes
    ----------
    told : Tensor or None
        The ``weight_shape``, which must say what was made out of headers and settings.
    """

    told: Tensor | None = None

    def panel(self, first: int, last: int) -> Array:
        """Unpack rows; check the shape once."""
        if self.told is not None:
            shape: Any = everything(self.told).tolist()
            if shape != [self.rows, self.width]:
                what = f"tensor {printable(self.told.name)} says {printable(shape, 60)}"
                raise bad(self.told.file, f"{what}, its words hold {self.rows}×{self.width}")
            self.told = None
        return super().panel(first, last)
