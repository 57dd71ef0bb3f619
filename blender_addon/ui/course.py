"""What a viewer walks along: the layers of a corridor, or those of a flow."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Vector

from ..core.flow.standing import FlowRecord
from ..core.layout import Stop
from ..core.settings import TimelineSettings
from ..core.timeline import Timeline
from ..scene.flow_ground import anchor_of
from ..scene.ours import FLOW, find_root, objects_in
from .session import session

# Metres before a layer from which it is in view: a corridor's plates as a whole, a flow's ground.
CORRIDOR, GROUND = 6.0, 4.0
# Layers of a flow are nearer to each other than a corridor's: one walks as much slower.
PACE = 0.2


@dataclass(frozen=True)
class Course:
    """The layers in walking order, and where to stand before them.

    Attributes
    ----------
    stops : tuple of Stop
    low, high : tuple of 3 float
        Corners of the box around all of it, in metres.
    at : Vector
        How far all this was moved from where it was built.
    away : float
        Metres from the viewer to the front of the layer that he stands before.
    pace : float
        Share of the walking speed.
    flow : FlowRecord or None
        None is a corridor.
    """

    stops: tuple[Stop, ...]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    at: Vector
    away: float
    pace: float
    flow: FlowRecord | None

    def before(self, stop: int | None) -> Vector:
        """Return the place on the floor before a stop, or before all of it (None)."""
        front = self.low[1] if stop is None else self.stops[stop].y
        return self.at + Vector((0.0, front - self.away, 0.0))

    def reached(self, eye: Vector) -> int:
        """Return the stop that a viewer stands before: the last one whose front is this near."""
        fronts = [stop.y - self.away for stop in self.stops]
        return int(np.searchsorted(fronts, eye.y - self.at.y + 0.01)) - 1

    def ahead(self, eye: np.ndarray, look: np.ndarray) -> int:
        """Return the stop that is nearest to what a viewer sees before his feet."""
        before = eye[1] - self.at.y + (self.away if look[1] >= 0.0 else -self.away)
        return int(np.abs(np.array([stop.y for stop in self.stops]) - before).argmin())


def course_of(context: bpy.types.Context) -> Course | None:
    """Return what is walked along: a flow where it is alone or its active part is selected."""
    scene = context.scene
    corridor, flow = session().record(scene), session().flow(scene)
    root = find_root(scene, FLOW)
    if flow is not None and (corridor is None or _in_hand(context, root)):
        anchor = anchor_of(root)
        at = anchor.location.copy() if anchor is not None else Vector()
        return Course(flow.stops, flow.low, flow.high, at, GROUND, PACE, flow)
    if corridor is None:
        return None
    low, high = corridor.low, corridor.high
    return Course(corridor.stops, low, high, Vector(), CORRIDOR, 1.0, None)


def _in_hand(context: bpy.types.Context, root: bpy.types.Collection) -> bool:
    """Return whether the active object is of a flow, and selected."""
    active = context.view_layer.objects.active
    return active is not None and active.select_get() and active in objects_in(root)


def moment_of(scene: bpy.types.Scene, flow: FlowRecord) -> str:
    """Return what a scene's frame shows of a flow; "" where it does not move."""
    if len(flow.labels) < 2:
        return ""
    shape = flow.shape
    times = TimelineSettings(shape.frames, shape.start, shape.fps)
    return flow.labels[Timeline(len(flow.labels), times).step_at(scene.frame_current)]
