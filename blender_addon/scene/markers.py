"""The names of the steps on Blender's timeline."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

import bpy

# On the root, as JSON: name and frame of each marker that we have set. Markers cannot carry marks.
NOTED = "weightwalk_markers"


def set_marker(
    scene: bpy.types.Scene, root: bpy.types.Collection, name: str, frame: int
) -> bpy.types.TimelineMarker:
    """Set a marker, and note that it is ours."""
    return set_markers(scene, root, [(name, frame)])[0]


def set_markers(
    scene: bpy.types.Scene, root: bpy.types.Collection, marks: Iterable[tuple[str, int]]
) -> list[bpy.types.TimelineMarker]:
    """Set markers of names and frames, and note that they are ours.

    All at one go, for a build enters the scene at one go: a thousand take milliseconds.
    """
    made = [scene.timeline_markers.new(name, frame=frame) for name, frame in marks]
    # As Blender has the names, which cuts long ones.
    root[NOTED] = json.dumps([*_noted(root), *((m.name, m.frame) for m in made)])
    return made


def forget_markers(scene: bpy.types.Scene, root: bpy.types.Collection) -> None:
    """Remove our markers, also where a person has moved them; a renamed one is theirs."""
    held = scene.timeline_markers
    alike: dict[str, list[bpy.types.TimelineMarker]] = defaultdict(list)
    for marker in held:
        alike[marker.name].append(marker)
    for name, frame in _noted(root):
        if alike[name]:
            nearest = min(alike[name], key=lambda marker: abs(marker.frame - frame))
            alike[name].remove(nearest)
            held.remove(nearest)


def _noted(root: bpy.types.Collection) -> list[tuple[str, int]]:
    try:
        return [(str(name), int(frame)) for name, frame in json.loads(root.get(NOTED, "[]"))]
    except (ValueError, TypeError):
        return []
