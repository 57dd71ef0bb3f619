"""Binary STL: an 80-byte header, a uint32 count, 50 bytes a face; little-endian throughout.

The format has no names, colours or shared vertices: all parts become one list of triangles in
world coordinates (metres, Z up).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError
from .mesh_part import MeshPart
from .output import open_output

# Readers take a file that begins with "solid" for the text form.
_HEADER = b"Weightwalk binary STL, metres, Z up".ljust(80)
_FACE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
_BLOCK = 1 << 15  # faces at a time: the temporaries stay in the cache
_MAX_FACES = (1 << 32) - 1


def size_of_stl(faces: int) -> int:
    """Return the size in bytes of a file with so many faces."""
    return len(_HEADER) + 4 + _FACE.itemsize * faces


def write_stl(path: Path, parts: Iterable[MeshPart]) -> None:
    """Write all parts into one binary STL file.

    Parameters
    ----------
    path : Path
        Written in place; the caller writes beside the target and renames.
    parts : iterable of MeshPart
        Taken one at a time, none is kept.

    Raises
    ------
    OutputError
        If there is no part, there are 2**32 faces or more, or the file cannot be written.
    """
    count = 0
    with open_output(path) as file:
        file.write(_HEADER + bytes(4))
        for part in parts:
            count += len(part.faces)
            if count > _MAX_FACES:
                raise OutputError(f"cannot write {path}: an STL file holds {_MAX_FACES} faces")
            for block in _face_blocks(part):
                file.write(block.data)
        if not count:
            raise OutputError(f"cannot write {path}: there is no surface to write")
        file.seek(len(_HEADER))
        file.write(count.to_bytes(4, "little"))


def _face_blocks(part: MeshPart) -> Iterator[NDArray[np.uint8]]:
    """Yield the bytes of the faces of `part`, `_BLOCK` at a time, always in the same memory."""
    world = (part.vertices + np.asarray(part.translation)).astype("<f4")
    record = np.zeros(min(_BLOCK, len(part.faces)), _FACE)
    for start in range(0, len(part.faces), _BLOCK):
        faces = part.faces[start : start + _BLOCK]
        out = record[: len(faces)]
        out["corners"] = world[faces]
        # From the local coordinates, which have more digits than the world's.
        out["normal"] = _facet_normals(part.vertices[faces])
        yield out.view(np.uint8)


def _facet_normals(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give unit normals (m, 3) of triangles (m, 3, 3) by their winding; zero where without area."""
    a, b, c = np.moveaxis(corners, (1, 2), (0, 1)).copy()  # each (3, m), contiguous by axis
    u, v = b - a, c - a
    normal = np.stack([u[i - 2] * v[i - 1] - u[i - 1] * v[i - 2] for i in range(3)])
    length = np.sqrt(np.einsum("im,im->m", normal, normal))
    normal /= np.where(length > 0, length, np.float32(np.inf))
    unit: NDArray[np.float32] = normal.T
    return unit
