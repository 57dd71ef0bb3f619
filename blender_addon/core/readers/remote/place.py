"""Files and folders on other machines, asked like a `Path`."""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

import numpy as np

from ..datafile import DataFile, bad
from .file import Link, RemoteFile
from .source import Attempts, DroppedError, Source

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Kind = Literal["file", "folder", ""]


class Site(ABC):
    """What lies at one address: the folder of a model, or the one that a file is in.

    Attributes
    ----------
    title : str
        Its name for people, or "" where it has none.
    """

    title: str = ""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._open: dict[str, RemoteFile | OSError] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def url(self, path: str) -> str:
        """Return the URL of a file or a folder as a person would give it, without secrets."""

    def address(self, path: str) -> str:
        """Return the URL with all that is in it, for nobody to see."""
        return self.url(path)

    @abstractmethod
    def kind(self, path: str) -> Kind:
        """Return what is there."""

    @abstractmethod
    def names(self, path: str) -> list[str]:
        """Return what is in a folder; raises an OSError or `CheckpointError` where that fails."""

    @abstractmethod
    def source(self, path: str) -> Source:
        """Open a file; raises an OSError, `DroppedError` or `CheckpointError` where that fails."""

    def file(self, place: RemotePath) -> RemoteFile:
        """Open a file, once; what is not there is not asked for again."""
        with self._lock:
            found = self._open.get(place.path)
        if found is None:
            try:
                source = self._patiently(place)
                found = RemoteFile(place, source, self.link, self.address(place.path))
            except (FileNotFoundError, PermissionError) as error:
                found = error
            with self._lock:
                found = self._open.setdefault(place.path, found)
        if isinstance(found, OSError):
            raise type(found)(found.errno, found.strerror, str(place))
        return found

    def _patiently(self, place: RemotePath) -> Source:
        attempts = Attempts(place, self.link.patience)
        while True:
            try:
                return self.source(place.path)
            except DroppedError as error:
                attempts.failed(error)


class RemotePath:
    """A file or folder on another machine: a `Place`.

    Parameters
    ----------
    site : Site
    path : str
        Below the site, with slashes; "" is the site itself.
    """

    def __init__(self, site: Site, path: str) -> None:
        self.site, self.path = site, path

    def __str__(self) -> str:
        return self.site.url(self.path)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __lt__(self, other: RemotePath) -> bool:
        return str(self) < str(other)

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.path).name or self.site.title

    @property
    def suffix(self) -> str:
        """The ending of the name, with its dot."""
        return PurePosixPath(self.path).suffix

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def parent(self) -> RemotePath:
        """The folder that it is in; of the site, itself."""
        return RemotePath(self.site, self.path.rpartition("/")[0])

    def __truediv__(self, name: str, /) -> RemotePath:
        parts = PurePosixPath(name).parts
        if ".." in parts or name.startswith("/") or "\\" in name or "\0" in name:
            raise bad(self, "a file names another one outside of its folder")
        return RemotePath(self.site, "/".join(filter(None, (self.path, *parts))))

    def with_name(self, name: str) -> RemotePath:
        """Return its neighbour."""
        return self.parent / name

    def exists(self) -> bool:
        """Whether there is something."""
        return self.site.kind(self.path) != ""

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self.site.kind(self.path) == "file"

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.site.kind(self.path) == "folder"

    def iterdir(self) -> Iterator[RemotePath]:
        """Give what is in a folder."""
        return iter([self / name for name in self.site.names(self.path)])

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Give what in a folder has a name like this."""
        return (place for place in self.iterdir() if fnmatchcase(place.name, pattern))

    def stat(self) -> os.stat_result:
        """Give the size of a file in bytes; of the rest, that it is a file or a folder."""
        if self.is_dir():
            return os.stat_result((stat.S_IFDIR, *(0,) * 9))
        return os.stat_result((stat.S_IFREG, *(0,) * 5, self.data().size, 0, 0, 0))

    def open(self, mode: Literal["rb"], /) -> BinaryIO:
        """Open a file to read it."""
        if mode != "rb":
            raise ValueError(f"{mode!r}: files on other machines are only read, as bytes")
        return cast(BinaryIO, io.BufferedReader(_Stream(self.data())))

    def read_bytes(self) -> bytes:
        """Read all of a small file."""
        data = self.data()
        return data.read(0, data.size)

    def data(self) -> RemoteFile:
        """Open a file for its bytes; the same one each time."""
        if self.is_dir():
            raise IsADirectoryError(errno.EISDIR, "this is a folder", str(self))
        return self.site.file(self)


class _Stream(io.RawIOBase):
    """The bytes of a file one after the other."""

    def __init__(self, data: DataFile) -> None:
        self._data, self._at = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = offset + {0: 0, 1: self._at, 2: self._data.size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        count = min(len(view), max(self._data.size - self._at, 0))
        self._data.read_into(self._at, iter((np.frombuffer(view[:count], np.uint8),)))
        self._at += count
        return count
