"""NeuralFlow's colours, for comparison with pictures that it made.

Source: https://github.com/valine/NeuralFlow, as the README says under "classic".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..color import NONFINITE
from .grid import arrange
from .settings import Arrangement

Real = npt.NDArray[np.floating[Any]]
UInt8 = npt.NDArray[np.uint8]

# In which of the six parts of the wheel a channel is 1, and in which it is q.
_PARTS = (((0, 5), (1, 4)), ((1, 2), (0, 3)), ((3, 4), (2, 5)))


def classic(values: Real, width: int, layout: Arrangement) -> UInt8:
    """Colour all steps of a run by one mapping.

    Over all values x: m = mean, v = 25 × the unbiased variance; t = (|x| − (m − v)) / (2 v) goes
    once around the wheel of hues, and is black beyond.

    Parameters
    ----------
    values : ndarray of float32 or float64, shape (steps, layers, features)
        Mean and variance are those of the finite ones, summed in float64; all else is computed in
        the dtype of the values.
    width : int
    layout : {"bands", "layers"}

    Returns
    -------
    ndarray of uint8, shape (steps, height, width, 3)
        What is not finite has `color.NONFINITE`.
    """
    return classic_of([list(step) for step in values], width, layout)


def classic_of(steps: Sequence[Sequence[Real]], width: int, layout: Arrangement) -> UInt8:
    """Do what `classic` does, with layers that need not have as many features as one another."""
    dtype = np.result_type(*steps[0])
    mean, spread = _moments(steps, dtype)
    pictures = []
    for layers in steps:
        grid, there = arrange(layers, width, layout)
        with np.errstate(all="ignore"):
            grid[~there] = mean + spread
            pictures.append(_colors(grid, mean, spread))
        pictures[-1][~np.isfinite(grid) & there] = NONFINITE[:3]
    return np.stack(pictures)


def _moments(steps: Sequence[Sequence[Real]], dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return m and v of the finite values, in the dtype of the values; NaN of less than two."""
    flat = np.concatenate([layer.ravel() for layers in steps for layer in layers])
    flat = flat[np.isfinite(flat)].astype(np.float64)
    if len(flat) < 2:
        return dtype.type(np.nan), dtype.type(np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        # Of equal values the rounding of the mean is no variance.
        variance = flat.var(ddof=1) if np.ptp(flat) else 0.0
        return dtype.type(flat.mean()), dtype.type(25) * dtype.type(variance)


def _colors(x: Real, mean: Any, spread: Any) -> UInt8:
    one, two, six = (x.dtype.type(n) for n in (1, 2, 6))
    t = six * ((np.abs(x) - (mean - spread)) / (two * spread))
    part = np.trunc(t)
    q = one - np.abs(np.mod(t, two) - one)
    channels = [
        np.where(np.isin(part, full), one, np.where(np.isin(part, slope), q, 0 * one))
        for full, slope in _PARTS
    ]
    colors: UInt8 = (x.dtype.type(255) * np.stack(channels, axis=-1)).astype(np.uint8)
    return colors
