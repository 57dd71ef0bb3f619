"""Where each field stands: a corridor along +Y, one stop a layer, every role at its own X.

A visitor walks down the aisle at X = 0. Attention stands on the left, everything else on the right.
Plates face the visitor; vectors are strips at the foot of the matrix that they belong to. A slab's
cell has the same size everywhere; volumes fill their place. All lengths are metres.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .fields import SLAB_PLANES, Plan
from .marching import Mesh
from .naming import role_class, role_order

Float32 = npt.NDArray[np.float32]
Vector = tuple[float, float, float]

PLATE = 4.0  # width of the widest field
COLUMN = 5.2  # from one role to the next
AISLE = 5.0  # free width in the middle
SLAB_DEPTH = 0.7
STRIP_HEIGHT = 0.22
STRIP_STEP = 0.64
GAP = 8.5  # from the back of one layer to the front of the next
STACK = 1.6  # between fields of one role in one layer
BASE = 0.35  # of the lowest thing above the floor


@dataclass(frozen=True)
class Placement:
    """Where a field stands.

    Attributes
    ----------
    origin : tuple of 3 float
        Its centre.
    step : tuple of 3 float
        Width of a column, depth of a plane and height of a row.
    size : tuple of 3 float
        Width, depth and height of the whole.
    collection : str
        The layer's name.
    strip : bool
        Whether it is a vector.
    """

    origin: Vector
    step: Vector
    size: Vector
    collection: str
    strip: bool


@dataclass(frozen=True)
class Stop:
    """A layer, or what stands before or after the layers.

    Attributes
    ----------
    label : str
    y : float
        Its front.
    depth : float
    """

    label: str
    y: float
    depth: float


@dataclass(frozen=True)
class Layout:
    """The whole corridor.

    Attributes
    ----------
    placements : dict of str to Placement
        By the plan's name.
    columns : dict of str to float
        X of each role that stands in the layers.
    stops : tuple of Stop
        In walking order.
    low, high : tuple of 3 float
        Corners of the box around all fields.
    """

    placements: dict[str, Placement]
    columns: dict[str, float]
    stops: tuple[Stop, ...]
    low: Vector
    high: Vector


def to_scene(mesh: Mesh, plan: Plan, placement: Placement) -> Float32:
    """Return the vertices around the placement's origin, shape (n, 3), in metres.

    Columns run along +X, planes along +Y, rows downward along -Z.
    """
    planes, rows, cols = _samples(plan)
    middle = np.array([(planes - 1) / 2, (rows - 1) / 2, (cols - 1) / 2], np.float32)
    x, y, z = placement.step
    step = np.array([x, y, -z], np.float32)
    return (mesh.vertices - middle)[:, [2, 0, 1]] * step


def _samples(plan: Plan) -> tuple[int, int, int]:
    """Return the volume's extent in planes, rows and columns; a slab's planes are its bump's."""
    planes, rows, cols = plan.shape
    return SLAB_PLANES if plan.kind == "slab" else planes, rows, cols


def corridor(plans: Sequence[Plan]) -> Layout:
    """Give every field its place.

    Parameters
    ----------
    plans : sequence of Plan
        Those that stand in the scene, at least one.

    Returns
    -------
    Layout
    """
    cell = PLATE / (max(max(plan.shape[1:]) for plan in plans) + 1)
    phases = {phase: _Columns([p for p in plans if _stop(p)[0] == phase]) for phase in range(4)}
    if len(plans) == 1:
        only = phases[_stop(plans[0])[0]]
        only.x = dict.fromkeys(only.x, 0.0)
    base = (
        BASE + 0.25 + STRIP_STEP * max(len(s) for c in phases.values() for s in c.strips.values())
    )
    y, placements, stops = 0.0, {}, []
    at_stop: Mapping[tuple[int, str, int], list[Plan]] = defaultdict(list)
    for plan in plans:
        at_stop[_stop(plan)].append(plan)
    for key, here in sorted(at_stop.items()):
        columns, label = phases[key[0]], _label(key)
        front: dict[tuple[str, float], float] = {}
        for plan in sorted(here, key=lambda p: (role_order(p.role), p.name)):
            column, strip = columns.of[plan.role], is_strip(plan)
            height = BASE + STRIP_STEP * columns.strips[column].index(plan.role) if strip else base
            planes, rows, cols = _samples(plan)
            step = (cell, _plane_step(plan), STRIP_HEIGHT if strip else cell)
            if plan.kind != "slab":
                step = (PLATE / (cols + 1), step[1], PLATE / (rows + 1))
            # A surface may reach a cell beyond the centres of the outermost ones.
            size = ((cols + 1) * step[0], (planes + 1) * step[1], (rows + 1) * step[2])
            # A second field at the same place stands behind the first.
            begin = front.get((column, height), y)
            front[column, height] = begin + size[1] + STACK
            origin = (columns.x.get(column, 0.0), begin + size[1] / 2, height + size[2] / 2)
            placements[plan.name] = Placement(origin, step, size, label, strip)
        end = max(front.values()) - STACK
        stops.append(Stop(label, y, end - y))
        y = end + GAP if key[0] else end + 1.5 * GAP
    return Layout(placements, dict(phases[1].x), tuple(stops), *_bounds(placements.values()))


class _Columns:
    """Which role stands at which X, within the layers, before them or after them."""

    def __init__(self, plans: Sequence[Plan]) -> None:
        roles = sorted({plan.role for plan in plans}, key=role_order)
        wide = {plan.role for plan in plans if not is_strip(plan)}
        bases = {_base(role) for role in wide} or {_base(role) for role in roles}
        order = sorted(bases, key=role_order)
        self.of = {role: _owner(role, order) for role in roles}
        self.strips: dict[str, list[str]] = {column: [] for column in order}
        for plan in plans:
            strips = self.strips[self.of[plan.role]]
            if is_strip(plan) and plan.role not in strips:
                strips.append(plan.role)
        for strips in self.strips.values():
            strips.sort(key=role_order)
        left = [role for role in order if role_class(role) == "attention"]
        if not left or len(left) == len(order):
            left = order[: len(order) // 2]
        right = [role for role in order if role not in left]
        first = (AISLE + PLATE) / 2
        self.x = {role: -first - COLUMN * i for i, role in enumerate(reversed(left))}
        self.x |= {role: first + COLUMN * i for i, role in enumerate(right)}


def _base(role: str) -> str:
    """Return the role of the matrix that a bias or scale belongs to."""
    return role.partition(".")[0]


def _owner(role: str, order: Sequence[str]) -> str:
    """Return the column of a role: its own, or that of the role before it in walking order."""
    base = _base(role)
    if base in order:
        return base
    before = [column for column in order if role_order(column) <= role_order(base)]
    return before[-1] if before else order[0]


def is_strip(plan: Plan) -> bool:
    """Whether a field is that of a vector."""
    return plan.kind == "slab" and plan.shape[1] == 1


def _plane_step(plan: Plan) -> float:
    if plan.kind == "slab":
        return SLAB_DEPTH / (SLAB_PLANES + 1)
    return float(np.clip(6.0 / plan.shape[0], 0.12, 0.6))


def _stop(plan: Plan) -> tuple[int, str, int]:
    """Return what sorts a field into its stop: before, in or after the layers, or of no role."""
    if plan.layer is not None:
        return 1, plan.group, plan.layer
    if plan.kind == "depth":
        return 1, "", -1
    if role_order(plan.role) < role_order("attn_norm"):
        return 0, "", 0
    return (3 if role_order(plan.role) >= role_order("final_norm") else 2), "", 0


def _label(stop: tuple[int, str, int]) -> str:
    phase, group, layer = stop
    if phase == 1:
        return f"{group} layer {layer}".strip() if layer >= 0 else "all layers"
    return {0: "embeddings", 2: "other", 3: "output"}[phase]


def _bounds(placements: Iterable[Placement]) -> tuple[Vector, Vector]:
    origins = np.array([(p.origin, p.size) for p in placements])
    low = (origins[:, 0] - origins[:, 1] / 2).min(axis=0).tolist()
    high = (origins[:, 0] + origins[:, 1] / 2).max(axis=0).tolist()
    return tuple(low), tuple(high)
