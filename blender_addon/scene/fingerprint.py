"""What is seen of a scene → a short text: the same as long as its pictures would be.

A .blend cannot tell: saved twice, it is two different files. What Blender knows about the data that
a scene needs is read here, but for what only the frame at hand, a selection or a window decides.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

import bpy
import numpy as np

from ..core.errors import WeightwalkError
from ..core.stages import Ticks
from .arrays import arrays_of, attributes_of
from .keys import curves, values_of

# Bytes that are taken into account in a step.
CHUNK = 1 << 22

_VALUES = frozenset({"BOOLEAN", "INT", "FLOAT", "STRING", "ENUM"})
# Of whatever it is: of windows, of Blender's bookkeeping, or evaluated at the frame at hand.
_NEVER = frozenset({
    "rna_type", "original", "library", "library_weak_reference", "override_library", "tag",
    "use_fake_user", "use_extra_user", "is_runtime_data", "select", "active", "is_active",
    "show_expanded", "show_preview", "show_options", "show_texture", "is_valid", "bl_label",
    "bl_description", "bl_icon", "pixels", "is_muted_by_driver", "use_pin_to_last",
    "show_group_selector", "show_manage_panel", "action_slot_handle",
})  # fmt: skip
_BEGINNINGS = (
    "active_", "select_", "open_", "preview_", "paint_", "is_select", "texture_paint_",
    "action_slot_handle_",
)  # fmt: skip
# What of a data-block's parts is read. Others may be unsafe to read, or change by themselves.
_PARTS = frozenset({
    "animation_data", "nla_tracks", "strips", "drivers", "driver", "variables", "targets",
    "modifiers", "constraints", "material_slots", "materials", "nodes", "inputs", "outputs",
    "links", "color_ramp", "elements", "mapping", "curves", "points", "image_user", "key_blocks",
    "pose", "bones", "splines", "bezier_points", "body_format", "text_boxes", "layers",
    "channelbags", "fcurves", "slots", "render", "image_settings", "view_settings",
    "curve_mapping", "display_settings", "display", "shading", "eevee", "cycles", "cycles_curves",
    "view_layers", "layer_collection", "children", "objects", "dof", "light_settings",
    "mist_settings", "properties", "particle_systems", "texture_slots", "falloff_curve",
    "frames", "drawing", "colorspace_settings",
})  # fmt: skip
# Of one kind, and of what is derived from it.
_NOT_OF: dict[str, frozenset[str]] = {
    "Object": frozenset({"matrix_world", "matrix_local", "matrix_basis", "dimensions"}),
    "PoseBone": frozenset({"matrix", "matrix_basis"}),
    "ImageUser": frozenset({"frame_current"}),
    "RenderSettings": frozenset({"filepath", "threads"}),
    "Node": frozenset({
        "location", "location_absolute", "width", "height", "hide", "label", "color",
        "use_custom_color", "parent", "internal_links", "dimensions",
    }),
    "NodeTree": frozenset({"default_group_node_width", "annotation"}),
    "NodeSocket": frozenset({"hide"}),
    "View3DShading": frozenset({"wireframe_color_type"}),
    "LayerCollection": frozenset({"hide_viewport"}),
    "ViewLayer": frozenset({"objects"}),
    "NlaStrip": frozenset({"strip_time", "influence"}),
}  # fmt: skip
# Of these, nothing but what is named, in this order.
_ONLY: dict[str, tuple[str, ...]] = {
    "Action": ("slots", "layers"),
    "FCurve": ("data_path", "array_index", "extrapolation", "mute", "driver", "modifiers"),
    "Scene": (
        "frame_start", "frame_end", "frame_step", "use_nodes", "use_gravity", "gravity", "camera",
        "world", "background_set", "render", "view_settings", "display_settings", "display",
        "eevee", "cycles", "cycles_curves", "grease_pencil_settings", "collection", "view_layers",
        "animation_data", "node_tree", "compositing_node_group", "sequence_editor",
        "sequencer_colorspace_settings", "rigidbody_world",
    ),
}  # fmt: skip
# Held by their name alone: what is in them is not seen, or is much and does not change.
_NAMED = frozenset(
    {"Library", "Screen", "WorkSpace", "WindowManager", "Brush", "Text", "MovieClip"}
)
Moved = frozenset[tuple[str, int]]


def fingerprint_steps(
    scene: bpy.types.Scene, camera: str, choices: Sequence[tuple[str, Any]] = ()
) -> Ticks[str]:
    """Return a text that is another one where a scene's pictures would be others.

    It depends neither on the frame at hand nor on what is selected. Of what has keys, the keys
    count, and not the value of the moment. Another Blender, which may draw otherwise, gives another
    text.

    Parameters
    ----------
    scene : bpy.types.Scene
    camera : str
        Name of the camera.
    choices : sequence of (str, value)
        What is other in the pictures than in the scene; see `render.choices`.

    Raises
    ------
    WeightwalkError
        Something was removed from the scene meanwhile.
    """
    try:
        return (yield from _Reading(scene, camera, choices).steps())
    except ReferenceError as error:
        raise WeightwalkError("the scene was changed while it was read; export it again") from error


class _Reading:
    """What was read so far of all that a scene needs.

    Data-blocks are read one by one, each at one go: nothing within one of them is held from step
    to step, for Blender would crash if a person had removed it meanwhile.
    """

    def __init__(
        self, scene: bpy.types.Scene, camera: str, choices: Sequence[tuple[str, Any]]
    ) -> None:
        self.sum = hashlib.sha256()
        self.given = frozenset(path for path, _ in choices)
        self.scene = scene
        self.waiting: deque[bpy.types.ID] = deque()
        self.known: set[int] = set()
        # Of what was read of the data-block at hand, where.
        self.paths: dict[tuple[int, str], str] = {}
        held = bpy.data.objects.get(camera)
        self.say(bpy.app.version_string, camera, [(path, _plain(v)) for path, v in choices])
        self.meet(scene)
        things = sorted(scene.objects, key=lambda thing: thing.name_full)
        for thing in chain([held] if held else (), things):
            self.meet(thing)

    def steps(self) -> Ticks[str]:
        """Read it all, a data-block at a time."""
        while self.waiting:
            yield 0
            block = self.waiting.popleft()
            self.say(block.bl_rna.identifier, block.name_full)
            self.paths = {}
            self.struct(block, "", _moved(block))
            self.paths = {}
            for array in arrays_of(block):
                yield 0
                data = memoryview(np.ascontiguousarray(array)).cast("B")
                for start in range(0, len(data), CHUNK):
                    self.sum.update(data[start : start + CHUNK])
                    yield 0
        return self.sum.hexdigest()

    def say(self, *facts: object) -> None:
        """Take something into account."""
        self.sum.update(f"{facts!r}\n".encode("utf-8", "backslashreplace"))

    def meet(self, block: bpy.types.ID) -> None:
        """Note a data-block that is to be read later."""
        other = isinstance(block, bpy.types.Scene) and block != self.scene
        if block.as_pointer() not in self.known and not other:
            self.known.add(block.as_pointer())
            if block.bl_rna.identifier not in _NAMED:
                self.waiting.append(block)

    def struct(self, owner: Any, path: str, moved: Moved) -> None:
        """Read a data-block, or a part of one."""
        key = owner.as_pointer(), owner.bl_rna.identifier
        if key in self.paths:
            self.say(path, "is", self.paths[key])
            return
        self.paths[key] = path
        values, inner = _properties(owner)
        facts: list[object] = [path, owner.bl_rna.identifier]
        of_scene = owner.id_data == self.scene
        for name in values:
            where = f"{path}.{name}" if path else name
            if not (of_scene and where in self.given):
                facts += (name, _still(_value(owner, name), where, moved))
        facts += _custom(owner, path, moved)
        if isinstance(owner, bpy.types.FCurve):
            facts.append(_keys(owner))
        if isinstance(owner, bpy.types.NodeLink):
            facts += (owner.from_node.name, owner.from_socket.identifier)
            facts += (owner.to_node.name, owner.to_socket.identifier)
        self.say(*facts)
        if not isinstance(owner, bpy.types.ID):
            for array in attributes_of(owner):
                self.sum.update(array.tobytes())
        for name, many in inner:
            self.part(getattr(owner, name, None), name, f"{path}.{name}" if path else name,
                      moved, many=many)  # fmt: skip

    def part(self, held: Any, name: str, path: str, moved: Moved, *, many: bool) -> None:
        """Read what a property points at."""
        if held is None:
            return
        if many:
            # Keys of sockets have numbers in their paths, for names may be there twice.
            named = name not in {"inputs", "outputs"}
            for i, item in enumerate(held):
                at = getattr(item, "name", None) if named else None
                text = isinstance(at, str)
                label = f'"{bpy.utils.escape_identifier(at)}"' if text else str(i)
                self.part(item, "", f"{path}[{label}]", moved, many=False)
        elif not isinstance(held, bpy.types.ID):
            self.struct(held, path, moved)
        elif held.is_embedded_data:
            # Its keys are its own, and have paths from it.
            self.say(path, "has")
            outer, self.paths = self.paths, {}
            self.struct(held, "", _moved(held))
            self.paths = outer
        else:
            self.say(path, held.bl_rna.identifier, held.name_full)
            self.meet(held)


def _properties(owner: Any) -> tuple[list[str], list[tuple[str, bool]]]:
    """Return the names of a thing's plain values, and of what it points at (name, many)."""
    rna = owner.bl_rna
    # Blender makes some for one thing alone, as for the inputs of a modifier.
    return _listed(rna.identifier) if hasattr(bpy.types, rna.identifier) else _list(rna)


@cache
def _listed(identifier: str) -> tuple[list[str], list[tuple[str, bool]]]:
    return _list(getattr(bpy.types, identifier).bl_rna)


def _list(rna: Any) -> tuple[list[str], list[tuple[str, bool]]]:
    kinds, base = [rna.identifier], rna.base
    while base is not None:
        kinds.append(base.identifier)
        base = base.base
    without = _NEVER.union(*(_NOT_OF.get(kind, ()) for kind in kinds))
    arrays = "attributes" in rna.properties
    only = next((_ONLY[kind] for kind in kinds if kind in _ONLY), None)
    names = [n for n in only if n in rna.properties] if only else rna.properties.keys()
    values, inner = [], []
    for name in names:
        if name in without or name.startswith(_BEGINNINGS):
            continue
        held = rna.properties[name]
        if held.type in _VALUES:
            # Blender warns of those that it is about to drop when they are read.
            if not held.is_readonly and not getattr(held, "is_deprecated", False):
                values.append(name)
        elif (name in _PARTS and not (arrays and name in {"points", "curves"})) or _is_block(held):
            inner.append((name, held.type == "COLLECTION"))
    return values, inner


def _is_block(held: Any) -> bool:
    """Return whether a property points at a data-block; the inputs of modifiers have no kind."""
    kind = held.fixed_type
    while kind is not None and kind.identifier != "ID":
        kind = kind.base
    one = held.type == "POINTER"
    return one and (kind is not None or held.identifier.startswith("Socket_"))


def _value(owner: Any, name: str) -> object:
    try:
        return _plain(getattr(owner, name))
    except (AttributeError, RuntimeError, TypeError, ValueError) as error:
        return type(error).__name__


def _plain(value: Any) -> object:
    """Return a value of Blender's as one of Python's."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, bpy.types.ID):
        return value.name_full
    if isinstance(value, set | frozenset):
        return sorted(value)
    if hasattr(value, "to_list"):
        return value.to_list()
    try:
        return [_plain(item) for item in value]
    except TypeError:
        return type(value).__name__


def _still(value: object, path: str, moved: Moved) -> object:
    """Return a value without what of it keys or drivers change."""
    if not moved:
        return value
    if isinstance(value, list):
        return [None if (path, i) in moved else item for i, item in enumerate(value)]
    return None if (path, 0) in moved else value


def _custom(owner: Any, path: str, moved: Moved) -> Iterator[object]:
    """Yield the custom properties of a thing that has some, but for groups: those of add-ons."""
    try:
        names = sorted(set(owner.keys()) - set(owner.bl_rna.properties.keys()))
    except (AttributeError, TypeError):
        return
    for name in names:
        if hasattr(owner[name], "to_dict"):
            continue
        where = f'{path}["{bpy.utils.escape_identifier(name)}"]'
        yield name, _still(_plain(owner[name]), where, moved)


def _moved(block: bpy.types.ID) -> Moved:
    """Return paths and indices of all in a data-block that keys or drivers change."""
    held = getattr(block, "animation_data", None)
    if held is None:
        return frozenset()
    pairs = [(held.action, held.action_slot)] if held.action and held.action_slot else []
    strips = [strip for track in held.nla_tracks for strip in track.strips]
    pairs += [(s.action, s.action_slot) for s in strips if s.action and s.action_slot]
    found: Iterable[Any] = chain(held.drivers, *(curves(action, slot) for action, slot in pairs))
    return frozenset((curve.data_path, curve.array_index) for curve in found)


def _keys(curve: bpy.types.FCurve) -> object:
    points = curve.keyframe_points
    kinds = []
    for name in ("interpolation", "easing"):
        kind = np.empty(len(points), np.int32)
        points.foreach_get(name, kind)
        kinds.append(kind.tobytes())
    elastic = np.empty((3, len(points)), np.float32)
    for row, name in zip(elastic, ("back", "amplitude", "period"), strict=True):
        points.foreach_get(name, row)
    samples = np.empty(2 * len(curve.sampled_points), np.float32)
    curve.sampled_points.foreach_get("co", samples)
    keyed = np.array(values_of(curve), np.float32)
    whole = (keyed.tobytes(), *kinds, elastic.tobytes(), samples.tobytes())
    return [hashlib.sha256(b"".join(whole)).hexdigest(), len(points), len(samples)]
