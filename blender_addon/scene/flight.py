"""A camera that flies through the corridor, keyed on itself; and any camera's way, for files."""

from __future__ import annotations

from itertools import pairwise
from math import atan, tan

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Euler, Quaternion

from ..core.flight import LENS, NEAR, SENSOR, Flight
from ..core.timeline import Timeline
from ..core.writers.animated import CameraTrack
from .camera import FLOWN
from .keys import Keys, curves_of, give, new_action, set_keys, values_of
from .mesh import new_object

Float64 = npt.NDArray[np.float64]

ACTION = "Weightwalk flight"
# Where a text stands before the camera, in metres: nearer than any surface comes.
HUD = 0.25
_EULER = frozenset({"XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"})
_MOVES = ("location", "rotation_euler", "rotation_quaternion")


def new_flight(flight: Flight, far: float) -> tuple[bpy.types.Object, bpy.types.Action]:
    """Make a camera that flies, and the action that moves it.

    Parameters
    ----------
    flight : core.flight.Flight
    far : float
        How far it sees, in metres.
    """
    data = bpy.data.cameras.new("Flight")
    data.lens, data.sensor_width, data.sensor_fit = LENS, SENSOR, "HORIZONTAL"
    data.clip_start, data.clip_end = NEAR, far
    camera, action = new_object("Flight", data), new_action(ACTION, "OBJECT")
    camera.rotation_mode = "XYZ"
    give(camera, action)
    set_flight(camera, flight)
    return camera, action


def set_flight(camera: bpy.types.Object, flight: Flight) -> None:
    """Key a camera, and note how, so that `unchanged` knows what a person changes later."""
    action = camera.animation_data.action
    for path, curves, parts in (
        ("location", flight.places, (0, 1, 2)),
        ("rotation_euler", flight.turns, (0, 2)),
    ):
        for i, index in enumerate(parts):
            values, slopes = curves.values[:, i], curves.slopes[:, i]
            set_keys(action, Keys(path, index, curves.frames, values, "BEZIER", slopes))
            getattr(camera, path)[index] = values[0]
    camera[FLOWN] = _flown(camera)


def renew(camera: bpy.types.Object, flight: Flight, far: float) -> None:
    """Key a camera of ours anew, unless a person has changed its flight."""
    if unchanged(camera):
        camera.data.clip_end = far
        set_flight(camera, flight)


def unchanged(thing: bpy.types.Object) -> bool:
    """Return whether a thing is a camera whose flight is as `set_flight` left it."""
    noted = thing.get(FLOWN)
    if noted is None or thing.type != "CAMERA" or thing.parent or len(thing.constraints):
        return False
    now = _flown(thing)
    return len(noted) == len(now) and bool(np.allclose(list(noted), now, rtol=1e-4, atol=1e-4))


def _flown(camera: bpy.types.Object) -> list[float]:
    data = camera.data
    seen = [data.lens, data.sensor_width, data.clip_start, data.clip_end, data.shift_x]
    keyed = [value for _, c in sorted(curves_of(camera).items()) for value in values_of(c)]
    return [*seen, data.shift_y, float(data.type == "PERSP"), *keyed]


def hold_before(text: bpy.types.Object, camera: bpy.types.Object, aspect: float) -> None:
    """Put a text of height 1 into the lower left corner of a camera's picture."""
    right = HUD * tan(_angles(camera.data, aspect)[0] / 2.0)
    up = right / aspect
    size = 0.16 * min(right, up)
    text.parent = camera
    text.location = (-0.93 * right, -0.90 * up, -HUD)
    text.scale = (size, size, size)


def track(
    scene: bpy.types.Scene, timeline: Timeline, aspect: float, camera: str | None = None
) -> CameraTrack | None:
    """Return where a camera is at each frame, as files have it.

    Parameters
    ----------
    scene : bpy.types.Scene
    timeline : Timeline
    aspect : float
        Width of the picture over its height.
    camera : str or None
        Its name; None stands for the scene's own.

    Returns
    -------
    CameraTrack or None
        Two keys for a camera that stands still. None where there is no camera, or none with a
        perspective.
    """
    thing = bpy.data.objects.get(camera) if camera else scene.camera
    if thing is None or thing.type != "CAMERA" or thing.data.type != "PERSP":
        return None
    frames = np.arange(timeline.start, timeline.end + 2, dtype=np.float64)
    if not _moves(thing):
        frames = frames[[0, -1]]
        at = [thing.matrix_world] * 2
        places, turns = np.array([m.translation for m in at]), [m.to_quaternion() for m in at]
    elif _alone(thing):
        places, turns = _keyed(thing, frames)
    else:
        places, turns = _evaluated(scene, thing, frames)
    # The way that the camera was a frame after the last is not seen, but an end has to be there.
    places[-1], turns[-1] = places[-2], turns[-2]
    for before, after in pairwise(turns):
        after.make_compatible(before)
    seconds = np.array([timeline.at(timeline.start + f - frames[0]) for f in frames])
    data = thing.data
    yfov = _angles(data, aspect)[1]
    rotations = np.array([list(turn) for turn in turns], np.float64)
    # Blender's have single precision.
    rotations /= np.linalg.norm(rotations, axis=1, keepdims=True)
    return CameraTrack(
        thing.name, seconds, places, rotations, yfov, aspect, data.clip_start, data.clip_end
    )


def _angles(data: bpy.types.Camera, aspect: float) -> tuple[float, float]:
    """Return the horizontal and the vertical angle of view, in radians."""
    fit = data.sensor_fit
    if fit == "VERTICAL":
        up = data.sensor_height / (2.0 * data.lens)
        right = up * aspect
    elif fit == "HORIZONTAL" or aspect >= 1.0:
        right = data.sensor_width / (2.0 * data.lens)
        up = right / aspect
    else:
        up = data.sensor_width / (2.0 * data.lens)
        right = up * aspect
    return 2.0 * atan(right), 2.0 * atan(up)


def _moves(thing: bpy.types.Object) -> bool:
    """Return whether a thing may move as time goes on."""
    held = thing.animation_data
    keyed = held is not None and bool(held.action or held.nla_tracks or held.drivers)
    return keyed or bool(len(thing.constraints)) or (thing.parent is not None)


def _alone(thing: bpy.types.Object) -> bool:
    """Return whether a thing's own keys alone say where it is."""
    held = thing.animation_data
    return not (
        thing.parent
        or len(thing.constraints)
        or held.drivers
        or held.nla_tracks
        or thing.rotation_mode == "AXIS_ANGLE"
        or any(thing.delta_location)
        or any(thing.delta_rotation_euler)
        or not all(path in _MOVES or index for path, index in curves_of(thing))
    )


def _keyed(thing: bpy.types.Object, frames: Float64) -> tuple[Float64, list[Quaternion]]:
    """Evaluate a thing's own curves, which leaves the scene alone."""
    curves = curves_of(thing)

    def at(path: str, parts: int) -> Float64:
        still = getattr(thing, path)
        ways = [curves.get((path, i)) for i in range(parts)]
        found = [
            [way.evaluate(f) for f in frames] if way else np.full(len(frames), still[i])
            for i, way in enumerate(ways)
        ]
        return np.array(found, np.float64).T

    if thing.rotation_mode in _EULER:
        angles = at("rotation_euler", 3)
        turns = [Euler(angle, thing.rotation_mode).to_quaternion() for angle in angles]
    else:
        turns = [Quaternion(turn).normalized() for turn in at("rotation_quaternion", 4)]
    return at("location", 3), turns


def _evaluated(
    scene: bpy.types.Scene, thing: bpy.types.Object, frames: Float64
) -> tuple[Float64, list[Quaternion]]:
    """Let Blender say where a thing is, frame by frame."""
    now, places, turns = scene.frame_current_final, [], []
    try:
        for frame in frames:
            scene.frame_set(int(frame))
            matrix = thing.matrix_world.copy()
            places.append(list(matrix.translation))
            turns.append(matrix.to_quaternion())
    finally:
        scene.frame_set(int(now), subframe=now % 1.0)
    return np.array(places), turns
