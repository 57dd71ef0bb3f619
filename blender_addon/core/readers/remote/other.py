"""Everything else that has a URL (``s3://``, ``gs://``, ``ssh://`` …), through fsspec."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from ...errors import MissingDependencyError
from ...location import shown
from ...text import printable
from ..datafile import bad
from .file import Link
from .place import Kind, RemotePath, Site
from .source import DroppedError, Source

_GONE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class OtherSite(Site):
    """The folder that a file lies in, on a file system of fsspec.

    Parameters
    ----------
    system : fsspec.AbstractFileSystem
    root : str
        The folder, as the system writes it.
    base : str
        The same as a person would.
    """

    def __init__(self, link: Link, system: Any, root: str, base: str) -> None:
        super().__init__(link)
        self._system, self._root, self._base = system, root.rstrip("/"), base.rstrip("/")

    @classmethod
    def at(cls, url: str, link: Link) -> RemotePath:
        """Return the place of a URL."""
        system, path = _system(url)
        try:
            folder = system.isdir(path)
        except Exception as error:
            raise bad(shown(url), f"cannot be read ({_said(error)})") from None
        if folder:
            return RemotePath(cls(link, system, path, url), "")
        parent, _, name = path.rstrip("/").rpartition("/")
        return RemotePath(cls(link, system, parent, url.rstrip("/").rpartition("/")[0]), name)

    def url(self, path: str) -> str:
        """Return the URL of a file or folder as it may be seen."""
        return shown(self.address(path))

    def address(self, path: str) -> str:
        """Return the URL of a file or folder."""
        return f"{self._base}/{path}" if path else self._base

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def kind(self, path: str) -> Kind:
        """Ask what is there."""
        try:
            told = self._system.info(self._path(path))
        except (FileNotFoundError, PermissionError):
            return ""
        except Exception as error:
            raise bad(self.url(path), f"cannot be read ({_said(error)})") from None
        return "folder" if told.get("type") == "directory" else "file"

    def names(self, path: str) -> list[str]:
        """List a folder."""
        try:
            listed = self._system.ls(self._path(path), detail=False)
        except Exception as error:
            raise bad(self.url(path), f"cannot be read ({_said(error)})") from None
        names = (str(entry).rstrip("/").rpartition("/")[2] for entry in listed)
        return sorted({name for name in names if name})

    def source(self, path: str) -> OtherFile:
        """Open a file."""
        return OtherFile(self._system, self._path(path), self.url(path))


class OtherFile(Source):
    """A file on a file system of fsspec."""

    def __init__(self, system: Any, path: str, shown: str) -> None:
        self._system, self._path, self._shown = system, path, shown
        self.size, self.tag = self._look()

    def _look(self) -> tuple[int, str]:
        told = self._call(self._system.info, self._path)
        size = told.get("size")
        if type(size) is not int or size < 0:
            raise bad(self._shown, "its size is not known")
        # What the systems call it: S3, Google, Azure, WebDAV, local, SFTP, memory.
        names = ("ETag", "etag", "md5Hash", "content_md5", "LastModified", "last_modified",
                 "mtime", "modified", "updated", "created")  # fmt: skip
        return size, next((str(told[name]) for name in names if told.get(name)), "")

    def parts(self, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes in one piece."""
        self._system.invalidate_cache()
        if self._look() != (self.size, self.tag):
            raise bad(self._shown, "the file has changed since it was opened")
        content = self._call(self._system.cat_file, self._path, start=begin, end=end)
        if type(content) is not bytes or len(content) > end - begin:
            raise bad(self._shown, "the server gives other bytes than were asked for")
        yield content

    def _call(self, what: Any, *arguments: Any, **options: Any) -> Any:
        """Call something of the system; its own errors may be of any class."""
        try:
            return what(*arguments, **options)
        except _GONE as error:
            raise type(error)(error.errno or errno.ENOENT, _said(error), self._shown) from None
        except Exception as error:
            raise DroppedError(_said(error)) from None


def _system(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path there."""
    scheme = printable(url.partition(":")[0], 40)
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingDependencyError(
            f"{scheme}:// needs fsspec: pip install 'weightwalk[remote]'"
        ) from None
    try:
        system, path = url_to_fs(url)
    except ImportError as error:
        raise MissingDependencyError(f"{scheme}:// needs a package: {_said(error)}") from None
    except Exception as error:
        raise bad(shown(url), f"cannot be opened ({_said(error)})") from None
    return system, str(path)


def _said(error: Exception) -> str:
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(told, 300)
