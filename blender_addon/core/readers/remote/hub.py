"""The Hugging Face hub: a model's files at one commit.

Its interface: https://huggingface.co/docs/hub/api. One request lists the files with their sizes and
digests, so that opening any of them takes none.
"""

from __future__ import annotations

import errno
import json
import os
import re
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ...location import hub_home, is_hub_name
from ...text import printable
from ..datafile import bad
from .file import Link
from .http import Web, WebFile
from .place import Kind, RemotePath, Site
from .source import Attempts, DroppedError

HUB = "https://huggingface.co"
_LIST_LIMIT = 64 << 20  # bytes
_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_PAGES = ("tree", "blob", "resolve", "raw")


class HubSite(Site):
    """A model on the hub.

    Parameters
    ----------
    model : str
        ``"org/name"``.
    revision : str
        A branch, a tag or a commit; "" for ``main``.
    """

    def __init__(self, link: Link, model: str, revision: str) -> None:
        super().__init__(link)
        self.title = model
        self._endpoint = endpoint()
        self._shown = f"hf://{model}" + (f"@{revision}" if revision else "")
        self._web = Web(link.patience, token(), self._endpoint)
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise bad(self._shown, "the hub is not asked while HF_HUB_OFFLINE is set")
        told = self._ask(f"api/models/{model}/revision/{quote(revision or 'main', safe='')}")
        commit, files = told.get("sha"), told.get("siblings")
        if type(commit) is not str or not _COMMIT.fullmatch(commit) or type(files) is not list:
            raise bad(self._shown, "the hub's answer is not the list of a model's files")
        self._files = dict(filter(None, map(_file, files)))
        self._folders = {str(p) for name in self._files for p in PurePosixPath(name).parents}
        self._root = f"{self._endpoint}/{model}/resolve/{commit}/"

    def _ask(self, path: str) -> dict[str, Any]:
        url = f"{self._endpoint}/{path}?blobs=true"
        attempts = Attempts(self._shown, self.link.patience)
        while True:
            try:
                with self._web.ask(url) as response:
                    text = b"".join(self._web.all_of(response, _LIST_LIMIT))
                told = json.loads(text)
                return told if isinstance(told, dict) else {}
            except DroppedError as error:
                attempts.failed(error)
            except (FileNotFoundError, PermissionError) as error:
                what = (
                    "the hub has no such model, or shows it only to those who may see it "
                    "(HF_TOKEN says who asks)"
                )
                if isinstance(error, PermissionError) and self._web.signs:
                    what = "the hub does not show this model to the owner of HF_TOKEN"
                raise bad(self._shown, what) from None
            except (ValueError, RecursionError):
                raise bad(self._shown, "the hub's answer is not JSON") from None

    def url(self, path: str) -> str:
        """Return ``hf://org/name@revision/path``."""
        return f"{self._shown}/{path}" if path else self._shown

    def kind(self, path: str) -> Kind:
        """Return what the list says."""
        if path in self._files:
            return "file"
        return "folder" if not path or path in self._folders else ""

    def names(self, path: str) -> list[str]:
        """Return what the list has in a folder."""
        every = [*self._files, *(self._folders - {"."})]
        parents = ((PurePosixPath(name), name) for name in every)
        return sorted(p.name for p, _ in parents if str(p.parent) == (path or "."))

    def source(self, path: str) -> WebFile:
        """Return a file, of which the list says size and digest."""
        if path not in self._files:
            raise FileNotFoundError(errno.ENOENT, "there is no such file", self.url(path))
        return WebFile(self._web, self._root + quote(path), self._files[path])


def _file(entry: Any) -> tuple[str, tuple[int, str] | None] | None:
    """Return a file's path with its size and digest, as far as they are told."""
    if not isinstance(entry, dict) or type(path := entry.get("rfilename")) is not str:
        return None
    parts = PurePosixPath(path).parts
    if not parts or ".." in parts or path.startswith("/") or "\\" in path or "\0" in path:
        return None
    large = entry.get("lfs")
    size, digest = entry.get("size"), entry.get("blobId")
    if isinstance(large, dict):
        digest = large.get("sha256") or large.get("oid") or digest
    if type(size) is not int or size < 0 or type(digest) is not str or not digest:
        return path, None
    return path, (size, digest)


def endpoint() -> str:
    """Return the URL of the hub, without a slash at its end."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def token() -> str:
    """Return the person's token for the hub, where huggingface_hub looks for it; "" without one."""
    found = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or ""
    if not found:
        path = Path(os.environ.get("HF_TOKEN_PATH") or hub_home() / "token")
        with suppress(OSError, ValueError):
            found = path.read_text("ascii")
    found = found.strip()
    return found if found.isascii() and found.isprintable() else ""


def hub_place(url: str, link: Link) -> RemotePath:
    """Return the place of ``hf://org/name[@revision][/path]``.

    Raises
    ------
    CheckpointError
        It is no such URL, or the hub has no such model.
    """
    parts = url.partition("://")[2].strip("/").split("/")
    if len(parts) < 2 or parts[0] in {"datasets", "spaces", "buckets"}:
        raise bad(url, "this is not of the form hf://org/name, hf://org/name@revision/path")
    name, _, revision = parts[1].partition("@")
    # huggingface_hub writes a revision with a slash in it like this.
    model, revision = f"{parts[0]}/{name}", unquote(revision)
    if not is_hub_name(model) or ".." in revision:
        raise bad(url, f"{printable(model)} cannot be the name of a model on the hub")
    return _within(HubSite(link, model, revision), "/".join(parts[2:]), url)


def _within(site: HubSite, path: str, url: str) -> RemotePath:
    place = RemotePath(site, "") / path if path else RemotePath(site, "")
    if not place.exists():
        raise bad(url, "the model has no such file or folder")
    return place


def from_browser(url: str) -> str:
    """Return the hf:// URL of a model's page or file on the hub; other URLs as they are."""
    hubs = {urlsplit(HUB).netloc, urlsplit(endpoint()).netloc}
    parts = urlsplit(url)
    names = [unquote(name) for name in parts.path.split("/") if name]
    if parts.netloc not in hubs or len(names) < 2 or names[0] in {"datasets", "spaces", "api"}:
        return url
    org, name, *rest = names
    if not rest:
        return f"hf://{org}/{name}"
    if rest[0] not in _PAGES or len(rest) < 2:
        return url
    revision = "" if rest[1] == "main" else "@" + quote(rest[1], safe="")
    return "/".join([f"hf://{org}/{name}{revision}", *rest[2:]])
