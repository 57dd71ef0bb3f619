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
    mesh = bpy.data.meshes.new(name)
    corners = faces.size
    mesh.vertices.add(len(vertices))
    mesh.loops.add(corners)
    mesh.polygons.add(len(faces))
    # The attributes behind `co` and `vertex_index` take whole arrays, a hundred times as fast.
    mesh.attributes["position"].data.foreach_set("vector", _flat(vertices, np.float32))
    mesh.attributes[".corner_vert"].data.foreach_set("value", _flat(faces, np.int32))
    mesh.polygons.foreach_set("loop_start", np.arange(0, corners, 3, dtype=np.int32))
    for attribute in attributes:
        key, dtype = _KINDS[attribute.kind]
        made = mesh.attributes.new(attribute.name, attribute.kind, "POINT")
        made.data.foreach_set(key, _flat(attribute.data, dtype))
    mesh.update(calc_edges=True)
    if COLOR in mesh.color_attributes:
        mesh.color_attributes.active_color_name = COLOR
        mesh.color_attributes.render_color_index = mesh.color_attributes.find(COLOR)
    return mesh


def _flat(array: npt.NDArray[Any], dtype: type) -> npt.NDArray[Any]:
    return np.ascontiguousarray(array, dtype=dtype).ravel()


@cache
def _linear() -> npt.NDArray[np.float32]:
    return decode_srgb(np.arange(256) / 255.0).astype(np.float32)


def color_attribute(colors: npt.NDArray[np.uint8]) -> Attribute:
    """Return sRGB-encoded colours, shape (n, 4), as Blender's linear ones."""
    linear = _linear()[colors]
    linear[:, 3] = colors[:, 3] / np.float32(255.0)
    return Attribute(COLOR, "FLOAT_COLOR", linear)


def surface_object(exhibit: Exhibit, material: bpy.types.Material) -> bpy.types.Object:
    """Make the object of a surface, with colours, values, cells and provenance.

    The attribute "value" is the value of the cell under each vertex in σ, "cell" that cell's flat
    index in the field's grid of (plane, row, column).
    """
    part, surface = exhibit.part, exhibit.surface
    attributes = (
        color_attribute(part.colors),
        Attribute(VALUE, "FLOAT", surface.values),
        Attribute(CELL, "INT", surface.cells),
    )
    mesh = new_mesh(part.name, part.vertices, part.faces, attributes)
    mesh.materials.append(material)
    made = bpy.data.objects.new(part.name, mesh)
    made.location = part.translation
    set_provenance(made, part.extras)
    return made


def set_provenance(owner: bpy.types.ID, extras: Mapping[str, Any]) -> None:
    """Write provenance as custom properties; integers too large for Blender become text."""
    for key, value in extras.items():
        wide = isinstance(value, int) and not -(2**31) <= value < 2**31
        owner[key] = json.dumps(value) if wide or isinstance(value, dict) else value
