"""A training run → a Blender scene that plays: surfaces that come and go, terrain that flows."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import bpy

from ..core.animation import Animation
from ..core.errors import WeightwalkError
from ..core.flight import far_of
from ..core.model import Progress
from ..core.readers import printable
from .build import stand_steps
from .flight import renew
from .growth import ASPECT, extend_series_steps
from .labels import LONGEST
from .markers import set_markers
from .troupe import Troupe, flight_in, flight_of, scenery

__all__ = ["build_series_steps", "extend_series_steps"]


def build_series_steps(
    scene: bpy.types.Scene, animation: Animation, aspect: float
) -> Generator[Progress, None, bpy.types.Collection]:
    """Stand a training run in a scene, with keys that show each step at its time.

    As with `build.build_steps`, nothing of it is in the scene until the last step, and what was
    made is removed when that is not reached. The scene gets the timeline's range of frames and
    speed, a marker for each step, and a camera that flies, where that is asked for.

    Parameters
    ----------
    scene : bpy.types.Scene
    animation : Animation
        Its arrays are read one surface at a time.
    aspect : float
        Width of the picture over its height.

    Yields
    ------
    Progress

    Returns
    -------
    bpy.types.Collection

    Raises
    ------
    SettingsError
        The flight begins, ends at or looks at a stop that is not there.
    """
    if not animation.actors and not animation.reliefs:
        raise WeightwalkError("there is nothing to show")
    # A stop that is not there is found before any work is done.
    flight = flight_of(animation)
    troupe, timeline = Troupe(animation, aspect), animation.timeline
    finish = partial(troupe.finish, scene)
    root = yield from stand_steps(scene, scenery(animation, aspect), troupe.enter, finish)
    root[ASPECT] = aspect
    camera = flight_in(scene)
    if flight is not None and camera is not None:
        renew(camera, flight, far_of(animation.layout))
    # In this order, for Blender keeps the one behind the other.
    scene.frame_end = timeline.end
    scene.frame_start = timeline.start
    scene.render.fps, scene.render.fps_base = timeline.settings.fps, 1.0
    names = (printable(step.name, LONGEST) for step in animation.steps)
    set_markers(scene, root, ((name, animation.mark(i)) for i, name in enumerate(names)))
    scene.frame_current = timeline.start
    return root
