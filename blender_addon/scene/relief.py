"""Terrain that flows: a shape key a step, and colours that follow the height at every frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import bpy
import numpy as np
import numpy.typing as npt

from ..core.color import ColorScale, color_map, decode_srgb
from ..core.relief import Relief, Sheet
from ..core.settings import ColorMap
from ..core.stages import Ticks
from ..core.timeline import Timeline
from .keys import Keys, add_key, curves_of, give, new_action, set_keys
from .made import Made
from .mesh import (
    CELL,
    COLOR,
    ORIGIN,
    STEP,
    VALUE,
    Attribute,
    color_attribute,
    mesh_steps,
    new_object,
    set_provenance,
)

Float64 = npt.NDArray[np.float64]
Rgb = tuple[int, int, int]

FLAT = "flat"  # an attribute: where a vertex lies at height 0, along the axis that moves it
ACTION, GROUP = "Weightwalk relief", "Weightwalk relief colours"
STOPS = 32  # colours that a ramp of Blender's can have


def relief_steps(
    relief: Relief, names: Sequence[str], material: bpy.types.Material, colors: bpy.types.NodeTree
) -> Ticks[bpy.types.Object]:
    """Make the object of a relief, with a shape key for each step, that nothing moves yet.

    Parameters
    ----------
    relief : Relief
    names : sequence of str
        Of the steps.
    material : bpy.types.Material
    colors : bpy.types.NodeTree
        See `new_colors`.
    """
    thing = yield from sheet_steps(relief, names, material, colors, axis=1)
    set_provenance(thing, relief.part.extras)
    thing["plan"], thing["step"] = relief.plan.name, relief.placement.step
    thing[ORIGIN] = relief.part.translation
    return thing


def sheet_steps(
    relief: Sheet,
    names: Sequence[str],
    material: bpy.types.Material,
    colors: bpy.types.NodeTree,
    *,
    axis: int,
) -> Ticks[bpy.types.Object]:
    """Do what `relief_steps` does, of any sheet, without provenance.

    Parameters
    ----------
    relief, names, material, colors
        As there.
    axis : int
        Along which the sheet is moved: 1 where it stands, 2 where it lies.
    """
    part = relief.part
    attributes = (
        color_attribute(part.colors),
        Attribute(FLAT, "FLOAT", part.vertices[:, axis]),
        Attribute(VALUE, "FLOAT", np.zeros(len(part.vertices), np.float32)),
        Attribute(CELL, "INT", relief.cells),
    )
    mesh = yield from mesh_steps(part.name, part.vertices, part.faces, attributes)
    thing = None
    try:
        mesh.materials.append(material)
        thing = new_object(part.name, mesh)
        thing.location, thing[STEP] = part.translation, -1
        thing.shape_key_add(name="Basis", from_mix=False)
        mesh.shape_keys.name = part.name
        for step, name in enumerate(names):
            yield 0
            add_shape(thing, relief, step, name)
        thing.modifiers.new("Colour by height", "NODES").node_group = colors
        return thing
    except BaseException:
        bpy.data.batch_remove([one for one in (thing, mesh) if one is not None])
        raise


def add_shape(thing: bpy.types.Object, relief: Sheet, step: int, name: str) -> bpy.types.ShapeKey:
    """Add a shape key of a step; its value is 0."""
    key = thing.shape_key_add(name=name, from_mix=False)
    key.value = 0.0
    moved = relief.part.vertices + relief.offsets(step)
    key.points.foreach_set("co", moved.astype(np.float32).ravel())
    return key


def flow(
    reliefs: Sequence[bpy.types.Object], timeline: Timeline, made: Made, name: str = ACTION
) -> bpy.types.Action | None:
    """Let reliefs flow from step to step: one action moves the shape keys of all of them."""
    if not reliefs:
        return None
    action = made.named(new_action(name, "KEY"), name)
    blocks = reliefs[0].data.shape_keys.key_blocks
    for step, block in enumerate(blocks[1:]):
        frames, values = zip(*shape_keys(timeline, step), strict=True)
        path = path_of(block)
        set_keys(action, Keys(path, 0, np.array(frames), np.array(values), "LINEAR"))
    for relief in reliefs:
        give(relief.data.shape_keys, action)
    return action


def path_of(block: bpy.types.ShapeKey) -> str:
    """Return the path of a shape key's value from the keys that it is one of."""
    return f'key_blocks["{bpy.utils.escape_identifier(block.name)}"].value'


def peaks(timeline: Timeline, step: int) -> tuple[int, ...]:
    """Return the frames at which a relief is that of a step alone."""
    # With one frame a step, the second would be that of the next one.
    return tuple(frame for frame in timeline.middle(step) if frame <= timeline.last(step))


def shape_keys(timeline: Timeline, step: int) -> list[tuple[int, float]]:
    """Return frames and values of a step's shape key: straight from one middle to the next."""
    keys = [(frame, 1.0) for frame in peaks(timeline, step)]
    if step > 0:
        keys.insert(0, (peaks(timeline, step - 1)[-1], 0.0))
    if step < timeline.steps - 1:
        keys.append((peaks(timeline, step + 1)[0], 0.0))
    return keys


def flow_on(reliefs: Sequence[bpy.types.Object], timeline: Timeline) -> None:
    """Let reliefs flow on to a last step, whose shape keys are there already."""
    step = timeline.steps - 1
    first = peaks(timeline, step)[0]
    for relief in reliefs:
        keys = relief.data.shape_keys
        new, before = keys.key_blocks[-1], keys.key_blocks[-2]
        held = curves_of(keys)
        if keys.animation_data is None or keys.animation_data.action is None:
            continue
        if (path_of(new), 0) in held:
            continue
        frames, values = zip(*shape_keys(timeline, step), strict=True)
        made = Keys(path_of(new), 0, np.array(frames), np.array(values), "LINEAR")
        set_keys(keys.animation_data.action, made)
        last = held.get((path_of(before), 0))
        if last is not None:
            add_key(last, first, 0.0, "LINEAR")


def new_colors(
    scale: ColorScale,
    height: float,
    *,
    name: str = GROUP,
    lying: bool = False,
    beyond: tuple[Rgb, Rgb] | None = None,
) -> bpy.types.NodeTree:
    """Make nodes that give each vertex its value, from its height, and the colour of that.

    Parameters
    ----------
    scale : ColorScale
    height : float
        Metres for one σ.
    name : str
        Of the nodes.
    lying : bool
        Whether what lies on the floor is moved along Z, and not what stands along -Y.
    beyond : tuple of 2 colours or None
        Of what lies below and above the scale, sRGB-encoded 8-bit values; None where these have
        the colours of its ends.
    """
    tree = bpy.data.node_groups.new(name, "GeometryNodeTree")
    for way in ("INPUT", "OUTPUT"):
        tree.interface.new_socket("Geometry", in_out=way, socket_type="NodeSocketGeometry")
    nodes, link = tree.nodes, tree.links.new
    begin, end = nodes.new("NodeGroupInput"), nodes.new("NodeGroupOutput")
    position, flat = nodes.new("GeometryNodeInputPosition"), nodes.new(_NAMED)
    flat.data_type, flat.inputs["Name"].default_value = "FLOAT", FLAT
    apart = nodes.new("ShaderNodeSeparateXYZ")
    link(position.outputs["Position"], apart.inputs["Vector"])
    if lying:
        above = _math(tree, "SUBTRACT", apart.outputs["Z"], _named(flat))
    else:
        above = _math(tree, "SUBTRACT", _named(flat), apart.outputs["Y"])
    value = _math(tree, "DIVIDE", above, height)
    # The colours are those of 256 values, as everywhere.
    share = _math(tree, "DIVIDE", _math(tree, "SUBTRACT", value, scale.low), scale.high - scale.low)
    clamped = _math(tree, "MINIMUM", _math(tree, "MAXIMUM", share, 0.0), 1.0)
    rounded = _math(tree, "ROUND", _math(tree, "MULTIPLY", clamped, 255.0), None)
    ramp = nodes.new("ShaderNodeValToRGB")
    _fill(ramp.color_ramp, scale)
    link(_math(tree, "DIVIDE", rounded, 255.0), ramp.inputs[0])
    color = ramp.outputs["Color"]
    if beyond is not None:
        # A height in single precision may be off by its last digits.
        for test, bound, outside in zip(
            ("LESS_THAN", "GREATER_THAN"), (scale.low, scale.high), beyond, strict=True
        ):
            out = _math(tree, test, value, bound * (1.0 + 1e-5))
            color = _switch(tree, out, color, decode_srgb(np.array(outside) / 255.0))
    stored = begin.outputs["Geometry"]
    for attribute, kind, source in (
        (VALUE, "FLOAT", value),
        (COLOR, "FLOAT_COLOR", color),
    ):
        store = nodes.new("GeometryNodeStoreNamedAttribute")
        store.data_type, store.domain = kind, "POINT"
        store.inputs["Name"].default_value = attribute
        link(stored, store.inputs["Geometry"])
        link(source, next(s for s in store.inputs if s.name == "Value" and s.enabled))
        stored = store.outputs["Geometry"]
    link(stored, end.inputs["Geometry"])
    for i, node in enumerate(nodes):
        node.location = (180.0 * i, 0.0)
    return tree


_NAMED = "GeometryNodeInputNamedAttribute"


def _named(node: bpy.types.Node) -> bpy.types.NodeSocket:
    return next(s for s in node.outputs if s.name == "Attribute" and s.enabled)


def _math(
    tree: bpy.types.NodeTree,
    operation: str,
    a: bpy.types.NodeSocket,
    b: bpy.types.NodeSocket | float | None,
) -> bpy.types.NodeSocket:
    node = tree.nodes.new("ShaderNodeMath")
    node.operation = operation
    tree.links.new(a, node.inputs[0])
    if isinstance(b, float | int):
        node.inputs[1].default_value = b
    elif b is not None:
        tree.links.new(b, node.inputs[1])
    return node.outputs[0]


def _switch(
    tree: bpy.types.NodeTree, out: bpy.types.NodeSocket, color: bpy.types.NodeSocket, other: Float64
) -> bpy.types.NodeSocket:
    """Return another colour, in linear light, where a number is 1 and not 0."""
    node = tree.nodes.new("GeometryNodeSwitch")
    node.input_type = "RGBA"
    tree.links.new(out, node.inputs["Switch"])
    tree.links.new(color, node.inputs["False"])
    node.inputs["True"].default_value = (*other, 1.0)
    return node.outputs["Output"]


def _fill(ramp: bpy.types.ColorRamp, scale: ColorScale) -> None:
    ramp.interpolation = "LINEAR"
    linear = _linear(scale.diverging, scale.map)
    knots = ramp_knots(scale.diverging, scale.map)
    stops = ramp.elements
    while len(stops) < len(knots):
        stops.new(1.0)
    # Rising, for Blender sorts them by position while they are set.
    for stop, knot in zip(stops, knots, strict=True):
        stop.position = knot / 255.0
        stop.color = (*linear[knot], 1.0)


def _linear(diverging: bool, map: ColorMap) -> Float64:
    return decode_srgb(color_map(diverging, map)[:, :3] / 255.0)


@cache
def ramp_knots(diverging: bool, map: ColorMap) -> tuple[int, ...]:
    """Return which of a map's 256 colours a ramp with `STOPS` of them is made of.

    Straight lines between these, in linear light, stay as near to the map as 8 bits allow.
    """
    linear = _linear(diverging, map)
    for allowed in (0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, np.inf):
        knots = [0]
        while knots[-1] < 255 and len(knots) < STOPS:
            a = knots[-1]
            reach = range(min(a + 24, 255), a, -1)
            knots.append(next(b for b in reach if b == a + 1 or _off(linear, a, b) <= allowed))
        if knots[-1] == 255:
            break
    return tuple(knots)


def _off(linear: Float64, a: int, b: int) -> float:
    """Return how far a line is from the colours between its ends, in 255ths, as encoded."""
    t = np.linspace(0.0, 1.0, b - a + 1)[:, None]
    line = (1.0 - t) * linear[a] + t * linear[b]
    return float(255.0 * np.abs(_encode(line) - _encode(linear[a : b + 1])).max())


def _encode(linear: Float64) -> Float64:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
