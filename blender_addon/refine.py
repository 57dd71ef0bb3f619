"""A rectangle of a tensor, entry by entry: the pipeline once more, for what a person points at."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .core.exhibit import Exhibit, place_steps
from .core.fields import Plan, build_steps
from .core.inspect import refine_plan
from .core.layout import Layout
from .core.model import Progress, fetched
from .core.readers import printable
from .core.settings import SurfaceSettings
from .core.stages import Stages, told
from .core.surfaces import Surface, extract_steps

if TYPE_CHECKING:
    import bpy

    from .core.record import Record

Rectangle = tuple[tuple[int, int], tuple[int, int]]


def refine_steps(
    surfaces: Sequence[bpy.types.Object],
    record: Record,
    plan: Plan,
    plane: int,
    rectangle: Rectangle,
) -> Generator[Progress, None, list[bpy.types.Object]]:
    """Build a rectangle of a tensor with a cell an entry, above the surfaces of its field.

    Parameters
    ----------
    surfaces : sequence of bpy.types.Object
        Of the field, in the scene.
    record : Record
        Of that scene: the colours are on the same scale.
    plan : Plan
        Of the field.
    plane : int
        Which of its planes, and so which tensor, is meant.
    rectangle : tuple of (int, int), (int, int)
        First row and the one after the last, and columns likewise, in entries.

    Returns
    -------
    list of bpy.types.Object
        The surfaces of the detail, then its name plate and its outline on the field.

    Raises
    ------
    SettingsError
        The rectangle does not lie in the tensor, or is too large.
    WeightwalkError
        It gives no surface, or the file cannot be read.
    """
    from .scene.detail import detail_placement, rectangle_corners, stand_steps, standing

    tensor = plan.cell(plane, 0, 0)[0]
    fine = refine_plan(tensor, *rectangle)
    # No objects are held from one step to the next: a person may remove them meanwhile.
    names = [thing.name for thing in surfaces]
    made = yield from _cut(fine, record, shared_sigma(surfaces[0], record))
    surfaces = standing(names)
    placement = detail_placement(surfaces, fine.shape)
    layout = Layout({fine.name: placement}, {}, (), record.low, record.high)
    corners = rectangle_corners(surfaces[0], plan.shape, _cells_of(plan, plane, rectangle), plane)
    del surfaces
    exhibits = []
    for i, surface in enumerate(made):
        now = Progress("place", i, len(made), printable(surface.name))
        yield now
        work = place_steps(surface, layout, record.scale, record.model)
        exhibits.append((yield from told(work, now)))
    return (yield from stand_steps(names, exhibits, _said(exhibits[0], rectangle), corners))


def shared_sigma(surface: bpy.types.Object, record: Record) -> float | None:
    """Return the σ that all tensors of a build share, or None where each has its own."""
    if record.settings.field.sigma != "all":
        return None
    # A plane of zeros alone notes 0.
    return next((sigma for sigma in surface["sigma"] if sigma > 0.0), None)


def _cut(
    fine: Plan, record: Record, shared: float | None
) -> Generator[Progress, None, list[Surface]]:
    settings = record.settings
    options = replace(settings.field, kind="slab", rows=None, cols=None, smooth=0.0)
    # A budget for a volume would be too much for a plate.
    cut = settings.surface if settings.field.kind == "slab" else SurfaceSettings()
    now = Progress("surfaces", 0, 1, printable(fine.name))
    yield from fetched([part.tensor for part in fine.parts], Stages(), fine.name)
    field = yield from told(build_steps(fine, options, shared), now)
    return (yield from told(extract_steps(field, cut), now))


def _cells_of(
    plan: Plan, plane: int, rectangle: Rectangle
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return a rectangle of entries in cells of a plane, broken numbers, cut at its edges."""
    rest = plane
    for part in plan.parts:
        if rest < len(part.windows):
            windows, edges = part.windows[rest], (part.row_edges, part.col_edges)
            break
        rest -= len(part.windows)
    spans = []
    for window, edge, span in zip(windows, edges, rectangle, strict=True):
        known = edge[window.start : window.stop + 1]
        low, high = np.interp(span, known, np.arange(len(known)))
        spans.append((float(low), float(high)))
    return spans[0], spans[1]


def _said(exhibit: Exhibit, rectangle: Rectangle) -> str:
    (r0, r1), (c0, c1) = rectangle
    surface = exhibit.surface
    beyond = "beyond ±" if surface.field.settings.signed else "above "
    return (
        f"{printable(surface.field.plan.role, 40)} · rows {r0} to {r1 - 1} · columns {c0} to "
        f"{c1 - 1} · an entry a cell · {beyond}{surface.level:.2f} σ"
    )
