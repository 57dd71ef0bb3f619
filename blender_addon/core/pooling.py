"""A tensor of any shape → a matrix → a grid of cells, in one bounded pass over the file.

Each cell covers a rectangle of the matrix and each entry lies in exactly one cell. Nothing is
repeated or interpolated: a matrix smaller than the grid keeps its own size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .settings import Pooling
from .stages import Ticks, finish

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

# Entries held at a time. 2**18 doubles are 2 MB, most of which stays in a core's cache.
BLOCK = 1 << 18

# Entries of a run whose squares BLAS sums: below 10,000, OpenBLAS starts no threads for it, and so
# the sum is the same on any number of cores.
_RUN = 1 << 12

# Columns from which on rows are added one by one: narrower ones are quicker by `reduceat`.
_WIDE = 64


class FlatSource(Protocol):
    """What pooling needs of a tensor."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    def flat(self, start: int, stop: int, dtype: npt.DTypeLike = ...) -> npt.NDArray[Any]:
        """Return the entries [start, stop) in C order."""
        ...


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and columns of the matrix that a tensor is seen as.

    Axes of length one are dropped. A scalar is 1×1, a vector one row. With more than two axes
    left, the first axis gives the rows and the others, flattened in C order, the columns: a
    convolution (out, in, height, width) becomes (out, in·height·width).

    Parameters
    ----------
    shape : tuple of int

    Returns
    -------
    tuple of (int, int)
        Their product is the number of entries.
    """
    long = [n for n in shape if n != 1]
    if len(long) < 2:
        return 1, math.prod(long)
    return long[0], math.prod(long[1:])


def cell_edges(length: int, cells: int) -> Int64:
    """Split an axis into cells whose lengths differ by at most one.

    Parameters
    ----------
    length : int
        Entries along the axis.
    cells : int
        Largest number of cells; fewer entries than that give one cell an entry.

    Returns
    -------
    ndarray of int64, shape (min(cells, length) + 1,)
        Cell i covers the entries [edges[i], edges[i + 1]).
    """
    count = min(cells, length)
    return np.arange(count + 1, dtype=np.int64) * length // max(count, 1)


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of the finite entries seen so far."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @property
    def sigma(self) -> float:
        """Standard deviation (population, no Bessel correction)."""
        return math.sqrt(max(self.squares, 0.0) / self.count) if self.count else 0.0

    def __add__(self, other: Moments) -> Moments:
        """Merge two sets (Chan, Golub and LeVeque, 1979)."""
        if not self.count:
            return other
        if not other.count:
            return self
        count = self.count + other.count
        delta = other.mean - self.mean
        return Moments(
            count,
            self.mean + delta * other.count / count,
            self.squares + other.squares + delta * delta * self.count * other.count / count,
        )


@dataclass(frozen=True)
class Pooled:
    """A matrix on a grid, in the tensor's own unit.

    Attributes
    ----------
    values : ndarray of float64, shape (rows, cols)
        Pooled over the finite entries of each cell; 0 where a cell has none.
    nonfinite : ndarray of bool, shape (rows, cols)
        Cells with at least one NaN or infinity.
    row_edges, col_edges : ndarray of int64
        Cell (i, j) covers ``[row_edges[i], row_edges[i+1]) × [col_edges[j], col_edges[j+1])``.
    moments : Moments
        Of all finite entries.
    nan, inf : int
        Entries that are NaN, and that are infinite.
    low, high : float
        Smallest and largest finite entry; NaN where there is none.
    """

    values: Float64
    nonfinite: Bool
    row_edges: Int64
    col_edges: Int64
    moments: Moments
    nan: int
    inf: int
    low: float
    high: float


def blocks(source: FlatSource, rows: int, cols: int) -> Iterator[tuple[int, int, Float64]]:
    """Yield (first row, first column, block) so that the blocks tile the matrix.

    A block has at most `BLOCK` entries, whatever the shape, and is the caller's own.
    """
    if cols <= BLOCK:
        step = max(BLOCK // max(cols, 1), 1)
        for r in range(0, rows, step):
            stop = min(r + step, rows)
            entries = source.flat(r * cols, stop * cols, np.float64)
            yield r, 0, entries.reshape(stop - r, cols)
    else:
        for r in range(rows):
            for c in range(0, cols, BLOCK):
                stop = min(c + BLOCK, cols)
                entries = source.flat(r * cols + c, r * cols + stop, np.float64)
                yield r, c, entries.reshape(1, stop - c)


def pool(source: FlatSource, row_edges: Int64, col_edges: Int64, mode: Pooling) -> Pooled:
    """Pool a tensor, seen as a matrix, to a grid.

    Parameters
    ----------
    source : FlatSource
    row_edges, col_edges : ndarray of int64
        Ascending, from 0 to the number of rows and columns of `matrix_shape`.
    mode : {"rms", "absmax", "mean"}
        "rms" is ``sqrt(mean(x**2))``; "absmax" the entry of largest magnitude with its sign (the
        positive one of a tie); "mean" the average. All in double precision.

    Returns
    -------
    Pooled
    """
    return finish(pool_steps(source, row_edges, col_edges, mode))


def pool_steps(
    source: FlatSource, row_edges: Int64, col_edges: Int64, mode: Pooling
) -> Ticks[Pooled]:
    """Do what `pool` does, a block at a time."""
    rows, cols = int(row_edges[-1]), int(col_edges[-1])
    grid = _Grid(row_edges, col_edges, mode)
    for r, c, x in blocks(source, rows, cols):
        grid.add(r, c, x)
        yield x.size
    return (yield from grid.result())


def measure(source: FlatSource) -> Ticks[Moments]:
    """Return the moments of a tensor's finite entries in one bounded pass, a block at a time."""
    rows, cols = matrix_shape(source.shape)
    total = Moments()
    for _, _, x in blocks(source, rows, cols):
        total += _moments(x if _all_finite(x) else x[np.isfinite(x)])
        yield x.size
    return total


def _all_finite(x: Float64) -> bool:
    return not x.size or (math.isfinite(x.min()) and math.isfinite(x.max()))


def _moments(x: Float64) -> Moments:
    """Return the moments of finite entries: the same ones in the same order give the same bits."""
    if not x.size:
        return Moments()
    flat = x.ravel()
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(flat.sum())
        mean = total / flat.size
        squares, offset = _squares(flat), total * mean
        # Σ(x - mean)² = Σx² - Σx·mean cancels one bit at most where the mean is below σ, as it is
        # of weights. Else the deviations are taken first: no cancellation, whatever the offset.
        if not 2 * offset <= squares < math.inf:
            flat = flat - mean
            residual = float(flat.sum())
            squares, offset = _squares(flat), residual * residual / flat.size
    return Moments(flat.size, mean, squares - offset)


def _squares(flat: Float64) -> float:
    """Return the sum of squares, run by run."""
    runs = flat[: flat.size // _RUN * _RUN].reshape(-1, _RUN)
    rest = flat[runs.size :]
    return float(np.matmul(runs[:, None], runs[:, :, None]).sum()) + float(rest @ rest)


class _Grid:
    """Accumulates blocks into cells."""

    def __init__(self, row_edges: Int64, col_edges: Int64, mode: Pooling) -> None:
        self.row_edges, self.col_edges, self.mode = row_edges, col_edges, mode
        shape = (len(row_edges) - 1, len(col_edges) - 1)
        # absmax keeps the largest and the smallest entry; the others keep one sum.
        self.total = np.zeros(shape)
        self.least = np.zeros(shape)
        self.bad = np.zeros(shape, dtype=np.int64)
        self.nan = self.inf = 0
        self.low, self.high = math.inf, -math.inf
        self.moments = Moments()

    def add(self, row: int, col: int, x: Float64) -> None:
        """Add the block whose first entry is (row, col)."""
        if not x.size:
            return
        rows, row_starts = _spans(self.row_edges, row, x.shape[0])
        cols, col_starts = _spans(self.col_edges, col, x.shape[1])
        cells = np.s_[rows, cols]

        def reduce(how: np.ufunc, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            by_row = _reduced_rows(how, values, row_starts)
            result: npt.NDArray[Any] = how.reduceat(by_row, col_starts, axis=1)
            return result

        low, high = float(x.min()), float(x.max())
        if math.isfinite(low) and math.isfinite(high):
            self.moments += _moments(x)
        else:
            finite = np.isfinite(x)
            self.nan += int(np.isnan(x).sum())
            self.inf += int(np.isinf(x).sum())
            self.bad[cells] += reduce(np.add, (~finite).astype(np.int64))
            kept = x[finite]
            self.moments += _moments(kept)
            x = np.where(finite, x, 0.0)
            low, high = (
                (float(kept.min()), float(kept.max())) if kept.size else (math.inf, -math.inf)
            )
        self.low, self.high = min(self.low, low), max(self.high, high)
        with np.errstate(over="ignore", invalid="ignore"):
            if self.mode == "rms":
                by_row = _squared_rows(x, row_starts)
                self.total[cells] += np.add.reduceat(by_row, col_starts, axis=1)
            elif self.mode == "mean":
                self.total[cells] += reduce(np.add, x)
            else:
                np.maximum(self.total[cells], reduce(np.maximum, x), out=self.total[cells])
                np.minimum(self.least[cells], reduce(np.minimum, x), out=self.least[cells])

    def result(self) -> Ticks[Pooled]:
        """Turn sums into values, some rows at a time."""
        rows, cols = self.total.shape
        values = np.empty((rows, cols))
        width = np.diff(self.col_edges)
        step = max(4 * BLOCK // max(cols, 1), 1)
        for begin in range(0, rows, step):
            some = slice(begin, begin + step)
            total = self.total[some]
            if self.mode == "absmax":
                values[some] = np.where(total >= -self.least[some], total, self.least[some])
            else:
                entries = np.outer(np.diff(self.row_edges)[some], width) - self.bad[some]
                np.divide(total, np.maximum(entries, 1), out=values[some])
                if self.mode == "rms":
                    np.sqrt(values[some], out=values[some])
            yield 0
        seen = self.moments.count > 0
        return Pooled(
            values,
            self.bad > 0,
            self.row_edges,
            self.col_edges,
            self.moments,
            self.nan,
            self.inf,
            self.low if seen else math.nan,
            self.high if seen else math.nan,
        )


def _spans(edges: Int64, first: int, length: int) -> tuple[slice, Int64]:
    """Return the cells that [first, first + length) touches, and where each begins within it."""
    begin = int(edges.searchsorted(first, side="right")) - 1
    end = int(edges.searchsorted(first + length, side="left"))
    return slice(begin, end), np.maximum(edges[begin:end] - first, 0)


def _reduced_rows(how: np.ufunc, values: npt.NDArray[Any], starts: Int64) -> npt.NDArray[Any]:
    """Do what ``how.reduceat(values, starts, axis=0)`` does, in a tenth of its time."""
    if len(starts) == len(values):
        return values
    if values.shape[1] < _WIDE:
        by_row: npt.NDArray[Any] = how.reduceat(values, starts, axis=0)
        return by_row
    by_row = np.empty((len(starts), values.shape[1]), values.dtype)
    for out, some in zip(by_row, _cut(values, starts), strict=True):
        how.reduce(some, axis=0, out=out)
    return by_row


def _squared_rows(x: Float64, starts: Int64) -> Float64:
    """Return the sums of the squares of the rows from each start up to the next."""
    if len(starts) == len(x) or x.shape[1] < _WIDE:
        return _reduced_rows(np.add, x * x, starts)
    by_row = np.empty((len(starts), x.shape[1]))
    for out, some in zip(by_row, _cut(x, starts), strict=True):
        np.einsum("ij,ij->j", some, some, out=out)  # no array of squares in between
    return by_row


def _cut(rows: npt.NDArray[Any], starts: Int64) -> Iterator[npt.NDArray[Any]]:
    """Yield the rows from each start up to the next."""
    for begin, end in pairwise([*starts.tolist(), len(rows)]):
        yield rows[begin:end]
