"""Walking: Blender's own walk navigation, from layer to layer, and back to the overview."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy

from .course import course_of
from .view import place_of, show_flow, show_overview, stand_before

# Operator, key, shift, and the operator's properties.
KEYS = (
    ("weightwalk.walk", "W", {"ctrl": True, "shift": True}, {}),
    ("weightwalk.step", "PAGE_DOWN", {}, {"by": 1}),
    ("weightwalk.step", "PAGE_UP", {}, {"by": -1}),
    ("weightwalk.overview", "HOME", {"shift": True}, {}),
)


class InView:
    """Base of operators that move the viewer of a 3D view with layers to walk along."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With a view, and a corridor or a flow in the scene."""
        if place_of(context) is None:
            cls.poll_message_set("this needs a 3D view: Blender runs without a window")
            return False
        if course_of(context) is None:
            cls.poll_message_set("build a model or a flow first")
            return False
        return True


class Walk(InView, bpy.types.Operator):
    """Walk through the layers: W A S D and the mouse, Shift is faster; click to stay where you are, Esc to go back"""  # noqa: D400, E501 (a tooltip)

    bl_idname = "weightwalk.walk"
    bl_label = "Walk"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Stand before the first layer and hand over to Blender."""
        place, course = place_of(context), course_of(context)
        weights, inputs = context.scene.weightwalk, context.preferences.inputs.walk_navigation
        stand_before(place, course, None)
        wanted = {
            "walk_speed": course.pace * weights.walk_speed,
            "mouse_speed": weights.mouse_speed,
            "use_gravity": False,
        }
        own = {name: getattr(inputs, name) for name in wanted}
        dirty = context.preferences.is_dirty
        try:
            _set(inputs, wanted)
            with context.temp_override(area=place.area, region=place.region):
                # It reads its preferences once, at the start: the person's own come back at once,
                # and nothing that happens while walking can keep ours.
                bpy.ops.view3d.walk("INVOKE_DEFAULT")
        finally:
            _set(inputs, own)
            context.preferences.is_dirty = dirty
        return {"FINISHED"}


def _set(owner: object, values: dict[str, object]) -> None:
    for name, value in values.items():
        setattr(owner, name, value)


class Step(InView, bpy.types.Operator):
    """Go to the next or the previous layer"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.step"
    bl_label = "Go to Another Layer"

    by: bpy.props.IntProperty(name="Layers", default=1)

    @classmethod
    def description(cls, _context: bpy.types.Context, properties: Any) -> str:
        """Return the tooltip."""
        which = "next" if properties.by > 0 else "previous"
        return f"Stand before the {which} layer"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Go."""
        place, course = place_of(context), course_of(context)
        at = course.reached(place.eye) + self.by
        at = min(max(at, 0), len(course.stops) - 1)
        stand_before(place, course, at)
        self.report({"INFO"}, course.stops[at].label)
        return {"FINISHED"}


class GoTo(InView, bpy.types.Operator):
    """Stand before this layer"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.go_to"
    bl_label = "Go to a Layer"

    stop: bpy.props.IntProperty(name="Stop", min=0)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Go."""
        course = course_of(context)
        stand_before(place_of(context), course, min(self.stop, len(course.stops) - 1))
        return {"FINISHED"}


class Overview(InView, bpy.types.Operator):
    """See the whole model, or the whole flow"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.overview"
    bl_label = "Overview"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Go back to where everything is in view."""
        if course_of(context).flow is None:
            show_overview(context)
        else:
            show_flow(context)
        return {"FINISHED"}


class LayerMenu(bpy.types.Menu):
    """The layers that can be walked to."""

    bl_idname = "WEIGHTWALK_MT_layers"
    bl_label = "Go to layer"

    def draw(self, context: bpy.types.Context) -> None:
        """Name them."""
        course = course_of(context)
        stops = course.stops if course else ()
        flow = self.layout.column_flow(columns=1 + len(stops) // 25)
        for i, stop in enumerate(stops):
            flow.operator(GoTo.bl_idname, text=stop.label).stop = i


def key_of(context: bpy.types.Context, operator: str, **properties: object) -> str:
    """Return the key of an operator, as the person may have changed it, or ""."""
    config = context.window_manager.keyconfigs.user
    keymap = config.keymaps.get("3D View") if config else None
    for item in keymap.keymap_items if keymap else ():
        if item.idname != operator or not item.active:
            continue
        if all(getattr(item.properties, k) == v for k, v in properties.items()):
            return item.to_string()
    return ""


def add_keys() -> Callable[[], None]:
    """Put the keys into the add-on's own keymap; return what takes them out again."""
    config = bpy.context.window_manager.keyconfigs.addon
    made = []
    if config is not None:  # there is none without a window
        keymap = config.keymaps.new(name="3D View", space_type="VIEW_3D")
        for operator, key, modifiers, properties in KEYS:
            item = keymap.keymap_items.new(operator, key, "PRESS", **modifiers)
            _set(item.properties, properties)
            made.append((keymap, item))

    def remove() -> None:
        for keymap, item in made:
            keymap.keymap_items.remove(item)

    return remove
