"""A camera that sees it all."""

from __future__ import annotations

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Matrix

Float64 = npt.NDArray[np.float64]

LENS = 50.0  # mm
SENSOR = 36.0  # mm, the width


def overview(points: Float64, toward: Float64, aspect: float) -> tuple[bpy.types.Object, float]:
    """Make a camera that looks along a direction from where all points just fit in the picture.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
    toward : ndarray, shape (3,)
        Direction of view; not vertical.
    aspect : float
        Width of the picture over its height.

    Returns
    -------
    bpy.types.Object, float
        The camera, and the distance to the farthest point.
    """
    forward = toward / np.linalg.norm(toward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    position, far = _fit(points @ np.column_stack([right, up, forward]), aspect)
    data = bpy.data.cameras.new("Overview")
    data.lens, data.sensor_width, data.sensor_fit = LENS, SENSOR, "HORIZONTAL"
    data.clip_start, data.clip_end = far / 1000.0, 4.0 * far
    camera = bpy.data.objects.new("Overview", data)
    axes = np.column_stack([right, up, -forward])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, np.column_stack([right, up, forward]) @ position
    camera.matrix_world = Matrix(matrix.tolist())
    return camera, far


def _fit(points: Float64, aspect: float) -> tuple[Float64, float]:
    """Return the camera's position in (right, up, forward), and the depth of the farthest point.

    A point (a, b, d) is in the picture when |a - x| <= kx (d - z), and likewise for b. For each of
    the two directions that bounds z from above; at the lesser bound x and y are midway.
    """
    margin = 0.94
    k = np.array([SENSOR / (2.0 * LENS), SENSOR / (2.0 * LENS * aspect)]) * margin
    sides, depth = points[:, :2], points[:, 2:]
    least, most = (sides + k * depth).min(axis=0), (sides - k * depth).max(axis=0)
    z = float(((least - most) / (2.0 * k)).min())
    middle = (least + most) / 2.0
    return np.array([*middle, z]), float(depth.max() - z)
