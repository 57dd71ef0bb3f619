"""Surfaces in the scene → parts of files, as they stand now."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from ..core.errors import WeightwalkError
from ..core.geometry import measure
from ..core.stages import finish
from ..core.writers import MeshPart
from .mesh import COLOR, INDEX, ORIGIN, linear_table
from .ours import GROUP, is_ours

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]


def in_order(objects: Sequence[bpy.types.Object]) -> list[bpy.types.Object]:
    """Return surfaces in the order in which a run writes them; what came later comes last."""
    return sorted(objects, key=lambda o: (o.get(INDEX, 1 << 31), o.name))


def read(name: str) -> tuple[MeshPart, dict[str, Any]]:
    """Return a surface as it stands, and its entry for the report, both of the same moment.

    Raises
    ------
    WeightwalkError
        There is no such surface any more.
    """
    thing = bpy.data.objects.get(name)
    if thing is None or thing.type != "MESH" or "report" not in thing:
        raise WeightwalkError(f"{name} was removed while it was exported")
    (part,) = parts([thing])
    return part, json.loads(thing["report"])


def parts(objects: Sequence[bpy.types.Object]) -> Iterator[MeshPart]:
    """Turn surfaces back into what was placed in the scene.

    Whatever a person did since is in it: a move is in the part's translation, a turn and a size
    are in its vertices. The part of an untouched surface is the one that it was made from, to the
    last bit.

    Parameters
    ----------
    objects : sequence of bpy.types.Object
        Surfaces of ours, evaluated.

    Yields
    ------
    MeshPart
    """
    for thing in objects:
        with _mesh_of(thing) as mesh:
            vertices, faces = _triangles(mesh)
            colors = _colors(mesh)
        matrix = np.array(thing.matrix_world, np.float64)
        if not np.array_equal(matrix[:3, :3], np.eye(3)):
            vertices = (vertices @ matrix[:3, :3].T).astype(np.float32)
            if np.linalg.det(matrix[:3, :3]) < 0:
                faces = np.ascontiguousarray(faces[:, ::-1])
        normals, _ = finish(measure(vertices, faces))
        known = json.loads(thing.get("part", "{}"))
        yield MeshPart(
            # Blender may have cut the name.
            name=known.get("name", thing.name) if is_ours(thing) else thing.name,
            group=_group(thing),
            vertices=vertices,
            normals=normals,
            faces=faces,
            colors=colors,
            translation=_translation(thing, matrix[:3, 3]),
            extras=known.get("extras", {}),
        )


@contextmanager
def _mesh_of(thing: bpy.types.Object) -> Iterator[bpy.types.Mesh]:
    """Give a surface's mesh; in Edit Mode a copy, for there its own has no attributes."""
    if not thing.data.is_editmode:
        yield thing.data
        return
    thing.update_from_editmode()
    copy = thing.data.copy()
    try:
        yield copy
    finally:
        bpy.data.meshes.remove(copy)


def _triangles(mesh: bpy.types.Mesh) -> tuple[Float32, Int32]:
    vertices = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.attributes["position"].data.foreach_get("vector", vertices.ravel())
    if len(mesh.loops) == 3 * len(mesh.polygons):
        faces = np.empty((len(mesh.polygons), 3), np.int32)
        mesh.attributes[".corner_vert"].data.foreach_get("value", faces.ravel())
    else:  # a person has edited it
        mesh.calc_loop_triangles()
        faces = np.empty((len(mesh.loop_triangles), 3), np.int32)
        mesh.loop_triangles.foreach_get("vertices", faces.ravel())
    return vertices, faces


def _colors(mesh: bpy.types.Mesh) -> UInt8:
    """Return the colours at the vertices, sRGB-encoded; white where a person has removed them."""
    colors = np.full((len(mesh.vertices), 4), 255, np.uint8)
    held = mesh.attributes.get(COLOR)
    if held is None or (held.data_type, held.domain) != ("FLOAT_COLOR", "POINT"):
        return colors
    linear = np.empty((len(mesh.vertices), 4), np.float32)
    held.data.foreach_get("color", linear.ravel())
    table = linear_table()
    colors[:, :3] = np.searchsorted((table[1:] + table[:-1]) / 2, linear[:, :3])
    colors[:, 3] = np.clip(np.rint(linear[:, 3] * 255.0), 0, 255)
    return colors


def _translation(
    thing: bpy.types.Object, place: npt.NDArray[np.float64]
) -> tuple[float, float, float]:
    """Return where a surface stands; untouched, with the digits that Blender has dropped."""
    origin = thing.get(ORIGIN)
    if origin is not None and np.array_equal(np.float32(list(origin)), np.float32(place)):
        place = np.array(list(origin))
    x, y, z = place.tolist()
    return x, y, z


def _group(thing: bpy.types.Object) -> str:
    held = thing.users_collection
    return str(held[0].get(GROUP, held[0].name)) if held else ""
