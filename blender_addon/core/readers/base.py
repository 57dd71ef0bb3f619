"""What every reader gives: a `Checkpoint` of `Tensor` objects that read themselves in blocks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..errors import CheckpointError, DTypeError
from ..location import Location
from ..naming import TensorName, parse
from ..text import printable
from .datafile import Array, DataFile, Place, bad
from .values import Values

_MOST_VALUES = 1_900_000  # nine a tensor; a value of 3 bytes takes 60 in memory


def parse_json(text: bytes, path: Place, what: str) -> dict[str, Any]:
    """Parse JSON that must be an object, without duplicate or broken names.

    Raises
    ------
    CheckpointError
        Saying so of `what` ("the header") in the file `path`.
    """
    if sum(map(text.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise bad(path, f"{what} holds more than {_MOST_VALUES:,} values")

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


@dataclass(frozen=True)
class Packing:
    """How the numbers of a tensor are packed in the file.

    Attributes
    ----------
    method
        Its name in the field, such as ``"GPTQ"``.
    bits
        Of a packed number; of GGUF, whose blocks hold their scales, with its share of those.
    group_size
        How many numbers share a scale; 0 where that is not a number of its own (all of a tensor, or
        a block of rows and columns).
    group
        The same for people: ``"128"``, ``"128×128"``, ``"tensor"``, ``"channel"``.
    """

    method: str
    bits: float
    group_size: int
    group: str

    def __str__(self) -> str:
        return f"{self.method} {self.bits:g}-bit, group {self.group}"


@dataclass(frozen=True)
class Within:
    """Where a matrix lies in a tensor of the file that holds more than it.

    Entry (i, j) of the matrix is entry ``offset + i * row_stride + j * col_stride`` of that
    tensor, in C order.

    Attributes
    ----------
    name, shape
        Of the tensor in the file.
    offset, row_stride, col_stride
        In entries.
    names
        What there is to say of the matrix, in place of its name.
    """

    name: str
    shape: tuple[int, ...]
    offset: int
    row_stride: int
    col_stride: int
    names: TensorName


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor in a file, read when asked.

    Attributes
    ----------
    name, shape
        As in the file, or, where it is packed, as the model has it.
    dtype
        The file's word for it, for example ``"BF16"``.
    nbytes
        Bytes in the file, scales included.
    values
        How its numbers are read.
    sources
        The files (the shards) that hold it; at least one.
    packing
        How the numbers are packed, or None where they are not.
    within
        Where it lies in a larger tensor of the file, or None where the file has it by itself.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    values: Values = field(repr=False)
    sources: tuple[DataFile, ...] = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)
    packing: Packing | None = None
    within: Within | None = None

    @cached_property
    def names(self) -> TensorName:
        """What the name says: layer, role, expert, head layout."""
        return self.within.names if self.within else parse(self.name, self.shape, self.config)

    @property
    def held_by(self) -> tuple[str, tuple[int, ...]]:
        """Name and shape of the tensor in the checkpoint that has its numbers: mostly its own."""
        return (self.within.name, self.within.shape) if self.within else (self.name, self.shape)

    @property
    def layer(self) -> int | None:
        """Layer index, or None."""
        return self.names.layer

    @property
    def role(self) -> str:
        """Role in the layer, such as ``"q"`` or ``"mlp_norm.bias"``."""
        return self.names.role

    @property
    def file(self) -> Place:
        """The file (the shard) that holds the data, or the first part of it."""
        return self.sources[0].path

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def is_float(self) -> bool:
        """Whether these are real numbers, as weights are."""
        return self.values.is_float

    @property
    def decodable(self) -> bool:
        """Whether the values can be read."""
        return not self.reason

    @property
    def reason(self) -> str:
        """Why the values cannot be read, or ""."""
        return self.values.reason

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

        Holds the result and little more: 1 MiB, or a panel where they are unpacked or
        turned: 8 MiB, and up to 64 MiB, twice at most, where rows lie across the file.

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
        self.values.fill(out, start)
        return out

    def index_of(self, entry: int) -> tuple[int, ...]:
        """Return where a number, counted in C order, is in the checkpoint's tensor (`held_by`)."""
        shape, within = self.held_by[1], self.within
        if within:
            row, col = divmod(entry, self.shape[1])
            entry = within.offset + row * within.row_stride + col * within.col_stride
        return tuple(int(i) for i in np.unravel_index(entry, shape))


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
        path: Location,
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
        self._files = {file for tensor in tensors for file in tensor.sources}

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
        files = sorted(self._files, key=lambda file: str(file.path))
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
