"""A matrix at every step → terrain of fixed topology, whose heights are the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from .color import ColorScale
from .fields import Plan
from .layout import Placement, to_scene
from .marching import Mesh
from .writers import MeshPart

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]

DEPTH = 0.9  # metres, of what has the last colour of the scale


class Sheet(Protocol):
    """What has a shape for each step, and the same faces at all of them."""

    @property
    def part(self) -> MeshPart:
        """The sheet at height 0, in metres."""

    @property
    def cells(self) -> Int32:
        """Flat index of the cell that each vertex shows, shape (n,)."""

    def offsets(self, step: int) -> Float32:
        """Return how far each vertex is moved at a step, shape (n, 3), in metres."""


@dataclass(frozen=True, eq=False)
class Relief:
    """One tensor as terrain: a sheet that stands in the corridor and faces the visitor.

    Attributes
    ----------
    plan : Plan
        Of the first step that has it.
    placement : Placement
    part : MeshPart
        The sheet at height 0, in metres, with its provenance.
    cells : ndarray of int32, shape (n,)
        Flat index into the field's grid of the cell that each vertex shows.
    values : ndarray of float32, shape (steps, n)
        In σ; 0 where the tensor is absent or a cell is not finite.
    shown : tuple of bool, shape (steps,)
        Whether the step has the tensor.
    height : float
        Metres for one σ.
    scale : ColorScale
    """

    plan: Plan
    placement: Placement
    part: MeshPart
    cells: Int32
    values: Float32
    shown: tuple[bool, ...]
    height: float
    scale: ColorScale

    def offsets(self, step: int) -> Float32:
        """Return how far each vertex is moved at a step, shape (n, 3), in metres: along -Y."""
        moved = np.zeros((self.values.shape[1], 3), np.float32)
        moved[:, 1] = -self.height * self.values[step]
        return moved

    def colors(self, step: int) -> UInt8:
        """Return the colours at a step, shape (n, 4), sRGB-encoded."""
        return self.scale.colors(self.values[step])


def sheet(rows: int, cols: int) -> tuple[Float32, Int32, Int32]:
    """Return a sheet with a vertex at the centre of every cell.

    A single row or column has a vertex on both its edges instead, to have an extent.

    Returns
    -------
    vertices : ndarray of float32, shape (n, 3)
        (plane, row, column) in cells; the plane is 0.
    faces : ndarray of int32, shape (m, 3)
        Counter-clockwise as seen from the side of lower planes, with columns to the right and rows
        downward.
    cells : ndarray of int32, shape (n,)
    """
    r = np.arange(rows, dtype=np.float32) if rows > 1 else np.array([-0.5, 0.5], np.float32)
    c = np.arange(cols, dtype=np.float32) if cols > 1 else np.array([-0.5, 0.5], np.float32)
    grid = np.stack(np.meshgrid([0.0], r, c, indexing="ij"), axis=-1).reshape(-1, 3)
    row, col = np.meshgrid(np.arange(len(r)), np.arange(len(c)), indexing="ij")
    cells = np.minimum(row, rows - 1) * cols + np.minimum(col, cols - 1)
    a = (row[:-1, :-1] * len(c) + col[:-1, :-1]).ravel()
    b, d, e = a + 1, a + len(c), a + len(c) + 1
    faces = np.concatenate([np.stack([a, d, b], axis=1), np.stack([b, d, e], axis=1)])
    return grid.astype(np.float32), faces.astype(np.int32), cells.ravel().astype(np.int32)


def height_unit(scale: ColorScale, depth: float = DEPTH) -> float:
    """Return metres for one σ, such that the end of the colour scale is so many metres high."""
    return depth / max(abs(scale.low), abs(scale.high))


def relief_of(
    plan: Plan,
    placement: Placement,
    values: Sequence[Float32 | None],
    unit: tuple[ColorScale, float],
    extras: Mapping[str, Any],
) -> Relief:
    """Make the relief of one tensor.

    Parameters
    ----------
    plan : Plan
    placement : Placement
    values : sequence of (ndarray of float32, shape (rows, columns)) or None
        In σ at each step; None where the tensor is absent. At least one is there.
    unit : tuple of (ColorScale, float)
        Of the series, and metres for one σ.
    extras : mapping
        The provenance.
    """
    scale, height = unit
    grid, faces, cells = sheet(*plan.shape[1:])
    vertices = to_scene(Mesh(grid, faces), plan, placement)
    # The sheet is where a slab has its middle.
    vertices[:, 1] = 0.0
    normals = np.zeros_like(vertices)
    normals[:, 1] = -1.0
    held = [np.zeros(len(cells), np.float32) if v is None else v.ravel()[cells] for v in values]
    part = MeshPart(
        plan.name, placement.collection, vertices, normals, faces,
        scale.colors(np.zeros(len(cells), np.float32)), placement.origin, extras,
    )  # fmt: skip
    shown = tuple(value is not None for value in values)
    return Relief(plan, placement, part, cells, np.array(held), shown, height, scale)
