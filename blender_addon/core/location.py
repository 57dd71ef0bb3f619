"""Where a model is: a path, the name of one in the Hugging Face cache, or a URL."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from .errors import CheckpointError
from .text import printable

# Two letters or more: `C:` is a drive.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(?=://|::)")
_HUB_NAME = re.compile(r"(?:[\w-][\w.-]*/)?[\w-][\w.-]*(?:@[\w-][\w./-]*)?", re.ASCII)
_HUB_LINK = "models--"
# A name and a password; a name alone is a token where it stands before a web server.
_PERSON = re.compile(r"(https?://)[^/?#]*@|(://)[^/?#]*:[^/?#]*@", re.IGNORECASE)
_NO_SECRET = re.compile(r"(?:download|dl|raw)(?:=(?:true|false|[01]))?", re.IGNORECASE)
HIDDEN = "…"


@dataclass(frozen=True)
class Url:
    """The address of a model on another machine, as a person gave it.

    It answers what `Path` answers where both are taken; nothing is opened. Its text may hold a
    secret: ``str`` gives what may be seen, in messages and in files.

    Attributes
    ----------
    text : str
        Such as ``"https://host/model.safetensors"`` or ``"hf://org/name"``.
    cache : Path or None
        The folder for what is fetched from there, absolute; None for the person's own.
    """

    text: str
    cache: Path | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return shown(self.text)

    def __repr__(self) -> str:
        return f"Url({str(self)!r})"

    @property
    def path(self) -> PurePosixPath:
        """Where it leads, the host included."""
        parts = urlsplit(self.text)
        return PurePosixPath(parts.hostname or "", unquote(parts.path).lstrip("/"))

    @property
    def name(self) -> str:
        """The last part of its path, or the host."""
        return self.path.name

    @property
    def model(self) -> str:
        """The name that a model has on the Hugging Face hub, ``"org/name"``; "" elsewhere."""
        if not self.text.lower().startswith("hf://"):
            return ""
        org, name, *_ = (*self.text[len("hf://") :].split("/"), "", "")
        return f"{org}/{name.partition('@')[0]}"

    def absolute(self) -> Url:
        """Return itself: no URL depends on the working folder."""
        return self


Location = Path | Url


def is_url(text: str) -> bool:
    """Return whether a text is a URL, of whatever scheme."""
    return _SCHEME.match(text) is not None


def has_person(text: str) -> bool:
    """Return whether a URL holds a password, or what stands in the place of one."""
    return _PERSON.search(text) is not None


def shown(text: str) -> str:
    """Return a URL without what may be secret: a password, and a signature after the ``?``."""
    text = _PERSON.sub(lambda found: f"{found[1] or found[2]}{HIDDEN}@", text)
    head, mark, rest = text, "", ""
    if found := re.search("[?#]", text):
        head, mark, rest = text[: found.start()], found[0], text[found.end() :]
    if all(map(_NO_SECRET.fullmatch, rest.split("&"))):
        return text
    return head + mark + HIDDEN if rest else head


def stored(text: str) -> Location:
    """Return what ``str(location)`` was written as; nothing is looked up."""
    return Url(text) if is_url(text) else Path(text)


def location(where: str | os.PathLike[str] | Url) -> Location:
    """Return where a model is.

    Parameters
    ----------
    where
        A URL; a path; or, where there is no such path, the name of a model in the Hugging Face
        cache, ``"org/name"`` or ``"org/name@revision"``. A folder ``models--org--name`` of such a
        cache stands for its snapshot.

    Returns
    -------
    Path or Url
        A path may be one at which there is nothing.
    """
    if isinstance(where, Url):
        return where
    text = os.fspath(where)
    if text.lower().startswith("file://"):
        return Path(url2pathname(urlsplit(text).path))
    if is_url(text):
        return Url(text)
    path = Path(text)
    if os.path.lexists(path):
        return (_snapshot(path, None) or path) if _is_hub_folder(path) else path
    try:
        return cached_model(text) or path
    except CheckpointError:
        return path


def hub_cache() -> Path:
    """Return the folder of the Hugging Face cache, as huggingface_hub finds it."""
    if folder := os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(folder).expanduser()
    return hub_home() / "hub"


def hub_home() -> Path:
    """Return the folder in which huggingface_hub keeps its cache and its token."""
    if home := os.environ.get("HF_HOME"):
        return Path(home).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "huggingface"


def is_hub_name(text: str) -> bool:
    """Return whether a text can be a model's name, with a revision or without."""
    return _HUB_NAME.fullmatch(text) is not None and ".." not in text


def cached_model(name: str) -> Path | None:
    """Return the folder of a model in the Hugging Face cache, or None where it is not there.

    Parameters
    ----------
    name
        ``"org/name"``, or ``"org/name@revision"``; without a revision it is that of ``main``, or
        the newest of those that are there.

    Raises
    ------
    CheckpointError
        The text cannot be a model's name.
    """
    if not is_hub_name(name):
        raise CheckpointError(f"{printable(name)}: this cannot be the name of a model on the hub")
    model, _, revision = name.partition("@")
    return _snapshot(hub_cache() / (_HUB_LINK + model.replace("/", "--")), revision or None)


def _is_hub_folder(path: Path) -> bool:
    return path.name.startswith(_HUB_LINK) and (path / "snapshots").is_dir()


def _snapshot(folder: Path, revision: str | None) -> Path | None:
    """Return the snapshot of a revision: of a branch or a tag, or a commit."""
    snapshots = folder / "snapshots"
    try:
        commit = (folder / "refs" / (revision or "main")).read_text("ascii").strip()
    except (OSError, ValueError):
        commit = revision or ""
    if commit and "/" not in commit and ".." not in commit and (snapshots / commit).is_dir():
        return snapshots / commit
    if revision is not None or not snapshots.is_dir():
        return None
    found = [entry for entry in snapshots.iterdir() if entry.is_dir()]
    return max(found, key=lambda entry: entry.stat().st_mtime, default=None)
