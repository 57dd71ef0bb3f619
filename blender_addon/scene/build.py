"""Exhibits → a Blender scene: the corridor, its floor, its light, its labels and a camera.

Everything is made out of sight, a few milliseconds at a time, and enters the scene at one go; what
then becomes of surfaces that were there before is told in `swap`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, product
from math import atan2

import bpy
import numpy as np
from mathutils import Vector

from ..core.errors import WeightwalkError
from ..core.exhibit import Exhibit
from ..core.layout import Layout
from ..core.legend import captions
from ..core.model import Model, Progress
from ..core.record import Record
from ..core.settings import FieldKind
from ..core.stages import told
from . import compat
from .camera import overview
from .flow_ground import settle
from .labels import Ink, Legend, Subject, legend, plates, signs, subjects
from .made import Made
from .material import glowing_material, plain_material, surface_material
from .mesh import COLOR, INDEX, MARK, RUN, Attribute, new_mesh, new_object, surface_steps
from .ours import find_root, materials_of, run_of, stands
from .swap import swap

__all__ = ["View", "build_steps", "clear", "corners_of", "find_root", "toward"]

BACKGROUND = (0.010, 0.012, 0.017)
FLOOR = (0.006, 0.007, 0.010)
INK = (0.80, 0.82, 0.86)
# A label takes as long to make as so many faces.
FACES_PER_LABEL = 1000

_DATA = (
    "collections", "objects", "meshes", "curves", "fonts", "materials", "lights", "cameras",
    "worlds", "actions", "node_groups",
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

    @property
    def turn(self) -> float:
        """Angle about Z from looking along +Y, in radians."""
        return atan2(-self.toward[0], self.toward[1])


def toward(kind: FieldKind, fields: int) -> tuple[float, float, float]:
    """Face plates; look at volumes from the side, one alone more than a corridor of them."""
    if kind == "slab":
        return 0.0, 1.0, -0.75
    return (0.75, 1.0, -0.55) if fields == 1 else (0.4, 1.0, -0.7)


@dataclass(frozen=True)
class Materials:
    """What things are made of; a person may have changed those of an earlier build."""

    surface: bpy.types.Material
    ink: Ink
    floor: bpy.types.Material


@dataclass(frozen=True)
class Site:
    """Where surfaces are put while they are made.

    Attributes
    ----------
    layers : dict of str to bpy.types.Collection
        By the names of the stops.
    material : bpy.types.Material
    made : Made
    run : str
        See `ours.run_of`.
    total : int
        All work of the build, in faces.
    first : int
        Number of the first surface.
    """

    layers: dict[str, bpy.types.Collection]
    material: bpy.types.Material
    made: Made
    run: str
    total: int
    first: int = 0

    def put(self, surface: bpy.types.Object, layer: str, index: int) -> None:
        """Put a surface into the collection of its layer."""
        surface[INDEX], surface[RUN] = self.first + index, self.run
        self.layers[layer].objects.link(self.made.keep(surface))


# Makes surfaces and puts them on the site.
Surfaces = Callable[[Site], Generator[Progress, None, None]]


@dataclass(frozen=True)
class Scenery:
    """What stands in a scene beside its surfaces, and how large the work of these is.

    Attributes
    ----------
    record : Record
        Its name is that of the root collection.
    layout : Layout
    fields : list of Subject
    legend : Legend
    view : View
    faces : int
    """

    record: Record
    layout: Layout
    fields: list[Subject]
    legend: Legend
    view: View
    faces: int


def build_steps(
    scene: bpy.types.Scene, model: Model, aspect: float
) -> Generator[Progress, None, bpy.types.Collection]:
    """Stand a model's surfaces in a scene, with all that makes them readable.

    Everything goes into one collection, with one below it for each layer. The scene gets our
    camera and world only where it has none of its own. Until the last step nothing of it is in
    the scene; when that is not reached, what was made is removed.

    Parameters
    ----------
    scene : bpy.types.Scene
    model : Model
    aspect : float
        Width of the picture over its height.

    Yields
    ------
    Progress
        Before each step. Blender may do other things meanwhile, but for undo and for opening
        another file: close the generator before these.

    Returns
    -------
    bpy.types.Collection
    """
    if not model.exhibits:
        raise WeightwalkError("there is nothing to show")
    exhibits, layout = model.exhibits, model.layout
    nonfinite = any(e.surface.sign == 0 for e in exhibits)
    fields = subjects((e.surface for e in exhibits), layout)
    scenery = Scenery(
        Record.of(model),
        layout,
        fields,
        Legend(model.name, captions(model), model.scale, nonfinite),
        View(toward(model.settings.field.kind, len(fields)), aspect),
        sum(len(e.part.faces) for e in exhibits),
    )
    return (yield from stand_steps(scene, scenery, partial(_surfaces, exhibits)))


def _surfaces(exhibits: Sequence[Exhibit], site: Site) -> Generator[Progress, None, None]:
    done = 0
    for i, exhibit in enumerate(exhibits):
        now = Progress("scene", done, site.total, exhibit.part.name)
        yield now
        # Closed at once, for an error that somebody holds would keep the half-made mesh.
        with closing(surface_steps(exhibit, site.material)) as making:
            surface = yield from told(making, now)
        site.put(surface, exhibit.placement.collection, i)
        done += len(exhibit.part.faces)


def stand_steps(
    scene: bpy.types.Scene,
    scenery: Scenery,
    surfaces: Surfaces,
    finish: Callable[[bpy.types.Collection, Made], bpy.types.Object | None] | None = None,
) -> Generator[Progress, None, bpy.types.Collection]:
    """Do what `build_steps` does, for surfaces of any kind.

    Parameters
    ----------
    scene : bpy.types.Scene
    scenery : Scenery
    surfaces : callable
    finish : callable or None
        Called with all that was made before it enters the scene; returns the camera that the
        picture is taken with, or None for the overview.
    """
    made = Made()
    try:
        yield Progress("scene", 0, 1, "materials")
        old = find_root(scene)
        materials = furniture(materials_of(old), made)
        del old
        record, view = scenery.record, scenery.view
        root = made.collection(f"Weightwalk {record.model}")
        root[MARK] = record.to_json()
        points = yield from _furnish(root, scenery, surfaces, materials, made)
        yield Progress("scene", 1, 1, "all into place")
        shot = overview(points, np.array(view.toward), view.aspect)
        stage = made.group("Stage", root)
        stage.objects.link(made.keep(new_floor(points, shot.far, materials.floor)))
        first = not stands(scene)
        for lamp in new_lights() if first else ():
            stage.objects.link(made.keep(lamp))
        world = made.keep(new_world()) if first and scene.world is None else scene.world
        camera = finish(root, made) if finish else None
        swap(scene, root, made, shot, camera)
        scene.world = world
        settle(scene)
    except BaseException:
        made.take_back()
        raise
    return root


def _furnish(
    root: bpy.types.Collection,
    scenery: Scenery,
    surfaces: Surfaces,
    materials: Materials,
    made: Made,
) -> Generator[Progress, None, np.ndarray]:
    """Make surfaces and labels; return the corners of all that the camera should see."""
    layout, fields, ink = scenery.layout, scenery.fields, materials.ink
    layers = {stop.label: made.group(stop.label, root) for stop in layout.stops}
    total = scenery.faces + FACES_PER_LABEL * (len(fields) + len(layout.stops))
    yield from surfaces(Site(layers, materials.surface, made, run_of(root), total))
    done = scenery.faces
    points = [np.array(list(product(*zip(layout.low, layout.high, strict=True))))]
    for group, labels in (
        ("Labels", chain(plates(fields, ink), signs(layout, fields, ink))),
        ("Legend", legend(scenery.legend, layout, ink, scenery.view.turn)),
    ):
        collection = made.group(group, root)
        for label in labels:
            collection.objects.link(made.keep(label))
            if label.type != "EMPTY":
                points.append(corners_of(label))
            done += FACES_PER_LABEL
            yield Progress("scene", min(done, total - 1), total, group)
    return np.concatenate(points)


def corners_of(label: bpy.types.Object) -> np.ndarray:
    """Return the corners of a label's box, shape (8, 3), also before Blender knows where it is."""
    desk = label.parent
    matrix = desk.matrix_basis @ label.matrix_basis if desk else label.matrix_basis
    return np.array([matrix @ Vector(corner) for corner in label.bound_box])


def furniture(known: dict[str, bpy.types.Material], made: Made) -> Materials:
    """Return the materials of an earlier build, and new ones for those that are not there."""
    makers = {
        "Weightwalk surface": surface_material,
        "Weightwalk text": lambda name: glowing_material(name, INK),
        "Weightwalk scale": lambda name: glowing_material(name, None),
        "Weightwalk floor": lambda name: plain_material(name, FLOOR),
    }
    for name, make in makers.items():
        if name not in known:
            known[name] = made.keep(make(name))
            known[name][MARK] = name
    surface, text, scale, floor = (known[name] for name in makers)
    return Materials(surface, Ink(text, scale), floor)


def new_floor(points: np.ndarray, far: float, material: bpy.types.Material) -> bpy.types.Object:
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
    mesh.materials.append(material)
    return new_object("Floor", mesh)


def new_lights() -> Iterator[bpy.types.Object]:
    """Make a warm sun over the visitor's left shoulder and a faint cool one from behind."""
    for name, energy, color, turn in (
        ("Sun", 3.2, (1.0, 0.95, 0.88), (0.85, -0.25, -0.45)),
        ("Back light", 0.9, (0.7, 0.8, 1.0), (-0.9, 0.35, 0.4)),
    ):
        light = bpy.data.lights.new(name, "SUN")
        light.energy, light.color, light.angle = energy, color, 0.06
        lamp = new_object(name, light)
        lamp.rotation_euler = turn
        lamp.location = (0.0, 0.0, 12.0)
        yield lamp


def new_world() -> bpy.types.World:
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
