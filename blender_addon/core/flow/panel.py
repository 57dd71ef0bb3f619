"""The panels of a chart: where a value lies on the page, and the curves in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..color import NONFINITE, color_map
from .axis import Axis, layer_ticks
from .compare import Comparison
from .page import FAINT, INK, PANEL, RULE, Color

Float64 = npt.NDArray[np.float64]
Lines = Sequence[tuple[str, Comparison]]

# Panels are drawn so many times as large and made smaller, for smooth edges.
FINE = 3
# Between a layer's number and the next, in pixels at least; inside a panel's left and right end.
_APART, _INSET = 44, 22
_MARK: Color = (255, 255, 255)


@dataclass(frozen=True)
class Curve:
    """A quantity of one comparison over the layers: medians and quartiles over the prompts.

    Attributes
    ----------
    low, middle, high : ndarray of float64, shape (layers,)
        NaN where no prompt has a value.
    """

    low: Float64
    middle: Float64
    high: Float64


@dataclass(frozen=True)
class Panel:
    """One quantity's place on the page.

    Attributes
    ----------
    name, about : str
        What is drawn, and what that means.
    curves : tuple of Curve
        One for each comparison.
    axis : Axis
    form : callable
        A value as it is written at a tick.
    threshold : float or None
        A value with a line of its own.
    box : (int, int, int, int)
        Left, top, right and bottom, in pixels.
    """

    name: str
    about: str
    curves: tuple[Curve, ...]
    axis: Axis
    form: Callable[[float], str]
    box: tuple[int, int, int, int]
    threshold: float | None = None

    def at(self, layer: int, value: float) -> tuple[float, float]:
        """Return where a layer's value lies on the page, in pixels."""
        return self.points([layer], np.array([value]))[0]

    def points(self, layers: Sequence[int], values: Float64) -> list[tuple[float, float]]:
        """Return where the values of layers lie on the page, in pixels."""
        _, top, _, bottom = self.box
        down = bottom - self.axis.share(values) * (bottom - top)
        return [(self.across(layer), y) for layer, y in zip(layers, down.tolist(), strict=True)]

    def across(self, layer: int) -> float:
        """Return where a layer lies on the page, in pixels from the left."""
        left, _, right, _ = self.box
        last = len(self.curves[0].middle) - 1
        share = layer / last if last else 0.5
        return left + _INSET + share * (right - left - 2 * _INSET)


def chart_colors(count: int) -> list[Color]:
    """Return the colours of curves: from dark to light, or one for a single curve."""
    at = np.linspace(0.08, 0.98, count) if count > 1 else [0.72]
    return [tuple(color_map(False)[round(255 * a), :3].tolist()) for a in at]


def draw_panels(page: Any, panels: Sequence[Panel], lines: Lines, above: int) -> Any:
    """Draw grounds, grids, curves and marks on a page that is otherwise empty.

    Parameters
    ----------
    page : PIL.Image.Image
    panels : sequence of Panel
    lines : sequence of (str, Comparison)
    above : int
        So many pixels above the first panel begins the mark of the layer that departs.

    Returns
    -------
    PIL.Image.Image
        Another page of the same size.
    """
    from PIL import ImageDraw

    size = page.size
    large = page.resize((FINE * size[0], FINE * size[1]))
    pen = _Pen(ImageDraw.Draw(large))
    colors = chart_colors(len(lines))
    for panel in panels:
        _draw_ground(pen, panel)
        if len(lines) == 1:
            _draw_band(pen, panel, mixed(colors[0], PANEL, 0.28))
    marked = lines[-1][1].departs
    if marked is not None:
        x = panels[0].across(marked)
        pen.dashes((x, panels[0].box[1] - above), (x, panels[-1].box[3]), _MARK)
    for panel in panels:
        _drawgaps(pen, panel, lines[-1][1])
        if panel.threshold is not None and len(lines) == 1:
            _draw_prompts(pen, panel, lines[0][1])
        _draw_medians(pen, panel, colors)
    if len(lines) > 1:
        _draw_rings(pen, panels[-1], lines, colors)
    return large.reduce(FINE)


@dataclass(frozen=True)
class _Pen:
    """Draws in the page's pixels on a canvas that is `FINE` times as large."""

    draw: Any

    def line(self, points: Sequence[tuple[float, float]], color: Color, width: float) -> None:
        # An odd number of pixels: of an even one, Pillow's lines lie half a pixel beside.
        thick = round(width * FINE) // 2 * 2 + 1
        self.draw.line([self._large(p) for p in points], color, thick, joint="curve")

    def dashes(self, start: tuple[float, float], end: tuple[float, float], color: Color) -> None:
        """Draw a dashed line that is upright or level."""
        a, b = np.array(start), np.array(end)
        length = float(np.abs(b - a).sum())
        for at in np.arange(0.0, length, 9.0):
            ends = (a + (b - a) * share / length for share in (at, min(at + 5.0, length)))
            self.line([(float(x), float(y)) for x, y in ends], color, 1.3)

    def area(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        self.draw.polygon([self._large(p) for p in points], color)

    def dot(self, at: tuple[float, float], radius: float, color: Color) -> None:
        x, y = self._large(at)
        r = round(radius * FINE)
        self.draw.ellipse((x - r, y - r, x + r, y + r), color)

    def _large(self, at: tuple[float, float]) -> tuple[int, int]:
        # To the nearest pixel's middle: Pillow cuts fractions off.
        middle = (FINE - 1) / 2
        return round(at[0] * FINE + middle), round(at[1] * FINE + middle)


def mixed(color: Color, ground: Color, share: float) -> Color:
    """Return a colour laid over another, as they are encoded."""
    both = np.array(color) * share + np.array(ground) * (1.0 - share)
    red, green, blue = np.round(both).astype(int).tolist()
    return red, green, blue


def _draw_ground(pen: _Pen, panel: Panel) -> None:
    left, top, right, bottom = panel.box
    pen.area([(left, top), (right, top), (right, bottom), (left, bottom)], PANEL)
    for layer in layers_written(panel):
        x = panel.across(layer)
        pen.line([(x, top), (x, bottom)], mixed(RULE, PANEL, 0.45), 1)
    for tick in panel.axis.ticks:
        y = panel.at(0, tick)[1]
        zero = tick == 0.0 and panel.axis.low < 0.0
        pen.line([(left, y), (right, y)], mixed(FAINT, PANEL, 0.7) if zero else RULE, 1)
    if panel.threshold is not None:
        y = panel.at(0, panel.threshold)[1]
        pen.dashes((left, y), (right, y), INK)


def _draw_band(pen: _Pen, panel: Panel, color: Color) -> None:
    """Fill between the quartiles, in one piece for each run of layers that have them."""
    curve = panel.curves[0]
    for layers in _runs(curve.middle):
        upper = panel.points(layers, curve.high[layers])
        lower = panel.points(layers, curve.low[layers])
        if len(layers) > 1:
            pen.area([*upper, *reversed(lower)], color)
        else:
            pen.line([*upper, *lower], color, 6)


def _draw_medians(pen: _Pen, panel: Panel, colors: Sequence[Color]) -> None:
    last = len(colors) - 1
    for number, (curve, color) in enumerate(zip(panel.curves, colors, strict=True)):
        width = 2.6 if number == last else 1.6
        for layers in _runs(curve.middle):
            points = panel.points(layers, curve.middle[layers])
            if len(points) > 1:
                pen.line(points, color, width)
            if len(points) == 1 or (not last and len(curve.middle) <= 64):
                for point in points:
                    pen.dot(point, 3.4, color)


def _drawgaps(pen: _Pen, panel: Panel, comparison: Comparison) -> None:
    """Mark the layers at which a prompt has no value."""
    bottom = panel.box[3]
    for layer in gaps(comparison):
        x = panel.across(layer)
        pen.area([(x - 4, bottom - 3), (x + 4, bottom - 3), (x, bottom - 11)], NONFINITE[:3])


def gaps(comparison: Comparison) -> list[int]:
    """Return the layers at which a prompt has no value."""
    missing: list[int] = np.flatnonzero(np.isnan(comparison.relative).any(axis=0)).tolist()
    return missing


def _draw_prompts(pen: _Pen, panel: Panel, comparison: Comparison) -> None:
    for row in np.array(comparison.shift):
        layers = np.flatnonzero(np.isfinite(row)).tolist()
        for point in panel.points(layers, row[layers]):
            pen.dot(point, 1.5, mixed(INK, PANEL, 0.75))


def _draw_rings(pen: _Pen, panel: Panel, lines: Lines, colors: Sequence[Color]) -> None:
    """Mark where each step departs."""
    for (_, comparison), curve, color in zip(lines, panel.curves, colors, strict=True):
        layer = comparison.departs
        if layer is not None and np.isfinite(curve.middle[layer]):
            at = panel.at(layer, curve.middle[layer])
            pen.dot(at, 6.5, PANEL)
            pen.dot(at, 5.3, color)
            pen.dot(at, 2.6, PANEL)


def _runs(values: Float64) -> list[list[int]]:
    """Return the layers that have a value, cut where some have none."""
    layers = np.flatnonzero(np.isfinite(values))
    cuts = np.flatnonzero(np.diff(layers) > 1) + 1
    return [run.tolist() for run in np.split(layers, cuts) if len(run)]


def layers_written(panel: Panel) -> tuple[int, ...]:
    """Return the layers whose numbers are written."""
    left, _, right, _ = panel.box
    return layer_ticks(len(panel.curves[0].middle), (right - left) / _APART)
