"""bitsandbytes: NF4 and FP4 with their quant_state, and INT8 with ``SCB``.

Four bits: ``weight`` holds the numbers in C order, two a byte, the high half first, each an index
into the 16 of ``quant_map``. ``quant_state`` is JSON in bytes: shape, blocksize, and, where the
scales are packed too, nested_blocksize and nested_offset. A run of `blocksize` numbers shares an
``absmax``. Nested, that is itself an index into the 256 of ``nested_quant_map``:
absmax = map[index] · nested_absmax + nested_offset, W = map[index] · absmax, each step rounded to
float32.

Eight bits: rows of int8 with their largest magnitude: W = (number · SCB[row]) · (1 / 127), each
step rounded to float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ...errors import CheckpointError
from ..base import Tensor, parse_json
from ..datafile import Array
from ..values import Panels, Span, Values
from .pack import (
    Pack,
    RefusedError,
    all_spans,
    entries,
    everything,
    grouped,
    look_up,
    pairs_of,
    raw_bytes,
    shared,
    spell,
)
from .scaled import Blocks, Grid, Plain, Scaled, as_matrix

_DIMENSIONS = 8
_STATE_LIMIT = 1 << 16  # bytes of JSON; real ones have some 200
_LAYOUT = "weight_format"


def int8(pack: Pack) -> Tensor:
    """Return the weight of int8 rows.

    Raises
    ------
    RefusedError
    """
    weight, scale = pack.need("weight"), pack.need("SCB")
    rows, width = as_matrix(weight.shape)
    if weight.dtype != "I8" or not scale.is_float or scale.shape != (rows,):
        what = f"{weight.dtype} {spell(weight.shape)} with SCB {spell(scale.shape)}"
        raise RefusedError(f"INT8 weights whose parts do not fit together: {what}")
    layout = pack.parts.get(_LAYOUT)
    if layout is not None and layout.size == 1 and everything(layout).item() != 0:
        raise RefusedError("INT8 weights in a layout for one kind of GPU, only rows are read")
    grid = Grid(Plain(scale.values, 1), Blocks(rows, 1, max(rows, 1), (1, max(width, 1))))
    numbers = Plain(weight.values, width)
    values = Scaled((rows, width), numbers, grid, factor=np.float32(1 / 127))
    packing = shared("INT", 8, "channel")
    return pack.tensor(weight, weight.shape, "INT8", values, packing)


@dataclass(frozen=True)
class _State:
    """What a ``quant_state`` says."""

    kind: str
    shape: tuple[int, ...]
    block: int
    nested_block: int
    offset: float


def four_bits(pack: Pack) -> Tensor:
    """Return the weight of NF4 or FP4 numbers.

    Raises
    ------
    RefusedError
    """
    packed = pack.parts.get("weight")
    if packed is None:
        raise RefusedError("packed weights whose numbers are missing")
    state = _state(pack.need("quant_state"))
    absmax, codes = pack.need("absmax"), pack.need("quant_map")
    count = prod(state.shape)
    data = raw_bytes(packed)
    blocks = -(-count // state.block)
    if packed.nbytes != -(-count // 2) or absmax.size != blocks or codes.size != 16:
        what = f"{packed.nbytes} bytes and {absmax.size} scales for {spell(state.shape)}"
        raise RefusedError(f"{state.kind} weights whose parts do not fit together: {what}")
    nested = _nested(pack, state, blocks) if state.nested_block else None
    if (absmax.dtype != "U8") if nested else not absmax.is_float:
        raise RefusedError(f"{state.kind} weights with scales of {absmax.dtype}")
    values = FourBits(count, data, (absmax, codes, nested), state)
    packing = grouped(state.kind, 4, state.block)
    return pack.tensor(packed, state.shape, state.kind, values, packing)


def _state(tensor: Tensor) -> _State:
    """Read the quant_state: it alone knows the weight's shape."""
    if tensor.dtype != "U8" or tensor.size > _STATE_LIMIT:
        raise RefusedError("packed weights whose quant_state is not a short text")
    text = everything(tensor).tobytes()
    try:
        said = parse_json(text, tensor.file, "the quant_state")
    except CheckpointError:
        raise RefusedError("packed weights whose quant_state is not JSON") from None
    kind, shape = said.get("quant_type"), said.get("shape")
    block: Any = said.get("blocksize")
    nested: Any = said.get("nested_blocksize") or 0
    if kind not in ("nf4", "fp4"):
        raise RefusedError("packed weights whose quant_state is neither nf4 nor fp4")
    sizes = shape if type(shape) is list and len(shape) <= _DIMENSIONS else [-1]
    if not all(type(n) is int and 0 <= n < 1 << 40 for n in sizes):
        raise RefusedError("packed weights whose quant_state has no shape")
    if not _is_block(block) or (nested and not _is_block(nested)):
        raise RefusedError("packed weights whose quant_state has no size of a block")
    offset: Any = said.get("nested_offset", 0.0)
    if type(offset) not in (int, float) or abs(offset) > 3e38:
        raise RefusedError("packed weights whose quant_state has no offset")
    return _State(kind.upper(), tuple(sizes), block, nested, float(offset))


def _is_block(size: Any) -> bool:
    return type(size) is int and 2 <= size <= 1 << 20 and size % 2 == 0


def _nested(pack: Pack, state: _State, blocks: int) -> tuple[Tensor, Tensor]:
    """Return the scales of the scales, and their map."""
    scales, codes = pack.need("nested_absmax"), pack.need("nested_quant_map")
    if scales.size != -(-blocks // state.nested_block) or codes.size != 256:
        raise RefusedError(f"{state.kind} weights whose nested scales do not fit their scales")
    if not scales.is_float or not codes.is_float:
        raise RefusedError(f"{state.kind} weights whose nested scales are not floats")
    return scales, codes


class FourBits(Panels):
    """Numbers in C order, a block of which shares a scale.

    Parameters
    ----------
    count : int
    data : Values
        The bytes.
    scales : tuple
        ``absmax``, ``quant_map``, and the two of nested scales or None.
    state
        What the ``quant_state`` says.
    """

    def __init__(
        self,
        count: int,
        data: Values,
        scales: tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None],
        state: _State,
    ) -> None:
        super().__init__(count, 1)
        self.data, self.state = data, state
        self.absmax, self.codes, self.nested = scales

    def panel(self, first: int, last: int) -> Array:
        """Unpack a run of numbers."""
        block = self.state.block
        left, right = first // block, -(-last // block)
        begin, end = left * block, min(right * block, self.rows)
        packed = entries(self.data, begin // 2, -(-end // 2))
        table = pairs_of(everything(self.codes, np.float32).reshape(16))
        numbers: Array = np.zeros((right - left) * block, np.float32)
        made = look_up(packed, table)
        numbers[: len(made)] = made
        blocks = numbers.reshape(-1, block)
        with np.errstate(all="ignore"):  # what the file holds may be infinite
            blocks *= self._scales(left, right)[:, None]
        return np.ascontiguousarray(numbers[first - begin : last - begin, None])

    def _scales(self, left: int, right: int) -> Array:
        if self.nested is None:
            return entries(self.absmax.values, left, right, np.float32)
        index = entries(self.absmax.values, left, right)
        scales, codes = self.nested
        block = self.state.nested_block
        top = left // block
        by = entries(scales.values, top, -(-right // block), np.float32)
        found: Array = everything(codes, np.float32).reshape(256)[index]
        found *= by[np.arange(left, right) // block - top]
        found += np.float32(self.state.offset)
        return found

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield the bytes of the numbers and of their scales."""
        if start >= stop:
            return
        block = self.state.block
        left, right = start // block, -(-stop // block)
        yield from self.data.spans(
            left * block // 2, min(-(-right * block // 2), -(-self.rows // 2))
        )
        yield from self.absmax.values.spans(left, right)
        yield from all_spans(self.codes, *(self.nested or ()))
