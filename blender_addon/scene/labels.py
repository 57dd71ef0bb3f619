"""What can be read in the scene: name plates, layers, roles and the legend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from math import cos, pi, radians, sin
from textwrap import wrap

import bpy
import numpy as np

from ..core.color import ColorScale
from ..core.fields import Plan
from ..core.layout import Layout, Placement, Vector
from ..core.legend import level_text
from ..core.readers import printable
from ..core.surfaces import Surface
from .mesh import STEP, color_attribute, new_mesh, new_object

STANDING: Vector = (pi / 2, 0.0, 0.0)
LONGEST = 40  # letters of a name

Rgb = tuple[int, int, int]
ABOVE = 0.06  # metres, of what is written on the floor


@dataclass(frozen=True)
class Ink:
    """The materials that labels are written in."""

    text: bpy.types.Material
    scale: bpy.types.Material


@dataclass(frozen=True)
class Legend:
    """What the legend says.

    Attributes
    ----------
    title : str
    lines : tuple of str
    scale : ColorScale
    nonfinite : bool
        Whether the colour of NaN and infinity occurs.
    steps : tuple of str
        Of a training run: what its steps are called. All are written at one place.
    aside : bool
        Whether it has to stand beside the corridor, where no camera flies.
    beyond : tuple of colours
        sRGB-encoded 8-bit values of what lies below and above the scale; empty where that has the
        colours of the scale's ends.
    """

    title: str
    lines: tuple[str, ...]
    scale: ColorScale
    nonfinite: bool
    steps: tuple[str, ...] = ()
    aside: bool = False
    beyond: tuple[Rgb, ...] = ()


@dataclass(frozen=True)
class Subject:
    """A field that stands in the scene, and what its plate says of its level.

    Attributes
    ----------
    plan : Plan
    placement : Placement
    cut : str
        "" where it is not cut.
    """

    plan: Plan
    placement: Placement
    cut: str = ""


def subjects(surfaces: Iterable[Surface], layout: Layout) -> list[Subject]:
    """Return the fields of some surfaces; of each, its first surface speaks for it."""
    firsts: dict[str, Surface] = {}
    for surface in surfaces:
        name = surface.field.plan.name
        # A marker of non-finite cells has no level to tell.
        if name not in firsts or (surface.sign and not firsts[name].sign):
            firsts[name] = surface
    return [Subject(s.field.plan, layout.placements[n], _cut(s)) for n, s in firsts.items()]


def _cut(surface: Surface) -> str:
    if not surface.sign:
        return "NaN or infinity only"
    beyond = "beyond ±" if surface.field.settings.signed else "above "
    return f"{beyond}{level_text(surface.level)} σ"


def text(
    body: str, size: float, location: Vector, material: bpy.types.Material, align: str = "CENTER"
) -> bpy.types.Object:
    """Make a line of text of a height in metres, lying on the floor to be read from -Y."""
    name = f"Label {body[:48]}"
    curve = bpy.data.curves.new(name, "FONT")
    # A text of a million letters, out of a hostile file, would take Blender hours.
    curve.body, curve.size, curve.align_x = printable(body, 4 * LONGEST), size, align
    curve.resolution_u = 2
    curve.materials.append(material)
    made = new_object(name, curve)
    made.location = location
    return made


def plates(fields: Sequence[Subject], ink: Ink) -> Iterator[bpy.types.Object]:
    """Make a name plate at the foot of each field: its role, shape, and level."""
    for field in fields:
        placement = field.placement
        x, y, z = placement.origin
        front, bottom = y - placement.size[1] / 2, z - placement.size[2] / 2
        at = (x - placement.size[0] / 2, front - 0.05, bottom - 0.17)
        plate = text(_plate(field), 0.15, at, ink.text, "LEFT")
        plate.rotation_euler = STANDING
        yield plate


def _plate(field: Subject) -> str:
    """Return where a field belongs, its role, its shape and its level."""
    plan = field.plan
    place = printable(field.placement.collection, LONGEST)
    if len(plan.planes) > 1:
        place = f"{plan.planes[0]} to {plan.planes[-1].rpartition(' ')[2]}"
    expert = plan.parts[0].tensor.names.expert if plan.kind == "slab" else None
    role = printable(plan.role, LONGEST)
    role = role if expert is None else f"{role} · expert {expert}"
    shape = " × ".join(map(str, plan.parts[0].tensor.shape))
    return " · ".join(part for part in (place, role, shape, field.cut) if part)


def signs(layout: Layout, fields: Sequence[Subject], ink: Ink) -> Iterator[bpy.types.Object]:
    """Make the layers' names on the left and the roles' names at the head, on the floor."""
    size = _size(layout)
    for name, y in _names(layout, fields):
        at = (layout.low[0] - size, y, ABOVE)
        yield text(printable(name, LONGEST), size, at, ink.text, "RIGHT")
    front = next((s.y for s in layout.stops if "layer" in s.label), layout.low[1])
    if len(layout.columns) > 1:
        for role, x in layout.columns.items():
            at = (x, front - 1.6, ABOVE)
            yield text(printable(role, LONGEST), min(size, 1.1), at, ink.text)


def _names(layout: Layout, fields: Sequence[Subject]) -> list[tuple[str, float]]:
    """Return what stands at which Y: the stops, or the planes of a volume that is alone."""
    first = fields[0]
    planes = first.plan.planes
    if len(fields) > 1 or len(planes) < 2:
        return [(stop.label, stop.y) for stop in layout.stops]
    y, step = first.placement.origin[1], first.placement.step[1]
    every = max(len(planes) // 12, 1)
    middle = (len(planes) - 1) / 2
    return [(p, y + (i - middle) * step) for i, p in enumerate(planes)][::every]


def _size(layout: Layout) -> float:
    """Return a height of letters that can be read from where everything is in view."""
    reach = max(layout.high[0] - layout.low[0], layout.high[1] - layout.low[1])
    return float(np.clip(reach / 36.0, 0.25, 3.0))


def legend(what: Legend, layout: Layout, ink: Ink, turn: float) -> Iterator[bpy.types.Object]:
    """Make the colour scale with its ticks, unit and captions, on a desk at the corridor's head.

    The desk is tilted to be read both from the overview and when standing before it, and turned
    about Z by an angle in radians to face the camera.
    """
    unit = max(layout.high[0] - layout.low[0], 0.45 * (layout.high[1] - layout.low[1]), 7.0) / 36.0
    desk = new_object("Legend", None)
    desk.empty_display_size = unit
    size, middle = np.subtract(layout.high, layout.low), np.add(layout.high, layout.low) / 2
    # A long corridor leaves room on its left, and none to spare before it.
    aside = what.aside or (turn == 0.0 and size[1] > 0.7 * size[0])
    lines = [part for line in what.lines for part in _wrapped(line, 48 if aside else 72)]
    # Its lower edge, below the ticks, rests on the floor; its upper one hides nothing behind it.
    bottom = (1.85 - 0.95 * len(lines)) * unit
    upper, lower, tilt = (9.0 if what.steps else 5.2) * unit, bottom - 1.1 * unit, radians(30.0)
    if aside:
        half = 0.17 * max(map(len, (*lines, 2 * what.title[:LONGEST])))
        longest = min(max(len(stop.label) for stop in layout.stops), LONGEST)
        stops = 0.62 * _size(layout) * longest
        x, y = layout.low[0] - stops - (half + 2.0) * unit, layout.low[1]
    else:
        clear = 3.0 + upper * cos(tilt) + (upper - lower) * sin(tilt)
        away = abs(size[0] * sin(turn)) / 2 + size[1] * cos(turn) / 2 + clear
        x, y = middle[0] + away * sin(turn), middle[1] - away * cos(turn)
    desk.location, desk.rotation_euler = (x, y, 0.05 - lower * sin(tilt)), (tilt, 0.0, turn)
    yield desk
    title = text(printable(what.title, LONGEST), 1.5 * unit, (0.0, 3.6 * unit, 0.0), ink.text)
    lower_lines = (
        text(line, 0.68 * unit, (0.0, (2.35 - 0.95 * i) * unit, 0.0), ink.text)
        for i, line in enumerate(lines)
    )
    bar = _bar(what, 14.0 * unit, bottom, unit, ink)
    for part in chain([title], lower_lines, bar, _steps(what.steps, unit, ink)):
        part.parent = desk
        yield part


def _wrapped(line: str, most: int) -> list[str]:
    """Break a line into parts of about the same length, of so many letters at most."""
    longest = wrap(line, most)
    narrower = (wrap(line, width) for width in range(max(len(line) // len(longest), 12), most))
    return next((parts for parts in narrower if len(parts) == len(longest)), longest)


def _steps(steps: Sequence[str], unit: float, ink: Ink) -> Iterator[bpy.types.Object]:
    """Make what the steps are called, large, above the title, each to be shown at its time."""
    for i, step in enumerate(steps):
        made = text(printable(step, LONGEST), 2.8 * unit, (0.0, 6.0 * unit, 0.0), ink.text)
        made[STEP] = i
        yield made


def _bar(
    what: Legend, width: float, bottom: float, unit: float, ink: Ink
) -> Iterator[bpy.types.Object]:
    """Make the colour bar and its ticks; the ends are marked as clipped."""
    scale, height = what.scale, 0.75 * unit
    bar = _swatch(np.linspace(scale.low, scale.high, 65), scale, (width, height), ink)
    bar.location = (0.0, bottom, 0.0)
    yield bar
    span, below = scale.high - scale.low, bottom - 0.72 * unit
    for tick in scale.ticks():
        x = ((tick - scale.low) / span - 0.5) * width
        body = f"{tick:g}".replace("-", "−")
        if what.beyond:
            body += " σ" * (tick == scale.high)
        elif tick == scale.high:
            body = f"≥ {body} σ"
        elif tick == scale.low and tick != 0:
            body = f"≤ {body}"
        yield text(body, 0.62 * unit, (x, below, 0.0), ink.text)
    end = width / 2 + 1.8 * unit
    for name, color, at in zip(("below", "above"), what.beyond, (-end, end), strict=False):
        box = _strip(np.tile((*color, 255), (4, 1)).astype(np.uint8), (unit, height), ink)
        box.location = (at, bottom, 0.0)
        yield box
        yield text(name, 0.62 * unit, (at, below, 0.0), ink.text)
    if what.nonfinite:
        at = width / 2 + (5.2 if what.beyond else 3.6) * unit
        box = _swatch(np.array([np.nan, np.nan]), scale, (unit, height), ink)
        box.location = (at, bottom, 0.0)
        yield box
        yield text("NaN, ∞", 0.62 * unit, (at, below, 0.0), ink.text)


def _swatch(
    values: np.ndarray, scale: ColorScale, size: tuple[float, float], ink: Ink
) -> bpy.types.Object:
    """Return a strip with the colours of some values from left to right, standing on y = 0."""
    return _strip(scale.colors(np.concatenate([values, values])), size, ink)


def _strip(colors: np.ndarray, size: tuple[float, float], ink: Ink) -> bpy.types.Object:
    """Return a strip with some colours below and above, from left to right each."""
    n, (width, height) = len(colors) // 2, size
    x = np.linspace(-width / 2, width / 2, n)
    low = np.column_stack([x, np.zeros(n), np.zeros(n)])
    vertices = np.concatenate([low, low + np.array([0.0, height, 0.0])]).astype(np.float32)
    i = np.arange(n - 1)
    faces = np.concatenate(
        [np.column_stack([i, i + 1, i + n + 1]), np.column_stack([i, i + n + 1, i + n])]
    ).astype(np.int32)
    mesh = new_mesh("Legend scale", vertices, faces, (color_attribute(colors),))
    mesh.materials.append(ink.scale)
    return new_object("Legend scale", mesh)
