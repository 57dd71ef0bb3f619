"""The names of the steps on Blender's timeline."""

from __future__ import annotations

import json

import bpy

# On the root, as JSON: name and frame of each marker that we have set. Markers cannot carry marks.
NOTED = "weightwalk_markers"


def set_marker(
    scene: bpy.types.Scene, root: bpy.types.Collection, name: str, frame: int
) -> bpy.types.TimelineMarker:
    """Set a marker, and note that it is ours."""
    marker = scene.timeline_markers.new(name, frame=frame)
    # As Blender has it, which cuts long names.
    root[NOTED] = json.dumps([*_noted(root), [marker.name, frame]])
    return marker


def forget_markers(scene: bpy.types.Scene, root: bpy.types.Collection) -> None:
    """Remove our markers, also where a person has moved them; a renamed one is theirs."""
    held = scene.timeline_markers
    for name, frame in _noted(root):
        alike = [marker for marker in held if marker.name == name]
        if alike:
            held.remove(min(alike, key=lambda marker: abs(marker.frame - frame)))


def _noted(root: bpy.types.Collection) -> list[tuple[str, int]]:
    try:
        return [(str(name), int(frame)) for name, frame in json.loads(root.get(NOTED, "[]"))]
    except (ValueError, TypeError):
        return []
