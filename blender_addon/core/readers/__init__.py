"""Checkpoints on disk → named, typed, lazily read tensors.

``open_checkpoint`` is the door. Each format is one entry in `READERS`; a new format is a new module
and a new line there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..text import printable
from . import safetensors
from .base import Checkpoint, Tensor
from .datafile import bad
from .describe import checkpoint_name, read_config, what_it_is

__all__ = ["READERS", "Checkpoint", "Reader", "Tensor", "open_checkpoint", "printable"]


@dataclass(frozen=True)
class Reader:
    """One checkpoint format: how to recognise it and how to list its tensors."""

    name: str
    claims: Callable[[Path], bool]
    load: Callable[[Path, Mapping[str, Any]], tuple[list[Tensor], Mapping[str, str]]]


READERS: tuple[Reader, ...] = (Reader("safetensors", safetensors.claims, safetensors.load),)


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Open a checkpoint, reading headers only.

    Parameters
    ----------
    path
        A ``.safetensors`` file, an ``.index.json`` of shards, or a folder with either (a Hugging
        Face model folder, a hub-cache snapshot).

    Returns
    -------
    Checkpoint
        A read-only mapping of tensor names; also a context manager.

    Raises
    ------
    CheckpointError
        Nothing is there, it cannot be read, it is damaged, or it is not a known format.
    """
    path = Path(path)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise bad(path, "there is no such file or folder") from None
    except ValueError:  # a NUL, or half of a surrogate pair
        raise bad(path, "this cannot be the path of a file") from None
    except OSError as error:
        raise bad(path, f"cannot be read ({error.strerror or error})") from None
    try:
        reader = next((reader for reader in READERS if reader.claims(path)), None)
        if reader is None:
            raise bad(path, what_it_is(path))
        folder = path if path.is_dir() else path.parent
        config, notes = read_config(folder)
        tensors, metadata = reader.load(path, config)
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise bad(Path(error.filename or path), what) from None
    name = checkpoint_name(path)
    return Checkpoint(path, tensors, config, name, notes, metadata=metadata)
