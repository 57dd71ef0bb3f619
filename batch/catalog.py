"""The command `weightwalk catalog`: files for many models, and a page to look at them."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import OutputFolderError, SettingsError
from ..core.text import printable
from .catalog_children import Children
from .catalog_lock import locked
from .catalog_record import JOB, tidy
from .catalog_work import Outcome, Workshop
from .jobs import Commands, Jobs, Wanted, read_jobs
from .telling import SKIPPED

if TYPE_CHECKING:
    from .gallery import Entry

FAILED = 1
MOST_JOBS = 64
NAMED = 5  # folders that are left alone, in the note on them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all that the command takes."""
    add = parser.add_argument
    add("jobs", type=Path, metavar="JOBS.toml", help="what is to be made; see docs/catalog.md")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the files and the page")
    add("--jobs", type=int, default=1, dest="at_once", metavar="N", help="so many parts at once")
    add(
        "--max-stl-mb", type=float, metavar="MB",
        help="of models that do not say: lower the face budget until the STL fits",
    )  # fmt: skip
    add("--title", help="of the page (default: the job file's)")


def run(chosen: argparse.Namespace) -> int:
    """Do it and return the exit status."""
    if not 1 <= chosen.at_once <= MOST_JOBS:
        raise SettingsError(f"jobs: {chosen.at_once} is not between 1 and {MOST_JOBS}")
    limit = chosen.max_stl_mb
    if limit is not None and not 0.0 < limit < float("inf"):
        raise SettingsError(f"max-stl-mb: {limit} is not a positive number")
    defaults = {} if limit is None else {"max-stl-mb": limit}
    commands = Commands(chosen.mesh, chosen.animate, defaults, _blender_is_there())
    jobs = read_jobs(chosen.jobs, commands)
    directory: Path = chosen.out.absolute().resolve()
    with locked(directory) as lock, _room_in(directory) as room:
        children = Children(jobs.base, room, [lock])
        outcomes = _make(Workshop(jobs.base, directory, children), jobs, chosen.at_once)
        _tell_left_alone(directory, jobs)
        index = _write_site(directory, chosen.title or jobs.title, jobs.wanted, outcomes)
    return _tell(outcomes, index)


def _blender_is_there() -> bool:
    return bool(sys.modules.get("bpy") or importlib.util.find_spec("bpy"))


@contextmanager
def _room_in(directory: Path) -> Iterator[Path]:
    """Give a folder for temporary files beside the results; what others have left is removed."""
    tidy(directory)
    try:
        room = Path(tempfile.mkdtemp(prefix=".weightwalk-", dir=directory))
    except OSError as error:
        raise OutputFolderError(f"cannot write into {directory}: {error.strerror}") from error
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _make(workshop: Workshop, jobs: Jobs, at_once: int) -> dict[str, Outcome]:
    """Make all parts, so many at once; return how it went, by folder."""
    parts = [job for wanted in jobs.wanted for job in wanted.jobs]
    outcomes: dict[str, Outcome] = {}
    pool = ThreadPoolExecutor(at_once)
    try:
        waiting: set[Future[Outcome]] = {pool.submit(workshop.make, job) for job in parts}
        while waiting:
            ended, waiting = wait(waiting, 0.5, FIRST_COMPLETED)
            for outcome in (future.result() for future in ended):
                outcomes[outcome.job.folder] = outcome
                where = f"{printable(outcome.job.slug)} {outcome.job.part}"
                count = f"[{len(outcomes)}/{len(parts)}]"
                said = printable(outcome.said, 1000)
                print(f"{count} {where}: {said}", file=sys.stderr, flush=True)
    except BaseException:
        workshop.children.stop()
        for folder in (workshop.directory / job.folder for job in parts):
            tidy(folder)
            for empty in (folder, folder.parent):
                with suppress(OSError):
                    empty.rmdir()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return outcomes


def _write_site(
    directory: Path, title: str, wanted: Sequence[Wanted], outcomes: dict[str, Outcome]
) -> Path:
    from .gallery import Entry, write_site

    entries: list[Entry] = []
    for each in wanted:
        its = [outcomes[job.folder] for job in each.jobs]
        entries.append(
            Entry(
                each.slug,
                each.name,
                each.about,
                each.link,
                tuple(outcome.shown for outcome in its if outcome.shown is not None),
                _problems(its),
            )
        )
    return write_site(directory, title, entries)[-1]


def _problems(outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """Return what the page of a model says of what failed: once, where it is the same for all."""
    reasons = {outcome.why for outcome in outcomes}
    if len(reasons) == 1 and not any(outcome.shown for outcome in outcomes):
        return tuple(reasons)
    return tuple(
        f"{outcome.job.label}: "
        + ("what is shown was made earlier, for now it fails: " if outcome.shown else "")
        + outcome.why
        for outcome in outcomes
        if outcome.why
    )


def _tell_left_alone(directory: Path, jobs: Jobs) -> None:
    """Say which folders are an earlier job file's."""
    wanted = {job.folder for each in jobs.wanted for job in each.jobs}
    there = {path.parent.relative_to(directory).as_posix() for path in directory.glob(f"*/*/{JOB}")}
    if others := sorted(there - wanted):
        named = ", ".join(map(printable, others[:NAMED]))
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        print(
            f"weightwalk: note: not in the job file any more, left alone and not on the page: "
            f"{named}{more}",
            file=sys.stderr,
        )


def _tell(outcomes: dict[str, Outcome], index: Path) -> int:
    """Print what was made; return the exit status."""
    counts = Counter(outcome.kind for outcome in outcomes.values())
    said = ", ".join(f"{counts[kind]} {kind}" for kind in Outcome.KINDS if counts[kind])
    print(f"{len(outcomes)} part{'s' * (len(outcomes) != 1)}: {said}")
    print(f"  {printable(index, 1000)}")
    if counts["failed"] == len(outcomes):
        return FAILED
    skipped = any(outcome.status for outcome in outcomes.values())
    return SKIPPED if skipped else 0
