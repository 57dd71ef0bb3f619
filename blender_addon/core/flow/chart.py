"""The chart of a comparison: four curves over layers, and where the model departs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import SettingsError
from .axis import positive_axis, signed_axis
from .compare import Comparison, Table
from .departure import BEYOND, LEVEL
from .page import BACKGROUND, FAINT, line_height, new_page, shorten, text, text_width, wrap
from .panel import Curve, Float64, Lines, Panel, chart_colors, draw_panels, gaps, layers_written

WIDTH = 1280
_LEFT, _RIGHT, _EDGE = 96, 40, 40
_HEAD, _GAP = 26, 22  # the line above a panel, and the space between panels


def draw_chart(lines: Lines, title: str) -> Any:
    """Draw one comparison, or one for each step of a run.

    Parameters
    ----------
    lines : sequence of (str, Comparison)
        Each with its label ("step 500"), of the same layers, the earliest first.
    title : str
        What is compared with what.

    Returns
    -------
    PIL.Image.Image
        1280 pixels wide. One comparison is drawn as the median over its prompts, in the band
        between its quartiles; several as their medians alone, from dark, early, to light, late.

    Raises
    ------
    SettingsError
        There is no comparison.
    """
    if not lines:
        raise SettingsError("there is no comparison to draw")
    said = _summary(lines)
    panels = chart_panels(lines)
    bottom = panels[-1].box[3]
    foot = wrap(_how(lines), 13, WIDTH - 2 * _EDGE)
    page = new_page(WIDTH, bottom + 72 + len(foot) * line_height(13))
    page = draw_panels(page, panels, lines, _HEAD + 4)
    text(page, (_EDGE, 28), shorten(title, 26, WIDTH - 2 * _EDGE), size=26)
    for number, line in enumerate(said):
        text(page, (_EDGE, 70 + number * line_height(14)), line, size=14, color=FAINT)
    if len(lines) > 1:
        _write_legend(page, _below(said), [label for label, _ in lines])
    for panel in panels:
        _write_panel(page, panel)
    _write_layers(page, panels[-1], lines[0][1])
    _write_departure(page, panels[0], lines)
    for number, line in enumerate(foot):
        text(page, (_EDGE, bottom + 58 + number * line_height(13)), line, color=FAINT)
    return page


def _below(said: Sequence[str]) -> int:
    """Return where the lines of the summary end."""
    return 84 + len(said) * line_height(14)


def chart_panels(lines: Lines) -> tuple[Panel, ...]:
    """Return the four panels where `draw_chart` draws them."""
    top = _below(_summary(lines))
    top += (44 if len(lines) > 1 else 0) + (22 if lines[-1][1].departs is not None else 0)
    every = [comparison for _, comparison in lines]
    layers = len(every[0].layers)
    relative = [_curve(each.relative, layers) for each in every]
    angle = [_curve(each.angle, layers) for each in every]
    norm = [_curve(each.norm, layers) for each in every]
    shift = [_curve(each.shift, layers) for each in every]
    seen = _drawn(shift)
    if len(every) == 1:  # then each prompt has its dot
        seen = np.concatenate([seen, np.ravel(every[0].shift)])
    made = [
        ("relative change", "how far a state has moved, in lengths of the reference's state",
         relative, positive_axis(_drawn(relative)), _percent, 170),
        ("1 − cosine", "how far it has turned: 0 is not at all, 1 by a right angle",
         angle, positive_axis(_drawn(angle)), _number, 170),
        ("change of norm", "how much longer, or shorter, it has become",
         norm, signed_axis(_drawn(norm), 0.01, 8.0), _signed_percent, 150),
        ("moved together", "shift in the direction in which the others moved, in standard "
         "deviations (σ) of the reference's prompts along it",
         shift, signed_axis(seen, 2.4, 80.0), _sigmas, 230),
    ]  # fmt: skip
    panels = []
    for name, about, curves, axis, form, height in made:
        top += _HEAD
        box = (_LEFT, top, WIDTH - _RIGHT, top + height)
        threshold = BEYOND if curves is shift else None
        panels.append(Panel(name, about, tuple(curves), axis, form, box, threshold))
        top += height + _GAP
    return tuple(panels)


def _curve(table: Table, layers: int) -> Curve:
    values = np.array(table, np.float64).reshape(-1, layers)
    result = np.full((3, layers), np.nan)
    for layer in range(layers):
        known = values[np.isfinite(values[:, layer]), layer]
        if len(known):
            result[:, layer] = np.quantile(known, (0.25, 0.5, 0.75))
    return Curve(*result)


def _drawn(curves: Sequence[Curve]) -> Float64:
    """Return the values that are drawn."""
    if len(curves) > 1:
        return np.concatenate([curve.middle for curve in curves])
    return np.concatenate([curves[0].low, curves[0].middle, curves[0].high])


def _number(value: float) -> str:
    return f"{value:g}".replace("e-0", "e-")


def _percent(value: float) -> str:
    return f"{float(f'{100.0 * value:.6g}'):,g} %".replace("e-0", "e-")


def _signed_percent(value: float) -> str:
    return ("+" if value > 0.0 else "") + _percent(value).replace("-", "−", 1)


def _sigmas(value: float) -> str:
    return f"{value:,g} σ".replace("-", "−")


def _summary(lines: Lines) -> list[str]:
    """Return what was found, in lines: of a run, at its last step."""
    label, last = lines[-1]
    said = last.said if len(lines) == 1 else f"{label} {last.said}"
    return wrap(said[0].upper() + said[1:] + ".", 14, WIDTH - 2 * _EDGE)


def _how(lines: Lines) -> str:
    """Say what is drawn, and how departing is tested."""
    last = lines[-1][1]
    layers, prompts = len(last.layers), last.prompts
    what = f"Curves: medians over {prompts} prompts" if prompts > 1 else "Curves: the one prompt"
    if prompts > 1 and len(lines) == 1:
        what += "; bands: their middle half; dots: each of them"
    if gaps(last):
        what += "; green: there a prompt has no value"
    shared = f", which is {LEVEL:g} shared by {layers} layers" if layers > 1 else ""
    return (
        f"{what}. Departing: a sign test finds that more than half of such prompts would lie "
        f"beyond {BEYOND:g} σ (p < {last.needed:.2g}{shared})."
    )


def _write_panel(page: Any, panel: Panel) -> None:
    """Write what is drawn, and the ticks."""
    left, top, right, bottom = panel.box
    about = panel.about if panel.axis.kind == "linear" else f"{panel.about} (logarithmic)"
    _clear(page, left, top - 8, f"{panel.name}   {about}", 15)
    end = text(page, (left, top - 8), panel.name, size=15, anchor="ls")
    text(page, (end + 12, top - 8), about, color=FAINT, anchor="ls")
    taken = []
    if panel.threshold is not None:
        taken.append(panel.at(0, panel.threshold)[1])
        text(page, (left - 10, taken[0]), panel.form(panel.threshold), anchor="rm")
    for tick in panel.axis.ticks:
        y = panel.at(0, tick)[1]
        if all(abs(y - other) >= 15 for other in taken):
            text(page, (left - 10, y), panel.form(tick), color=FAINT, anchor="rm")
            taken.append(y)
    if panel.axis.foot:
        text(page, (left - 10, bottom), f"< {panel.form(panel.axis.low)}", color=FAINT, anchor="rm")
    if not any(np.isfinite(curve.middle).any() for curve in panel.curves):
        middle = ((left + right) / 2, (top + bottom) / 2)
        text(page, middle, "this cannot be told here", color=FAINT, anchor="mm")


def _write_layers(page: Any, panel: Panel, comparison: Comparison) -> None:
    bottom, layers = panel.box[3], comparison.layers
    for layer in layers_written(panel):
        text(page, (panel.across(layer), bottom + 8), str(layer), color=FAINT, anchor="ma")
    names = layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"
    words = shorten(f"layer, from {names}", 13, WIDTH - _LEFT - _RIGHT)
    text(page, ((_LEFT + WIDTH - _RIGHT) / 2, bottom + 28), words, anchor="ma")


def _write_departure(page: Any, panel: Panel, lines: Lines) -> None:
    label, last = lines[-1]
    if last.departs is None:
        return
    words = f"departs at layer {last.departs}"
    if len(lines) > 1:
        words = f"{shorten(label, 15, 300)} {words}"
    half = text_width(words, 15) / 2
    x = min(max(panel.across(last.departs), _EDGE + half), WIDTH - _EDGE - half)
    text(page, (x, panel.box[1] - _HEAD - 10), words, size=15, anchor="ms")


def _write_legend(page: Any, top: int, labels: Sequence[str]) -> None:
    """Draw the colours from early to late, with as many labels as fit."""
    colors, width = chart_colors(len(labels)), 420
    ends = np.linspace(_LEFT, _LEFT + width, len(labels) + 1).round().astype(int)
    free = float(_EDGE)
    last = (ends[-2] + ends[-1]) / 2 - text_width(labels[-1]) / 2
    for number, (label, color) in enumerate(zip(labels, colors, strict=True)):
        page.paste(color, (int(ends[number]), top, int(ends[number + 1]), top + 8))
        middle = (ends[number] + ends[number + 1]) / 2
        half = text_width(label) / 2
        final = number == len(labels) - 1
        if middle - half >= free and (final or middle + half + 14 <= last):
            text(page, (middle, top + 12), label, color=FAINT, anchor="ma")
            free = middle + half + 14
    text(page, (_LEFT + width + 40, top + 4), "ring: the first layer that departs", color=FAINT,
         anchor="lm")  # fmt: skip


def _clear(page: Any, left: float, base: float, words: str, size: int) -> None:
    """Clear the page under a line, so that no mark runs through its words."""
    box = (round(left), round(base - size), round(left + text_width(words, size)), round(base + 5))
    page.paste(BACKGROUND, box)
