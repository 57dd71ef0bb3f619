"""What was read under one cell, and how it is said."""

from __future__ import annotations

from dataclasses import dataclass

from .pooling import Float64
from .readers import printable

Span = tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """One entry of a tensor.

    Attributes
    ----------
    value : float
    text : str
        The value as the file has it: the shortest digits that give it back in its dtype.
    row, col : int
        In the tensor seen as a matrix.
    index : tuple of int
        In the tensor itself.
    sigmas : float
        The value in σ; NaN where σ is zero.
    """

    value: float
    text: str
    row: int
    col: int
    index: tuple[int, ...]
    sigmas: float


@dataclass(frozen=True, eq=False)
class Reading:
    """What was read under one cell.

    Attributes
    ----------
    tensor : str
    shape : tuple of int
        Of the checkpoint's tensor, which the matrix may be an expert of.
    dtype : str
    plane : str
        Label of the field's plane, such as ``"head 3"``; "" for a slab.
    matrix : tuple of int
        Rows and columns of the tensor, or of its expert, as the field sees it.
    rows, cols : tuple of int
        First of the rectangle, and the one after the last, in that matrix.
    pool : str
        What `value` is, for people: ``"rms"``.
    value : float
        Pooled over the finite entries under the cell, in the tensor's unit; NaN without any.
    sigma : float
        The unit of the field, in the tensor's unit.
    sigmas : float
        `value` in σ. Without smoothing that is the vertex's attribute "value" in the mesh, except
        over NaN or infinite entries, where the mesh has none. NaN where σ is zero.
    nan, inf : int
        Entries under the cell.
    largest : Entry or None
        The finite one of largest magnitude, a positive one if there are two; None without any.
    rank : int or None
        1 + the number of the tensor's finite entries of larger magnitude than `largest`.
    count : int
        Finite entries of the tensor.
    entries : ndarray of float64 or None
        All under the cell, if they are few.
    """

    tensor: str
    shape: tuple[int, ...]
    dtype: str
    plane: str
    matrix: tuple[int, int]
    rows: Span
    cols: Span
    pool: str
    value: float
    sigma: float
    sigmas: float
    nan: int
    inf: int
    largest: Entry | None
    rank: int | None
    count: int
    entries: Float64 | None

    def lines(self) -> tuple[str, ...]:
        """Return short lines for a panel."""
        lines = [printable(self.tensor), self._place()]
        if self.nan or self.inf:
            lines.append(f"not finite: {self.nan:,} NaN, {self.inf:,} infinite")
        if self.largest is None:
            return tuple(lines)
        lines.append(f"cell: {self.pool} {_said(self.value, 4)} = {_said(self.sigmas)} σ")
        at, value = list(self.largest.index), _said(self.largest.value, 4)
        lines.append(f"largest: {at} = {value} = {_said(self.largest.sigmas)} σ")
        lines.append(f"rank {self.rank:,} of {self.count:,}")
        return tuple(lines)

    @property
    def copy_text(self) -> str:
        """The largest entry for the clipboard, with all digits, or ""."""
        if self.largest is None:
            return ""
        return f"{printable(self.tensor, 1000)}{list(self.largest.index)} = {self.largest.text}"

    def _place(self) -> str:
        rows, cols = self.matrix
        plane = f"{self.plane}: " if self.plane else ""
        if rows == 1:
            return f"{plane}{_span('entry', 'entries', self.cols)} of {cols:,}"
        across = _span("column", "columns", self.cols)
        return f"{plane}{_span('row', 'rows', self.rows)}, {across} of {rows:,} × {cols:,}"


def _span(one: str, more: str, span: Span) -> str:
    first, last = span[0], span[1] - 1
    return f"{one} {first:,}" if first == last else f"{more} {first:,}–{last:,}"


def _said(number: float, digits: int = 3) -> str:
    """Return a number for people: few digits, and a minus sign that is one."""
    plain = 1000 <= abs(number) < 1e6
    text = f"{number:,.0f}" if plain else f"{number:#.{digits}g}".rstrip(".")
    return text.replace("-", "−")
