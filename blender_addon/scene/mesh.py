"""Arrays → Blender meshes, through foreach_set alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import bpy
import numpy as np
import numpy.typing as npt

from ..core.color import decode_srgb
from ..core.exhibit import Exhibit
from ..core.report import surface_entry
from ..core.stages import Ticks, finish

MARK = "weightwalk"  # the custom property by which we know our own things
ORIGIN = "origin"  # where a surface was placed, in double precision
INDEX = "index"  # its number in the run
RUN = "run"  # which run it is of, see `ours.run_of`
STEP = "training_step"  # index of the step of a training run that a thing is of; -1 for all
KEY = "weightwalk_mesh"  # a mesh's `Actor.mesh`
COLOR = "Color"
VALUE = "value"
CELL = "cell"

_KINDS = {
    "FLOAT_COLOR": ("color", np.float32),
    "FLOAT": ("value", np.float32),
    "INT": ("value", np.int32),
}


@dataclass(frozen=True)
class Attribute:
    """Data at each vertex: its name in Blender, Blender's type and the array."""

    name: str
    kind: str
    data: npt.NDArray[Any] = field(repr=False)


def new_mesh(
    name: str,
    vertices: npt.NDArray[np.float32],
    faces: npt.NDArray[np.int32],
    attributes: tuple[Attribute, ...] = (),
) -> bpy.types.Mesh:
    """Make a smooth-shaded mesh of triangles.

    Parameters
    ----------
    name : str
    vertices : ndarray of float32, shape (n, 3)
    faces : ndarray of int32, shape (m, 3)
    attributes : tuple of Attribute
        At the vertices.

    Returns
    -------
    bpy.types.Mesh
    """
    return finish(mesh_steps(name, vertices, faces, attributes))


def mesh_steps(
    name: str,
    vertices: npt.NDArray[np.float32],
    faces: npt.NDArray[np.int32],
    attributes: tuple[Attribute, ...] = (),
) -> Ticks[bpy.types.Mesh]:
    """Do what `new_mesh` does, in steps; what is not finished is taken back.

    Blender finds the edges of a mesh at one go: of a million faces, that takes a fifth of a second.
    """
    mesh = bpy.data.meshes.new(name)
    try:
        corners = faces.size
        mesh.vertices.add(len(vertices))
        mesh.loops.add(corners)
        mesh.polygons.add(len(faces))
        # The attributes behind `co` and `vertex_index` take whole arrays, far faster.
        mesh.attributes["position"].data.foreach_set("vector", _flat(vertices, np.float32))
        mesh.attributes[".corner_vert"].data.foreach_set("value", _flat(faces, np.int32))
        mesh.polygons.foreach_set("loop_start", np.arange(0, corners, 3, dtype=np.int32))
        yield 0
        for attribute in attributes:
            key, dtype = _KINDS[attribute.kind]
            made = mesh.attributes.new(attribute.name, attribute.kind, "POINT")
            made.data.foreach_set(key, _flat(attribute.data, dtype))
        yield 0
        mesh.update(calc_edges=True)
        if COLOR in mesh.color_attributes:
            mesh.color_attributes.active_color_name = COLOR
            mesh.color_attributes.render_color_index = mesh.color_attributes.find(COLOR)
    except BaseException:
        bpy.data.meshes.remove(mesh)
        raise
    return mesh


def new_object(name: str, data: bpy.types.ID | None) -> bpy.types.Object:
    """Make an object that notes the name it should have; `Made.keep` then notes the one it has."""
    made = bpy.data.objects.new(name, data)
    made[MARK] = name
    return made


def _flat(array: npt.NDArray[Any], dtype: type) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array, dtype=dtype).ravel()


@cache
def linear_table() -> npt.NDArray[np.float32]:
    """Return the linear values of the 256 sRGB-encoded ones."""
    return decode_srgb(np.arange(256) / 255.0).astype(np.float32)


def color_attribute(colors: npt.NDArray[np.uint8]) -> Attribute:
    """Return sRGB-encoded colours, shape (n, 4), as Blender's linear ones."""
    linear = linear_table()[colors]
    linear[:, 3] = colors[:, 3] / np.float32(255.0)
    return Attribute(COLOR, "FLOAT_COLOR", linear)


def surface_object(exhibit: Exhibit, material: bpy.types.Material | None) -> bpy.types.Object:
    """Make the object of a surface, with colours, values, cells and provenance.

    The attribute "value" is the value of the cell under each vertex in σ, "cell" that cell's flat
    index in the field's grid of (plane, row, column). "plan", "step", "origin", "report" and
    "part" are for us: the field's name, the size of a cell and the place in metres, and as JSON
    what the report and the files say of the surface.
    """
    return finish(surface_steps(exhibit, material))


def surface_steps(
    exhibit: Exhibit, material: bpy.types.Material | None, known: bpy.types.Mesh | None = None
) -> Ticks[bpy.types.Object]:
    """Do what `surface_object` does, a step at a time; None leaves room for a material.

    A mesh that is known is that of another object with the same surface.
    """
    part, surface = exhibit.part, exhibit.surface
    if known is not None:
        return _surface(exhibit, known)
    yield 0
    colors = color_attribute(part.colors)
    yield 0
    attributes = (
        colors,
        Attribute(VALUE, "FLOAT", surface.values),
        Attribute(CELL, "INT", surface.cells),
    )
    mesh = yield from mesh_steps(part.name, part.vertices, part.faces, attributes)
    try:
        mesh.materials.append(material)
        return _surface(exhibit, mesh)
    except BaseException:
        bpy.data.batch_remove([mesh, *(o for o in bpy.data.objects if o.data == mesh)])
        raise


def _surface(exhibit: Exhibit, mesh: bpy.types.Mesh) -> bpy.types.Object:
    part, plan = exhibit.part, exhibit.surface.field.plan
    made = new_object(part.name, mesh)
    made.location = part.translation
    set_provenance(made, part.extras)
    made["plan"], made["step"] = plan.name, exhibit.placement.step
    made[ORIGIN] = part.translation
    made["report"] = json.dumps(surface_entry(exhibit), allow_nan=False)
    made["part"] = json.dumps({"name": part.name, "extras": dict(part.extras)}, allow_nan=False)
    return made


def set_provenance(owner: bpy.types.ID, extras: Mapping[str, Any]) -> None:
    """Write provenance as custom properties; integers too large for Blender become text."""
    for key, value in extras.items():
        wide = isinstance(value, int) and not -(2**31) <= value < 2**31
        owner[key] = json.dumps(value) if wide or isinstance(value, dict) else value
