"""The gallery: a static site of what was made, to be looked at in any browser.

Everything in a page that comes from a model or a job file is text, and nothing is loaded from
elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["mesh", "animate", "flow"]


@dataclass(frozen=True)
class Part:
    """What one command made: a density of a model, a training run, or a flow picture.

    Attributes
    ----------
    kind : str
        The command.
    folder : str
        Where its files lie, from the site's folder, with slashes, such as ``minilm/faces-20000``.
    label : str
        What tells it from the other parts of the model, such as "20,000 faces a tensor".
    report : dict
        Content of its ``report.json``; `docs/` has the schemas.
    """

    kind: Kind
    folder: str
    label: str
    report: dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A card and a page of the gallery.

    Attributes
    ----------
    slug : str
        Name of its folder: lower-case letters, digits and dashes.
    name, about, link : str
        For people; the last two may be empty.
    parts : tuple of Part
    problems : tuple of str
        A sentence for each part that could not be made.
    """

    slug: str
    name: str
    about: str
    link: str
    parts: tuple[Part, ...]
    problems: tuple[str, ...] = ()


def write_site(directory: Path, title: str, entries: Sequence[Entry]) -> tuple[Path, ...]:
    """Write the pages and what they need into a folder that holds the parts' folders already.

    Parameters
    ----------
    directory : Path
    title : str
    entries : sequence of Entry

    Returns
    -------
    tuple of Path
        The files written, ``index.html`` last.

    Raises
    ------
    OutputError
        With a message fit to show.
    """
    from .site import write

    return write(directory, title, entries)
