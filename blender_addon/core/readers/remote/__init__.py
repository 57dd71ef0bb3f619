"""Checkpoints on other machines: their headers, and of their data the blocks that are needed."""

from __future__ import annotations

from urllib.parse import urlsplit

from ...location import HIDDEN, Url, has_person, shown
from ..datafile import bad
from .blocks import Blocks, default_folder
from .file import Block, Link, RemoteFile, fetch, heads
from .place import RemotePath
from .source import BLOCK, Patience

__all__ = ["BLOCK", "Block", "Blocks", "Link", "Patience", "RemoteFile", "RemotePath"]
__all__ += ["connect", "fetch", "heads"]


def connect(url: Url, link: Link | None = None) -> RemotePath:
    """Return the place of a URL.

    Parameters
    ----------
    url
        ``https://…``, ``http://…``, ``hf://org/name[@revision][/path]``, or what fsspec knows.
    link
        How it is asked and what is kept; None for the cache that the URL names.

    Raises
    ------
    CheckpointError, MissingDependencyError
        It cannot be opened.
    """
    link = link or Link(Blocks(url.cache or default_folder()), Patience())
    text = _checked(url.text)
    scheme = text.partition("://")[0].lower()
    if scheme in {"http", "https"}:
        from .hub import from_browser

        text = from_browser(text)
        scheme = text.partition("://")[0].lower()
    if scheme == "hf":
        from .hub import hub_place

        return hub_place(text, link)
    if scheme in {"http", "https"}:
        from .web import WebSite

        return WebSite.at(text, link)
    from .other import OtherSite

    return OtherSite.at(text, link)


def _checked(text: str) -> str:
    """Return a URL that can be opened: whole, and without a password."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:  # a password may be anywhere in it
        raise bad(f"{text.partition('://')[0]}://{HIDDEN}", "this cannot be a URL") from None
    if has_person(text):
        raise bad(shown(text), "a URL with a password or a token before the host is not opened")
    if text.endswith(("?" + HIDDEN, "#" + HIDDEN)):
        what = "what follows here may be secret and was not kept; load the model by its whole URL"
        raise bad(text, what)
    if not text.isprintable():
        raise bad(shown(text), "this cannot be a URL")
    return text
