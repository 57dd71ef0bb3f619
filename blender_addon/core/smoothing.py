"""A Gaussian over rows and columns, a band at a time; planes are kept apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .stages import Ticks

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

# Cells, times what each takes, that are dealt with in one step.
STEP = 1 << 21


def smooth(cells: Float32, sigma: float, unknown: Bool) -> Ticks[Float32]:
    """Blur rows and columns with a Gaussian of `sigma` cells; planes are kept apart.

    Unknown cells, which hold 0, have no weight in the blur and stay 0.
    """
    if sigma == 0.0:
        return cells
    blurred = yield from _blur(cells, sigma)
    if not unknown.any():
        return blurred
    weight = yield from _blur((~unknown).astype(np.float32), sigma)
    return np.where(unknown, np.float32(0.0), blurred / np.maximum(weight, 1e-6))


def _blur(values: Float32, sigma: float) -> Ticks[Float32]:
    """Blur along rows and columns, in bands that lie along the blur."""
    from scipy import ndimage

    planes, rows, cols = values.shape
    step = max(STEP // int(8 * sigma + 1), 1)
    for axis, length, across in ((1, rows, cols), (2, cols, rows)):
        result = np.empty_like(values)
        wide = max(step // (planes * length), 1)
        for begin in range(0, across, wide):
            some = slice(begin, begin + wide)
            band = np.s_[:, :, some] if axis == 1 else np.s_[:, some]
            ndimage.gaussian_filter1d(values[band], sigma, axis, output=result[band])
            yield 0
        values = result
    return values
