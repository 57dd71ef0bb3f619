"""A camera that sees it all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import bpy
import numpy as np
import numpy.typing as npt
from mathutils import Matrix

from .mesh import new_object

Float64 = npt.NDArray[np.float64]

LENS = 50.0  # mm
SENSOR = 36.0  # mm, the width
AIMED = "weightwalk_aimed"
FLOWN = "weightwalk_flown"  # of the camera that flies: the keys that `flight` gave it


@dataclass(frozen=True)
class Shot:
    """Where a camera stands and how far it sees.

    Attributes
    ----------
    matrix : ndarray, shape (4, 4)
        From the camera's axes to the world's.
    far : float
        Distance to the farthest point, in metres.
    """

    matrix: Float64
    far: float


def overview(points: Float64, toward: Float64, aspect: float) -> Shot:
    """Look along a direction from where all points just fit in the picture.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
    toward : ndarray, shape (3,)
        Direction of view; not vertical.
    aspect : float
        Width of the picture over its height.

    Returns
    -------
    Shot
    """
    k = 0.94 * np.array([SENSOR / (2.0 * LENS), SENSOR / (2.0 * LENS * aspect)])
    return fit(points, toward, (-k, k))


def fit(points: Float64, toward: Float64, window: tuple[Float64, Float64]) -> Shot:
    """Look along a direction such that all points just fit into a window of the picture.

    A point (right a, up b, forward d) of a viewer at (x, y, z) is in it when both (a - x) / (d - z)
    and (b - y) / (d - z) lie between the window's bounds. For each of the two that bounds z from
    above; at the lesser bound the other has room, and shares it out.

    Parameters
    ----------
    points : ndarray, shape (n, 3)
    toward : ndarray, shape (3,)
        Direction of view; not vertical.
    window : tuple of ndarray, shape (2,)
        Lower left and upper right corner, as tangents of angles from the direction of view.

    Returns
    -------
    Shot
    """
    forward = toward / np.linalg.norm(toward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    axes = np.column_stack([right, up, forward])
    low, high = window
    sides, depth = np.split(points @ axes, [2], axis=1)
    most, least = (sides - high * depth).max(axis=0), (sides - low * depth).min(axis=0)
    z = float(((least - most) / (high - low)).min())
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack([right, up, -forward])
    matrix[:3, 3] = axes @ [*((least + low * z + most + high * z) / 2.0), z]
    return Shot(matrix, float(depth.max() - z))


def new_camera(shot: Shot) -> bpy.types.Object:
    """Make the overview's camera."""
    camera = new_object("Overview", bpy.data.cameras.new("Overview"))
    aim(camera, shot)
    return camera


def aim(camera: bpy.types.Object, shot: Shot) -> None:
    """Point our camera, and note how, so that `untouched` knows what a person changes later."""
    data = camera.data
    data.lens, data.sensor_width, data.sensor_fit = LENS, SENSOR, "HORIZONTAL"
    data.clip_start, data.clip_end = shot.far / 1000.0, 4.0 * shot.far
    camera.matrix_basis = Matrix(shot.matrix.tolist())
    camera[AIMED] = _aimed(camera)


def move(camera: bpy.types.Object, by: Sequence[float]) -> None:
    """Move our camera, which is still as `aim` left it."""
    camera.matrix_basis = Matrix.Translation(by) @ camera.matrix_basis
    camera[AIMED] = _aimed(camera)


def untouched(camera: bpy.types.Object) -> bool:
    """Return whether a camera is as `aim` left it."""
    noted = camera.get(AIMED)
    return camera.parent is None and noted is not None and list(noted) == _aimed(camera)


def _aimed(camera: bpy.types.Object) -> list[float]:
    data = camera.data
    placed = [value for row in camera.matrix_basis for value in row]
    shift = [data.shift_x, data.shift_y, data.clip_start, data.clip_end]
    return [*placed, data.lens, data.sensor_width, float(data.type == "PERSP"), *shift]
