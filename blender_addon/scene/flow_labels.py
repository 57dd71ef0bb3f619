"""What can be read beside a flow: layers, features, tokens, and what the picture shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import bpy
import numpy as np

from ..core.flow.picture import spacing
from ..core.flow.standing import edges
from ..core.layout import Vector
from ..core.readers import printable
from .flow_ground import plain_mesh
from .labels import ABOVE, LONGEST, STANDING, Ink, text
from .mesh import new_object

BESIDE = 0.3  # metres between the shape and what is written beside it
LEAST = 0.7  # metres from a layer's number to the next


@dataclass(frozen=True)
class Axes:
    """Where layers, features and tokens lie, in metres.

    Attributes
    ----------
    low, high : tuple of 3 float
        Corners of the shape.
    layers : int
    stride : float
        From a layer to the next; layer 0 is at y = 0.
    features, columns : int
    column : float
        Width of a column; they are centred about x = 0.
    tokens : tuple of (str, float)
        Names, and how high they are; none where there is one.
    """

    low: Vector
    high: Vector
    layers: int
    stride: float
    features: int
    columns: int
    column: float
    tokens: tuple[tuple[str, float], ...] = ()

    @property
    def size(self) -> float:
        """Height of letters that can be read while walking."""
        return float(np.clip(0.6 * self.stride * self.every, 0.3, 0.5))

    @property
    def every(self) -> int:
        """Which multiples of layers are named."""
        return spacing(self.stride, LEAST)


def labels_of(axes: Axes, ink: Ink) -> Iterator[bpy.types.Object]:
    """Make all labels of a shape."""
    yield from _layers(axes, ink)
    yield from _features(axes, ink)
    for name, height in axes.tokens:
        at = (axes.low[0] - BESIDE, axes.low[1], height - 0.05)
        body = printable(name, LONGEST)
        label = text(body, _token_size(axes), at, ink.text, "RIGHT")
        label.rotation_euler = STANDING
        yield label


def _token_size(axes: Axes) -> float:
    apart = abs(axes.tokens[0][1] - axes.tokens[-1][1]) / max(len(axes.tokens) - 1, 1)
    return float(np.clip(0.6 * apart, 0.05, 0.25))


def _layers(axes: Axes, ink: Ink) -> Iterator[bpy.types.Object]:
    """Make numbers of layers on both sides, on the floor."""
    for layer in range(0, axes.layers, axes.every):
        body = f"layer {layer}" if layer == 0 else str(layer)
        y = layer * axes.stride - 0.35 * axes.size
        for x, align in ((axes.low[0] - BESIDE, "RIGHT"), (axes.high[0] + BESIDE, "LEFT")):
            yield text(body, axes.size, (x, y, ABOVE), ink.text, align)


def pointers_of(axes: Axes, layer: int, ink: Ink) -> Iterator[bpy.types.Object]:
    """Make what points at the layer that departs: arrows on both sides, and a word on the right."""
    y, half = layer * axes.stride, 0.5 * axes.size
    outer, inner = 0.9 * BESIDE, 0.1 * BESIDE
    for side, x in ((-1.0, axes.low[0]), (1.0, axes.high[0])):
        corners = [
            (x + side * outer, y - half),
            (x + side * inner, y),
            (x + side * outer, y + half),
        ]
        vertices = np.array([(*corner, ABOVE) for corner in corners[:: -int(side)]], np.float32)
        name = f"Departs {layer}"
        yield new_object(
            name, plain_mesh(name, vertices, np.array([(0, 1, 2)], np.int32), ink.text)
        )
    body = f"departs at layer {layer}"
    # Beyond the layers' numbers.
    at = (axes.high[0] + BESIDE + 1.8 * axes.size, y - 0.35 * axes.size, ABOVE)
    yield text(body, axes.size, at, ink.text, "LEFT")


def _features(axes: Axes, ink: Ink) -> Iterator[bpy.types.Object]:
    """Make numbers of features along the front."""
    size = 0.7 * axes.size
    begins = edges(axes.features, axes.columns)
    every = spacing(axes.column * axes.columns / axes.features, 6.0 * size)
    y = axes.low[1] - BESIDE - size
    for feature in range(0, axes.features, every):
        column = int(np.searchsorted(begins, feature, side="right")) - 1
        x = (column - (axes.columns - 1) / 2.0) * axes.column
        body = "feature 0" if feature == 0 else str(feature)
        yield text(body, size, (x, y, ABOVE), ink.text)


def caption_of(
    lines: Sequence[str], at: tuple[float, float, float], size: float, ink: Ink
) -> Iterator[bpy.types.Object]:
    """Make lines that stand below a screen."""
    for i, line in enumerate(lines):
        label = text(line, size, (at[0], at[1], at[2] - 1.4 * size * i), ink.text)
        label.rotation_euler = STANDING
        yield label
