"""Weightwalk: the weights of AI models as shapes that you can walk through in Blender.

A Blender extension, and a Python package that needs no Blender:

>>> import weightwalk
>>> with weightwalk.open("path/to/model") as checkpoint:
...     for name, tensor in checkpoint.items():
...         print(name, tensor.shape, tensor.dtype, tensor.layer, tensor.role)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from .core.readers import Checkpoint

__all__ = ["open"]


def open(path: str | os.PathLike[str]) -> Checkpoint:
    """Open a checkpoint, reading headers only.

    Parameters
    ----------
    path : str or path-like
        A ``.safetensors`` file, an index of shards, or a folder with either.

    Returns
    -------
    Checkpoint
        A read-only mapping of tensor names, also a context manager. A tensor has ``shape``,
        ``dtype``, ``layer`` and ``role``; ``np.asarray(tensor)`` gives float32, and
        ``tensor.rows(a, b)`` a block of rows.

    Raises
    ------
    CheckpointError
        There is no checkpoint there, or it is damaged.
    """
    from .core.readers import open_checkpoint

    return open_checkpoint(path)


def register() -> None:
    """Add Weightwalk to Blender."""
    from . import ui

    ui.register()


def unregister() -> None:
    """Take Weightwalk out of Blender."""
    from . import ui

    ui.unregister()
