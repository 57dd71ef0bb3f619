"""Values to colours: perceptual maps built in OKLab, and one colour that no map uses.

A map is perceptual when equal steps of value are equal steps of perceived lightness. All maps are
therefore drawn as curves in OKLab (B. Ottosson, 2020, https://bottosson.github.io/posts/oklab/),
with lightness linear in the value, and converted to sRGB once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from .settings import ColorMap

UInt8 = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]

# A pure green, which no map comes near.
NONFINITE = (0, 255, 90, 255)

_OKLAB_TO_LMS = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_LMS_TO_LINEAR_SRGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@dataclass(frozen=True)
class ColorScale:
    """A locked scale: value `low` has the first colour of the map, `high` the last.

    Attributes
    ----------
    low, high : float
        In standard deviations. A diverging scale has ``low == -high``.
    diverging : bool
    map : {"ember", "ice", "gray"}
        Of a scale that does not diverge.
    """

    low: float
    high: float
    diverging: bool
    map: ColorMap = "ember"

    def colors(self, values: npt.ArrayLike) -> UInt8:
        """Return the sRGB colours of values in σ, shape (n, 4); beyond the scale they are clipped.

        Non-finite values get `NONFINITE`.
        """
        v = np.asarray(values, dtype=np.float32)
        span = max(self.high - self.low, float(np.finfo(np.float32).tiny))
        position = (v - np.float32(self.low)) * np.float32(255.0 / span)
        finite = np.isfinite(position)
        index = np.where(finite, np.clip(position, 0.0, 255.0), 0.0)
        table = color_map(self.diverging, self.map)
        colors: UInt8 = table[(index + np.float32(0.5)).astype(np.uint8)]
        colors[~finite] = NONFINITE
        return colors

    def clipped(self, values: npt.ArrayLike) -> int:
        """Return how many finite values lie beyond the scale."""
        v = np.asarray(values)
        v = v[np.isfinite(v)]
        return int(np.count_nonzero((v < self.low) | (v > self.high)))

    def ticks(self) -> list[float]:
        """Return the ends and at most six round values between them, for a legend."""
        step = _step(self.low, self.high)
        inner = _multiples(self.low, self.high, step)
        room = 0.6 * step
        return [
            self.low,
            *(t for t in inner if self.low + room < t < self.high - room),
            self.high,
        ]


def scale_for(values: npt.ArrayLike, *, diverging: bool, map: ColorMap = "ember") -> ColorScale:
    """Choose one scale for all values of a run.

    Parameters
    ----------
    values : array_like, shape (n,)
        Values under the vertices of all surfaces, in σ; non-finite ones are left out.
    diverging : bool
        Whether the values are signed.
    map : {"ember", "ice", "gray"}
        Of values without a sign.

    Returns
    -------
    ColorScale
        From the 0.5 to the 99.5 percentile of the values, widened to round numbers, so that a few
        outliers do not take the whole scale; those are clipped, and the report counts them.
    """
    v = np.asarray(values, dtype=np.float64).ravel()
    v = v[np.isfinite(v)]
    if diverging:
        v = np.abs(v)
    if not v.any():
        return ColorScale(-1.0 if diverging else 0.0, 1.0, diverging, map)
    low, high = np.quantile(v, (0.005, 0.995))
    step = _step(0.0 if diverging else low, high)
    high = max(np.ceil(high / step - 1e-9) * step, step)
    low = -high if diverging else max(min(np.floor(low / step + 1e-9) * step, high - step), 0.0)
    return ColorScale(_tidy(low), _tidy(high), diverging, map)


def _step(low: float, high: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that divides the span six times or so."""
    raw = max((high - low) / 6.0, abs(high) * 1e-3, 1e-30)
    power = 10.0 ** np.floor(np.log10(raw))
    return float(next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw * 0.999))


def _multiples(low: float, high: float, step: float) -> list[float]:
    first, last = round(np.ceil(low / step - 1e-9)), round(np.floor(high / step + 1e-9))
    return [_tidy(i * step) for i in range(first, last + 1)]


def _tidy(value: float) -> float:
    """Return a multiple of a round step without the last digits' noise."""
    return float(f"{value:.10g}")


@dataclass(frozen=True)
class _Curve:
    """A sequential map: lightness from the first value to the last, chroma and hue through knots.

    Each knot is (position, chroma, hue in degrees).
    """

    lightness: tuple[float, float]
    knots: tuple[tuple[float, float, float], ...]


_CURVES: dict[ColorMap, _Curve] = {
    # Indigo, red, orange, pale yellow.
    "ember": _Curve(
        (0.40, 0.95),
        ((0.0, 0.145, 283.0), (0.25, 0.185, 334.7), (0.3, 0.185, 345.0), (0.55, 0.185, 386.7),
         (0.6, 0.18, 395.0), (0.8, 0.16, 427.0), (1.0, 0.10, 462.0)),
    ),
    # Dark blue, cyan, almost white.
    "ice": _Curve(
        (0.40, 0.97),
        ((0.0, 0.15, 272.0), (0.3, 0.15, 258.0), (0.6, 0.125, 232.0), (0.82, 0.095, 212.0),
         (1.0, 0.03, 200.0)),
    ),
    # As neutral as a photograph.
    "gray": _Curve((0.42, 0.97), ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))),
}  # fmt: skip


@cache
def color_map(diverging: bool, map: ColorMap = "ember") -> UInt8:
    """Return a map as sRGB-encoded colours, shape (256, 4), opaque.

    Sequential maps climb in lightness; the diverging one, of which there is one alone, falls from
    pale grey at zero to blue (negative) and red (positive).
    """
    t = np.linspace(0.0, 1.0, 256)
    if diverging:
        away = np.abs(2.0 * t - 1.0)
        return _oklch_to_srgb(0.93 - 0.43 * away, 0.205 * away**0.8, np.where(t < 0.5, 258.0, 27.0))
    curve = _CURVES[map]
    at, chroma, hue = np.array(curve.knots).T
    low, high = curve.lightness
    return _oklch_to_srgb(low + (high - low) * t, np.interp(t, at, chroma), np.interp(t, at, hue))


def _oklch_to_srgb(lightness: Float64, chroma: Float64, hue: Float64) -> UInt8:
    """Convert to sRGB; chroma that the screen cannot show is reduced at equal lightness and hue."""
    scale = np.ones_like(chroma)
    for _ in range(40):
        linear = _oklch_to_linear(lightness, chroma * scale, hue)
        outside = (linear.min(axis=1) < -1e-6) | (linear.max(axis=1) > 1.0 + 1e-6)
        if not outside.any():
            break
        scale[outside] *= 0.97
    rgb = np.clip(_encode_srgb(np.clip(linear, 0.0, 1.0)) * 255.0 + 0.5, 0, 255).astype(np.uint8)
    return np.column_stack([rgb, np.full(len(rgb), 255, np.uint8)])


def _oklch_to_linear(lightness: Float64, chroma: Float64, hue: Float64) -> Float64:
    angle = np.deg2rad(hue)
    lab = np.column_stack([lightness, chroma * np.cos(angle), chroma * np.sin(angle)])
    linear: Float64 = (lab @ _OKLAB_TO_LMS.T) ** 3 @ _LMS_TO_LINEAR_SRGB.T
    return linear


def _encode_srgb(linear: Float64) -> Float64:
    """Apply the sRGB transfer function (IEC 61966-2-1)."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def decode_srgb(encoded: npt.ArrayLike) -> Float64:
    """Return linear values in [0, 1] of sRGB-encoded ones in [0, 1] (IEC 61966-2-1)."""
    e = np.asarray(encoded, dtype=np.float64)
    return np.where(e <= 0.04045, e / 12.92, ((e + 0.055) / 1.055) ** 2.4)
