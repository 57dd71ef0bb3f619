"""Tensors → 3-D scalar fields, each an honest view of the numbers.

A field has the axes (plane, row, column). What a plane is depends on its kind:

slab
    One matrix, and a smooth bump across it, so that a region's thickness shows its magnitude.
depth
    The same role through the layers: a plane is a layer.
heads
    A projection split by attention head: a plane is a head.
experts
    The same role of a layer's experts: a plane is an expert.

Values are pooled entries divided by σ, the standard deviation of all finite entries of the tensor
(no mean is subtracted). Between planes nothing is smoothed or pooled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .errors import EmptyFieldError
from .fetching import ready
from .pooling import Int64, Pooled, pool_steps
from .readers import printable
from .settings import FieldKind, FieldSettings
from .smoothing import smooth
from .stages import Ticks, finish

if TYPE_CHECKING:
    from .readers import Tensor

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

# Planes of a slab between its two faces, where the bump is zero. Odd, so that one is the middle.
SLAB_PLANES = 7

# Voxels, times what each takes, that are dealt with in one step.
STEP = 1 << 21
# Values that are shuffled in one step.
DEALT = 1 << 20


@dataclass(frozen=True)
class Part:
    """One tensor's share of a field.

    Attributes
    ----------
    tensor : Tensor
    row_edges, col_edges : ndarray of int64
        Cells over the tensor seen as a matrix of ``row_edges[-1]`` × ``col_edges[-1]`` entries.
    windows : tuple of (slice, slice)
        The rows and columns of cells that make each plane; all of one size.
    """

    tensor: Tensor
    row_edges: Int64
    col_edges: Int64
    windows: tuple[tuple[slice, slice], ...]

    @property
    def entries(self) -> int:
        """Number of entries that are read."""
        return int(self.row_edges[-1]) * int(self.col_edges[-1])


@dataclass(frozen=True)
class Plan:
    """A field that can be built: which tensors, cut how. Made from headers alone.

    Attributes
    ----------
    name : str
        Unique within a run; a slab has its tensor's name.
    kind : {"slab", "depth", "heads", "experts"}
    role, group : str
    layer : int or None
        None where the field spans layers, or lies outside of them.
    parts : tuple of Part
    planes : tuple of str
        A label for each plane.
    """

    name: str
    kind: FieldKind
    role: str
    group: str
    layer: int | None
    parts: tuple[Part, ...]
    planes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Planes, rows and columns, in cells."""
        rows, cols = self.parts[0].windows[0]
        return len(self.planes), rows.stop - rows.start, cols.stop - cols.start

    def cell(self, plane: int, row: int, col: int) -> tuple[Tensor, int, int, int, int]:
        """Return (tensor, first row, row end, first column, column end) under a cell.

        Rows and columns count entries of the tensor seen as a matrix; ends are excluded.
        """
        for part in self.parts:
            if plane < len(part.windows):
                rows, cols = part.windows[plane]
                r, c = part.row_edges[rows.start + row :], part.col_edges[cols.start + col :]
                return part.tensor, int(r[0]), int(r[1]), int(c[0]), int(c[1])
            plane -= len(part.windows)
        raise IndexError(plane)


@dataclass(frozen=True)
class FieldInfo:
    """What there is to say of a field once it has been cut; small, unlike its values.

    Attributes
    ----------
    plan : Plan
    settings : FieldSettings
    sigmas : tuple of float
        What each plane was divided by, in the tensor's unit.
    nan, inf : int
        Entries.
    low, high : float
        Smallest and largest finite entry, in the tensor's unit.
    notes : tuple of str
    """

    plan: Plan
    settings: FieldSettings
    sigmas: tuple[float, ...]
    nan: int
    inf: int
    low: float
    high: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """A scalar field in units of σ.

    Attributes
    ----------
    info : FieldInfo
    cells : ndarray of float32, shape (planes, rows, columns)
        Pooled and smoothed values; 0 under `nonfinite`.
    unsmoothed : ndarray of float32, same shape
        The same before smoothing.
    nonfinite : ndarray of bool, same shape
        Cells over at least one NaN or infinity.
    """

    info: FieldInfo
    cells: Float32
    unsmoothed: Float32
    nonfinite: Bool

    @property
    def is_slab(self) -> bool:
        """Whether the third axis is the bump."""
        return self.info.plan.kind == "slab"

    @property
    def signed(self) -> bool:
        """Whether values have a sign, and surfaces come in pairs."""
        return self.info.settings.signed

    @property
    def profile(self) -> Float32:
        """Heights of the bump at the volume's planes; a single 1 where there is none."""
        if not self.is_slab:
            return np.ones(1, np.float32)
        z = np.arange(1, SLAB_PLANES + 1, dtype=np.float32) / (SLAB_PLANES + 1) * 2 - 1
        return np.asarray(np.cos(np.pi / 2 * z) ** 2, dtype=np.float32)

    def volume(self) -> Float32:
        """Return the field with a border of zeros, shape (planes + 2, rows + 2, columns + 2).

        Of a slab, the planes are the samples of the bump ``cos(π z / 2)**2``, z in (-1, 1).
        """
        return finish(self.volume_steps(half=False))

    def volume_steps(self, *, half: bool) -> Ticks[Float32]:
        """Do what `volume` does, a band of rows at a time; half a slab begins at the middle."""
        heights = self.profile[SLAB_PLANES // 2 if half else 0 :, None, None]
        rows, cols = self.cells.shape[1:]
        planes = len(heights) if self.is_slab else self.cells.shape[0]
        padded = np.zeros((planes + 2, rows + 2, cols + 2), np.float32)
        step = max(STEP // (planes * cols), 1)
        for r in range(0, rows, step):
            band = np.s_[:, r : r + step]
            np.multiply(heights, self.cells[band], out=padded[1:-1, 1:-1, 1:-1][band])
            yield 0
        return padded[1:] if half else padded

    @property
    def known(self) -> Bool:
        """Cells with a value: finite, and not in an empty plane. Shape as `cells`."""
        measured = np.array(self.info.sigmas) > 0.0
        return ~self.nonfinite & measured[:, None, None]

    def permuted(self) -> Float32:
        """Return `cells` with the pooled values in random order (fixed seed), then smoothed.

        What structure there is in it is chance: the measure against which to hold the field. Cells
        without a value keep their places.
        """
        return finish(self.permuted_steps())

    def permuted_steps(self) -> Ticks[Float32]:
        """Do what `permuted` does, a step at a time."""
        shuffled, known = np.zeros_like(self.unsmoothed), self.known
        values = self.unsmoothed[known]
        yield 0
        shuffled[known] = yield from _permuted(values)
        return (yield from smooth(shuffled, self.info.settings.smooth, self.nonfinite))


def _permuted(values: Float32) -> Ticks[Float32]:
    """Return values in random order: many of them are dealt into hands, and each hand shuffled."""
    rng = np.random.default_rng(0)
    hands = values.size // DEALT + 1
    if hands == 1:
        return rng.permutation(values)
    dealt = rng.integers(hands, size=values.size, dtype=np.uint16)
    shuffled = []
    for hand in range(hands):
        yield 0
        shuffled.append(rng.permutation(values[dealt == hand]))
    yield 0
    return np.concatenate(shuffled)


def build(plan: Plan, settings: FieldSettings, shared_sigma: float | None = None) -> Field:
    """Read, pool and scale what a plan names.

    Parameters
    ----------
    plan : Plan
    settings : FieldSettings
    shared_sigma : float or None
        One σ for all tensors instead of each tensor's own, in the tensors' unit.

    Returns
    -------
    Field

    Raises
    ------
    EmptyFieldError
        No entry, no finite entry, or nothing but one constant value; the message is the reason.
    """
    return finish(build_steps(plan, settings, shared_sigma))


def build_steps(
    plan: Plan, settings: FieldSettings, shared_sigma: float | None = None
) -> Ticks[Field]:
    """Do what `build` does, a step at a time."""
    pooled = yield from pool_parts(plan, settings)
    return (yield from field_steps(plan, settings, pooled, shared_sigma))


def field_steps(
    plan: Plan, settings: FieldSettings, pooled: Sequence[Pooled], shared_sigma: float | None
) -> Ticks[Field]:
    """Do what `build` does once the tensors are pooled, a step at a time."""
    reasons = [why_empty(part, grid) for part, grid in zip(plan.parts, pooled, strict=True)]
    if all(reasons):
        raise EmptyFieldError("; ".join(dict.fromkeys(reasons)))
    sigmas, notes = [], []
    for part, grid, reason in zip(plan.parts, pooled, reasons, strict=True):
        sigmas.append(0.0 if reason else shared_sigma or grid.moments.sigma)
        if reason:
            notes.append(f"{printable(part.tensor.name)}: {reason}; its plane is empty")
    return (yield from compose_steps(plan, settings, pooled, sigmas, notes))


def pool_parts(plan: Plan, settings: FieldSettings) -> Ticks[list[Pooled]]:
    """Read and pool the tensors of a plan, in the order of its parts."""
    pooled: list[Pooled] = []
    for part in plan.parts:
        pooled += [(yield from pool_part(part, settings))]
    return pooled


def pool_part(part: Part, settings: FieldSettings) -> Ticks[Pooled]:
    """Read and pool one tensor of a plan."""
    yield from ready(part.tensor)
    return (yield from pool_steps(part.tensor, part.row_edges, part.col_edges, settings.pool))


def compose_steps(
    plan: Plan,
    settings: FieldSettings,
    pooled: Sequence[Pooled],
    sigmas: Sequence[float],
    notes: Sequence[str] = (),
) -> Ticks[Field]:
    """Put pooled tensors together, a step at a time.

    Parameters
    ----------
    plan : Plan
    settings : FieldSettings
    pooled : sequence of Pooled
        One for each part; at least one has a finite entry.
    sigmas : sequence of float
        What each part is divided by, in its tensor's unit; 0 leaves its planes empty.
    notes : sequence of str

    Returns
    -------
    Field

    Raises
    ------
    EmptyFieldError
        Single precision cannot hold the values.
    """
    notes = list(notes)
    cells = np.zeros(plan.shape, np.float32)
    nonfinite = np.zeros(plan.shape, np.bool_)
    plane = 0
    for part, grid, sigma in zip(plan.parts, pooled, sigmas, strict=True):
        for window in part.windows:
            nonfinite[plane] = grid.nonfinite[window]
            rows, cols = plan.shape[1:]
            step = max(STEP // 4 // max(cols, 1), 1)
            for r in range(0, rows if sigma else 0, step):
                band = slice(r, r + step)
                values = grid.values[window][band] / sigma
                values = np.abs(values) if settings.magnitude else values
                cells[plane, band] = np.where(nonfinite[plane, band], 0.0, values)
                yield 0
            plane += 1
    if not np.isfinite(cells).all():
        raise EmptyFieldError("values in σ are beyond single precision")
    if nonfinite.any():
        notes.append(
            f"{plan.name}: {nonfinite.sum()} of {nonfinite.size} cells hold NaN or infinity; "
            "their finite entries are not shown"
        )
    seen = [grid for grid in pooled if grid.moments.count]
    info = FieldInfo(
        plan,
        settings,
        tuple(s for part, s in zip(plan.parts, sigmas, strict=True) for _ in part.windows),
        sum(grid.nan for grid in pooled),
        sum(grid.inf for grid in pooled),
        min((grid.low for grid in seen), default=math.nan),
        max((grid.high for grid in seen), default=math.nan),
        tuple(notes),
    )
    smoothed = yield from smooth(cells, settings.smooth, nonfinite)
    return Field(info, smoothed, cells, nonfinite)


def why_empty(part: Part, grid: Pooled) -> str:
    """Return why a tensor gives no field, or nothing."""
    if part.entries == 0:
        return "has no entries"
    if grid.moments.count == 0:
        return f"has no finite entry ({grid.nan} NaN, {grid.inf} infinite)"
    if grid.low == grid.high:
        return "is all zero" if grid.low == 0 else f"is constant ({grid.low:.6g})"
    sigma = grid.moments.sigma
    if not (math.isfinite(sigma) and sigma > 0.0):
        return "has a standard deviation that double precision cannot hold"
    return ""
