"""Surfaces on the disk between two passes over a series, so that memory holds one at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .errors import OutputError
from .marching import Mesh

if TYPE_CHECKING:
    from .surfaces import Surface

Array = npt.NDArray[Any]


class Store:
    """Arrays by a key, in files of a folder that somebody else makes and takes away.

    Parameters
    ----------
    folder : Path
        Exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, key: str, **arrays: Array) -> None:
        """Write arrays, once for each key.

        Raises
        ------
        OutputError
            With the system's reason: the disk is full, say.
        """
        path = self._path(key)
        if path.exists():
            return
        unfinished = path.with_suffix(".part")
        try:
            with unfinished.open("wb") as file:
                for array in (np.array(list(arrays)), *arrays.values()):
                    np.save(file, array, allow_pickle=False)
            unfinished.replace(path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            # numpy's own error says how many of an array's numbers were written, and no reason.
            what = error.strerror or "not all was written; is the disk full?"
            raise OutputError(f"cannot write into {self.folder}: {what}") from error

    def arrays(self, key: str) -> dict[str, Array]:
        """Return what was kept under a key."""
        with self._path(key).open("rb") as file:
            names = np.load(file, allow_pickle=False)
            return {str(name): np.load(file, allow_pickle=False) for name in names}

    def keep_surface(self, key: str, surface: Surface) -> None:
        """Write a surface's arrays."""
        mesh = surface.mesh
        self.keep(
            key, vertices=mesh.vertices, faces=mesh.faces, cells=surface.cells,
            values=surface.values,
        )  # fmt: skip

    def read(self, key: str) -> tuple[Mesh, npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Return the mesh, cells and values of a surface."""
        held = self.arrays(key)
        return Mesh(held["vertices"], held["faces"]), held["cells"], held["values"]

    def _path(self, key: str) -> Path:
        # A tensor's name may be longer than a file's, and have slashes.
        return self.folder / f"{hashlib.sha256(key.encode(errors='replace')).hexdigest()}.npy"
