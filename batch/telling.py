"""What the commands say on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.text import printable

if TYPE_CHECKING:
    from ..core.model import Progress
    from ..core.plans import Skip

SKIPPED = 3


def tell_files(files: Iterable[Path]) -> None:
    """Print paths and sizes."""
    for file in files:
        print(f"  {printable(file, 1000)}  ({size_of(file.stat().st_size)})")


def tell_company(notes: Iterable[str], skips: Sequence[Skip]) -> int:
    """Print what has to be known besides; return the exit status."""
    for note in notes:
        print(f"weightwalk: note: {printable(note, 1000)}", file=sys.stderr)
    for skip in skips:
        reason = printable(skip.reason, 1000)
        print(f"weightwalk: skipped {printable(skip.name)}: {reason}", file=sys.stderr)
    return SKIPPED if skips else 0


def size_of(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def show_progress() -> Callable[[Progress], None]:
    """Return what shows progress on stderr: one line that changes, or a line for each tenth."""
    live = sys.stderr.isatty()
    last: dict[str, str] = {}

    def show(progress: Progress) -> None:
        if progress.stage in {"open", "imports", "series"}:
            return  # done in a moment, and a bad model is to be said in one line
        if live:
            percent = 100 * progress.done // max(progress.total, 1)
            line = f"{progress.stage} {percent} %  {progress.what}"
            if progress.stage == "fetch":
                told = f"{size_of(progress.done)} of {size_of(progress.total)}"
                line = f"fetch {percent} %  {told}  {progress.what}"
            if progress.stage == "waiting":
                line = progress.what
            print(f"\r\x1b[K{line[:100]}", end="", file=sys.stderr, flush=True)
            if progress.what == "report.json":
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            return
        if progress.stage == "waiting":
            line = progress.what
        elif progress.stage == "fetch":  # a line for each tensor, between those of other stages
            line = f"fetch: {size_of(progress.total)}  {progress.what}"
        else:
            tenth = 10 * progress.done // max(progress.total, 1)
            step = progress.what if progress.stage == "files" else f"{10 * tenth} %"
            line = f"{progress.stage}: {step}"
        if line != last.get(progress.stage):
            print(line, file=sys.stderr, flush=True)
        last[progress.stage] = line

    return show
