"""PyTorch's ``.pt``, ``.pth`` and ``.bin``, read without torch and without running anything.

The forms of a file are in `torch_files`, its pickle is followed in `torch_pickle`, what the names
in that stand for is in `torch_objects`, and which of the tensors are the model in `torch_state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

from ..errors import CheckpointError
from ..text import printable
from .base import Tensor
from .datafile import DataFile, Place, bad, open_file
from .endings import PYTORCH
from .index import Listing, Metadata, choose_in, load_index
from .strided import Strided, Strides
from .torch_files import Locate, begins_as_torch, is_torch_zip, open_pickled
from .torch_machine import DamagedError, Pairs, RefusedError
from .torch_objects import Stored
from .torch_state import State, find_state
from .values import Unreadable, Values
from .zipped import Archive

_INDEX = ".bin.index.json"
_PREFERRED = (
    *("pytorch_model.bin.index.json", "diffusion_pytorch_model.bin.index.json"),
    *("pytorch_model.bin", "diffusion_pytorch_model.bin", "adapter_model.bin"),
)
# Other programs' models, whose numbers are a .bin, too; and how a .bin of PyTorch is called.
_WITH_BIN = (".onnx", ".xml")
_OWN_BIN = ("pytorch_model", "diffusion_pytorch_model", "adapter_model")
# What training leaves beside the weights.
_BESIDE = ("training_args", "optimizer", "scheduler", "scaler", "rng_state", "random_states")

_REPEATED_LIMIT = 1 << 24  # entries of a view that repeats its numbers
_METADATA_LIMIT = 50


def claims(path: Place) -> bool:
    """Whether `path` is for this reader, by its name or its first bytes."""
    if path.is_dir():
        return bool(weights_in(path))
    if _is_ours(path.name):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(14)
    if head.startswith(b"PK\3\4"):
        return _is_torch_zip(path)
    return begins_as_torch(head)


def load(path: Place, config: Mapping[str, Any]) -> Listing:
    """List the tensors of a file, an index or a folder; no numbers are read.

    Raises
    ------
    CheckpointError
        The file wants to run something, is damaged, has no tensors, or it is unclear what to open.
    """
    if path.is_dir():
        names = weights_in(path)
        indices = [name for name in names if name.lower().endswith(_INDEX)]
        path = choose_in(path, indices or names, _PREFERRED)
    if path.name.lower().endswith(_INDEX):
        return load_index(path, config, _load_shard)
    tensors, metadata, state = _load_file(path, config, strip=True)
    return list(tensors.values()), metadata, _notes(path, state)


def _is_ours(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith((*PYTORCH, _INDEX))


def weights_in(folder: Place) -> list[str]:
    """Return the files in a folder that may be the model."""
    names = [entry.name for entry in folder.iterdir()]
    ours = [name for name in names if _is_ours(name) and not name.lower().startswith(_BESIDE)]
    if any(name.lower().endswith(_WITH_BIN) for name in names):
        return [name for name in ours if not name.endswith(".bin") or name.startswith(_OWN_BIN)]
    return ours


def _is_torch_zip(path: Place) -> bool:
    try:
        return is_torch_zip(Archive(open_file(path)))
    except CheckpointError:
        return False


def _load_shard(path: Place, config: Mapping[str, Any]) -> tuple[dict[str, Tensor], Metadata]:
    return _load_file(path, config, strip=False)[:2]


def _load_file(
    path: Place, config: Mapping[str, Any], *, strip: bool
) -> tuple[dict[str, Tensor], Metadata, State]:
    data = open_file(path)
    try:
        root, locate = open_pickled(data)
        state = find_state(root, strip=strip)
        place = _Placer(data, locate, config)
        tensors = {name: place.tensor(name, t) for name, t in state.tensors.items()}
    except CheckpointError:
        raise
    except (DamagedError, ValueError) as error:
        raise bad(path, f"this is not a PyTorch file that can be read: {error}") from None
    except RefusedError as error:
        raise bad(path, str(error)) from None
    return tensors, _metadata(root), state


def _notes(path: Place, state: State) -> tuple[str, ...]:
    if not state.left_out:
        return ()
    told = [f"{printable(place, 60)} ({count:,})" for place, count in state.left_out.items()]
    listed = ", ".join(told[:6]) + (", …" if len(told) > 6 else "")
    shown = f"those of {printable(state.place, 60)}" if state.place else "the model's"
    return (f"{printable(path.name)}: of its tensors {shown} are listed, left out are: {listed}",)


def _metadata(root: Any) -> Metadata:
    """Return the plain values beside the tensors, such as the epoch."""
    items = root if type(root) is Pairs else []
    plain = (
        (item[0], str(item[1]))
        for item in items
        if type(item) is tuple and type(item[0]) is str and type(item[1]) in (str, int, float, bool)
    )
    short = ((key, value) for key, value in plain if len(key) < 100 and len(value) < 1000)
    return {key: value for _, (key, value) in zip(range(_METADATA_LIMIT), short, strict=False)}


class _Placer:
    """Makes tensors of what a pickle has for them."""

    def __init__(self, data: DataFile, locate: Locate, config: Mapping[str, Any]) -> None:
        self.data, self.locate, self.config = data, locate, config

    def tensor(self, name: str, stored: Stored) -> Tensor:
        """Return a tensor; a ValueError says why it cannot be one."""
        try:
            values, nbytes = self._values(stored)
        except ValueError as error:
            raise ValueError(f"tensor {printable(name)}: {error}") from None
        dtype = stored.dtype.name
        return Tensor(name, stored.shape, dtype, nbytes, values, (self.data,), self.config)

    def _values(self, stored: Stored) -> tuple[Values, int]:
        """Return a tensor's numbers, and how many bytes of the file they are."""
        storage, size = stored.storage, prod(stored.shape)
        if storage is None:
            return Unreadable(stored.reason), 0
        run = self.locate(storage)
        strides = Strides(stored.offset, stored.shape, stored.stride)
        if strides.stop > storage.numel:
            what = f"it needs number {strides.stop - 1:,} of a storage of {storage.numel:,}"
            raise ValueError(what)
        if size > max(storage.numel, _REPEATED_LIMIT):
            raise ValueError(f"its {size:,} entries repeat {storage.numel:,} numbers")
        nbytes = min(size, storage.numel) * stored.dtype.bits // 8
        if stored.reason:
            return Unreadable(stored.reason), nbytes
        strides = replace(strides, offset=storage.offset + strides.offset)
        if strides.contiguous:
            begin = run.offset + strides.offset * run.dtype.bits // 8
            return type(run)(run.data, begin, size, run.dtype), nbytes
        return Strided(run, strides), nbytes
