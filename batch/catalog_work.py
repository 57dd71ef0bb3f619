"""One part of a catalog: made where it is not up to date."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.errors import WeightwalkError
from ..core.location import is_url
from .catalog_children import Children
from .catalog_record import Sources, read_done, read_report, tidy, write_done
from .jobs import Job
from .processes import sentence

if TYPE_CHECKING:
    from .gallery import Part

GOOD = (0, 3)
NOT_THERE = "there is no such file or folder"


@dataclass(frozen=True)
class Outcome:
    """How it went.

    Attributes
    ----------
    job : Job
    kind : str
        One of `KINDS`.
    status : int
        0, 3 where something was skipped, 1 where it failed.
    said : str
        For the terminal.
    shown : Part or None
        What there is to show, be it of an earlier run.
    why : str
        A sentence on why it failed; "" where it did not.
    """

    KINDS: ClassVar = ("done", "up to date", "failed")

    job: Job
    kind: str
    status: int
    said: str
    shown: Part | None
    why: str = ""


class Workshop:
    """Where parts are made, in several threads.

    Parameters
    ----------
    base : Path
        Folder of the job file.
    directory : Path
        The catalog's.
    children : Children
    """

    def __init__(self, base: Path, directory: Path, children: Children) -> None:
        self.base, self.directory, self.children = base, directory, children
        self.sources = Sources(base)
        # As it stands in the reports, which are published: not where this machine has it.
        self.shown_directory = _relative(directory, base)

    def make(self, job: Job) -> Outcome:
        """Make a part, unless it is there and nothing that decides it has changed."""
        begin = monotonic()
        folder = self.directory / job.folder
        tidy(folder)
        key = self.sources.key(job)
        earlier = read_done(folder)
        try:
            if earlier is not None and key and earlier.key == key:
                shown = _part(job, read_report(folder))
                return Outcome(job, "up to date", earlier.status, "up to date", shown)
            status, said = self.children.run(self._arguments(job))
            if status in GOOD:
                shown = _part(job, write_done(folder, job, key, status))
                skips = ", with parts skipped" * (status == 3)
                took = f"done{skips}, {_seconds(begin)}"
                return Outcome(job, "done", status, took, shown)
            why = sentence(status, said)
        except WeightwalkError as error:
            why = str(error)
        tidy(folder)
        return self._failed(job, self._as_published(why), _seconds(begin))

    def _looked(self, job: Job, why: str) -> tuple[str, str]:
        """Return where a file that is not there was looked for, for the page and the terminal."""
        if not why.endswith(NOT_THERE) or any(map(_is_whole, job.sources)):
            return "", ""
        hint = "paths are relative to the job file"
        return f" ({hint})", f" ({hint}, in {self.base})"

    def _as_published(self, why: str) -> str:
        """Return a sentence without the folders of this machine in which all is."""
        why = why.replace(str(self.directory), self.shown_directory)
        return why.replace(f"{self.base}{os.sep}", "")

    def _arguments(self, job: Job) -> list[str]:
        # Slashes, also where the folder is called otherwise: it is to be the same everywhere.
        return [job.kind, *job.sources, f"--out={self.shown_directory}/{job.folder}", *job.options]

    def _failed(self, job: Job, why: str, took: str) -> Outcome:
        shown = None
        # What was there before has to be whole still.
        if read_done(self.directory / job.folder) is not None:
            shown = _part(job, read_report(self.directory / job.folder))
        page, terminal = self._looked(job, why)
        said = f"failed, {took}: {why}{terminal}"
        return Outcome(job, "failed", 1, said, shown, f"{why}{page}")


def _part(job: Job, report: dict[str, Any]) -> Part:
    from .gallery import Part

    label = job.label
    if job.part.startswith("faces-"):
        used = asked = int(job.part.removeprefix("faces-"))
        with suppress(KeyError, TypeError, ValueError):  # the page says that it cannot be read
            used = int(report["settings"]["surface"]["faces"])
        if used != asked:
            label = f"{label.replace(f'{asked:,}', f'{used:,}')} ({asked:,} would be too large)"
    return Part(job.kind, job.folder, label, report)


def _is_whole(source: str) -> bool:
    return is_url(source) or Path(source).is_absolute()


def _seconds(begin: float) -> str:
    return f"{monotonic() - begin:.0f} s"


def _relative(directory: Path, base: Path) -> str:
    try:
        return Path(os.path.relpath(directory, base)).as_posix()
    except ValueError:  # another drive
        return directory.as_posix()
