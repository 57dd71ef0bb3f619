"""Keys of F-curves, set and read as arrays, in actions that several things may share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import bpy
import numpy as np
import numpy.typing as npt

Interpolation = Literal["CONSTANT", "LINEAR", "BEZIER"]
# Blender's own numbers of these.
_NUMBERS: dict[Interpolation, int] = {"CONSTANT": 0, "LINEAR": 1, "BEZIER": 2}
_ALIGNED = 3


@dataclass(frozen=True)
class Keys:
    """Keys of one property.

    Attributes
    ----------
    path : str
        From the owner.
    index : int
        Of a vector's part; 0 for what is no vector.
    frames : ndarray, shape (k,)
        Rising.
    values : ndarray, shape (k,)
    interpolation : {"CONSTANT", "LINEAR", "BEZIER"}
    slopes : ndarray, shape (k,), or None
        Change of the value in a frame, of Bézier curves.
    """

    path: str
    index: int
    frames: npt.NDArray[Any]
    values: npt.NDArray[Any]
    interpolation: Interpolation
    slopes: npt.NDArray[Any] | None = None


def new_action(name: str, kind: Literal["OBJECT", "KEY"]) -> bpy.types.Action:
    """Make an action with room for the keys of things of a kind: one slot, one layer, one strip."""
    action = bpy.data.actions.new(name)
    action.slots.new(kind, "Weightwalk")
    action.layers.new("Layer").strips.new(type="KEYFRAME")
    return action


def give(owner: bpy.types.ID, action: bpy.types.Action) -> None:
    """Let an action of ours move a thing."""
    moved = owner.animation_data_create()
    moved.action = action
    moved.action_slot = action.slots[0]


def curves(action: bpy.types.Action, slot: Any = None) -> Iterator[bpy.types.FCurve]:
    """Yield the curves of an action for a slot; for its first one unless another is given."""
    slot = slot or (action.slots[0] if action.slots else None)
    for layer in action.layers if slot else ():
        for strip in layer.strips:
            bag = strip.channelbag(slot)
            yield from bag.fcurves if bag else ()


def curves_of(owner: bpy.types.ID) -> dict[tuple[str, int], bpy.types.FCurve]:
    """Return the curves that move a thing, by path and index."""
    moved = owner.animation_data
    if moved is None or moved.action is None or moved.action_slot is None:
        return {}
    return {(c.data_path, c.array_index): c for c in curves(moved.action, moved.action_slot)}


def set_keys(action: bpy.types.Action, keys: Keys) -> None:
    """Key a property, in place of the keys that an action has for it."""
    bag = action.layers[0].strips[0].channelbag(action.slots[0], ensure=True)
    held = bag.fcurves.find(keys.path, index=keys.index)
    if held is not None:
        bag.fcurves.remove(held)
    curve = bag.fcurves.new(keys.path, index=keys.index)
    put_keys(curve, keys)


def put_keys(curve: bpy.types.FCurve, keys: Keys) -> None:
    """Give a curve that has none its keys."""
    points, n = curve.keyframe_points, len(keys.frames)
    points.add(n)
    where = np.column_stack([keys.frames, keys.values]).astype(np.float32)
    points.foreach_set("co", where.ravel())
    points.foreach_set("interpolation", np.full(n, _NUMBERS[keys.interpolation], np.int32))
    if keys.slopes is not None:
        for side, name in ((-1, "handle_left"), (1, "handle_right")):
            points.foreach_set(f"{name}_type", np.full(n, _ALIGNED, np.int32))
            # A third of the way to its neighbour, in a time that passes evenly: a cubic in time.
            ends = np.diff(keys.frames, prepend=keys.frames[0], append=keys.frames[-1])
            reach = np.where(ends > 0, ends, ends.max(initial=1.0))
            dt = side * (reach[1:] if side > 0 else reach[:-1]) / 3.0
            handle = where + np.column_stack([dt, dt * keys.slopes])
            points.foreach_set(name, handle.astype(np.float32).ravel())
    curve.update()


def add_key(curve: bpy.types.FCurve, frame: float, value: float, kind: Interpolation) -> None:
    """Add a key to a curve that has some, or change the one at this frame."""
    key = curve.keyframe_points.insert(frame, value, options={"FAST"})
    key.interpolation = kind
    curve.update()


def values_of(curve: bpy.types.FCurve) -> list[float]:
    """Return all that a curve's keys are made of, (k, 6) in a row."""
    n = len(curve.keyframe_points)
    parts = []
    for name in ("co", "handle_left", "handle_right"):
        part = np.empty(2 * n, np.float32)
        curve.keyframe_points.foreach_get(name, part)
        parts.append(part.reshape(n, 2))
    return np.concatenate(parts, axis=1).ravel().tolist() if parts else []
