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
        A file of weights (safetensors, GGUF, PyTorch, ``.npz``, ``.npy``, ONNX), an index of
        shards, or a folder with either; the name of a model in the Hugging Face cache,
        ``"org/name"``; or a URL: ``"https://…"``, ``"hf://org/name"``, and with
        ``weightwalk[remote]`` whatever fsspec knows. Of a URL only the bytes that are asked for
        are fetched, and kept in a cache of at most 4 GB.

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
    MissingDependencyError
        The format, or the kind of URL, needs a package that is not installed.
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
