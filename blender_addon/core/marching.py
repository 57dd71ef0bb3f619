"""Marching cubes: a volume → a closed mesh, in bands of rows that take a blink each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .stages import Ticks

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

# A band has about so many cubes that the surface passes through, and at most so many voxels.
CUBES = 1 << 15
VOXELS = 1 << 21
# Rows that are looked at to find one where a cut can be mended.
TRIES = 32


@dataclass(frozen=True)
class Mesh:
    """Triangles in grid coordinates: cell (plane, row, column) has its centre at these integers.

    A slab's planes are the samples of its bump, from 0 to `SLAB_PLANES` - 1.

    Attributes
    ----------
    vertices : ndarray of float32, shape (n, 3)
    faces : ndarray of int32, shape (m, 3)
        Turned so that the normal of the right-hand rule points outward where the axes
        (column, plane, -row) are taken as (x, y, z), as the scene does.
    """

    vertices: Float32
    faces: Int32


NOTHING = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))


def marching_cubes(volume: Float32, level: float) -> Mesh:
    """Return the closed surface around what lies above a level.

    Parameters
    ----------
    volume : ndarray of float32, shape (planes, rows, columns)
        With a border of one voxel below the level on all sides.
    level : float
        Must not be a value that occurs in the volume.

    Returns
    -------
    Mesh
        Without faces where nothing lies above the level.

    Notes
    -----
    Topologically correct marching cubes by Lewiner et al. (2003), from scikit-image.
    """
    return _inside(_march(volume, level, _crossed(volume, level)))


def banded(volume: Float32, level: float, sign: int = 1) -> Ticks[Mesh]:
    """Do what `marching_cubes` does, up to the order of vertices and faces, a band at a time.

    Neighbouring bands share a row of voxels, and the vertices on it, which are found again by the
    edges of the grid that they lie on.

    Parameters
    ----------
    volume, level
        As there.
    sign : int
        -1 for the surface around what lies below minus the level.
    """
    crossed = np.zeros(volume.shape, np.bool_)
    for rows in row_bands(volume.shape, VOXELS):
        crossed[:, rows][:, 1:] = _crossed(_signed(volume[:, rows], sign), level)[:, 1:]
        yield 0
    seams = _seams(volume, level, sign, crossed)
    if not seams:
        return _inside(_march(_signed(volume, sign), level, crossed))
    joined = _Joined()
    ends = [None, *seams, None]
    for above, below in itertools.pairwise(ends):
        yield 0
        first = above.row if above else 0
        band = np.s_[:, first : below.row + 1 if below else volume.shape[1]]
        mesh = _march(_signed(volume[band], sign), level, crossed[band])
        if not joined.add(mesh, first, above, below):
            return _inside(_march(_signed(volume, sign), level, crossed))
    return _inside((yield from joined.mesh()))


def _signed(volume: Float32, sign: int) -> Float32:
    return volume if sign > 0 else -volume


def row_bands(shape: tuple[int, ...], voxels: int) -> list[slice]:
    """Cut a volume's rows into bands of about so many voxels; the last row of each begins the next.

    Parameters
    ----------
    shape : tuple of int
        Planes, rows and columns.
    voxels : int

    Returns
    -------
    list of slice
    """
    height = max(voxels // max(shape[0] * shape[2], 1), 1)
    return [slice(r, min(r + height, shape[1] - 1) + 1) for r in range(0, shape[1] - 1, height)]


def mirrored(half: Mesh, middle: int) -> Mesh:
    """Return the closed surface of a volume that is its own mirror image, from that of one half.

    The middle plane cuts the surface along edges of the grid, so that the vertices on it belong to
    both halves.

    Parameters
    ----------
    half : Mesh
        Of the planes from the middle one on, as if the middle one were a border.
    middle : int
        Index of the middle plane in the whole volume.
    """
    vertices, faces = half.vertices, half.faces
    height = vertices[:, 0] + np.float32(1.0)  # above the middle plane
    own = np.flatnonzero(height > 0.0)
    twin = np.arange(len(vertices), dtype=np.int32)
    twin[own] = len(vertices) + np.arange(len(own), dtype=np.int32)
    image = vertices[own]
    image[:, 0] = -height[own]
    both = np.concatenate([vertices, image])
    both[: len(vertices), 0] = height
    both[:, 0] += np.float32(middle - 1)
    return Mesh(both, np.concatenate([faces, twin[faces[:, ::-1]]]))


def _march(volume: Float32, level: float, crossed: Bool) -> Mesh:
    """Return the surface within the crossed cubes, in voxels: open where it leaves the volume."""
    from skimage import measure

    if not crossed[1:, 1:, 1:].any():
        return NOTHING
    march: Any = measure.marching_cubes  # has no types
    vertices, faces, _, _ = march(volume, level, mask=crossed)
    return Mesh(
        np.ascontiguousarray(vertices, dtype=np.float32),
        np.ascontiguousarray(faces, dtype=np.int32),
    )


def _inside(mesh: Mesh) -> Mesh:
    """Count from the first cell: the border voxel is none, so that cell (0, 0, 0) is (1, 1, 1)."""
    return Mesh(mesh.vertices - np.float32(1.0), mesh.faces)


def _crossed(volume: Float32, level: float) -> Bool:
    """Return which cubes hold a piece of the surface; marching cubes is told to visit no others.

    That halves its time on sparse surfaces. The cube between voxels i and i + 1 is at i + 1.
    """
    inside = volume > level
    some = inside[1:] | inside[:-1]
    some = some[:, 1:] | some[:, :-1]
    some = some[:, :, 1:] | some[:, :, :-1]
    every = inside[1:] & inside[:-1]
    every = every[:, 1:] & every[:, :-1]
    every = every[:, :, 1:] & every[:, :, :-1]
    crossed = np.zeros(volume.shape, np.bool_)
    crossed[1:, 1:, 1:] = some & ~every
    return crossed


@dataclass(frozen=True)
class _Seam:
    """A row of voxels at which a volume can be cut in two.

    Attributes
    ----------
    row : int
    columns : int
        Of the volume.
    rounded : dict of (int, int) to int
        The edge of a vertex that single precision may put onto the voxel (plane, column).
    """

    row: int
    columns: int
    rounded: dict[tuple[int, int], int]

    def vertices(self, mesh: Mesh, row: int) -> tuple[Int64, Int64] | None:
        """Return the vertices on the seam, `row` within a band, in the order of their edges.

        None where an edge is not sure.
        """
        on = np.flatnonzero(mesh.vertices[:, 1] == row)
        at = mesh.vertices[on][:, [0, 2]]
        low = np.floor(at).astype(np.int64)
        along = at != low  # of an edge from plane to plane, or from column to column
        edges = 2 * (low[:, 0] * self.columns + low[:, 1]) + along[:, 1]
        if along.all(axis=1).any():
            return None
        for i in np.flatnonzero(~along.any(axis=1)):
            edge = self.rounded.get((int(low[i, 0]), int(low[i, 1])))
            if edge is None:
                return None
            edges[i] = edge
        order = np.argsort(edges)
        edges = edges[order]
        return None if (edges[1:] == edges[:-1]).any() else (on[order], edges)


def _seams(volume: Float32, level: float, sign: int, crossed: Bool) -> list[_Seam]:
    """Choose rows that cut a volume into bands of a few milliseconds; none where one will do."""
    rows, across = volume.shape[1], volume.shape[0] * volume.shape[2]
    cubes = np.cumsum(np.count_nonzero(crossed, axis=(0, 2)))
    seams: list[_Seam] = []
    first = 0
    while True:
        end = int(np.searchsorted(cubes, cubes[first] + CUBES, side="right")) - 1
        end = max(min(end, first + VOXELS // across), first + 1)
        if end >= rows - 1:
            return seams
        # A few rows later is good as well, and no band is much larger for that.
        tries = range(end, min(end + TRIES, rows - 1))
        seam = next(filter(None, (_seam(volume, level, sign, first, row) for row in tries)), None)
        if seam is None:
            return []
        seams.append(seam)
        first = seam.row


def _seam(volume: Float32, level: float, sign: int, first: int, row: int) -> _Seam | None:
    """Return the end of a band as a seam if each vertex there tells its edge despite rounding."""
    near = sign * volume[:, row - 1 : row + 2].astype(np.float64) - level
    before, here, behind = near[:, 0], near[:, 1], near[:, 2]
    planes, columns = here.shape
    if any(_close(here, beside, row - first)[0].any() for beside in (before, behind)):
        return None
    rounded: dict[tuple[int, int], int] = {}
    pairs = (here[:-1], here[1:], planes), (here[:, :-1], here[:, 1:], columns)
    for axis, (low, high, length) in enumerate(pairs):
        for end, close in enumerate(_close(low, high, length)):
            for plane, column in np.argwhere(close).tolist():
                corner = (plane + end, column) if axis == 0 else (plane, column + end)
                if corner in rounded:
                    return None
                rounded[corner] = 2 * (plane * columns + column) + axis
    return _Seam(row, columns, rounded)


def _close(low: Float64, high: Float64, length: int) -> tuple[Bool, Bool]:
    """Return which edges have a vertex that may be rounded onto the low, and onto the high end.

    The edges lie along an axis of that many voxels.
    """
    near = 2.0 * float(np.spacing(np.float32(length)))
    a, b = np.abs(low), np.abs(high)
    crossed = (low > 0) != (high > 0)
    return crossed & (a <= near * (a + b)), crossed & (b <= near * (a + b))


class _Joined:
    """Collects bands; a vertex on a seam is kept from the first of the two that have it."""

    def __init__(self) -> None:
        self.vertices: list[Float32] = []
        self.faces: list[Int32] = []
        self.count = 0
        self.seam: tuple[Int64, Int64] | None = None

    def add(self, mesh: Mesh, first: int, above: _Seam | None, below: _Seam | None) -> bool:
        """Add a band that begins at row `first`; return whether its seams fit."""
        index = np.full(len(mesh.vertices), -1, np.int64)
        if above:
            again = above.vertices(mesh, 0)
            if again is None or self.seam is None or not np.array_equal(again[1], self.seam[1]):
                return False
            index[again[0]] = self.seam[0]
        new = np.flatnonzero(index < 0)
        index[new] = self.count + np.arange(len(new))
        self.count += len(new)
        if below:
            found = below.vertices(mesh, below.row - first)
            if found is None:
                return False
            self.seam = index[found[0]], found[1]
        kept = mesh.vertices[new]
        kept[:, 1] += np.float32(first)
        self.vertices.append(kept)
        self.faces.append(index[mesh.faces].astype(np.int32))
        return True

    def mesh(self) -> Ticks[Mesh]:
        """Return the whole, copied a band at a time."""
        vertices = np.empty((self.count, 3), np.float32)
        faces = np.empty((sum(map(len, self.faces)), 3), np.int32)
        at = [0, 0]
        for parts in zip(self.vertices, self.faces, strict=True):
            for i, (whole, part) in enumerate(zip((vertices, faces), parts, strict=True)):
                whole[at[i] : at[i] + len(part)] = part
                at[i] += len(part)
            yield 0
        return Mesh(vertices, faces)
