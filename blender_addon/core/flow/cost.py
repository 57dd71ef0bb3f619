"""What a flow in a scene will cost, before any of its numbers is read."""

from __future__ import annotations

from dataclasses import dataclass

from ..estimate import BYTES_A_FACE, size_text
from .settings import FlowShape

BYTES_A_PIXEL = 20  # of an image in a .blend, and of its packed copy
KEYS_A_MESH = 8  # shape keys that take as much memory as a mesh of their own


@dataclass(frozen=True)
class Cost:
    """What a terrain or a volume takes.

    Attributes
    ----------
    vertices, faces : int
    exact : bool
        Whether there are so many of them, or at most.
    pooled : int
        How many features share a column, at most.
    memory : int
        In bytes.
    """

    vertices: int
    faces: int
    exact: bool
    pooled: int
    memory: int

    def sentence(self) -> str:
        """Return one line for the panel."""
        most = f"{self.vertices:,} vertices, " if self.exact else "At most "
        said = f"{most}{self.faces:,} faces, {size_text(self.memory)}"
        return f"{said}; {self.pooled} features a column" if self.pooled > 1 else said


def cost_of(layers: int, features: int, moments: int, shape: FlowShape) -> Cost:
    """Say what a flow will cost.

    Parameters
    ----------
    layers, features : int
        Of the model; where layers differ, the most.
    moments : int
        Steps, or the tokens of one.
    shape : FlowShape
    """
    if shape.view == "terrain":
        columns = min(features, shape.faces // (2 * max(layers - 1, 1)) + 1)
        vertices, faces = layers * columns, 2 * (layers - 1) * (columns - 1)
        pooled, meshes = -(-features // columns), 1 + (moments + 1) / KEYS_A_MESH
    else:
        # A closed surface of triangles has half as many vertices as faces.
        faces = shape.faces * moments
        vertices, pooled, meshes = faces // 2, 1, 1.0
    pixels = layers * features
    memory = BYTES_A_FACE * (faces * meshes + 2 * pixels) + BYTES_A_PIXEL * pixels * moments
    return Cost(vertices, faces, shape.view == "terrain", pooled, int(memory))
