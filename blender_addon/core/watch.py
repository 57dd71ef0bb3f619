"""A training run that goes on → its checkpoints, as each becomes complete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .errors import CheckpointError, SeriesError
from .kinship import Shapes, differences
from .location import Location, Url, is_url
from .plans import Skip
from .series import (
    FINAL,
    TRAINER_STATE,
    Kind,
    Run,
    Series,
    Step,
    locate,
    look,
    read_json,
    reason,
)
from .snapshot import MARKER
from .text import printable

# Path, size and time of each file of a checkpoint.
Stamp = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class _State:
    """What a poll found a checkpoint to be."""

    kind: Literal["complete", "growing", "broken"]
    step: Step
    shapes: Shapes
    why: str = ""


class Watch:
    """Looks at a growing training run whenever it is asked to; it neither sleeps nor has threads.

    A checkpoint is complete when it can be opened (every shard as long as its header says, every
    shard of the index there) and, besides,

    - its ``trainer_state.json``, which ``Trainer`` writes last, is there and is JSON,
    - or it is a snapshot with the metadata ``step``, for `weightwalk.training` renames these when
      they are complete,
    - or its files had the same sizes and times at two polls, one after the other.

    Steps are given in order: one that still grows holds back those after it, and one at rest that
    cannot be opened is given up once a later one is complete. A checkpoint that the training
    removes before it was given (``save_total_limit``) is none.

    A training that was restarted writes smaller steps than the last one that was given: these are
    skips, since time goes forward in an animation, and greater ones follow. What was given is not
    looked at again.

    Parameters
    ----------
    targets : sequence of str
        As `find_series` takes them, but no URLs; nothing has to be there yet.

    Raises
    ------
    SeriesError
        One is a URL.
    """

    def __init__(self, targets: Sequence[str]) -> None:
        if url := next(filter(is_url, targets), None):
            what = "only what lies on a disk can be followed; leave out --follow"
            raise SeriesError(f"{printable(Url(url), 1000)}: {what}")
        self._targets = tuple(targets)
        self._kind: Kind | None = None
        self._run: Run | None = None
        self._given: list[Step] = []
        self._skips: list[Skip] = []
        self._done: set[Location] = set()
        self._stamps: dict[Location, Stamp] = {}
        self._first: Shapes = {}
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether the training was over at the last poll, and all its steps have been given."""
        return self._ended

    @property
    def series(self) -> Series | None:
        """All that was given so far, or None before the first step."""
        if self._run is None or not self._given:
            return None
        return Series(self._run.name, self._run.path, tuple(self._given), tuple(self._skips))

    def poll(self) -> tuple[list[Step], list[Skip]]:
        """Look once.

        Returns
        -------
        list of Step
            Those that have become complete since the last poll, in order.
        list of Skip
            Those that will not become complete.
        """
        self._run = run = self._locate() or self._run
        if run is None:
            return [], []
        given, skipped = len(self._given), len(self._skips)
        states = self._states(run)
        for i, state in enumerate(states):
            if state.kind == "growing":
                break
            if state.kind == "complete":
                self._take(run, state)
            elif any(later.kind == "complete" for later in states[i + 1 :]):
                self._skip(state.step, state.why)
        self._ended = self._is_over(run)
        return self._given[given:], self._skips[skipped:]

    def _locate(self) -> Run | None:
        """List what is there; in a folder, the kind of which the first step was."""
        try:
            return locate(self._targets, self._kind)
        except (SeriesError, CheckpointError):
            return None  # not yet, or no more

    def _states(self, run: Run) -> list[_State]:
        """Look at each checkpoint that was neither given nor given up."""
        stamps: dict[Location, Stamp] = {}
        states = []
        for step in run.steps:
            if step.path in self._done or (step.name == FINAL and _is_of_before(run)):
                continue
            stamp = _stamp(step)
            if not stamp:
                continue  # removed meanwhile
            stamps[step.path] = stamp
            states.append(_state(step, at_rest=self._stamps.get(step.path) == stamp))
        self._stamps = stamps
        if run.kind == "list" and all(state.step.number is not None for state in states):
            states.sort(key=lambda state: state.step.number or 0)
        return states

    def _take(self, run: Run, state: _State) -> None:
        step = state.step
        last = max((given.number or 0 for given in self._given), default=-1)
        apart = differences(self._first, state.shapes) if self._given else ""
        if apart:
            self._skip(step, f"is of another model: {apart}")
        elif step.number is not None and step.number <= last and step.name != FINAL:
            self._skip(step, f"came after step {last}: the training was restarted")
        else:
            self._kind = run.kind
            self._first = self._first or state.shapes
            names = {given.name for given in self._given}
            tries = (f"{step.name} ({n})" for n in range(2, len(names) + 3))
            name = step.name if step.name not in names else next(t for t in tries if t not in names)
            self._given.append(replace(step, name=name))
            self._done.add(step.path)

    def _skip(self, step: Step, why: str) -> None:
        self._skips.append(Skip(step.label, why))
        self._done.add(step.path)

    def _is_over(self, run: Run) -> bool:
        if run.kind == "checkpoints":
            return any(step.name == FINAL for step in self._given)
        marker = read_json(Path(str(run.path), MARKER)) or {}
        over = run.kind == "snapshots" and marker.get("ended") is True
        return over and all(step.path in self._done for step in run.steps)


def _state(step: Step, *, at_rest: bool) -> _State:
    try:
        found = look(step)
    except CheckpointError as error:
        return _State("broken" if at_rest else "growing", step, {}, reason(error, step.path))
    by_trainer = step.name != FINAL and read_json(step.folder / TRAINER_STATE) is not None
    complete = at_rest or found.whole or by_trainer
    return _State("complete" if complete else "growing", found.step, found.shapes)


def _stamp(step: Step) -> Stamp:
    """Return names, sizes and times of a checkpoint's files, or nothing where it is gone."""
    path = step.folder
    if step.name == FINAL:  # beside it lie logs, which grow on
        return _stamps(entry for entry in _entries(path) if _is_of_model(entry.name))
    if not path.is_dir():
        return _stamps([path])
    return _stamps(Path(folder, name) for folder, _, names in os.walk(path) for name in names)


def _stamps(files: Iterable[Path]) -> Stamp:
    stamps = []
    for file in files:
        try:
            info = file.stat()
        except OSError:  # a link to nowhere, or removed meanwhile
            continue
        stamps.append((str(file), info.st_size, info.st_mtime_ns))
    return tuple(sorted(stamps))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_of_model(name: str) -> bool:
    return name.endswith((".safetensors", ".index.json")) or name == "config.json"


def _is_of_before(run: Run) -> bool:
    """Whether the final model in a folder is an earlier training's: a checkpoint is newer."""
    *before, final = (_written(step.folder) for step in run.steps)
    return final < max(before, default=0)


def _written(folder: Path) -> int:
    """Return when the weights in a folder were written last."""
    weights = (file for file in _entries(folder) if file.name.endswith(".safetensors"))
    return max((time for _, _, time in _stamps(weights)), default=0)
