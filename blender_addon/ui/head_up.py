"""The line in the view that says where the viewer is, and what the colours mean."""

from __future__ import annotations

from dataclasses import dataclass

import blf
import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from ..core.color import ColorScale
from ..core.readers import printable
from .course import course_of, moment_of
from .session import Seen, session

INK = (0.92, 0.94, 0.98, 1.0)
FAINT = (0.70, 0.73, 0.78, 1.0)
BACK = (0.02, 0.024, 0.032, 0.82)
BAR = 220  # width of the colour scale, in pixels at a scale of one


@dataclass
class Bar:
    """The colour scale, ready to draw."""

    scale: ColorScale
    at: tuple[float, ...]
    batch: gpu.types.GPUBatch


@dataclass(frozen=True)
class Told:
    """What the line says.

    Attributes
    ----------
    layer, what : str
        Its two rows.
    scale : ColorScale
    clipped : bool
        Whether what lies beyond the scale has the colours of its ends.
    """

    layer: str
    what: str
    scale: ColorScale
    clipped: bool


class HeadUp:
    """Draws the line; made when the extension is switched on."""

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._handle = bpy.types.SpaceView3D.draw_handler_add(self.draw, (), "WINDOW", "POST_PIXEL")

    def remove(self) -> None:
        """Draw no more."""
        bpy.types.SpaceView3D.draw_handler_remove(self._handle, "WINDOW")

    def draw(self) -> None:
        """Draw, if there is something to tell."""
        context = bpy.context
        weights = getattr(context.scene, "weightwalk", None)
        if weights is None or not weights.head_up or not context.space_data.overlay.show_overlays:
            return
        viewer = np.array(context.region_data.view_matrix.inverted())
        told = tell(context, viewer[:3, 3], -viewer[:3, 2])
        if told is not None:
            self._text(context, told)

    def _text(self, context: bpy.types.Context, told: Told) -> None:
        layer, what = told.layer, told.what
        unit = context.preferences.system.ui_scale
        left, bottom = _free_corner(context, unit)
        height = 64 * unit
        blf.size(0, 17 * unit)
        head = blf.dimensions(0, layer)[0]
        blf.size(0, 12.5 * unit)
        width = max(head, blf.dimensions(0, what)[0]) + 24 * unit
        bar = BAR * unit
        _box(left, bottom, width + bar + 40 * unit, height, BACK)
        _write(layer, left + 14 * unit, bottom + 37 * unit, 17 * unit, INK)
        _write(what, left + 14 * unit, bottom + 14 * unit, 12.5 * unit, FAINT)
        self._scale(told, (left + width + 12 * unit, bottom + 36 * unit, bar, 14 * unit), unit)

    def _scale(self, told: Told, at: tuple[float, float, float, float], unit: float) -> None:
        """Draw the colours with the scale's ends and unit below."""
        scale = told.scale
        if self._bar is None or (self._bar.scale, self._bar.at) != (scale, at):
            self._bar = Bar(scale, at, _strip(scale, at))
        self._bar.batch.draw(gpu.shader.from_builtin("SMOOTH_COLOR"))
        left, bottom, width, _ = at
        low = f"≤ {scale.low:g}" if scale.diverging and told.clipped else f"{scale.low:g}"
        middle = f"{(scale.low + scale.high) / 2:g}"
        high = f"≥ {scale.high:g} σ" if told.clipped else f"{scale.high:g} σ"
        for text, share in ((low, 0.0), (middle, 0.5), (high, 1.0)):
            blf.size(0, 12.5 * unit)
            long = blf.dimensions(0, text)[0]
            body = text.replace("-", "−")
            _write(body, left + share * (width - long), bottom - 22 * unit, 12.5 * unit, FAINT)


def tell(context: bpy.types.Context, eye: np.ndarray, ahead: np.ndarray) -> Told | None:
    """Return the layer before the viewer and the step, what is there, and its colours.

    None where there is nothing to tell.

    Parameters
    ----------
    context : bpy.types.Context
    eye, ahead : ndarray, shape (3,)
        Where the viewer is, and the direction of view.
    """
    course = course_of(context)
    if course is None:
        return None
    if course.flow is not None:
        flow, at = course.flow, course.ahead(eye, ahead)
        what = f"{printable(flow.layers[at], 70)}   {flow.model}"
        layer = _at(course.stops[at].label, moment_of(context.scene, flow))
        return Told(layer, what, flow.scale, clipped=False)
    built = session().built(context.scene)
    if built is None or not built.seen:
        return None
    surface, layer, away = built.nearest(eye, ahead)
    return Told(_at(layer, built.step), describe(surface, away), built.record.scale, clipped=True)


def _at(layer: str, step: str) -> str:
    return layer + f"   ·   {step}" * bool(step)


def describe(surface: Seen, away: float) -> str:
    """Return what a surface or a relief is: its tensor, shape, level and distance."""
    name = surface.plan
    name = name if len(name) <= 70 else f"{name[:30]}…{name[-38:]}"
    shape = surface.shape.replace("x", " × ")
    if surface.sign is None or surface.level is None:
        return f"{name}   {shape}   {away:.1f} m"
    side = {1: "above", -1: "below −", 0: ""}[surface.sign]
    level = f"{side} {surface.level:.2f} σ".replace("− ", "−") if side else "NaN or infinity"
    return f"{name}   {shape}   {level}   {away:.1f} m"


def _free_corner(context: bpy.types.Context, unit: float) -> tuple[float, float]:
    """Return the lower left corner that the tools do not cover."""
    tools = next((r for r in context.area.regions if r.type == "TOOLS"), None)
    left = tools.width if tools and context.preferences.system.use_region_overlap else 0
    return left + 14 * unit, 14 * unit


def _box(left: float, bottom: float, width: float, height: float, color: tuple[float, ...]) -> None:
    corners = [
        (left, bottom), (left + width, bottom), (left + width, bottom + height),
        (left, bottom + height),
    ]  # fmt: skip
    shader = gpu.shader.from_builtin("UNIFORM_COLOR")
    gpu.state.blend_set("ALPHA")
    shader.uniform_float("color", color)
    batch_for_shader(shader, "TRI_FAN", {"pos": corners}).draw(shader)
    gpu.state.blend_set("NONE")


def _write(text: str, x: float, y: float, size: float, color: tuple[float, ...]) -> None:
    blf.size(0, size)
    blf.color(0, *color)
    blf.position(0, x, y, 0)
    blf.draw(0, text)


def _strip(scale: ColorScale, at: tuple[float, float, float, float]) -> gpu.types.GPUBatch:
    left, bottom, width, height = at
    n = 64
    x = np.linspace(left, left + width, n)
    low = np.column_stack([x, np.full(n, bottom)])
    points = np.stack([low, low + np.array([0.0, height])], axis=1).reshape(-1, 2)
    colors = scale.colors(np.linspace(scale.low, scale.high, n)) / 255.0
    content = {
        "pos": points.astype(np.float32).tolist(),
        "color": np.repeat(colors, 2, axis=0).astype(np.float32).tolist(),
    }
    return batch_for_shader(gpu.shader.from_builtin("SMOOTH_COLOR"), "TRI_STRIP", content)
