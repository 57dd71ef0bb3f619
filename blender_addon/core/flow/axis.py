"""The axes of a chart: where a value lies, and which round values are written beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Kind = Literal["linear", "log", "arsinh"]

# Beyond so many times apart, values want a logarithmic axis.
_WIDE = 20.0
# More powers of ten than these would be rounding's.
_DECADES = 6
# What lies below a logarithmic axis, zero too, has this share of the height at its foot.
_FOOT = 0.09


@dataclass(frozen=True)
class Axis:
    """Where values lie.

    Attributes
    ----------
    kind : {"linear", "log", "arsinh"}
        The last is linear about zero and logarithmic far from it, on both sides.
    low, high : float
        The ends.
    ticks : tuple of float
    foot : bool
        Of a logarithmic axis: there are values below, zero among them, at its foot.
    """

    kind: Kind
    low: float
    high: float
    ticks: tuple[float, ...]
    foot: bool = False

    def share(self, values: npt.ArrayLike) -> Float64:
        """Return where values lie, from 0 at the low end to 1 at the high end; NaN stays NaN."""
        v = np.asarray(values, np.float64)
        if self.kind == "log":
            below = v < self.low
            v = np.log(np.maximum(v, self.low))
            share = (v - math.log(self.low)) / math.log(self.high / self.low)
            if self.foot:
                share = np.where(below, 0.0, _FOOT + (1.0 - _FOOT) * share)
        else:
            low, high = self.low, self.high
            if self.kind == "arsinh":
                v, low, high = np.arcsinh(v), math.asinh(low), math.asinh(high)
            share = (v - low) / (high - low)
        inside: Float64 = np.clip(share, 0.0, 1.0)
        return inside


def positive_axis(values: npt.ArrayLike) -> Axis:
    """Return an axis for values of 0 and more: logarithmic where they lie far apart."""
    v = _finite(values)
    above = v[v > 0.0]
    if not above.size:
        return Axis("linear", 0.0, 1.0, (0.0, 0.5, 1.0))
    least, most = float(above.min()), float(above.max())
    if most <= _WIDE * least:
        return _linear(0.0, most)
    low = _round_down(max(least, most * 10.0**-_DECADES))
    high = _round_up(most)
    return Axis("log", low, high, _log_ticks(low, high), foot=bool((v < low).any()))


def signed_axis(values: npt.ArrayLike, least: float, wide: float) -> Axis:
    """Return an axis with zero on it.

    Parameters
    ----------
    values : array_like
    least : float
        It reaches at least so far up.
    wide : float
        With values beyond it the axis is not linear.
    """
    v = _finite(values)
    low = min(0.0, float(v.min(initial=0.0)))
    high = max(least, float(v.max(initial=0.0)))
    if max(-low, high) <= wide:
        return _linear(low, high)
    decades = math.floor(math.log10(max(-low, high)))
    powers = [10.0**k for k in range(0, decades + 1, 1 + decades // 5)]
    ticks = [t for t in (*(-p for p in reversed(powers)), 0.0, *powers) if low <= t <= high]
    return Axis("arsinh", low, high, tuple(ticks))


def layer_ticks(layers: int, room: float) -> tuple[int, ...]:
    """Return round numbers of layers, as many as there is room for."""
    step = max(1, round(round_step(layers / max(room, 1.0))))
    return tuple(range(0, layers, step))


def round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below a positive number."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= least * 0.999)


def _finite(values: npt.ArrayLike) -> Float64:
    v = np.asarray(values, np.float64)
    finite: Float64 = v[np.isfinite(v)]
    return finite


def _linear(low: float, high: float) -> Axis:
    step = round_step(max(high - low, 1e-300) / 4.0)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{i * step:.10g}") for i in range(first, last + 1))
    # The ends are no ticks: a whole step of nothing is too much of a small panel.
    room = 0.06 * (high - low)
    return Axis("linear", low - room if low < 0.0 else 0.0, high + room,
                tuple(t for t in ticks if low - room <= t <= high + room))  # fmt: skip


def _round_down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return next(m * power for m in (5.0, 2.0, 1.0) if m * power <= value * 1.001)


def _round_up(value: float) -> float:
    return round_step(value)


def _log_ticks(low: float, high: float) -> tuple[float, ...]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors: Sequence[float] = (1.0,) if math.log10(high / low) > 2.5 else (1.0, 2.0, 5.0)
    every = max(1, (last - first) // 5)
    ticks = [float(f"{m * 10.0**k:.10g}") for k in range(first, last + 1) for m in factors
             if k % every == 0]  # fmt: skip
    return tuple(t for t in ticks if low * 0.999 <= t <= high * 1.001)
