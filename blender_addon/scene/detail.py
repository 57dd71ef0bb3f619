"""What a closer look adds to the corridor: the mark of an entry, and a rectangle in full."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from math import pi

import bpy
import numpy as np
from mathutils import Vector

from ..core.errors import WeightwalkError
from ..core.exhibit import Exhibit
from ..core.layout import PLATE, SLAB_DEPTH, Placement
from ..core.markers import boxes
from ..core.model import Progress
from ..core.reading import Entry, Reading
from ..core.stages import told
from .labels import text
from .made import Made
from .material import glowing_material
from .mesh import COLOR, MARK, RUN, Attribute, new_mesh, new_object, surface_steps
from .ours import KIND, objects_in, scenes_with

__all__ = [
    "KIND", "clear_marks", "detail_placement", "mark_entry", "rectangle_corners", "stand_steps",
    "standing",
]  # fmt: skip

ACCENT = (0.35, 1.0, 1.0)
MATERIAL = "Weightwalk mark"
BEFORE = 0.06  # metres from the front of a plate to what is drawn on it
ABOVE = 0.7  # metres from the top of a plate to its detail
STANDING = (pi / 2, 0.0, 0.0)

Rectangle = tuple[tuple[float, float], tuple[float, float]]
Shape = tuple[int, int, int]


def mark_entry(surface: bpy.types.Object, shape: Shape, cell: int, reading: Reading) -> None:
    """Mark the largest entry under a cell: the cell's outline, the entry's place and its value.

    The mark of another entry goes. The mark moves with the surface.

    Parameters
    ----------
    surface : bpy.types.Object
    shape : tuple of 3 int
        Planes, rows and columns of its field, in cells.
    cell : int
        Flat index into that.
    reading : Reading
    """
    clear_marks(surface, "entry")
    entry = reading.largest
    if entry is None:
        return
    x, _, z = surface["step"]
    middle = _cell_middle(surface, shape, cell)
    half = Vector((x / 2, 0.0, z / 2))
    at = middle + Vector(_within(entry, reading, x, z))
    label = text(_said(entry), 0.2, at + Vector((0.16, -0.25, 0.1)), _accent(), "LEFT")
    label.rotation_euler = STANDING
    pin = _pin(at, float(np.clip(0.3 * min(x, z), 0.012, 0.05)))
    _attach(surface, "entry", [_frame(middle - half, middle + half, 0.02), pin, label])


def _within(entry: Entry, reading: Reading, x: float, z: float) -> tuple[float, float, float]:
    """Return where an entry lies in its cell, from the cell's middle, in metres."""
    (r0, r1), (c0, c1) = reading.rows, reading.cols
    across, down = (entry.col - c0 + 0.5) / (c1 - c0), (entry.row - r0 + 0.5) / (r1 - r0)
    return (across - 0.5) * x, 0.0, (0.5 - down) * z


def _said(entry: Entry) -> str:
    index = ", ".join(map(str, entry.index))
    return f"[{index}]  {entry.value:.4g}  {entry.sigmas:.1f} σ".replace("-", "−")


def _cell_middle(surface: bpy.types.Object, shape: Shape, cell: int) -> Vector:
    """Return the middle of a cell in the surface's own coordinates; of a slab, before its front."""
    plane, row, col = (int(i) for i in np.unravel_index(cell, shape))
    x, y, z = surface["step"]
    depth = (plane - (shape[0] - 1) / 2) * y
    if surface["field"] == "slab":
        depth = -SLAB_DEPTH / 2 - BEFORE
    return Vector(((col - (shape[2] - 1) / 2) * x, depth, ((shape[1] - 1) / 2 - row) * z))


def detail_placement(surfaces: Sequence[bpy.types.Object], shape: Shape) -> Placement:
    """Return the place of a detail: above the surfaces of the field that it is a detail of.

    Parameters
    ----------
    surfaces : sequence of bpy.types.Object
        Of one field.
    shape : tuple of 3 int
        Of the detail, in cells; a slab.
    """
    corners = [o.matrix_world @ Vector(c) for o in surfaces for c in o.bound_box]
    top = max(corner.z for corner in corners)
    middle = surfaces[0].matrix_world.translation
    cell = PLATE / (max(shape[1:]) + 1)
    size = (cell * (shape[2] + 1), SLAB_DEPTH, cell * (shape[1] + 1))
    origin = (middle.x, middle.y, top + ABOVE + size[2] / 2)
    step = (cell, surfaces[0]["step"][1] if surfaces[0]["field"] == "slab" else 0.0875, cell)
    group = surfaces[0].users_collection[0].name
    return Placement(origin, step, size, group, strip=False)


def standing(names: Sequence[str]) -> list[bpy.types.Object]:
    """Return objects by their names: a person may have removed one meanwhile."""
    found = [bpy.data.objects[name] for name in names if name in bpy.data.objects]
    found = [thing for thing in found if thing.users_collection]
    if not found:
        raise WeightwalkError("the surface that was to be refined is gone")
    return found


def stand_steps(
    names: Sequence[str], exhibits: Sequence[Exhibit], said: str, corners: tuple[Vector, Vector]
) -> Generator[Progress, None, list[bpy.types.Object]]:
    """Stand the surfaces of a detail above those of its field, in place of an earlier one.

    Until the last step nothing of it is in the scene; when that is not reached, what was made is
    removed and the earlier detail stays.

    Parameters
    ----------
    names : sequence of str
        Of the surfaces of the field.
    exhibits : sequence of Exhibit
        Of the detail.
    said : str
        Its name plate.
    corners : tuple of two Vector
        Of the rectangle, in the field's own coordinates; it gets an outline there.

    Yields
    ------
    Progress

    Returns
    -------
    list of bpy.types.Object
        The surfaces, then the name plate and the outline.
    """
    made, surfaces = Made(), []
    try:
        for i, exhibit in enumerate(exhibits):
            now = Progress("scene", i, len(exhibits), exhibit.part.name)
            yield now
            with closing(surface_steps(exhibit, None)) as making:
                surfaces.append(made.keep((yield from told(making, now))))
        yield Progress("scene", len(exhibits), len(exhibits), "all into place")
        base = standing(names)[0]
        if MATERIAL not in bpy.data.materials:
            made.keep(_accent())
        plate = made.keep(_plate(exhibits[0], said))
        outline = made.keep(_frame(*corners, 0.03))
        _enter(base, surfaces, plate, outline, made)
    except BaseException:
        made.take_back()
        raise
    return [*surfaces, plate, outline]


def _plate(exhibit: Exhibit, said: str) -> bpy.types.Object:
    """Return the name plate at the foot of a detail."""
    place = exhibit.placement
    at = (
        place.origin[0] - place.size[0] / 2, place.origin[1] - place.size[1] / 2 - 0.05,
        place.origin[2] - place.size[2] / 2 - 0.28,
    )  # fmt: skip
    plate = text(said, 0.15, at, _accent(), "LEFT")
    plate.rotation_euler = STANDING
    return plate


def _enter(
    base: bpy.types.Object,
    surfaces: Sequence[bpy.types.Object],
    plate: bpy.types.Object,
    outline: bpy.types.Object,
    made: Made,
) -> None:
    """Link a detail into the scene of its field; then, and only then, the earlier one goes."""
    kind = f"detail of {base['plan']}"
    earlier = _marks(base, kind)
    for surface in surfaces:
        surface.material_slots[0].material = base.active_material
        if RUN in base:
            surface[RUN] = base[RUN]
    _link(base, kind, [*surfaces, plate])
    _attach(base, kind, [outline])
    made.leave()
    _take_away(earlier)
    made.name()


def rectangle_corners(
    surface: bpy.types.Object, shape: Shape, cells: Rectangle, plane: int
) -> tuple[Vector, Vector]:
    """Return two corners of a rectangle of cells (which may be broken) in a field's coordinates."""
    (r0, r1), (c0, c1) = cells
    x, _, z = surface["step"]
    first = _cell_middle(surface, shape, plane * shape[1] * shape[2])
    # Edge i lies half a cell before the middle of cell i.
    low = first + Vector(((c0 - 0.5) * x, 0.0, -(r1 - 0.5) * z))
    return low, first + Vector(((c1 - 0.5) * x, 0.0, -(r0 - 0.5) * z))


def clear_marks(surface: bpy.types.Object, kind: str) -> None:
    """Take away what was added before."""
    _take_away(_marks(surface, kind))


def _marks(surface: bpy.types.Object, kind: str) -> list[bpy.types.Object]:
    """Return what was added; a person may have moved it, or the surface, to anywhere."""
    things = [o for scene in scenes_with(surface) for o in objects_in(scene.collection)]
    return [o for o in dict.fromkeys(things) if o.get(KIND) == kind and o.library is None]


def _take_away(things: Sequence[bpy.types.Object]) -> None:
    data = {thing.data for thing in things} - {None}
    bpy.data.batch_remove(things)
    bpy.data.batch_remove([one for one in data if not one.users])


def _link(surface: bpy.types.Object, kind: str, things: Sequence[bpy.types.Object]) -> None:
    for thing in things:
        thing[MARK], thing[KIND] = thing.name, kind
        surface.users_collection[0].objects.link(thing)


def _attach(surface: bpy.types.Object, kind: str, things: Sequence[bpy.types.Object]) -> None:
    _link(surface, kind, things)
    for thing in things:
        thing.parent = surface
        thing.hide_select = True


def _accent() -> bpy.types.Material:
    """Return the material of marks, which the file may have already."""
    return bpy.data.materials.get(MATERIAL) or glowing_material(MATERIAL, ACCENT)


def _frame(low: Vector, high: Vector, width: float) -> bpy.types.Object:
    """Return four bars around an upright rectangle."""
    ring = np.array([[[1, 1, 1], [1, 0, 1], [1, 1, 1]]], np.bool_)
    vertices, faces = boxes(ring)
    known = np.array([-0.5, 0.5, 1.5, 2.5])
    across = np.interp(vertices[:, 2], known, (low.x - width, low.x, high.x, high.x + width))
    up = np.interp(vertices[:, 1], known, (high.z + width, high.z, low.z, low.z - width))
    depth = low.y + width * vertices[:, 0]
    return _solid("Frame", np.column_stack([across, depth, up]), faces)


def _pin(at: Vector, radius: float) -> bpy.types.Object:
    """Return an octahedron."""
    corners = np.concatenate([np.eye(3), -np.eye(3)]) * radius + np.array(at)
    faces = np.array(
        [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
    )
    return _solid("Entry", corners, faces)


def _solid(name: str, vertices: np.ndarray, faces: np.ndarray) -> bpy.types.Object:
    color = Attribute(COLOR, "FLOAT_COLOR", np.full((len(vertices), 4), (*ACCENT, 1.0)))
    mesh = new_mesh(name, vertices.astype(np.float32), faces.astype(np.int32), (color,))
    mesh.materials.append(_accent())
    return new_object(name, mesh)
