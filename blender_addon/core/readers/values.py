"""How the numbers of a tensor are read: as they lie, or made of packed ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from .datafile import Array, DataFile
from .dtypes import DType

_CHUNK = 1 << 15  # elements decoded at a time: fits the cache, and bounds what reading holds
_PANEL = 1 << 21  # entries of a panel, 8 MiB
_PANEL_ACROSS = 1 << 23  # 32 MiB: the fewer panels, the fewer times a file is gone through


@dataclass(frozen=True)
class Span:
    """Bytes of a file, from `begin` up to `end`."""

    file: DataFile
    begin: int
    end: int


class Values(ABC):
    """The numbers of a tensor, one after the other in C order.

    Attributes
    ----------
    is_float : bool
        Whether these are real numbers, as weights are.
    reason : str
        Why the numbers cannot be read, or "".
    native : numpy dtype
        Holds each of them exactly.
    parts : tuple of str
        Names of the tensors that they are made of, where those are listed as well.
    """

    is_float: bool = True
    reason: str = ""
    native: np.dtype[Any] = np.dtype(np.float32)
    parts: tuple[str, ...] = ()

    @abstractmethod
    def fill(self, out: Array, start: int) -> None:
        """Fill a contiguous 1-D array with the numbers from `start` on.

        Values beyond its dtype's range become infinite, as in a cast. Not called where there is a
        `reason`.
        """

    @abstractmethod
    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield the bytes that the numbers ``[start, stop)`` are made of; more are allowed."""


class Raw(Values):
    """Numbers that lie in a file as an array does.

    Parameters
    ----------
    data : DataFile
    offset : int
        Of the first byte.
    size : int
        Number of elements.
    dtype : DType
    """

    def __init__(self, data: DataFile, offset: int, size: int, dtype: DType) -> None:
        self.data, self.offset, self.size, self.dtype = data, offset, size, dtype
        self.is_float, self.reason = dtype.is_float, dtype.reason
        self.native = dtype.native

    def fill(self, out: Array, start: int) -> None:
        """Read straight into `out`, or decode through a small buffer."""
        storage = self.dtype.storage
        assert storage is not None
        begin, end = (self.offset + n * storage.itemsize for n in (start, self.size))
        self.data.read_into(begin, self._blocks(out, storage), end)

    def _blocks(self, out: Array, storage: np.dtype[Any]) -> Iterator[Array]:
        """Give the arrays to fill with raw elements; turn each into values of `out` afterwards."""
        decode = self.dtype.decode
        if out.dtype == storage and self.native == storage:
            yield out
            return
        buffer: Array = np.empty(min(_CHUNK, len(out)), storage)
        for begin in range(0, len(out), _CHUNK):
            raw = buffer[: len(out) - begin]
            yield raw
            with np.errstate(over="ignore", invalid="ignore"):
                out[begin : begin + _CHUNK] = raw if decode is None else decode(raw)

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield the one run of bytes."""
        begin, end = (self.offset + n * self.dtype.bits // 8 for n in (start, stop))
        yield Span(self.data, begin, end)


class Unreadable(Values):
    """Numbers that are known to be there and cannot be made out."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def fill(self, out: Array, start: int) -> None:
        """Is never called."""
        raise NotImplementedError(self.reason)

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield nothing."""
        yield from ()


class Panels(Values):
    """Numbers that can only be made some rows of a matrix at a time, such as unpacked columns.

    The panel made last is kept, for it is read block by block, until its end has been read: so
    memory holds a panel, never the whole.

    Parameters
    ----------
    rows, width : int
        Of the matrix whose entries, in C order, are the numbers.
    across : bool
        Whether rows lie across the file, as its columns: for each panel, all of it is gone through.
    """

    def __init__(self, rows: int, width: int, *, across: bool = False) -> None:
        self.rows, self.width = rows, width
        self.height = max((_PANEL_ACROSS if across else _PANEL) // max(width, 1), 1)
        self._last: tuple[int, Array] | None = None

    @abstractmethod
    def panel(self, first: int, last: int) -> Array:
        """Make the rows ``[first, last)``: a C-contiguous float32 array (last - first, width)."""

    def fill(self, out: Array, start: int) -> None:
        """Copy from one panel after the other; for a single number, make its row alone."""
        done, each = 0, self.height * self.width
        if len(out) == 1 and self._last is None:
            row, col = divmod(start, self.width)
            with np.errstate(over="ignore"):
                out[0] = self.panel(row, row + 1)[0, col]
            return
        while done < len(out):
            number, skip = divmod(start + done, each)
            entries = self._made(number).reshape(-1)[skip : skip + len(out) - done]
            with np.errstate(over="ignore"):
                out[done : done + len(entries)] = entries
            done += len(entries)
            if start + done == self.rows * self.width:
                self._last = None

    def _made(self, number: int) -> Array:
        held = self._last  # one look: threads may share the tensor
        if held is None or held[0] != number:
            first = number * self.height
            held = number, self.panel(first, min(first + self.height, self.rows))
            self._last = held
        return held[1]


def whole(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return rows and width of a shape as a matrix: the first axis, and all others flattened."""
    return (shape[0], prod(shape[1:])) if shape else (1, 1)
