"""Exhibits → a Blender scene: the corridor, its floor, its light, its labels and a camera."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import atan2

import bpy
import numpy as np
from mathutils import Vector

from ..core.errors import WeightwalkError
from ..core.exhibit import Exhibit
from ..core.layout import Layout
from .camera import overview
from .labels import Ink, Legend, legend, plates, signs
from .material import glowing_material, plain_material, surface_material
from .mesh import COLOR, Attribute, new_mesh, surface_object

BACKGROUND = (0.010, 0.012, 0.017)
FLOOR = (0.006, 0.007, 0.010)
INK = (0.80, 0.82, 0.86)

_DATA = (
    "collections", "objects", "meshes", "curves", "fonts", "materials", "lights", "cameras",
    "worlds",
)  # fmt: skip


@dataclass(frozen=True)
class View:
    """How the overview looks at the scene.

    Attributes
    ----------
    toward : tuple of 3 float
        Direction of view.
    aspect : float
        Width of the picture over its height.
    """

    toward: tuple[float, float, float]
    aspect: float

    @classmethod
    def of(cls, exhibits: Sequence[Exhibit], aspect: float) -> View:
        """Face plates; look at volumes from the side, one alone more than a corridor of them."""
        plans = {e.surface.field.plan.name: e.surface.field.plan for e in exhibits}
        if all(plan.kind == "slab" for plan in plans.values()):
            return cls((0.0, 1.0, -0.75), aspect)
        return cls((0.75, 1.0, -0.55) if len(plans) == 1 else (0.4, 1.0, -0.7), aspect)


def build(
    scene: bpy.types.Scene, exhibits: Sequence[Exhibit], layout: Layout, what: Legend, view: View
) -> bpy.types.Collection:
    """Stand the exhibits in a scene, with all that makes them readable.

    Everything goes into one collection, with one below it for each layer. The scene gets our
    camera and world only where it has none of its own. When anything fails, what was made is
    removed and the scene is as before.

    Parameters
    ----------
    scene : bpy.types.Scene
    exhibits : sequence of Exhibit
    layout : Layout
    what : Legend
    view : View

    Returns
    -------
    bpy.types.Collection
    """
    before = {kind: set(getattr(bpy.data, kind)) for kind in _DATA}
    camera, world = scene.camera, scene.world
    try:
        return _build(scene, exhibits, layout, what, view)
    except BaseException:
        scene.camera, scene.world = camera, world
        added = [i for kind in _DATA for i in getattr(bpy.data, kind) if i not in before[kind]]
        bpy.data.batch_remove(added)
        raise


def _build(
    scene: bpy.types.Scene, exhibits: Sequence[Exhibit], layout: Layout, what: Legend, view: View
) -> bpy.types.Collection:
    if not exhibits:
        raise WeightwalkError("there is nothing to show")
    root = bpy.data.collections.new(f"Weightwalk {what.title}")
    scene.collection.children.link(root)
    material = surface_material()
    layers: dict[str, bpy.types.Collection] = {}
    for stop in layout.stops:
        layers[stop.label] = bpy.data.collections.new(stop.label)
        root.children.link(layers[stop.label])
    for exhibit in exhibits:
        layers[exhibit.placement.collection].objects.link(surface_object(exhibit, material))
    ink = Ink(glowing_material("Weightwalk text", INK), glowing_material("Weightwalk scale", None))
    labels = [*plates(exhibits, ink), *signs(layout, exhibits, ink)]
    _group(root, "Labels", labels)
    board = legend(what, layout, ink, atan2(-view.toward[0], view.toward[1]))
    _group(root, "Legend", board)
    bpy.context.view_layer.update()
    points = np.concatenate([_corners(layout), _label_points([*labels, *board])])
    camera, far = overview(points, np.array(view.toward), view.aspect)
    _group(root, "Stage", [camera, _floor(points, far), *_lights()])
    scene.camera = scene.camera or camera
    scene.world = scene.world or _world()
    return root


def _group(
    root: bpy.types.Collection, name: str, objects: Iterable[bpy.types.Object]
) -> bpy.types.Collection:
    made = bpy.data.collections.new(name)
    root.children.link(made)
    for one in objects:
        made.objects.link(one)
    return made


def _corners(layout: Layout) -> np.ndarray:
    box = np.array([layout.low, layout.high])
    return np.array(list(product(*box.T)))


def _label_points(objects: Iterable[bpy.types.Object]) -> np.ndarray:
    shown = [o for o in objects if o.type != "EMPTY"]
    return np.array([o.matrix_world @ Vector(corner) for o in shown for corner in o.bound_box])


def _floor(points: np.ndarray, far: float) -> bpy.types.Object:
    """Return a floor that reaches beyond what the camera sees."""
    middle, reach = points.mean(axis=0), 6.0 * far
    x, y = middle[0], middle[1]
    vertices = np.array(
        [[x - reach, y - reach, 0], [x + reach, y - reach, 0], [x + reach, y + reach, 0],
         [x - reach, y + reach, 0]], np.float32,
    )  # fmt: skip
    # Workbench shows the colours of vertices, here as everywhere.
    color = Attribute(COLOR, "FLOAT_COLOR", np.full((4, 4), (*FLOOR, 1.0), np.float32))
    mesh = new_mesh("Floor", vertices, np.array([[0, 1, 2], [0, 2, 3]], np.int32), (color,))
    mesh.materials.append(plain_material("Weightwalk floor", FLOOR))
    return bpy.data.objects.new("Floor", mesh)


def _lights() -> list[bpy.types.Object]:
    """Return a warm sun over the visitor's left shoulder and a faint cool one from behind."""
    made = []
    for name, energy, color, turn in (
        ("Sun", 3.2, (1.0, 0.95, 0.88), (0.85, -0.25, -0.45)),
        ("Back light", 0.9, (0.7, 0.8, 1.0), (-0.9, 0.35, 0.4)),
    ):
        light = bpy.data.lights.new(name, "SUN")
        light.energy, light.color, light.angle = energy, color, 0.06
        lamp = bpy.data.objects.new(name, light)
        lamp.rotation_euler = turn
        lamp.location = (0.0, 0.0, 12.0)
        made.append(lamp)
    return made


def _world() -> bpy.types.World:
    from . import compat

    world = bpy.data.worlds.new("Weightwalk")
    world.color = BACKGROUND
    tree = compat.use_nodes(world)
    output = tree.nodes.new("ShaderNodeOutputWorld")
    sky = tree.nodes.new("ShaderNodeBackground")
    # The camera sees a dark room; the surfaces are lit as if it were brighter.
    seen, light = tree.nodes.new("ShaderNodeLightPath"), tree.nodes.new("ShaderNodeMix")
    light.data_type = "RGBA"
    colors = [s for s in light.inputs if s.type == "RGBA"]
    colors[0].default_value, colors[1].default_value = (0.30, 0.32, 0.38, 1.0), (*BACKGROUND, 1.0)
    tree.links.new(seen.outputs["Is Camera Ray"], light.inputs["Factor"])
    result = next(s for s in light.outputs if s.type == "RGBA")
    tree.links.new(result, sky.inputs["Color"])
    tree.links.new(sky.outputs["Background"], output.inputs["Surface"])
    return world


def clear(scene: bpy.types.Scene) -> None:
    """Take everything out of a file that a batch run has to itself."""
    bpy.data.batch_remove([item for kind in _DATA for item in getattr(bpy.data, kind)])
