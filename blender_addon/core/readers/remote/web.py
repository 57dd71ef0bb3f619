"""Any web server: files at their URLs, and no lists of folders."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from ...location import shown
from ..datafile import bad
from .file import Link
from .http import Web, WebFile
from .place import Kind, RemotePath, Site


class WebSite(Site):
    """The folder that a file lies in, on a web server.

    Parameters
    ----------
    base : str
        URL of the folder, which ends with a slash.
    query : mapping of str to str
        What follows the ``?`` in the URL of a file.
    """

    def __init__(self, link: Link, base: str, query: dict[str, str]) -> None:
        super().__init__(link)
        self.title = _title_of(base)
        self._base, self._query = base, query
        self._web = Web(link.patience)

    @classmethod
    def at(cls, url: str, link: Link) -> RemotePath:
        """Return the place of a URL."""
        parts = urlsplit(url)
        folder, _, name = parts.path.rpartition("/")
        if not name:
            why = "a web server does not list its folders; give the URL of a file"
            raise bad(shown(url), why)
        base = urlunsplit((parts.scheme, parts.netloc, f"{folder}/", "", ""))
        name = unquote(name)
        return RemotePath(cls(link, base, {name: parts.query}), name)

    def url(self, path: str) -> str:
        """Return the URL of a file as it may be seen."""
        return shown(self.address(path))

    def address(self, path: str) -> str:
        """Return the URL of a file."""
        query = self._query.get(path)
        return self._base + quote(path) + (f"?{query}" if query else "")

    def kind(self, path: str) -> Kind:
        """Ask for a file; a server that refuses it may mean that there is none."""
        if not path:
            return "folder"
        try:
            self.file(RemotePath(self, path))
        except (FileNotFoundError, PermissionError):
            return ""
        return "file"

    def names(self, path: str) -> list[str]:
        """Say that this cannot be asked."""
        raise bad(self.url(path), "a web server does not list its folders")

    def source(self, path: str) -> WebFile:
        """Open a file."""
        return WebFile(self._web, self.address(path))


def _title_of(url: str) -> str:
    """Return the last part of a URL's path that is a name, or the host."""
    parts = urlsplit(url)
    return PurePosixPath(unquote(parts.path)).name or parts.hostname or ""
