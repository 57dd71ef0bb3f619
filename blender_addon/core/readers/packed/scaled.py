"""Numbers that lie as the weight's do, row after row, and blocks of which share a scale."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ...text import printable
from ..base import Tensor
from ..datafile import Array, bad
from ..values import Panels, Span, Values
from .pack import RefusedError, entries, everything, unpack

LONGEST_ROW = 1 << 20  # numbers: a panel has at least a row, so longer ones would not be bounded


def check_width(width: int) -> None:
    """Raise `RefusedError` for rows that no panel can hold."""
    if width > LONGEST_ROW:
        raise RefusedError(f"packed weights with rows of {width:,} numbers, too many to unpack")


def as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns of a shape: the last axis, and all before it; checked."""
    if len(shape) < 2:
        raise RefusedError("packed weights that are not a matrix")
    check_width(shape[-1])
    return prod(shape[:-1]), shape[-1]


class Numbers(ABC):
    """What is scaled: a matrix of numbers, a panel of rows at a time."""

    __slots__ = ()

    @abstractmethod
    def rows(self, first: int, last: int) -> Array:
        """Return rows as float32 of their own (last - first, width); more columns are cut off."""

    @abstractmethod
    def spans(self, first: int, last: int) -> Iterator[Span]:
        """Yield the bytes of rows."""


@dataclass(frozen=True, slots=True)
class Plain(Numbers):
    """Numbers of a dtype that is decoded as it is: float8 or 8-bit integers."""

    values: Values
    width: int

    def rows(self, first: int, last: int) -> Array:
        """Return rows as float32."""
        start, stop = first * self.width, last * self.width
        return entries(self.values, start, stop, np.float32).reshape(-1, self.width)

    def spans(self, first: int, last: int) -> Iterator[Span]:
        """Yield the bytes of rows."""
        yield from self.values.spans(first * self.width, last * self.width)


@dataclass(frozen=True, slots=True)
class Coded(Numbers):
    """Numbers that lie several in a byte; `decode` turns bytes (n, pitch) into float32."""

    values: Values
    pitch: int
    decode: Callable[[Array], Array]

    def rows(self, first: int, last: int) -> Array:
        """Return rows as float32."""
        packed = entries(self.values, first * self.pitch, last * self.pitch)
        return self.decode(packed.reshape(-1, self.pitch))

    def spans(self, first: int, last: int) -> Iterator[Span]:
        """Yield the bytes of rows."""
        yield from self.values.spans(first * self.pitch, last * self.pitch)


def whole_numbers(bits: int, offset: int) -> Callable[[Array], Array]:
    """Return a decoder of unsigned integers from which `offset` is taken."""

    def decode(packed: Array) -> Array:
        numbers: Array = unpack(packed, bits).astype(np.float32)
        numbers -= np.float32(offset)
        return numbers

    return decode


@dataclass(frozen=True, slots=True)
class Blocks:
    """How a matrix, or each of a stack of matrices, is cut in blocks.

    Attributes
    ----------
    high, wide
        Blocks of a matrix, down and across.
    rows
        Rows of a matrix.
    size
        Rows and columns of a block. The last blocks may be cut.
    """

    high: int
    wide: int
    rows: int
    size: tuple[int, int]

    def at(self, row: Any) -> Any:
        """Return in which row of blocks, counted through the stack, a row of the weight is."""
        return row // self.rows * self.high + row % self.rows // self.size[0]


@dataclass(frozen=True, slots=True)
class Grid:
    """Scales, or zero points: one for each block.

    Attributes
    ----------
    numbers
        A row for each row of blocks.
    blocks
    whole
        A scale of all the scales, or None; ``divide`` tells whether they are divided by it.
    """

    numbers: Numbers
    blocks: Blocks
    whole: Values | None = None
    divide: bool = False

    def of(self, first: int, last: int) -> Array:
        """Return the scales of rows, float32 (last - first, wide)."""
        at = self.blocks.at(np.arange(first, last))
        top = int(at[0])
        held = self.numbers.rows(top, int(at[-1]) + 1)[:, : self.blocks.wide]
        if self.whole is not None:
            by = entries(self.whole, 0, 1, np.float32)[0]
            held = held / by if self.divide else held * by
        scales: Array = held[at - top]
        return scales

    def spans(self, first: int, last: int) -> Iterator[Span]:
        """Yield the bytes of the scales of rows."""
        yield from self.numbers.spans(self.blocks.at(first), self.blocks.at(last - 1) + 1)
        if self.whole is not None:
            yield from self.whole.spans(0, 1)


class Scaled(Panels):
    """(number − zero point) × scale + bias, in float32 and in this order.

    Parameters
    ----------
    shape : tuple of int
        Rows and width of the weight as a matrix.
    numbers : Numbers
    scales : Grid
    zeros, plus : Grid, optional
        Zero points and biases, in the same blocks as the scales.
    factor : float32, optional
        By which each product is multiplied last.
    order : Tensor, optional
        Of integers: for each column of the weight, the column of the scales.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        numbers: Numbers,
        scales: Grid,
        zeros: Grid | None = None,
        *,
        plus: Grid | None = None,
        factor: np.float32 | None = None,
        order: Tensor | None = None,
    ) -> None:
        super().__init__(*shape)
        self.numbers, self.scales = numbers, scales
        self.zeros, self.plus = zeros, plus
        self.factor, self.order = factor, order

    def panel(self, first: int, last: int) -> Array:
        """Unpack rows."""
        made = np.ascontiguousarray(self.numbers.rows(first, last)[:, : self.width])
        order = None if self.order is None else group_indices(self.order, self.scales.blocks.wide)
        with np.errstate(all="ignore"):  # what the file holds may be infinite
            steps = (self.zeros, np.subtract), (self.scales, np.multiply), (self.plus, np.add)
            for grid, apply in steps:
                if grid is not None:
                    in_blocks(apply, made, grid.of(first, last), grid.blocks.size[1], order)
            if self.factor is not None:
                made *= self.factor
        return made

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield the bytes of the rows, of their scales, and of the order."""
        if start >= stop:
            return
        first, last = start // self.width, -(-stop // self.width)
        for part in (self.numbers, self.scales, self.zeros, self.plus):
            if part is not None:
                yield from part.spans(first, last)
        if self.order is not None:
            yield from self.order.values.spans(0, self.order.size)


def in_blocks(
    apply: np.ufunc, numbers: Array, by: Array, block: int, order: Array | None = None
) -> None:
    """Apply scales to the numbers of rows, in place.

    Parameters
    ----------
    apply : ufunc
    numbers : ndarray of float32, shape (rows, width)
    by : ndarray of float32, shape (rows, blocks)
    block : int
        Columns of a block; the last may be cut.
    order : ndarray of int, shape (width,), optional
        The block of each column, where they do not stand side by side.
    """
    width = numbers.shape[1]
    if order is not None:
        apply(numbers, by[:, order], out=numbers)
        return
    if by.shape[1] == 1:
        apply(numbers, by, out=numbers)
        return
    full = width // block
    blocks = numbers[:, : full * block].reshape(len(numbers), full, block)  # a view
    apply(blocks, by[:, :full, None], out=blocks)
    if full * block < width:
        rest = numbers[:, full * block :]
        apply(rest, by[:, full : full + 1], out=rest)


def group_indices(order: Tensor, groups: int) -> Array:
    """Read the group of each column.

    Raises
    ------
    CheckpointError
        One of them is no group.
    """
    read = everything(order)
    if len(read) and not 0 <= read.min() <= read.max() < groups:
        what = f"tensor {printable(order.name)} names a group that is not there"
        raise bad(order.file, what)
    return read.astype(np.int64)
