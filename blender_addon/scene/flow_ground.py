"""The ground that a flow lies in: its basin, the floor's opening, and room beside a corridor."""

from __future__ import annotations

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Vector

from ..core.errors import BadInputError
from ..core.flow.standing import FlowRecord
from .camera import move, untouched
from .mesh import COLOR, MARK, Attribute, new_mesh, new_object
from .ours import FLOW, find_root, objects_in, ours_among
from .swap import remove

Box = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
Corner = tuple[float, float]

FLOOR = "Weightwalk floor"  # the material's mark
BASIN = "weightwalk_basin"
ASIDE = 6.0  # metres between a corridor and a flow
DEEPER = 0.1  # metres, of a basin below the deepest value


def new_basin(
    low: npt.ArrayLike, high: npt.ArrayLike, material: bpy.types.Material
) -> bpy.types.Object:
    """Return the sides and the bottom of an opening in the floor, as deep as `low` is."""
    (x, y, z), (u, v, _) = np.asarray(low, float), np.asarray(high, float)
    around = [(x, y), (u, y), (u, v), (x, v)]
    corners = [(*at, height) for height in (0.0, z - DEEPER) for at in around]
    # Each side has corners of its own, for edges that are sharp; all face inward.
    sides = [(i, 4 + i, 4 + (i + 1) % 4, (i + 1) % 4) for i in range(4)] + [(4, 5, 6, 7)]
    vertices = np.array([corners[i] for side in sides for i in side], np.float32)
    turns = np.array([(0, 2, 1), (0, 3, 2)])
    faces = (4 * np.arange(len(sides))[:, None] + turns[:, None]).reshape(-1, 3).astype(np.int32)
    faces[[4, 9]] = faces[[4, 9]][:, ::-1]
    basin = new_object("Basin", plain_mesh("Basin", vertices, faces, material))
    basin[BASIN] = True
    return basin


def plain_mesh(
    name: str,
    vertices: npt.NDArray[np.float32],
    faces: npt.NDArray[np.int32],
    material: bpy.types.Material,
) -> bpy.types.Mesh:
    """Return a mesh of one colour, also for Workbench."""
    color = np.tile(np.array(material.diffuse_color, np.float32), (len(vertices), 1))
    mesh = new_mesh(name, vertices, faces, (Attribute(COLOR, "FLOAT_COLOR", color),))
    mesh.materials.append(material)
    return mesh


def settle(scene: bpy.types.Scene) -> None:
    """Let corridor and flow share a scene: side by side, on one floor that is open over a basin."""
    corridor, root = find_root(scene), find_root(scene, FLOW)
    theirs, ours = _floors(corridor), _floors(root)
    if root is not None:
        _step_aside(root, box_of(corridor))
        if theirs:
            remove(ours)
            ours = []
    basins = [thing for thing in _own(root) if BASIN in thing]
    for floor in (*theirs, *ours):
        _open(floor, basins[0] if basins else None)


def box_of(root: bpy.types.Collection | None) -> Box | None:
    """Return the corners of the box around all that a corridor has on its floor."""
    things = [
        thing
        for thing in _own(root)
        if thing.type in {"MESH", "FONT"} and not _is_floor(thing) and BASIN not in thing
    ]
    if not things:
        return None
    corners = np.array([_place(thing) @ Vector(c) for thing in things for c in thing.bound_box])
    return corners.min(axis=0), corners.max(axis=0)


def aside(corridor: Box | None, low: float, high: float) -> float:
    """Return how far along X a flow from low to high has to stand away from a corridor."""
    if corridor is None:
        return 0.0
    return float(corridor[1][0]) + ASIDE - low


def _step_aside(root: bpy.types.Collection, corridor: Box | None) -> None:
    """Move a flow that a corridor would stand on."""
    anchor = anchor_of(root)
    own = box_of(root)
    if anchor is None or own is None or corridor is None:
        return
    apart = (own[0] > corridor[1]) | (corridor[0] > own[1])
    if apart[:2].any():
        return
    by = Vector((aside(corridor, float(own[0][0]), float(own[1][0])), 0.0, 0.0))
    anchor.location += by
    for thing in _own(root):
        if thing.type == "CAMERA" and untouched(thing):
            move(thing, by)


def anchor_of(root: bpy.types.Collection | None) -> bpy.types.Object | None:
    """Return the empty that moves a whole flow."""
    things = _own(root)
    return next((t for t in things if t.type == "EMPTY" and t.parent is None), None)


def flow_record(scene: bpy.types.Scene) -> FlowRecord | None:
    """Return what a scene knows of the flow that stands in it, or None."""
    root = find_root(scene, FLOW)
    if root is None:
        return None
    try:
        return FlowRecord.from_json(str(root[FLOW]))
    except BadInputError:
        return None


def _own(root: bpy.types.Collection | None) -> list[bpy.types.Object]:
    return ours_among(objects_in(root))


def _place(thing: bpy.types.Object) -> npt.NDArray[np.float64]:
    """Return where a thing is, also before Blender knows."""
    matrix = thing.matrix_basis.copy()
    while thing.parent is not None:
        thing = thing.parent
        matrix = thing.matrix_basis @ matrix
    return matrix


def _floors(root: bpy.types.Collection | None) -> list[bpy.types.Object]:
    return [thing for thing in _own(root) if _is_floor(thing)]


def _is_floor(thing: bpy.types.Object) -> bool:
    """Return whether a thing is a floor as we made it, whole or open."""
    if thing.type != "MESH" or len(thing.data.vertices) not in (4, 8):
        return False
    marks = {m.get(MARK) for m in thing.data.materials if m is not None}
    return FLOOR in marks and thing.parent is None


def _open(floor: bpy.types.Object, basin: bpy.types.Object | None) -> None:
    """Give a floor its opening over a basin, or none."""
    held = floor.data
    if basin is None and len(held.vertices) == 4:
        return
    outer = np.array([vertex.co for vertex in held.vertices])
    low, high = outer.min(axis=0), outer.max(axis=0)
    faces = [(0, 1, 2), (0, 2, 3)]
    inner: list[Corner] = []
    if basin is not None:
        inverse = floor.matrix_basis.inverted()
        corners = np.array([inverse @ _place(basin) @ Vector(c) for c in basin.bound_box])
        inside = corners.min(axis=0), corners.max(axis=0)
        inner = _rectangle(*inside)
        low, high = np.minimum(low, inside[0] - ASIDE), np.maximum(high, inside[1] + ASIDE)
        ring = [(i, (i + 1) % 4, 4 + (i + 1) % 4, 4 + i) for i in range(4)]
        faces = [each for a, b, c, d in ring for each in ((a, b, c), (a, c, d))]
    vertices = np.array([(*at, 0.0) for at in _rectangle(low, high) + inner], np.float32)
    material = next(m for m in held.materials if m is not None)
    mesh = plain_mesh(held.name, vertices, np.array(faces, np.int32), material)
    name, floor.data = held.name, mesh
    if not held.users:
        bpy.data.meshes.remove(held)
        mesh.name = name


def _rectangle(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> list[Corner]:
    (x, y), (u, v) = low[:2], high[:2]
    return [(x, y), (u, y), (u, v), (x, v)]
