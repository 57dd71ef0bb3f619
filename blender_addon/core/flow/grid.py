"""Layers of features → the rows and columns of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .settings import Arrangement

Bool = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Arranged:
    """Where each value of some layers lies.

    Attributes
    ----------
    features : tuple of int
        How many each layer has.
    width : int
        Columns.
    layout : {"bands", "layers"}
    """

    features: tuple[int, ...]
    width: int
    layout: Arrangement

    @property
    def chunks(self) -> int:
        """Rows of the layer that has the most features."""
        return -(-max(self.features) // self.width)

    @property
    def height(self) -> int:
        """Rows."""
        return self.chunks * len(self.features)

    def rows(self, layer: int) -> Int64:
        """Return the rows of a layer's chunks, the first chunk first, shape (chunks,)."""
        chunk = np.arange(self.chunks)
        if self.layout == "bands":
            return chunk * len(self.features) + layer
        return layer * self.chunks + chunk


def arrange(
    layers: Sequence[npt.NDArray[Any]], width: int, layout: Arrangement
) -> tuple[npt.NDArray[Any], Bool]:
    """Lay out one token's outputs of all layers.

    Each layer is cut into chunks of `width` features. In "bands", band k holds chunk k of every
    layer, ``row = chunk · layers + layer``; in "layers" the chunks of a layer stay together,
    ``row = layer · chunks + chunk``.

    Parameters
    ----------
    layers : sequence of ndarray, shape (features,)
        Not all of them need to have as many features.
    width : int
    layout : {"bands", "layers"}

    Returns
    -------
    grid : ndarray, shape (chunks · layers, width)
        Of the layers' dtype; 0 where there is no feature.
    there : ndarray of bool, shape (chunks · layers, width)
        Where there is one.
    """
    arranged = Arranged(tuple(len(layer) for layer in layers), width, layout)
    shape = (arranged.height, width)
    grid = np.zeros(shape, np.result_type(*layers))
    there = np.zeros(shape, np.bool_)
    for number, layer in enumerate(layers):
        index = np.arange(len(layer))
        at = arranged.rows(number)[index // width], index % width
        grid[at], there[at] = layer, True
    return grid, there
