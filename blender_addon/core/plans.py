"""Which tensors of a checkpoint make which fields, decided from headers alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np

from .errors import SelectionError
from .experts import MOST as MOST_EXPERTS
from .experts import experts_of
from .fields import Part, Plan
from .flow.probe import refuse_probe
from .naming import role_order
from .pooling import Int64, cell_edges, matrix_shape
from .readers import printable
from .settings import FieldSettings, Selection

if TYPE_CHECKING:
    from .naming import HeadLayout
    from .readers import Checkpoint, Tensor

Grid = tuple[int, int]


@dataclass(frozen=True)
class Skip:
    """A tensor or field that was asked for and gives no surface, and why."""

    name: str
    reason: str


def select(checkpoint: Checkpoint, selection: Selection) -> tuple[list[Tensor], list[Skip]]:
    """Return the tensors that a selection means, in the file's order, and what it cannot have.

    Integers and booleans are only meant by their exact name.

    Raises
    ------
    SelectionError
        Nothing is left; the message says what is there.
    CheckpointError
        It is a probe file.
    """
    refuse_probe(checkpoint)
    tensors = list(checkpoint.values())
    where = printable(checkpoint.path, 1000)
    for pattern in selection.patterns:
        if not any(_matches(t, pattern) for t in tensors):
            raise SelectionError(
                f"{where}: no tensor matches {pattern!r}; {_what_is_there(tensors)}"
            )
    for name in selection.names:
        if name not in checkpoint:
            raise SelectionError(
                f"{where}: no tensor is called {printable(name)}; {_what_is_there(tensors)}"
            )
    exact = {*selection.names, *selection.patterns}
    if exact:
        tensors = [
            t for t in tensors
            if t.name in exact or any(fnmatchcase(t.name, p) for p in selection.patterns)
        ]  # fmt: skip
    # What an update is made of would stand in its way.
    parts = {part for t in tensors for part in t.values.parts} if not exact else set()
    chosen = [
        t for t in tensors
        if t.name not in parts and (t.is_float or not t.decodable or t.name in exact)
    ]  # fmt: skip
    if tensors and not chosen:
        raise SelectionError(
            f"{where}: only integer or boolean tensors match; "
            f"name one exactly to see it: {_some(t.name for t in tensors)}"
        )
    chosen = _within_layers(checkpoint, chosen, selection)
    if not chosen:
        raise SelectionError(f"{where}: the model has no tensors")
    skips = [Skip(t.name, t.reason) for t in chosen if not t.decodable]
    chosen = [t for t in chosen if t.decodable]
    if not chosen:
        raise SelectionError(f"{where}: {printable(skips[0].name)}: {skips[0].reason}")
    return chosen, skips


def _matches(tensor: Tensor, pattern: str) -> bool:
    return tensor.name == pattern or fnmatchcase(tensor.name, pattern)


def _within_layers(
    checkpoint: Checkpoint, tensors: list[Tensor], selection: Selection
) -> list[Tensor]:
    if selection.layers is None and selection.max_layers is None:
        return tensors
    where = printable(checkpoint.path, 1000)
    layers = sorted({t.layer for t in tensors if t.layer is not None})
    wanted = layers
    if selection.layers is not None:
        first, last = selection.layers
        wanted = [n for n in layers if first <= n <= last]
        if not wanted:
            there = f"layers {layers[0]} to {layers[-1]}" if layers else "no layers"
            raise SelectionError(
                f"{where}: layers {first}-{last} are not there; the choice has {there}"
            )
        tensors = [t for t in tensors if t.layer is not None]
    if selection.max_layers is not None:
        wanted = wanted[: selection.max_layers]
    kept = set(wanted)
    return [t for t in tensors if t.layer is None or t.layer in kept]


def _what_is_there(tensors: list[Tensor]) -> str:
    if not tensors:
        return "the model has no tensors"
    return f"there are {len(tensors)}, such as {_some(t.name for t in tensors)}"


def _some(names: Iterable[str], most: int = 4) -> str:
    listed = [printable(name) for name in names]
    # From the whole length of the list, for its head alone is often of one kind.
    step = max(len(listed) // most, 1)
    return ", ".join(listed[::step][:most])


def make_plans(tensors: list[Tensor], settings: FieldSettings) -> tuple[list[Plan], list[Skip]]:
    """Group tensors into fields of the kind that the settings ask for.

    Returns
    -------
    list of Plan, list of Skip
        What cannot be part of such a field is left out with its reason, unless it was never meant
        to be: vectors and tensors outside of layers do not belong in a depth field, say.

    Raises
    ------
    SelectionError
        No tensor can be part of such a field.
    """
    makers: dict[str, Callable[[list[Tensor], Grid], tuple[list[Plan], list[Skip]]]] = {
        "slab": _slabs,
        "depth": _depths,
        "heads": _heads,
        "experts": _experts,
    }
    plans, skips = makers[settings.kind](tensors, settings.grid)
    if not plans:
        reason = f" ({printable(skips[0].name)}: {skips[0].reason})" if skips else ""
        chosen = f"{len(tensors)} tensors, such as {_some(t.name for t in tensors)}"
        raise SelectionError(f"{_WHY_NOT[settings.kind]} among the {chosen}{reason}")
    return _unique(plans), skips


def _unique(plans: list[Plan]) -> list[Plan]:
    """Return the plans under names fit to show, with a number where another has the name already.

    They become names of objects, in files and in Blender.
    """
    taken: dict[str, int] = {}
    for i, plan in enumerate(plans):
        name = plain = printable(plan.name, len(plan.name))
        while name in taken:
            taken[plain] += 1
            name = f"{plain} ({taken[plain]})"
        taken[name] = 1
        plans[i] = replace(plan, name=name)
    return plans


_WHY_NOT = {
    "slab": "no tensor with entries is",
    "depth": "no matrix that has the same role and shape in two or more layers is",
    "heads": "no attention projection whose heads the model's config.json tells "
    "(num_attention_heads) is",
    "experts": "no experts, neither one by one nor fused, are",
}


def whole(tensor: Tensor, grid: Grid) -> Part:
    """Return a tensor as one plane, on at most so many rows and columns of cells."""
    rows, cols = matrix_shape(tensor.shape)
    r, c = cell_edges(rows, grid[0]), cell_edges(cols, grid[1])
    return Part(tensor, r, c, ((slice(0, len(r) - 1), slice(0, len(c) - 1)),))


def _slabs(tensors: list[Tensor], grid: Grid) -> tuple[list[Plan], list[Skip]]:
    plans, skips = [], []
    for t in tensors:
        if 0 in t.shape:
            skips.append(Skip(t.name, "has no entries"))
        else:
            part = whole(t, grid)
            plans.append(Plan(t.name, "slab", t.role, t.names.group, t.layer, (part,), ("",)))
    return plans, skips


def _is_matrix(tensor: Tensor) -> bool:
    return min(matrix_shape(tensor.shape)) > 1


def _label(*words: str | int | None) -> str:
    return " ".join(str(w) for w in words if w not in ("", None))


def _depths(tensors: list[Tensor], grid: Grid) -> tuple[list[Plan], list[Skip]]:
    """Stack each role through the layers. Two shapes of one role make two stacks."""
    stacks: Mapping[tuple[str, str, int | None, Grid], list[Tensor]] = defaultdict(list)
    for t in tensors:
        if t.layer is not None and _is_matrix(t):
            key = (t.names.group, t.role, t.names.expert, matrix_shape(t.shape))
            stacks[key].append(t)
    shapes = Counter(key[:3] for key in stacks)
    plans, skips = [], []
    for (group, role, expert, shape), stack in stacks.items():
        stack.sort(key=lambda t: t.layer or 0)
        if len({t.layer for t in stack}) < 2:
            skips.append(Skip(stack[0].name, "no other layer has this role and shape"))
            continue
        size = f"{shape[0]}x{shape[1]}" if shapes[group, role, expert] > 1 else ""
        number = None if expert is None else f"expert {expert}"
        name = _label("depth", group, role, number, size)
        plans.append(
            Plan(
                name, "depth", role, group, None,
                tuple(whole(t, grid) for t in stack),
                tuple(f"layer {t.layer}" for t in stack),
            )
        )  # fmt: skip
    return plans, skips


def _heads(tensors: list[Tensor], grid: Grid) -> tuple[list[Plan], list[Skip]]:
    plans = []
    for t in tensors:
        layout = t.names.heads
        if layout is None or not _is_matrix(t):
            continue
        along = _head_edges(layout, matrix_shape(t.shape)[layout.axis], grid[layout.axis])
        other = cell_edges(matrix_shape(t.shape)[1 - layout.axis], grid[1 - layout.axis])
        every = slice(0, len(other) - 1)
        count = min(layout.head_dim, grid[layout.axis])
        for role, starts in layout.starts.items():
            cuts = [slice(i, i + count) for i in np.searchsorted(along, starts).tolist()]
            if layout.axis == 0:
                part = Part(t, along, other, tuple((cut, every) for cut in cuts))
            else:
                part = Part(t, other, along, tuple((every, cut) for cut in cuts))
            name = _label("heads", t.name, role if len(layout.starts) > 1 else "")
            labels = tuple(f"head {i}" for i in range(len(starts)))
            plans.append(Plan(name, "heads", role, t.names.group, t.layer, (part,), labels))
    return plans, []


def _head_edges(layout: HeadLayout, length: int, cells: int) -> Int64:
    """Return cell edges in which every head begins and ends at an edge."""
    within = cell_edges(layout.head_dim, cells)
    starts = [start for of_role in layout.starts.values() for start in of_role]
    inner = [start + within for start in starts]
    edges: Int64 = np.unique(np.concatenate([*inner, np.array([0, length], np.int64)]))
    return edges


def _experts(tensors: list[Tensor], grid: Grid) -> tuple[list[Plan], list[Skip]]:
    """Stack each role's matrices of a layer, be they tensors of their own or cut out of one."""
    plans, skips = [], []
    stacks: Mapping[tuple[str, int | None, str, Grid], list[Tensor]] = defaultdict(list)
    for t in tensors:
        if t.names.fused_experts and (count := _how_many(t)) > MOST_EXPERTS:
            skips.append(Skip(t.name, f"has {count} experts, more than {MOST_EXPERTS}"))
            continue
        matrices = experts_of(t) if t.names.fused_experts else [t]
        for one in matrices:
            if one.names.expert is not None and _is_matrix(one):
                stacks[one.names.group, one.layer, one.role, matrix_shape(one.shape)].append(one)
    shapes = Counter(key[:3] for key in stacks)
    for (group, layer, role, shape), stack in stacks.items():
        stack.sort(key=lambda t: t.names.expert or 0)
        if len({t.names.expert for t in stack}) < 2:
            name = stack[0].held_by[0]
            skips.append(Skip(name, "no other expert of its layer has its role and shape"))
            continue
        place = None if layer is None else f"layer {layer}"
        size = f"{shape[0]}x{shape[1]}" if shapes[group, layer, role] > 1 else ""
        plans.append(
            Plan(
                _label("experts", group, place, role, size), "experts", role, group, layer,
                tuple(whole(t, grid) for t in stack),
                tuple(f"expert {t.names.expert}" for t in stack),
            )
        )  # fmt: skip
    # Files order their tensors in many ways: here, the roles of a layer come as data meets them.
    first: dict[tuple[str, int | None], int] = {}
    for i, plan in enumerate(plans):
        first.setdefault((plan.group, plan.layer), i)
    plans.sort(key=lambda p: (first[p.group, p.layer], role_order(p.role)))
    return plans, skips


def _how_many(fused: Tensor) -> int:
    layout = fused.names.fused_layout
    return layout.experts if layout else fused.shape[0]
