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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

# The share of the budget to aim for, so that the remaining error stays within [90 %, 100 %].
AIM = 0.955
LEAST = 0.90
# Where faces come in leaps, how far above the budget an estimate may lie to be worth a try.
MOST = 1.15
# Levels below the lowest cell, as a share of it: a slab still gains faces where its bump ends.
THINNER = (0.7, 0.3, 0.1)
# A volume with more voxels than this is first searched on every n-th group of rows.
SAMPLE = 1 << 18


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

    def __call__(self, level: float) -> float: ...  # noqa: D102


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

    def __call__(self, level: float) -> float:
        """Return the estimated number of faces."""
        total = 0.0
        for v in self.volumes:
            total += count_faces(v > level)
            if self.signed:
                total += count_faces(v < -level)
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
        Sorted ascending; one for each sign.
    """

    profile: Float32
    sides: tuple[tuple[Float32, Float32, Float32, Float32], ...]

    @classmethod
    def of(cls, profile: Float32, cells: Float32, signed: bool) -> SlabCounter:
        """Sort cells, shape (rows, columns), and their neighbourhoods once."""
        sides = []
        for side in (cells, -cells) if signed else (cells,):
            u = np.pad(side, 1)
            rows, cols = np.minimum(u[1:], u[:-1]), np.minimum(u[:, 1:], u[:, :-1])
            least = np.concatenate([rows.ravel(), cols.ravel()])
            most = np.concatenate(
                [np.maximum(u[1:], u[:-1]).ravel(), np.maximum(u[:, 1:], u[:, :-1]).ravel()]
            )
            squares = np.minimum(rows[:, 1:], rows[:, :-1]).ravel()
            sides.append(tuple(np.sort(x[x > 0]) for x in (side.ravel(), least, most, squares)))
        return cls(profile, tuple(sides))

    def __call__(self, level: float) -> float:
        """Return the estimated number of faces."""
        levels = (level / self.profile).astype(np.float32)
        lowest = levels.min(keepdims=True)
        total = 0
        for cells, least, most, squares in self.sides:
            crossings = (_above(most, levels) - _above(least, levels)).sum()
            crossings += 2 * _above(cells, lowest)[0]
            solid = _above(cells, lowest) - _above(least, lowest) + _above(squares, lowest)
            total += 2 * (crossings - 2 * solid[0])
        return float(total)


def _above(ordered: Float32, levels: Float32) -> npt.NDArray[np.intp]:
    return ordered.size - np.searchsorted(ordered, levels, side="right")


def candidates(magnitudes: Float32) -> list[float]:
    """Return levels from the highest down; from one to the next √2 times the cells lie above."""
    ordered = np.sort(magnitudes[magnitudes > 0])
    if not ordered.size:
        return []
    steps = 2 * int(np.log2(ordered.size)) + 3
    counts = np.geomspace(1, ordered.size, steps).astype(int)
    levels = []
    for value in np.unique(ordered[-counts])[::-1]:
        # Midway to the next lower value that occurs, so that no cell lies on the level.
        i = int(np.searchsorted(ordered, value))
        levels.append(float((value + (ordered[i - 1] if i else 0.0)) / 2))
    return levels


def bracket(count: Counter, levels: list[float], target: float) -> int:
    """Go down the levels until one has the target; return its index.

    Where none has, the index of the one with most faces.
    """
    best, most = 0, -1.0
    for i, level in enumerate(levels):
        faces = count(level)
        if faces >= target:
            return i
        if faces > most:
            best, most = i, faces
    return best


def bisect(count: Counter, above: float, below: float, target: float) -> float:
    """Return the lowest level found between two whose count is still at most the target.

    `above` has at most the target, `below` more.
    """
    for _ in range(12):
        middle = math.sqrt(above * below)
        faces = count(middle)
        if faces <= target:
            above = middle
            if faces >= 0.985 * target:
                return above
        else:
            below = middle
    # A value that many cells share may lie just below: rounding must not carry the level past it.
    return 1.5 * above - 0.5 * below


def find_level(
    count: Counter,
    magnitudes: Float32,
    target: float,
    sampled: Counter | None = None,
    thinner: Sequence[float] = (),
) -> float | None:
    """Return the highest level whose estimated number of faces is the target, or just below.

    Parameters
    ----------
    count : Counter
    magnitudes : ndarray of float32
        Absolute values of the field's cells.
    target : float
        Estimated faces.
    sampled : Counter or None
        A quicker one for the first look.
    thinner : sequence of float
        Descending factors in (0, 1): further levels, below the lowest cell, to use if need be.

    Returns
    -------
    float or None
        In σ. Where the field cannot give the target, the level with most faces among the cells'
        values; None where the field is zero everywhere.
    """
    thinned = magnitudes.ravel()[:: max(magnitudes.size // SAMPLE, 1)]
    levels = candidates(thinned)
    if not levels:
        return None
    i = bracket(sampled or count, levels, target)
    # From here on the whole field counts; the sample was a little off to either side.
    while i > 0 and count(levels[i]) > target:
        i -= 1
    here = count(levels[i])
    if here > target:
        return bisect(count, 2 * float(magnitudes.max()), levels[0], target)
    for lower in levels[i + 1 :]:
        below = count(lower)
        if below > target:
            return bisect(count, levels[i], lower, target)
        if below < here:
            break
        i, here = i + 1, below
    for factor in thinner if here < LEAST * target else ():
        lower = factor * levels[-1]
        below = count(lower)
        if below > target:
            return bisect(count, lower / factor, lower, target)
        if below >= LEAST * target:
            return lower
    return levels[i]
