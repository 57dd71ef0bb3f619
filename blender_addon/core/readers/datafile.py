"""Bytes on demand: a file whose parts are read when they are asked for."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from ..stages import finish
from ..text import printable

Array = NDArray[Any]

# Bytes that the system is asked to fetch before they are needed; by itself Linux is only 128 KiB
# ahead, and forgets where a file was read when it is closed.
_AHEAD = 8 << 20
_RUNS = 8  # that may be read in turns, such as packed numbers and their scales
_AT_ONCE = 128 << 10  # Linux drops what is more than a disk's read-ahead, which is this at least


def bad(path: object, what: str) -> CheckpointError:
    """Return the error for a file: where, then what."""
    return CheckpointError(f"{printable(path, 1000)}: {what}")


class Place(Protocol):
    """A file or a folder, wherever it is: what readers ask of a `Path`, and no more."""

    @property
    def name(self) -> str:
        """The last part."""

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""

    @property
    def parent(self) -> Self:
        """The folder that it is in."""

    def __truediv__(self, name: str, /) -> Self: ...

    def exists(self) -> bool:
        """Whether there is something."""

    def is_file(self) -> bool:
        """Whether it is a file."""

    def is_dir(self) -> bool:
        """Whether it is a folder."""

    def iterdir(self) -> Iterable[Self]:
        """Give what is in a folder."""

    def stat(self) -> os.stat_result:
        """Give the size of a file, in bytes, as ``st_size``."""

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Open a file to read it."""

    def read_bytes(self) -> bytes:
        """Read all of a small file."""


class DataFile(ABC):
    """A file whose bytes are read on demand and that must not change in between.

    Attributes
    ----------
    path : Place
        Where it is; its ``name`` and its text are all that is used of it.
    size : int
        In bytes.
    stamp : tuple
        Another one means that the file has changed; JSON can hold it.
    closed : bool
        Whether reading has ended.
    """

    path: Place
    size: int
    stamp: tuple[int | str, ...]
    closed: bool = False

    def read_into(self, offset: int, arrays: Iterator[Array], end: int | None = None) -> None:
        """Fill contiguous arrays, one after the other, with the bytes from `offset` on.

        Each array is filled before the next is asked for. What follows them up to `end`, if that is
        given, is likely to be asked for next.

        Raises
        ------
        CheckpointError
            The checkpoint is closed, or the file went away, changed or was cut.
        """
        if self.closed:
            raise bad(self.path, "the checkpoint is closed")
        self._read_into(offset, arrays, offset if end is None else end)

    def read(self, offset: int, length: int) -> bytes:
        """Return so many bytes."""
        held = np.empty(length, np.uint8)
        self.read_into(offset, iter((held,)))
        return held.tobytes()

    @abstractmethod
    def _read_into(self, offset: int, arrays: Iterator[Array], end: int) -> None: ...


class LocalFile(DataFile):
    """A file on a disk.

    Plain reads into the caller's array, not a memory map: as fast from the page cache (measured:
    9 GB/s against 7), resident memory stays bounded, and a file cut meanwhile is an error instead
    of a SIGBUS that ends Blender. The file is opened for each read, so a checkpoint of hundreds of
    shards holds no descriptors and threads may share it.
    """

    path: Path

    def __init__(self, path: Path) -> None:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):  # opening a pipe or a device could block for ever
            raise bad(path, "this is not a regular file")
        self.path = path
        self.size = info.st_size
        self.stamp = (info.st_size, info.st_mtime_ns)
        # Of the runs read last, by their end: where a read ended, up to where was fetched ahead.
        self._runs: OrderedDict[int, tuple[int, int]] = OrderedDict()

    def _read_into(self, offset: int, arrays: Iterator[Array], end: int) -> None:
        try:
            with self.path.open("rb", buffering=0) as file:
                info = os.fstat(file.fileno())
                if (info.st_size, info.st_mtime_ns) != self.stamp:
                    raise bad(self.path, "the file has changed since it was opened")
                file.seek(offset)
                self._fill_all(file, offset, arrays, end)
        except OSError as error:
            what = f"cannot be read any more ({error.strerror or error})"
            raise bad(self.path, what) from None

    def _fill_all(self, file: Any, position: int, arrays: Iterator[Array], end: int) -> None:
        """Fill the arrays; where one read follows the other, what comes next is fetched meanwhile.

        A single read, such as of the entries under one cell, fetches nothing but itself.
        """
        last, fetched = self._runs.pop(end, (-1, 0))  # one look: threads may share the file
        for array in arrays:
            if position == last and fetched < min(position + _AHEAD // 2, end):
                begin, fetched = max(position, fetched), min(position + _AHEAD, end)
                _fetch(file.fileno(), begin, fetched - begin)
            elif position != last:
                fetched = position
            self._fill(file, array)
            last = position = position + array.nbytes
        self._runs[end] = last, fetched
        if len(self._runs) > _RUNS:
            self._runs.popitem(last=False)

    def _fill(self, file: Any, array: Array) -> None:
        view = memoryview(array.view(np.uint8).data)
        while view.nbytes:
            count = file.readinto(view)
            if not count:
                raise bad(self.path, "the file was cut while it was read")
            view = view[count:]


def look_ahead(paths: Iterable[Place]) -> None:
    """Fetch the first bytes of files on other machines together, which are about to be opened."""
    far = [path for path in paths if not isinstance(path, Path)]
    if len(far) > 1:
        from .remote import RemotePath, heads

        finish(heads(path.data for path in far if isinstance(path, RemotePath)))


def _fetch(descriptor: int, offset: int, length: int) -> None:
    """Ask the system to read bytes into its cache, without waiting for them."""
    if not hasattr(os, "posix_fadvise"):  # on macOS and Windows
        return
    end = offset + length
    with suppress(OSError):  # a file system that takes no advice is read without
        for begin in range(offset, end, _AT_ONCE):
            some = min(_AT_ONCE, end - begin)
            os.posix_fadvise(descriptor, begin, some, os.POSIX_FADV_WILLNEED)


def open_file(path: Place) -> DataFile:
    """Open a file for its bytes, on a disk or on another machine.

    Raises
    ------
    OSError, CheckpointError
        It is not there or cannot be read.
    """
    if isinstance(path, Path):
        data = LocalFile(path)
        path.open("rb").close()  # what may not be read is an OSError now, not later
        return data
    from .remote import RemotePath

    assert isinstance(path, RemotePath)
    return path.data()
