"""Boxes that mark cells, for what a value cannot show."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

FACES_PER_BOX, CORNERS_PER_BOX = 12, 24

# A unit cube's six sides: the fixed axis, its side, and the two axes that span it, so that
# (first × second) points outward where (column, plane, -row) are (x, y, z), as in the scene.
_SIDES = ((0, 0, 1, 2), (0, 1, 2, 1), (1, 0, 2, 0), (1, 1, 0, 2), (2, 0, 0, 1), (2, 1, 1, 0))


def boxes(mask: Bool, budget: int | None = None) -> tuple[Float32, Int32]:
    """Return closed boxes around the cells of a mask.

    Neighbours along a row share a box. Where that would exceed the budget, one box surrounds them
    all.

    Parameters
    ----------
    mask : ndarray of bool, shape (planes, rows, columns)
        With at least one cell set.
    budget : int or None
        Largest number of triangles.

    Returns
    -------
    vertices : ndarray of float32, shape (24 k, 3)
        Each side has corners of its own, for edges that are sharp.
    faces : ndarray of int32, shape (12 k, 3)
        In grid coordinates: a cell's box reaches half a cell to each side of its centre. Turned
        as those of `surfaces.Mesh`.
    """
    low, high = _runs(mask)
    if budget is not None and FACES_PER_BOX * len(low) > budget:
        low, high = low.min(axis=0, keepdims=True), high.max(axis=0, keepdims=True)
    corners, quads = _unit_cube()
    vertices = low[:, None] - 0.5 + corners[None] * (high - low)[:, None]
    count = len(low)
    faces = quads[None] + CORNERS_PER_BOX * np.arange(count)[:, None, None]
    return (
        vertices.reshape(-1, 3).astype(np.float32),
        faces.reshape(-1, 3).astype(np.int32),
    )


def _runs(mask: Bool) -> tuple[Int64, Int64]:
    """Return first cell and end of each run of cells along a row, shape (k, 3) each."""
    padded = np.pad(mask.astype(np.int8), ((0, 0), (0, 0), (1, 1)))
    change = np.diff(padded, axis=2)
    low, last = np.argwhere(change == 1), np.argwhere(change == -1)
    return low, last + np.array([1, 1, 0])


def _unit_cube() -> tuple[Float32, Int32]:
    """Return 24 corners and 12 triangles."""
    corners: list[list[int]] = []
    faces: list[list[int]] = []
    for axis, side, u, v in _SIDES:
        base = len(corners)
        for du, dv in ((0, 0), (1, 0), (1, 1), (0, 1)):
            corner = [0, 0, 0]
            corner[axis], corner[u], corner[v] = side, du, dv
            corners.append(corner)
        faces += [[base, base + 1, base + 2], [base, base + 2, base + 3]]
    return (
        np.array(corners, np.float32),
        np.array(faces, np.int32),
    )
