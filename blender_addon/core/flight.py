"""A flight through the corridor: when the camera is where, and what it looks at.

Both are cubic between a few keys, as Blender's Bézier curves are whose handles are a third of the
way to the next key.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, pi, radians

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from .errors import SettingsError
from .layout import Layout, Stop
from .settings import FlightSettings
from .timeline import Timeline
from .writers.animated import CameraTrack

Float64 = npt.NDArray[np.float64]

LENS = 24.0  # mm, of a picture 36 mm wide
SENSOR = 36.0
APPROACH = 14.0  # metres before a stop's front, to begin there
STAND_OFF = 9.5  # metres before a stop's front, to end there
DOWN = radians(5.0)  # below the horizon
EASE = 1.5  # seconds in which it comes up to speed and to rest
SWING = 0.5  # seconds; standard deviation of the Gaussian that evens out turns
TURNS = 0.4  # seconds from one key of a turn to the next
NEAR = 0.05  # metres


@dataclass(frozen=True, eq=False)
class Curves:
    """Values that run through keys.

    Attributes
    ----------
    frames : ndarray of float64, shape (k,)
        Whole numbers, rising.
    values, slopes : ndarray of float64, shape (k, n)
        A slope is the change in a frame.
    """

    frames: Float64
    values: Float64
    slopes: Float64

    def at(self, frames: Float64) -> Float64:
        """Return the values at some frames, shape (m, n): a cubic Hermite spline, held outside."""
        last = len(self.frames) - 1
        if not last:
            return np.repeat(self.values, len(frames), axis=0)
        t = np.clip(frames, self.frames[0], self.frames[-1])
        i = np.clip(np.searchsorted(self.frames, t, side="right") - 1, 0, last - 1)
        span = (self.frames[i + 1] - self.frames[i])[:, None]
        u = (t - self.frames[i])[:, None] / span
        a, b = self.values[i], self.values[i + 1]
        p, q = span * self.slopes[i], span * self.slopes[i + 1]
        v = 1.0 - u
        found: Float64 = v * v * ((1 + 2 * u) * a + u * p) + u * u * ((3 - 2 * u) * b - v * q)
        return found


@dataclass(frozen=True, eq=False)
class Flight:
    """A flight.

    Attributes
    ----------
    places : Curves
        X, Y and Z in metres.
    turns : Curves
        Angles about X and Z in radians, of a camera that looks down where both are 0.
    """

    places: Curves
    turns: Curves


def fly(layout: Layout, timeline: Timeline, settings: FlightSettings) -> Flight:
    """Plan a flight down the aisle.

    Parameters
    ----------
    layout : Layout
    timeline : Timeline
        It lasts from its first to its last frame.
    settings : FlightSettings

    Returns
    -------
    Flight

    Raises
    ------
    SettingsError
        There is no stop of that name.
    """
    begin, end = _ends(layout, settings)
    height = max(1.7, 0.55 * layout.high[2])
    frames = float(timeline.end - timeline.start)
    way = _eased(begin, end, frames, settings.speed, timeline.settings.fps)
    y = Curves(way.frames + timeline.start, way.values, way.slopes)
    places = Curves(
        y.frames,
        np.column_stack([0.0 * y.values, y.values, 0.0 * y.values + height]),
        np.column_stack([0.0 * y.slopes, y.slopes, 0.0 * y.slopes]),
    )
    ahead = 0.0 if end >= begin else pi
    if not settings.look_at or not frames:
        turn = np.array([[pi / 2 - DOWN, ahead]])
        turns = Curves(np.array([float(timeline.start)]), turn, 0.0 * turn)
    else:
        turns = _looking_at(_target(layout, settings.look_at), places, timeline)
    return Flight(places, turns)


def track(flight: Flight, timeline: Timeline, aspect: float, far: float) -> CameraTrack:
    """Return a flight as the files have it: a key a frame, and one at the end of the time."""
    frames = np.arange(timeline.start, timeline.end + 2, dtype=np.float64)
    seconds = np.array([timeline.at(frame) for frame in frames])
    turns = flight.turns.at(frames)
    yfov = 2.0 * atan2(SENSOR / 2.0, LENS * aspect)
    places = flight.places.at(frames)
    return CameraTrack("Flight", seconds, places, quaternions(turns), yfov, aspect, NEAR, far)


def quaternions(turns: Float64) -> Float64:
    """Return turns about X, then Z, as quaternions (w, x, y, z)."""
    (cx, cz), (sx, sz) = np.cos(turns / 2).T, np.sin(turns / 2).T
    return np.column_stack([cx * cz, sx * cz, sx * sz, cx * sz])


def far_of(layout: Layout) -> float:
    """Return how far a camera has to see, in metres."""
    return 4.0 * float(np.linalg.norm(np.subtract(layout.high, layout.low))) + 100.0


def _ends(layout: Layout, settings: FlightSettings) -> tuple[float, float]:
    """Return where along Y a flight begins and ends."""
    stops = layout.stops
    first = _stop(layout, settings.start) if settings.start else stops[0]
    last = _stop(layout, settings.end) if settings.end else stops[-1]
    if last.y < first.y:
        return first.y - STAND_OFF, last.y - STAND_OFF
    return first.y - APPROACH, last.y - STAND_OFF


def _stop(layout: Layout, name: str) -> Stop:
    for stop in layout.stops:
        if stop.label == name:
            return stop
    known = ", ".join(stop.label for stop in layout.stops[:8])
    more = ", …" if len(layout.stops) > 8 else ""
    raise SettingsError(f"flight: there is no stop {name!r}; there are {known}{more}")


def _eased(begin: float, end: float, frames: float, speed: float | None, fps: int) -> Curves:
    """Return a way of even speed that begins and ends softly, in frames from its begin.

    Both ends have even acceleration, so that all of it is cubic.
    """
    ease = float(round(min(EASE * fps, frames / 3.0)))
    if not frames or begin == end:
        return Curves(np.zeros(1), np.array([[begin]]), np.zeros((1, 1)))
    if not ease:
        speed = None
    whole = end - begin
    if speed is not None:
        pace = speed / fps
        # It rests when it has arrived; where the time is too short, it ends on its way.
        needed = float(round(abs(whole) / pace + ease))
        if needed <= frames:
            frames = max(needed, 2.0 * ease, 1.0)
        else:
            whole = np.sign(whole) * pace * (frames - ease)
    pace = whole / (frames - ease)
    ramp = pace * ease / 2.0
    at = np.array([0.0, ease, frames - ease, frames])
    values = begin + np.array([0.0, ramp, whole - ramp, whole])
    slopes = np.array([0.0, pace, pace, 0.0]) if ease else np.full(4, pace)
    kept = np.concatenate([[True], np.diff(at) > 0])
    return Curves(at[kept], values[kept, None], slopes[kept, None])


def _target(layout: Layout, name: str) -> Float64:
    """Return what to look at: the middle of a stop's fields on the side that has more of them."""
    stop = _stop(layout, name)
    origins = [p.origin for p in layout.placements.values() if p.collection == name]
    places = np.array(origins or [(0.0, stop.y, 0.5 * layout.high[2])])
    right = places[:, 0] >= 0.0
    side = places[right] if right.sum() >= len(places) / 2 else places[~right]
    near = side[np.abs(side[:, 0]) <= np.abs(side[:, 0]).min() + 0.5]
    found: Float64 = near.mean(axis=0)
    return found


def _looking_at(target: Float64, places: Curves, timeline: Timeline) -> Curves:
    """Turn to a point all the way, but evenly where it is passed."""
    fps = timeline.settings.fps
    frames = np.arange(timeline.start, timeline.end + 1, dtype=np.float64)
    away = target - places.at(frames)
    level = np.hypot(away[:, 0], away[:, 1])
    angles = np.column_stack(
        [pi / 2 + np.arctan2(away[:, 2], level), np.unwrap(np.arctan2(-away[:, 0], away[:, 1]))]
    )
    angles = gaussian_filter1d(angles, SWING * fps, axis=0, mode="nearest")
    slopes = np.gradient(angles, axis=0)
    every = max(round(TURNS * fps), 1)
    kept = np.unique([*range(0, len(frames), every), len(frames) - 1])
    slopes[[0, -1]] = 0.0
    return Curves(frames[kept], angles[kept], slopes[kept])
