"""The few colours that stand for all colours of some pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

UInt8 = npt.NDArray[np.uint8]
UInt32 = npt.NDArray[np.uint32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

# About so many pixels of a picture are looked at.
SAMPLED = 100_000
# So many pixels stand for all when the first palette is cut; so often it is then bettered.
CUT, ROUNDS = 500_000, 4


class Census:
    """Which colours there are, and how many pixels have them."""

    def __init__(self) -> None:
        self._found: list[tuple[UInt32, Int64]] = []

    def add(self, picture: UInt8) -> None:
        """Count the colours of a picture, shape (height, width, 3)."""
        packed = _pack(picture).ravel()
        some = packed[:: max(1, len(packed) // SAMPLED)]
        self._found.append(np.unique(some, return_counts=True))

    def palette(self, images: Any, colors: int) -> UInt8:
        """Return at most so many colours, near to those that are seen.

        Median cut, then some rounds of Lloyd's algorithm (k-means). A colour counts by the square
        root of its pixels: a dark background is not all that there is.

        Parameters
        ----------
        images : module
            ``PIL.Image``.
        colors : int

        Returns
        -------
        ndarray of uint8, shape (n, 3)
        """
        found, where = np.unique(np.concatenate([f for f, _ in self._found]), return_inverse=True)
        rgb = _unpack(found)
        if len(rgb) <= colors:
            return rgb
        weights = np.sqrt(np.bincount(where, np.concatenate([n for _, n in self._found])))
        share = np.round(weights / weights.sum() * CUT).astype(np.int64)
        stand_in = images.fromarray(np.repeat(rgb, np.maximum(share, 1), axis=0)[None])
        cut = stand_in.quantize(colors, method=images.Quantize.MEDIANCUT)
        count = 1 + max(index for _, index in cut.getcolors())
        palette = np.array(cut.getpalette()[: 3 * count], np.float64).reshape(-1, 3)
        for _ in range(ROUNDS):
            palette = _better(palette, rgb.astype(np.float64), weights)
        rounded: UInt8 = np.unique(np.round(palette).astype(np.uint8), axis=0)
        return rounded


class Nearest:
    """Gives pixels the nearest colour of a palette, which is searched once for each colour.

    No dithering: with a palette of its own colours a picture looks as before, and dots that differ
    from frame to frame would flicker, and make the file large.
    """

    def __init__(self, palette: UInt8) -> None:
        self._tree = cKDTree(palette.astype(np.float64))
        self._known = np.full(1 << 24, -1, np.int16)

    def indices(self, picture: UInt8) -> UInt8:
        """Return the index of each pixel's colour, shape (height, width)."""
        packed = _pack(picture)
        indices = self._known[packed]
        unknown = np.unique(packed[indices < 0])
        if len(unknown):
            self._known[unknown] = self._tree.query(_unpack(unknown).astype(np.float64))[1]
            indices = self._known[packed]
        return indices.astype(np.uint8)


def _better(palette: Float64, rgb: Float64, weights: Float64) -> Float64:
    """Move each colour of a palette to the mean of the colours for which it stands."""
    nearest = cKDTree(palette).query(rgb)[1]
    total = np.bincount(nearest, weights, len(palette))
    sums = [np.bincount(nearest, weights * rgb[:, i], len(palette)) for i in range(3)]
    used = total > 0
    moved: Float64 = np.stack(sums, axis=1)[used] / total[used, None]
    return moved


def _pack(picture: UInt8) -> UInt32:
    wide = picture.astype(np.uint32)
    packed: UInt32 = (wide @ np.array([1 << 16, 1 << 8, 1], np.uint32)).astype(np.uint32)
    return packed


def _unpack(packed: UInt32) -> UInt8:
    rgb: UInt8 = (packed[..., None] >> np.array([16, 8, 0], np.uint32) & 255).astype(np.uint8)
    return rgb
