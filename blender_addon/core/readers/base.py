"""What every reader gives: a `Checkpoint` of `Tensor` objects that read themselves in blocks."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..errors import CheckpointError, DTypeError
from ..naming import TensorName, parse
from ..text import printable
from .dtypes import DTYPES, Array

_CHUNK = 1 << 18  # bytes decoded at a time: fits the cache, and bounds what reading holds


def bad(path: Path, what: str) -> CheckpointError:
    """Return the error for a file: where, then what."""
    return CheckpointError(f"{printable(path, 1000)}: {what}")


def parse_json(text: bytes, path: Path, what: str) -> dict[str, Any]:
    """Parse JSON that must be an object, without duplicate or broken names.

    Raises
    ------
    CheckpointError
        Saying so of `what` ("the header") in the file `path`.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            twice = next(name for name, count in Counter(k for k, _ in pairs).items() if count > 1)
            raise bad(path, f"{what} has {printable(twice)} twice")
        return entries

    try:
        parsed = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
        if isinstance(parsed, dict):
            "".join(parsed).encode()  # half of a surrogate pair cannot be printed
    except CheckpointError:
        raise
    except RecursionError:
        raise bad(path, f"{what} is nested too deeply") from None
    except ValueError:  # also bytes that are not UTF-8, and numbers of thousands of digits
        raise bad(path, f"{what} is not JSON") from None
    if not isinstance(parsed, dict):
        raise bad(path, f"{what} is not a JSON object")
    return parsed


class DataFile:
    """A file whose bytes are read on demand and that must not change in between.

    Plain reads into the caller's array, not a memory map: as fast from the page cache (measured:
    9 GB/s against 7), resident memory stays bounded, and a file cut meanwhile is an error instead
    of a SIGBUS that ends Blender. The file is opened for each read, so a checkpoint of hundreds of
    shards holds no descriptors and threads may share it.
    """

    def __init__(self, path: Path) -> None:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):  # opening a pipe or a device could block for ever
            raise bad(path, "this is not a regular file")
        self.path = path
        self.size = info.st_size
        self.closed = False
        self.stamp = (info.st_size, info.st_mtime_ns)

    def read_into(self, offset: int, arrays: Iterator[Array]) -> None:
        """Fill contiguous arrays, one after the other, with the bytes from `offset` on.

        Each array is filled before the next is asked for.
        """
        if self.closed:
            raise bad(self.path, "the checkpoint is closed")
        try:
            with self.path.open("rb", buffering=0) as file:
                info = os.fstat(file.fileno())
                if (info.st_size, info.st_mtime_ns) != self.stamp:
                    raise bad(self.path, "the file has changed since it was opened")
                file.seek(offset)
                for array in arrays:
                    self._fill(file, array)
        except OSError as error:
            what = f"cannot be read any more ({error.strerror or error})"
            raise bad(self.path, what) from None

    def _fill(self, file: Any, array: Array) -> None:
        view = memoryview(array.view(np.uint8).data)
        while view.nbytes:
            count = file.readinto(view)
            if not count:
                raise bad(self.path, "the file was cut while it was read")
            view = view[count:]


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor in a file, read when asked.

    Attributes
    ----------
    name, shape
        As in the file.
    dtype
        The file's word for it, for example ``"BF16"``.
    nbytes
        Bytes in the file.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    _data: DataFile = field(repr=False)
    _offset: int = field(repr=False)
    _config: Mapping[str, Any] = field(repr=False)

    @cached_property
    def names(self) -> TensorName:
        """What the name says: layer, role, expert, head layout."""
        return parse(self.name, self.shape, self._config)

    @property
    def layer(self) -> int | None:
        """Layer index, or None."""
        return self.names.layer

    @property
    def role(self) -> str:
        """Role in the layer, such as ``"q"`` or ``"mlp_norm.bias"``."""
        return self.names.role

    @property
    def file(self) -> Path:
        """The file (the shard) that holds the data."""
        return self._data.path

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether these are real numbers, as weights are."""
        return DTYPES[self.dtype].is_float

    @property
    def decodable(self) -> bool:
        """Whether the values can be read."""
        return not self.reason

    @property
    def reason(self) -> str:
        """Why the values cannot be read, or ""."""
        return DTYPES[self.dtype].reason

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Return all values, float32 unset; reading always copies."""
        if copy is False:
            raise ValueError("a tensor in a file cannot become an array without a copy")
        wanted = np.float32 if dtype is None else dtype
        return self.flat(0, self.size, wanted).reshape(self.shape)

    def rows(self, start: int, stop: int, dtype: DTypeLike = np.float32) -> Array:
        """Read a block of the first axis.

        Parameters
        ----------
        start, stop
            First row, and the row after the last.
        dtype
            numpy dtype of the result. float32 is exact for all float dtypes but F64.

        Returns
        -------
        ndarray
            Shape ``(stop - start, *shape[1:])``.

        Raises
        ------
        IndexError
            The tensor is a scalar, or the rows are not in it.
        DTypeError, CheckpointError
            As `flat`.
        """
        if not self.shape:
            raise IndexError(f"{printable(self.name)} is a scalar: it has no rows")
        if not 0 <= start <= stop <= self.shape[0]:
            raise IndexError(f"rows {start} to {stop} of {printable(self.name)} {self.shape}")
        width = prod(self.shape[1:])
        values = self.flat(start * width, stop * width, dtype)
        return values.reshape(stop - start, *self.shape[1:])

    def flat(self, start: int, stop: int, dtype: DTypeLike = np.float32) -> Array:
        """Read elements ``[start, stop)`` in C order, and no other byte of the file.

        Holds the result and at most 1 MiB more.

        Returns
        -------
        ndarray
            1-D, of `dtype`; values beyond its range become infinite, as in a cast.

        Raises
        ------
        DTypeError
            The tensor's dtype is not decoded.
        CheckpointError
            The checkpoint is closed, or the file went away, changed or was cut.
        IndexError
            The elements are not in the tensor.
        """
        if self.reason:
            raise DTypeError(f"{printable(self.name)}: {self.reason}")
        if not 0 <= start <= stop <= self.size:
            raise IndexError(f"elements {start} to {stop} of {printable(self.name)} {self.shape}")
        out: Array = np.empty(stop - start, dtype)
        storage = DTYPES[self.dtype].storage
        assert storage is not None
        self._data.read_into(self._offset + start * storage.itemsize, self._blocks(out, storage))
        return out

    def _blocks(self, out: Array, storage: np.dtype[Any]) -> Iterator[Array]:
        """Give the arrays to fill with raw elements; turn each into values of `out` afterwards."""
        decode = DTYPES[self.dtype].decode
        if decode is None and out.dtype == storage:
            yield out
            return
        step = _CHUNK // storage.itemsize
        buffer: Array = np.empty(min(step, len(out)), storage)
        for begin in range(0, len(out), step):
            raw = buffer[: len(out) - begin]
            yield raw
            with np.errstate(over="ignore", invalid="ignore"):
                out[begin : begin + step] = raw if decode is None else decode(raw)


class Checkpoint(Mapping[str, Tensor]):
    """The tensors of a checkpoint by name, in the order of the file; a context manager.

    Attributes
    ----------
    path
        What was opened.
    config
        The model's ``config.json``, or an empty mapping.
    name
        A name for people: ``"org/name"`` out of a hub cache, else the folder's or the file's.
    notes
        Sentences on what was passed over (a ``config.json`` that is not JSON).
    metadata
        What the files' headers say beside the tensors; of two shards, the later one counts.
    """

    def __init__(
        self,
        path: Path,
        tensors: Sequence[Tensor],
        config: Mapping[str, Any],
        name: str,
        notes: tuple[str, ...] = (),
        *,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.config = config
        self.name = name
        self.notes = notes
        self.metadata: Mapping[str, str] = metadata or {}
        self._tensors = {tensor.name: tensor for tensor in tensors}
        self._files = {tensor._data for tensor in tensors}

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __repr__(self) -> str:
        return f"Checkpoint({printable(self.path)!r}, {len(self)} tensors)"

    @property
    def stamp(self) -> str:
        """Sizes and times of the files as JSON: another one means that a file has changed."""
        files = sorted(self._files, key=lambda file: file.path)
        return json.dumps([[file.path.name, *file.stamp] for file in files])

    def close(self) -> None:
        """End all reading: from now on it raises `CheckpointError`."""
        for file in self._files:
            file.closed = True

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
