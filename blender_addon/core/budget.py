"""Find the level at which an isosurface has as many faces as a budget allows.

A closed triangle mesh has F = 2 (V - χ) faces. Both terms can be counted on the voxels without
making the mesh: V is the number of grid edges that cross the level, and χ, the Euler number of
the surface, is twice that of the solid inside, which is

    voxels - pairs + squares - cubes        (2, 4 and 8 neighbouring voxels all inside).

That count treats the solid as 6-connected, while marching cubes decides ambiguous cubes by the
values, so it is a few per cent off; one extraction calibrates it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .marching import VOXELS, row_bands
from .stages import Ticks

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
# Bands of values, each of them ascending.
Sorted = list[Float32]

# The share of the budget to aim for, so that the remaining error stays within [90 %, 100 %].
AIM = 0.955
LEAST = 0.90
# Where faces come in leaps, how far above the budget an estimate may lie to be worth a try.
MOST = 1.15
# Levels below the lowest cell, as a share of it: a slab still gains faces where its bump ends.
THINNER = (0.7, 0.3, 0.1)
# A volume with more voxels than this is first searched on every n-th group of rows.
SAMPLE = 1 << 16
# Cells of a slab that are sorted in one step.
SORTED = 1 << 17
# A field with at most so many distinct values is searched value by value.
FEW = 64


def count_faces(inside: Bool) -> float:
    """Estimate the number of triangles around a solid.

    Parameters
    ----------
    inside : ndarray of bool, shape (planes, rows, columns)
        Voxels above the level, with a border of voxels that are not.

    Returns
    -------
    float
    """
    n = np.count_nonzero
    pair_z, pair_y = inside[1:] & inside[:-1], inside[:, 1:] & inside[:, :-1]
    pair_x = inside[:, :, 1:] & inside[:, :, :-1]
    square_zy = pair_z[:, 1:] & pair_z[:, :-1]
    square_zx = pair_z[:, :, 1:] & pair_z[:, :, :-1]
    square_yx = pair_y[:, :, 1:] & pair_y[:, :, :-1]
    cubes = n(square_zy[:, :, 1:] & square_zy[:, :, :-1])
    voxels, pairs = n(inside), n(pair_z) + n(pair_y) + n(pair_x)
    squares = n(square_zy) + n(square_zx) + n(square_yx)
    crossings = 6 * voxels - 2 * pairs
    return float(2 * (crossings - 2 * (voxels - pairs + squares - cubes)))


class Counter(Protocol):
    """Estimates the faces of a field at a level, of both signs together for a signed field."""

    def __call__(self, level: float) -> Ticks[float]: ...  # noqa: D102


@dataclass(frozen=True)
class VolumeCounter:
    """Counts the voxels of volumes with a border of zeros.

    Attributes
    ----------
    volumes : tuple of ndarray of float32, shape (planes, rows, columns)
    signed : bool
    scale : float
        What the counts are multiplied by.
    """

    volumes: tuple[Float32, ...]
    signed: bool
    scale: float = 1.0

    def __call__(self, level: float) -> Ticks[float]:
        """Return the estimated number of faces, counted in bands."""
        total = 0.0
        for v in self.volumes:
            for rows in row_bands(v.shape, VOXELS // 4):
                band = v[:, rows]
                for inside in (band > level, band < -level) if self.signed else (band > level,):
                    total += count_faces(inside)
                    # What lies within the row that two bands share belongs to one of them.
                    total -= count_faces(inside[:, :1]) if rows.start else 0.0
                yield 0
        return total * self.scale

    def sampled(self) -> VolumeCounter:
        """Return a quicker counter that sees groups of rows spread over the volume."""
        (volume,) = self.volumes
        every = volume.size // SAMPLE
        if every < 2:
            return self
        rows = volume.shape[1]
        height = min(max(rows // 16, 8), rows)
        starts = range(0, rows - height + 1, height * every)
        sides = ((0, 0), (1, 1), (0, 0))
        groups = tuple(np.pad(volume[:, r : r + height], sides) for r in starts)
        return VolumeCounter(groups, self.signed, rows / (height * len(groups)))


@dataclass(frozen=True)
class SlabCounter:
    """Counts a slab ``profile[z] * cells[row, column]`` from its sorted cells.

    The bump is highest in the middle plane, so that the solid shrinks onto that plane without
    tearing: its χ is that of the plane, and the crossings of a plane with height p at a level are
    those of the cells at level / p.

    Attributes
    ----------
    profile : ndarray of float32, shape (planes,)
    sides : tuple of (cells, least of pairs, greatest of pairs, least of squares)
        One for each sign; in bands, each of them sorted ascending.
    """

    profile: Float32
    sides: tuple[tuple[Sorted, Sorted, Sorted, Sorted], ...]

    @classmethod
    def of(cls, profile: Float32, cells: Float32, signed: bool) -> Ticks[SlabCounter]:
        """Sort cells, shape (rows, columns), and their neighbourhoods once, in bands of rows."""
        sides = []
        padded = np.pad(cells, 1)
        for sign in (1, -1) if signed else (1,):
            side: tuple[Sorted, Sorted, Sorted, Sorted] = [], [], [], []
            for band in row_bands((1, *padded.shape), SORTED):
                u = padded[band] * np.float32(sign)
                rows, cols = np.minimum(u[1:], u[:-1]), np.minimum(u[:-1, 1:], u[:-1, :-1])
                most = np.maximum(u[1:], u[:-1]), np.maximum(u[:-1, 1:], u[:-1, :-1])
                for held, values in zip(
                    side,
                    ((u[:-1],), (rows, cols), most, (np.minimum(rows[:, 1:], rows[:, :-1]),)),
                    strict=True,
                ):
                    held.append(_ascending(np.concatenate([v.ravel() for v in values])))
                yield 0
            sides.append(side)
        return cls(profile, tuple(sides))

    def __call__(self, level: float) -> Ticks[float]:
        """Return the estimated number of faces; at once, for all is sorted."""
        yield from ()
        levels = (level / self.profile).astype(np.float32)
        lowest = levels.min(keepdims=True)
        total = 0
        for cells, least, most, squares in self.sides:
            crossings = (_above(most, levels) - _above(least, levels)).sum()
            crossings += 2 * _above(cells, lowest)[0]
            solid = _above(cells, lowest) - _above(least, lowest) + _above(squares, lowest)
            total += 2 * (crossings - 2 * solid[0])
        return float(total)


def _above(ordered: Sorted, levels: Float32) -> npt.NDArray[np.intp]:
    total = ordered[0].size - ordered[0].searchsorted(levels, side="right")
    for band in ordered[1:]:
        total += band.size - band.searchsorted(levels, side="right")
    return total


def candidates(values: Float32, steps: int) -> list[float]:
    """Return levels from the highest down, such that ever more cells lie above.

    Parameters
    ----------
    values : ndarray of float32
        Positive and ascending, with repeats. Few distinct ones give a level below each.
    steps : int
        From how many levels to the next twice the cells lie above.
    """
    distinct = np.unique(values)
    if distinct.size > FEW:
        number = steps * int(np.log2(values.size)) + 3
        counts = np.geomspace(1, values.size, number).astype(int)
        chosen = np.searchsorted(distinct, np.unique(values[-counts]))
    else:
        chosen = np.arange(distinct.size)
    # Midway to the next lower value that occurs, so that no cell lies on the level.
    lower = np.append(np.float32(0.0), distinct)[chosen]
    levels: list[float] = ((distinct[chosen].astype(np.float64) + lower) / 2).tolist()
    return levels[::-1]


def bracket(count: Counter, levels: list[float], target: float) -> Ticks[int]:
    """Go down the levels until one has the target; return its index.

    Where none has, the index of the one with most faces.
    """
    best, most = 0, -1.0
    for i, level in enumerate(levels):
        faces = yield from count(level)
        if faces >= target:
            return i
        if faces > most:
            best, most = i, faces
    return best


def bisect(count: Counter, above: float, below: float, target: float) -> Ticks[float]:
    """Return the lowest level found between two whose count is still at most the target.

    `above` has at most the target, `below` more.
    """
    for _ in range(12):
        middle = math.sqrt(above * below)
        faces = yield from count(middle)
        if faces <= target:
            above = middle
            if faces >= 0.985 * target:
                return above
        else:
            below = middle
    # A value that many cells share may lie just below: rounding must not carry the level past it.
    return 1.5 * above - 0.5 * below


@dataclass(frozen=True)
class Search:
    """Finds levels of one field.

    Attributes
    ----------
    count : Counter
    sampled : Counter
        A quicker one for the first look.
    levels : list of float
        Descending, in σ; empty where the field is zero everywhere.
    top : float
        Above all cells.
    thinner : list of float
        Descending levels below the lowest cell.
    leaps : bool
        Whether the faces change at no other level than between two of `levels`.
    """

    count: Counter
    sampled: Counter
    levels: list[float]
    top: float
    thinner: list[float]
    leaps: bool

    @classmethod
    def of_slab(cls, profile: Float32, cells: Float32, signed: bool) -> Ticks[Search]:
        """Search a slab ``profile[z] * cells[row, column]``."""
        count = _remembered((yield from SlabCounter.of(profile, cells, signed)))
        values = _positive(cells, signed)
        levels = candidates(values, 4)
        thinner = [factor * levels[-1] for factor in THINNER] if levels else []
        return cls(count, count, levels, 2.0 * float(values.max(initial=0.0)), thinner, False)

    @classmethod
    def of_volume(cls, volume: Float32, signed: bool) -> Search:
        """Search a volume with a border of zeros."""
        count = VolumeCounter((volume,), signed)
        values = _positive(volume.ravel()[:: max(volume.size // SAMPLE, 1)], signed)
        levels, top = candidates(values, 2), 2.0 * float(max(volume.max(), -volume.min()))
        leaps = np.unique(values).size <= FEW
        return cls(_remembered(count), count.sampled(), levels, top, [], leaps)

    def level(self, target: float) -> Ticks[float | None]:
        """Return the highest level whose estimated number of faces is the target, or just below.

        Where the field cannot give the target, it is the level with most faces among the cells'
        values; None where the field is zero everywhere.
        """
        levels, count = self.levels, self.count
        if not levels:
            return None
        i = yield from bracket(self.sampled, levels, target)
        # From here on the whole field counts; the sample was a little off to either side.
        while i > 0 and (yield from count(levels[i])) > target:
            i -= 1
        here = yield from count(levels[i])
        if here > target:
            return (yield from self._between(self.top, levels[0], target))
        for lower in levels[i + 1 :]:
            below = yield from count(lower)
            if below > target:
                return (yield from self._between(levels[i], lower, target))
            if below < here:
                break
            i, here = i + 1, below
        if here < LEAST * target:
            above = levels[-1]
            for lower in self.thinner:
                below = yield from count(lower)
                if below > target:
                    return (yield from self._between(above, lower, target))
                if below >= LEAST * target:
                    return lower
                above = lower
        return levels[i]

    def _between(self, above: float, below: float, target: float) -> Ticks[float]:
        return above if self.leaps else (yield from bisect(self.count, above, below, target))


def _remembered(count: Counter) -> Counter:
    """Return the same counter, which counts at each level once."""
    known: dict[float, float] = {}

    def counted(level: float) -> Ticks[float]:
        if level not in known:
            known[level] = yield from count(level)
        return known[level]

    return counted


def _positive(cells: Float32, signed: bool) -> Float32:
    """Return the ascending magnitudes that a level can part, thinned out."""
    cells = cells.ravel()[:: max(cells.size // SAMPLE, 1)]
    return _ascending(np.abs(cells) if signed else cells)


def _ascending(values: Float32) -> Float32:
    return np.sort(values[values > 0])
