"""What lies under one cell of a surface, read from the file at that moment, and a closer look."""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .errors import SelectionError, SettingsError
from .experts import find
from .fields import Part, Plan
from .model import Progress, fetched
from .plans import make_plans, select
from .pooling import BLOCK, Float64, Int64, Moments, blocks, matrix_shape, measure
from .readers import printable
from .reading import Entry, Reading, Span
from .settings import FieldSettings, Settings
from .stages import Stages, finish

if TYPE_CHECKING:
    from .readers import Checkpoint, Tensor

# Cells with more entries than this are described, not listed.
MOST_LISTED = 4096
# Of a rectangle that is shown at one cell an entry, in rows and in columns.
MAX_REFINED = 512


def find_plan(checkpoint: Checkpoint, settings: Settings, name: str) -> Plan:
    """Return the field of a name: one of those that the settings give, or a refined rectangle.

    Raises
    ------
    SelectionError
        There is none.
    """
    tensors, _ = select(checkpoint, settings.selection)
    plans, _ = make_plans(tensors, settings.field)
    for plan in plans:
        if plan.name == name:
            return plan
    refined = re.fullmatch(r"(.*)\[(\d{1,18}):(\d{1,18}), (\d{1,18}):(\d{1,18})\]", name, re.DOTALL)
    tensor = find(checkpoint, refined[1]) if refined else None
    if refined is None or tensor is None or not tensor.decodable:
        where = printable(checkpoint.path, 1000)
        raise SelectionError(f"{where}: these settings give no field called {printable(name)}")
    a, b, c, d = map(int, refined.groups()[1:])
    return refine_plan(tensor, (a, b), (c, d))


def read_cell(
    plan: Plan, settings: FieldSettings, cell: int, shared_sigma: float | None = None
) -> Generator[Progress, None, Reading]:
    """Read what lies under a cell, and its tensor once, in blocks, for σ and the rank.

    Parameters
    ----------
    plan : Plan
    settings : FieldSettings
        Those that the field was built with.
    cell : int
        Flat index into ``plan.shape``, as each vertex of the mesh has it.
    shared_sigma : float or None
        As for `fields.build`.

    Yields
    ------
    Progress
        Before each block; the caller may stop between any two.

    Returns
    -------
    Reading

    Raises
    ------
    SelectionError
        The plan has no such cell.
    CheckpointError
        The file cannot be read any more.
    """
    if not 0 <= cell < np.prod(plan.shape):
        raise SelectionError(f"{printable(plan.name)} has no cell {cell}")
    plane, row, col = (int(i) for i in np.unravel_index(cell, plan.shape))
    tensor, a, b, c, d = plan.cell(plane, row, col)
    matrix = matrix_of(plan, plane)
    what, total = printable(tensor.name), max(-(-tensor.size // BLOCK), 1)
    yield from fetched([tensor], Stages(), what)
    under = _Under(a, b, c, d)
    for r, first, x in _rectangle(tensor, matrix[1], (a, b), (c, d)):
        yield Progress("entries", 0, total, what)
        under.add(r, first, x)
    moments, larger = Moments(), 0
    for i, (_, _, x) in enumerate(blocks(tensor, *matrix)):
        yield Progress("rank", min(i, total - 1), total, what)
        moments += finish(measure(_Held(x)))
        size = np.abs(x)
        larger += np.count_nonzero(size > under.size) - np.count_nonzero(size == np.inf)
    sigma = shared_sigma or moments.sigma
    value = under.value(settings)
    largest = _entry(tensor, matrix[1], under, sigma) if under.count else None
    return Reading(
        *tensor.held_by, tensor.dtype, plan.planes[plane], matrix, (a, b), (c, d),
        _called(settings), value, sigma, value / sigma if sigma else math.nan,
        under.nan, under.inf, largest, larger + 1 if largest else None, moments.count, under.listed,
    )  # fmt: skip


def matrix_of(plan: Plan, plane: int) -> tuple[int, int]:
    """Return rows and columns of the matrix as which a plane's tensor is seen."""
    parts = [part for part in plan.parts for _ in part.windows]
    return int(parts[plane].row_edges[-1]), int(parts[plane].col_edges[-1])


def _called(settings: FieldSettings) -> str:
    return f"|{settings.pool}|" if settings.magnitude and settings.pool != "rms" else settings.pool


def _rectangle(
    tensor: Tensor, width: int, rows: Span, cols: Span
) -> Iterator[tuple[int, int, Float64]]:
    """Yield (first row, first column, block) so that the blocks tile a rectangle of a matrix.

    Whole rows are read, a block at a time, where they are short: that is quicker than a read of
    each piece of a row.
    """
    if width <= BLOCK:
        step = max(BLOCK // width, 1)
        for r in range(rows[0], rows[1], step):
            stop = min(r + step, rows[1])
            band = tensor.flat(r * width, stop * width, np.float64).reshape(-1, width)
            yield r, cols[0], band[:, cols[0] : cols[1]]
    else:
        for r in range(*rows):
            for c in range(cols[0], cols[1], BLOCK):
                stop = min(c + BLOCK, cols[1])
                yield r, c, tensor.flat(r * width + c, r * width + stop, np.float64)[None]


class _Held:
    """A block in memory, read as a tensor is, so that its moments are the field's to the bit."""

    def __init__(self, block: Float64) -> None:
        self.block = block
        self.shape = block.shape

    def flat(self, start: int, stop: int, _dtype: npt.DTypeLike = np.float64) -> Float64:
        return self.block.ravel()[start:stop]


class _Under:
    """Gathers what lies under a cell, block by block."""

    def __init__(self, a: int, b: int, c: int, d: int) -> None:
        self.first = a, c
        few = (b - a) * (d - c) <= MOST_LISTED
        self.listed: Float64 | None = np.empty((b - a, d - c)) if few else None
        self.count = self.nan = self.inf = 0
        self.sum = self.squares = 0.0
        # Of the finite entry of largest magnitude, and where it is in the matrix.
        self.largest, self.row, self.col = 0.0, a, c
        self.size = -1.0

    def add(self, row: int, col: int, x: Float64) -> None:
        if self.listed is not None:
            r, c = row - self.first[0], col - self.first[1]
            self.listed[r : r + x.shape[0], c : c + x.shape[1]] = x
        finite = np.isfinite(x)
        kept = x[finite]
        self.nan += int(np.isnan(x).sum())
        self.inf += int(np.isinf(x).sum())
        self.count += kept.size
        with np.errstate(over="ignore", invalid="ignore"):
            self.sum += float(kept.sum())
            self.squares += float(kept @ kept)
        size = np.where(finite, np.abs(x), -1.0)
        most = float(size.max())
        # Of a tie the positive one, as in pooling.
        found = int(np.argmax(np.where(size == most, x, -np.inf)))
        r, c = divmod(found, x.shape[1])
        value = float(x[r, c])
        if kept.size and (most, value) > (self.size, self.largest):
            self.size, self.largest, self.row, self.col = most, value, row + r, col + c

    def value(self, settings: FieldSettings) -> float:
        """Return the pooled value."""
        if not self.count:
            return math.nan
        if settings.pool == "rms":
            return math.sqrt(self.squares / self.count)
        value = self.largest if settings.pool == "absmax" else self.sum / self.count
        return abs(value) if settings.magnitude else value


def _entry(tensor: Tensor, width: int, under: _Under, sigma: float) -> Entry:
    at = under.row * width + under.col
    text = str(tensor.flat(at, at + 1, tensor.values.native)[0])
    index = tensor.index_of(at)
    sigmas = under.largest / sigma if sigma else math.nan
    return Entry(under.largest, text, under.row, under.col, index, sigmas)


def refine_plan(tensor: Tensor, rows: Span, cols: Span) -> Plan:
    """Return a slab of a rectangle of a tensor at one cell an entry; σ stays the whole tensor's.

    Parameters
    ----------
    tensor : Tensor
    rows, cols : tuple of int
        First and, excluded, last of the rectangle in the tensor seen as a matrix.

    Raises
    ------
    SettingsError
        The rectangle does not lie in the tensor, is a single entry, or is too large.
    """
    whole = matrix_shape(tensor.shape)
    name = f"{tensor.name}[{rows[0]}:{rows[1]}, {cols[0]}:{cols[1]}]"
    for (first, end), length in zip((rows, cols), whole, strict=True):
        if not 0 <= first < end <= length:
            raise SettingsError(
                f"{printable(name)}: the rectangle does not lie in the {whole[0]} × {whole[1]}"
                " entries"
            )
    if (rows[1] - rows[0]) * (cols[1] - cols[0]) < 2:
        raise SettingsError(f"{printable(name)}: a single entry has no shape")
    if max(rows[1] - rows[0], cols[1] - cols[0]) > MAX_REFINED:
        raise SettingsError(
            f"{printable(name)}: more than {MAX_REFINED} × {MAX_REFINED} entries are too many"
        )
    (r, window_rows), (c, window_cols) = (
        _one_by_one(*span, length) for span, length in zip((rows, cols), whole, strict=True)
    )
    part = Part(tensor, r, c, ((window_rows, window_cols),))
    return Plan(name, "slab", tensor.role, tensor.names.group, tensor.layer, (part,), ("",))


def _one_by_one(first: int, end: int, length: int) -> tuple[Int64, slice]:
    """Return edges with a cell an entry between two, the rest in a cell at each side."""
    edges = np.unique(np.concatenate([[0], np.arange(first, end + 1), [length]])).astype(np.int64)
    begin = int(first > 0)
    return edges, slice(begin, begin + end - first)


def rectangle_around(
    matrix: tuple[int, int], row: int, col: int, size: int = 64
) -> tuple[Span, Span]:
    """Return the rows and columns of a square around an entry, pushed back into the matrix."""

    def around(at: int, length: int) -> Span:
        first = max(min(at - size // 2, length - size), 0)
        return first, min(first + size, length)

    return around(row, matrix[0]), around(col, matrix[1])
