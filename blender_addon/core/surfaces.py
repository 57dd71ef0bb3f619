"""A scalar field → closed triangle surfaces within a face budget, and their honest company."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .budget import AIM, LEAST, MOST, Search
from .errors import EmptyFieldError
from .fields import SLAB_PLANES, Field, FieldInfo
from .markers import CORNERS_PER_BOX, boxes
from .settings import SurfaceSettings

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]


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


@dataclass(frozen=True)
class Components:
    """6-connected pieces of what lies above a level, counted on the field.

    Attributes
    ----------
    count : int
    largest : float
        Share of the largest one in their volume, 0 where there is none.
    """

    count: int
    largest: float


@dataclass(frozen=True)
class Surface:
    """One closed isosurface of a field.

    Attributes
    ----------
    field : FieldInfo
        The field's values are not kept: of thousands of tensors they would outweigh the meshes.
    sign : int
        1 for values above the level, -1 for values below minus the level, 0 for the boxes that
        mark cells with NaN or infinite entries.
    level : float
        In σ, positive.
    quantile : float
        Fraction of the field's cells with a value whose magnitude is below the level.
    mesh : Mesh
    cells : ndarray of int32, shape (n,)
        Flat index into the field's grid of the cell that each vertex shows, on the inside of it.
    values : ndarray of float32, shape (n,)
        Value of that cell in σ; NaN over non-finite cells.
    components, permuted : Components or None
        Of the field, and of the same field with its entries permuted; None for markers.
    """

    field: FieldInfo
    sign: int
    level: float
    quantile: float
    mesh: Mesh
    cells: Int32
    values: Float32
    components: Components | None
    permuted: Components | None

    @property
    def name(self) -> str:
        """The field's name, and which side of it this is."""
        suffix = {1: " +" if self.field.settings.signed else "", -1: " -", 0: " non-finite"}
        return self.field.plan.name + suffix[self.sign]


def extract(field: Field, settings: SurfaceSettings) -> list[Surface]:
    """Cut a field at a level.

    Parameters
    ----------
    field : Field
    settings : SurfaceSettings
        A face budget for all surfaces of the field together, or a level, or a quantile.

    Returns
    -------
    list of Surface
        The positive, the negative (of a signed field) and the marker of non-finite cells, as far
        as they have faces.

    Raises
    ------
    EmptyFieldError
        No cell lies above the level, or no level keeps within the budget.
    """
    volume = field.volume()
    budget = settings.budget(field.info.plan.kind)
    marker = _marker(field, budget)
    magnitudes = np.abs(field.cells[field.known])
    if budget is None:
        level = settings.level or _quantile(magnitudes, settings.quantile or 0.0)
        level, meshes = _cut(field, volume, level)
        reason = (
            f"no cell lies above {level:.4g} σ; the largest is {magnitudes.max(initial=0.0):.4g} σ"
        )
        if level <= 0.0:
            reason = "the level is zero in single precision, and so are the cells there"
    else:
        room = budget - (len(marker.faces) if marker else 0)
        level, meshes = _within_budget(field, volume, room)
        reason = f"no level gives a surface of at most {room} faces"
    if not meshes and marker is None:
        raise EmptyFieldError(reason)
    quantile = float(np.count_nonzero(magnitudes < level) / max(magnitudes.size, 1))
    permuted = field.permuted() if meshes else field.cells
    values = np.where(field.nonfinite, np.float32(np.nan), field.cells).ravel()
    surfaces = []
    for sign, mesh in meshes.items():
        cells = _cells_under(field, mesh.vertices, sign)
        surfaces.append(
            Surface(
                field.info, sign, level, quantile, mesh, cells, values[cells],
                components(field, field.cells * sign, level),
                components(field, permuted * sign, level),
            )
        )  # fmt: skip
    if marker is not None:
        corners = marker.vertices.reshape(-1, CORNERS_PER_BOX, 3)
        inward = 0.5 * np.sign(corners.mean(axis=1, keepdims=True) - corners)
        cells = _cells_under(field, (corners + inward).reshape(-1, 3), 1)
        unknown = np.full(len(cells), np.nan, np.float32)
        surfaces.append(Surface(field.info, 0, level, quantile, marker, cells, unknown, None, None))
    return surfaces


def _quantile(magnitudes: Float32, fraction: float) -> float:
    return float(np.quantile(magnitudes, fraction)) if magnitudes.size else 0.0


def _within_budget(field: Field, volume: Float32, budget: int) -> tuple[float, dict[int, Mesh]]:
    """Search, extract, and calibrate the search by what came out, until the budget is kept."""
    signed = field.signed
    if field.is_slab:
        search = Search.of_slab(field.profile, field.cells[0], signed)
    else:
        search = Search.of_volume(volume, signed)
    best: tuple[int, float, dict[int, Mesh]] = 0, float(np.abs(field.cells).max()), {}
    aim, off, tried = AIM, 1.0, set[float]()
    for _ in range(8):
        level = search.level(aim * budget * off)
        if level is None:
            break
        if level in tried:
            # Many cells share one value, so that faces come in leaps: is the next leap in reach?
            aim *= 1.05
            if aim > MOST:
                break
            continue
        tried.add(level)
        at, meshes = _cut(field, volume, level)
        faces = sum(len(m.faces) for m in meshes.values())
        if best[0] < faces <= budget:
            best = faces, at, meshes
        if LEAST * budget <= faces <= budget:
            break
        # The estimate was off by this factor, here; it hardly changes from level to level.
        estimate = search.count(level)
        off = estimate / faces if faces and estimate else 1.0
    return best[1], best[2]


def _cut(field: Field, volume: Float32, level: float) -> tuple[float, dict[int, Mesh]]:
    """Run marching cubes on one or both sides; the level is moved off values that occur."""
    level = _off_values(volume, level, field.signed)
    if level <= 0.0:
        return level, {}
    march = mirrored if field.is_slab else marching_cubes
    meshes = {1: march(volume, level)}
    if field.signed:
        meshes[-1] = march(-volume, level)
    return level, {sign: mesh for sign, mesh in meshes.items() if len(mesh.faces)}


def _off_values(volume: Float32, level: float, signed: bool) -> float:
    """Return the next level downward, in single precision, that is no voxel's value; or 0."""
    limit = float(np.finfo(np.float32).max)
    level = float(np.float32(min(level, limit)))
    while level > 0.0 and ((volume == level).any() or (signed and (volume == -level).any())):
        level = float(np.nextafter(np.float32(level), np.float32(0.0)))
    return level


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
    from skimage import measure

    if not volume.max() > level:
        return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    march: Any = measure.marching_cubes  # has no types
    vertices, faces, _, _ = march(volume, level, mask=_crossed(volume, level))
    # The border voxel is not a cell: cell (0, 0, 0) is voxel (1, 1, 1).
    return Mesh(
        np.ascontiguousarray(vertices - np.float32(1.0), dtype=np.float32),
        np.ascontiguousarray(faces, dtype=np.int32),
    )


def mirrored(volume: Float32, level: float) -> Mesh:
    """Do what `marching_cubes` does for a volume that is its own mirror image, in half the time.

    The middle plane cuts the surface along edges of the grid, so that the vertices on it belong to
    both halves.

    Parameters
    ----------
    volume : ndarray of float32, shape (planes, rows, columns)
        An odd number of planes, the last the same as the first, and so on.
    level : float
    """
    middle = volume.shape[0] // 2
    half = marching_cubes(volume[middle:], level)
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


def _cells_under(field: Field, vertices: Float32, sign: int) -> Int32:
    """Return the cell that each vertex shows: of the two that its grid edge joins, the one inside.

    The other one lies below the level, and its colour would contradict the legend.
    """
    last = np.array(field.cells.shape, np.int32) - 1
    ends = []
    for rounded in (np.floor(vertices), np.ceil(vertices)):
        plane, row, col = np.clip(rounded.astype(np.int32), 0, last).T
        if field.is_slab:
            plane = np.zeros_like(row)
        ends.append((plane * (last[1] + 1) + row) * (last[2] + 1) + col)
    first, second = (sign * field.cells.ravel()[end] for end in ends)
    return np.asarray(np.where(first >= second, ends[0], ends[1]), dtype=np.int32)


def _marker(field: Field, budget: int | None) -> Mesh | None:
    """Return boxes over the non-finite cells, in at most half of the budget."""
    if not field.nonfinite.any():
        return None
    mesh = Mesh(*boxes(field.nonfinite, None if budget is None else budget // 2))
    if field.is_slab:
        mesh.vertices[:, 0] = np.where(mesh.vertices[:, 0] < 0, -1, SLAB_PLANES)
    return mesh


def components(field: Field, cells: Float32, level: float) -> Components:
    """Count the 6-connected pieces above a level.

    A slab's bump is highest in its middle plane, so that its pieces are those of that plane; their
    volume is the number of the bump's samples above the level.

    Parameters
    ----------
    field : Field
        For its kind.
    cells : ndarray of float32, shape (planes, rows, columns)
    level : float

    Returns
    -------
    Components
    """
    from scipy import ndimage

    inside = cells > level
    labels, count = ndimage.label(inside[0] if field.is_slab else inside)
    if not count:
        return Components(0, 0.0)
    if field.is_slab:
        thickness = (field.profile[:, None, None] * cells[0] > level).sum(axis=0)
        sizes = np.bincount(labels.ravel(), weights=thickness.ravel())[1:]
    else:
        sizes = np.bincount(labels.ravel())[1:].astype(np.float64)
    return Components(int(count), float(sizes.max() / sizes.sum()))
