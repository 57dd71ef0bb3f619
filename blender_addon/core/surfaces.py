"""A scalar field → closed triangle surfaces within a face budget, and their honest company."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .budget import AIM, LEAST, MOST, Search
from .errors import EmptyFieldError
from .fields import SLAB_PLANES, Field, FieldInfo
from .marching import VOXELS, Mesh, banded, mirrored, row_bands
from .markers import CORNERS_PER_BOX, boxes
from .settings import SurfaceSettings
from .stages import Ticks, finish

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Bool = npt.NDArray[np.bool_]

# Cells whose pieces are counted in one step.
CELLS = 1 << 19
# Vertices that are looked at in one step.
VERTICES = 1 << 17


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


# A level and the meshes on its sides.
Cut = tuple[float, dict[int, Mesh]]


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
    return finish(extract_steps(field, settings))


def extract_steps(
    field: Field, settings: SurfaceSettings, most: int | None = None
) -> Ticks[list[Surface]]:
    """Do what `extract` does, a step at a time.

    Where a level is given, `most` is the budget of which the marker may take half.
    """
    # A slab is its own mirror image: one half will do.
    volume = yield from field.volume_steps(half=field.is_slab)
    budget = settings.budget(field.info.plan.kind)
    marker = _marker(field, budget or most)
    magnitudes = np.abs(field.cells[field.known])
    yield 0
    if budget is None:
        level = settings.level or _quantile(magnitudes, settings.quantile or 0.0)
        level, meshes = yield from _cut(field, volume, level)
        reason = (
            f"no cell lies above {level:.4g} σ; the largest is {magnitudes.max(initial=0.0):.4g} σ"
        )
        if level <= 0.0:
            reason = "the level is zero in single precision, and so are the cells there"
    else:
        room = budget - (len(marker.faces) if marker else 0)
        level, meshes = yield from _within_budget(field, volume, room)
        reason = f"no level gives a surface of at most {room} faces"
    if not meshes and marker is None:
        raise EmptyFieldError(reason)
    yield 0
    quantile = float(np.count_nonzero(magnitudes < level) / max(magnitudes.size, 1))
    permuted = (yield from field.permuted_steps()) if meshes else field.cells
    values = np.where(field.nonfinite, np.float32(np.nan), field.cells).ravel()
    surfaces = []
    for sign, mesh in meshes.items():
        cells = yield from _cells_under(field, mesh.vertices, sign)
        here = yield from _components(field, field.cells * sign, level)
        chance = yield from _components(field, permuted * sign, level)
        surfaces.append(
            Surface(field.info, sign, level, quantile, mesh, cells, values[cells], here, chance)
        )
    if marker is not None:
        corners = marker.vertices.reshape(-1, CORNERS_PER_BOX, 3)
        inward = 0.5 * np.sign(corners.mean(axis=1, keepdims=True) - corners)
        cells = yield from _cells_under(field, (corners + inward).reshape(-1, 3), 1)
        unknown = np.full(len(cells), np.nan, np.float32)
        surfaces.append(Surface(field.info, 0, level, quantile, marker, cells, unknown, None, None))
    return surfaces


def level_steps(field: Field, budget: int) -> Ticks[float | None]:
    """Return the highest level at which a field has as many faces as a budget allows, or None."""
    volume = yield from field.volume_steps(half=field.is_slab)
    marker = _marker(field, budget)
    room = budget - (len(marker.faces) if marker else 0)
    level, meshes = yield from _within_budget(field, volume, room)
    return level if meshes else None


def _quantile(magnitudes: Float32, fraction: float) -> float:
    return float(np.quantile(magnitudes, fraction)) if magnitudes.size else 0.0


def _within_budget(field: Field, volume: Float32, budget: int) -> Ticks[Cut]:
    """Search, extract, and calibrate the search by what came out, until the budget is kept."""
    signed = field.signed
    if field.is_slab:
        search = yield from Search.of_slab(field.profile, field.cells[0], signed)
    else:
        search = Search.of_volume(volume, signed)
        yield 0
    best: tuple[int, float, dict[int, Mesh]] = 0, float(np.abs(field.cells).max()), {}
    aim, off, tried = AIM, 1.0, set[float]()
    for _ in range(8):
        level = yield from search.level(aim * budget * off)
        if level is None:
            break
        if level in tried:
            # Many cells share one value, so that faces come in leaps: is the next leap in reach?
            aim *= 1.05
            if aim > MOST:
                break
            continue
        tried.add(level)
        at, meshes = yield from _cut(field, volume, level)
        faces = sum(len(m.faces) for m in meshes.values())
        if best[0] < faces <= budget:
            best = faces, at, meshes
        if LEAST * budget <= faces <= budget:
            break
        # The estimate was off by this factor, here; it hardly changes from level to level.
        estimate = yield from search.count(level)
        off = estimate / faces if faces and estimate else 1.0
    return best[1], best[2]


def _cut(field: Field, volume: Float32, level: float) -> Ticks[Cut]:
    """Run marching cubes on one or both sides; the level is moved off values that occur."""
    level = yield from _off_values(volume, level, field.signed)
    if level <= 0.0:
        return level, {}
    meshes = {}
    for sign in (1, -1) if field.signed else (1,):
        mesh = yield from banded(volume, level, sign)
        if len(mesh.faces):
            meshes[sign] = mirrored(mesh, SLAB_PLANES // 2 + 1) if field.is_slab else mesh
            yield 0
    return level, meshes


def _off_values(volume: Float32, level: float, signed: bool) -> Ticks[float]:
    """Return the next level downward, in single precision, that is no voxel's value; or 0."""
    limit = float(np.finfo(np.float32).max)
    level = float(np.float32(min(level, limit)))
    bands = row_bands(volume.shape, VOXELS)
    sides = (1.0, -1.0) if signed else (1.0,)
    while level > 0.0:
        hit = False
        for rows in bands:
            hit = hit or any((volume[:, rows] == side * level).any() for side in sides)
            yield 0
        if not hit:
            break
        level = float(np.nextafter(np.float32(level), np.float32(0.0)))
    return level


def _cells_under(field: Field, vertices: Float32, sign: int) -> Ticks[Int32]:
    """Return the cell that each vertex shows: of the two that its grid edge joins, the one inside.

    The other one lies below the level, and its colour would contradict the legend.
    """
    last = np.array(field.cells.shape, np.int32) - 1
    cells = np.empty(len(vertices), np.int32)
    for begin in range(0, len(vertices), VERTICES):
        yield 0
        some, ends = vertices[begin : begin + VERTICES], []
        for rounded in (np.floor(some), np.ceil(some)):
            plane, row, col = np.clip(rounded.astype(np.int32), 0, last).T
            if field.is_slab:
                plane = np.zeros_like(row)
            ends.append((plane * (last[1] + 1) + row) * (last[2] + 1) + col)
        first, second = (sign * field.cells.ravel()[end] for end in ends)
        cells[begin : begin + VERTICES] = np.where(first >= second, ends[0], ends[1])
    return cells


def _marker(field: Field, budget: int | None) -> Mesh | None:
    """Return boxes over the non-finite cells, in at most half of the budget."""
    if not field.nonfinite.any():
        return None
    mesh = Mesh(*boxes(field.nonfinite, None if budget is None else budget // 2))
    if field.is_slab:
        mesh.vertices[:, 0] = np.where(mesh.vertices[:, 0] < 0, -1, SLAB_PLANES)
    return mesh


def _components(field: Field, cells: Float32, level: float) -> Ticks[Components]:
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

    planes, rows, cols = cells.shape
    height = max(CELLS // (planes * cols), 1)
    sizes: list[Float64] = []
    seams: list[Int32] = []
    count, last = 0, np.zeros((planes, cols), np.int32)
    for r in range(0, rows, height):
        yield 0
        band = cells[:, r : r + height]
        labels, found = ndimage.label(band > level)
        weights = None
        if field.is_slab:
            weights = sum((h * band > level).ravel().astype(np.int8) for h in field.profile)
        sizes.append(np.bincount(labels.ravel(), weights, found + 1)[1:].astype(np.float64))
        labels[labels > 0] += count
        # A piece goes on where cells on both sides of a seam lie above.
        both = (last > 0) & (labels[:, 0] > 0)
        seams.append(np.stack([last[both], labels[:, 0][both]]))
        count, last = count + found, labels[:, -1]
    yield 0
    if not count:
        return Components(0, 0.0)
    merged = _merged(np.concatenate(sizes), np.concatenate(seams, axis=1) - 1)
    return Components(len(merged), float(merged.max() / merged.sum()))


def _merged(sizes: Float64, pairs: Int32) -> Float64:
    """Return the sizes of pieces of which those of each pair, shape (2, n), are one."""
    if not pairs.size:
        return sizes
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(pairs.shape[1], np.int8), tuple(pairs)), (sizes.size, sizes.size))
    count, piece = connected_components(links, directed=False)
    return np.asarray(np.bincount(piece, sizes, count))
