"""The form in which a finished surface reaches a writer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class MeshPart:
    """One surface, in Blender's axes (right-handed, Z up), in metres.

    Attributes
    ----------
    name : str
        Name of the object in the file.
    group : str
        Name of the layer (node, collection) that holds the object; "" for none.
    vertices : ndarray of float32, shape (n, 3)
        Positions relative to `translation`.
    normals : ndarray of float32, shape (n, 3)
        Outward directions at the vertices; the writers bring them to unit length.
    faces : ndarray of int32, shape (m, 3)
        Vertex indices, counter-clockwise as seen from outside.
    colors : ndarray of uint8, shape (n, 4)
        RGBA, sRGB-encoded, straight alpha.
    translation : tuple of float
        Where the local origin lies in the world.
    extras : mapping
        Provenance; whatever JSON can hold.

    Raises
    ------
    ValueError
        If shapes or dtypes differ from the above, there is no face, an index names no vertex, or
        a position is not finite.
    """

    name: str
    group: str
    vertices: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: NDArray[np.int32]
    colors: NDArray[np.uint8]
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    extras: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.vertices)
        for what, array, shape, dtype in (
            ("vertices", self.vertices, (n, 3), np.float32),
            ("normals", self.normals, (n, 3), np.float32),
            ("faces", self.faces, (len(self.faces), 3), np.int32),
            ("colors", self.colors, (n, 4), np.uint8),
        ):
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f"surface {self.name!r}: {what} are {array.dtype}{list(array.shape)}, "
                    f"not {np.dtype(dtype)}{list(shape)}"
                )
        if not len(self.faces):
            raise ValueError(f"surface {self.name!r} has no faces")
        if self.faces.min() < 0 or self.faces.max() >= n:
            raise ValueError(f"surface {self.name!r}: a face names a vertex outside 0..{n - 1}")
        if not (np.isfinite(self.vertices).all() and np.isfinite(self.translation).all()):
            raise ValueError(f"surface {self.name!r}: a position is not finite")
