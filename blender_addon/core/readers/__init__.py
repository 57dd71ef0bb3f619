"""Checkpoints on disk → named, typed, lazily read tensors.

``open_checkpoint`` is the door. Each format is one entry in `READERS`; a new format is a new module
and a new line there.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError
from ..location import Location, Url, hub_cache, is_hub_name, location
from ..text import printable
from . import arrays, gguf, onnx, pytorch, safetensors
from .base import Checkpoint, Tensor
from .datafile import Place, bad
from .describe import checkpoint_name, read_config
from .endings import GGUF, NUMPY, ONNX, PYTORCH, SAFETENSORS
from .foreign import what_it_is
from .index import Listing
from .logical import logical

if TYPE_CHECKING:
    from .remote import RemotePath

__all__ = ["READERS", "Checkpoint", "Reader", "Tensor", "open_checkpoint", "printable"]


@dataclass(frozen=True)
class Reader:
    """One checkpoint format: how to recognise it and how to list its tensors."""

    name: str
    claims: Callable[[Place], bool]
    load: Callable[[Place, Mapping[str, Any]], Listing]


READERS: tuple[Reader, ...] = (
    Reader("safetensors", safetensors.claims, safetensors.load),
    Reader("GGUF", gguf.claims, gguf.load),
    Reader("PyTorch", pytorch.claims, pytorch.load),
    Reader("numpy", arrays.claims, arrays.load),
    Reader("ONNX", onnx.claims, onnx.load),
)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Put off garbage collection: it would look again and again at tensors that are all needed.

    That takes a third of the time of opening a model of 92,000 tensors.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_nothing_collected()
def open_checkpoint(where: str | os.PathLike[str] | Url | RemotePath) -> Checkpoint:
    """Open a checkpoint, reading headers only.

    Parameters
    ----------
    where
        A file, an ``.index.json`` of shards, or a folder with either (a Hugging Face model folder,
        a hub-cache snapshot); the name of a model in the Hugging Face cache; or a URL, of which
        only the bytes that are needed are fetched.

    Returns
    -------
    Checkpoint
        A read-only mapping of tensor names; also a context manager.

    Raises
    ------
    CheckpointError
        Nothing is there, it cannot be read, it is damaged, or it is not a known format.
    MissingDependencyError
        The format, or the kind of URL, needs a package that is not installed.
    """
    path, known = _at(where)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise bad(path, f"there is no such file or folder{_nor_in_cache(path)}") from None
    except CheckpointError:  # of a server
        raise
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
        tensors, metadata, told = reader.load(path, config)
        config = tensors[0].config if tensors else config  # a GGUF file says it of itself
        tensors, more = logical(tensors, config, folder, path)
        beside = _beside(path, tensors) if path.is_dir() else ()
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise bad(error.filename or path, what) from None
    said = (*notes, *told, *more, *beside)
    return Checkpoint(known, tensors, config, checkpoint_name(path), said, metadata=metadata)


def _nor_in_cache(path: Place) -> str:
    """Say that a name was looked for in the hub's cache as well, where it could be one."""
    if not isinstance(path, Path) or "/" not in str(path) or not is_hub_name(str(path)):
        return ""
    name = printable(path, 200)
    return f", nor a model {name} in the cache {hub_cache()}; hf://{name} is the one on the hub"


def _beside(folder: Place, tensors: list[Tensor]) -> tuple[str, ...]:
    """Say which other checkpoints a folder has; those of one format are told by its reader."""
    opened = {source.path.name for tensor in tensors for source in tensor.sources}
    others: tuple[str, ...] = ()
    for endings in (SAFETENSORS, GGUF, NUMPY, ONNX):
        others += () if any(name.lower().endswith(endings) for name in opened) else endings
    names = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
    left = {name for name in names if name.lower().endswith(others)}
    if not any(name.lower().endswith(PYTORCH) for name in opened):
        left |= set(pytorch.weights_in(folder))
    if not left:
        return ()
    listed = ", ".join(map(printable, sorted(left)[:4])) + (", …" if len(left) > 4 else "")
    return (f"{printable(folder, 1000)}: also here, and not opened: {listed}",)


def _at(where: str | os.PathLike[str] | Url | RemotePath) -> tuple[Place, Location]:
    """Return a place to read from, and how a person would call it."""
    if not isinstance(where, str | os.PathLike | Url):
        return where, Url(str(where))
    found = location(where)
    if isinstance(found, Path):
        return found, found
    from .remote import connect

    return connect(found), found
