"""What lies under one cell of a training run's surface: of which step, and changed from what."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from .animation import Growing
from .change import Change
from .errors import CheckpointError, SelectionError
from .fields import Plan
from .inspect import read_cell
from .model import Progress
from .readers import Checkpoint, Tensor, open_checkpoint, printable
from .readers.datafile import Place
from .reading import Reading
from .series import Step
from .tracks import Key, Names, key_of, take, takes_of, through_time


@dataclass(frozen=True)
class Source:
    """A value of an entry, and the step that has it."""

    step: Step
    value: float

    @property
    def line(self) -> str:
        """A short line for a panel."""
        value = f"{self.value:.4g}".replace("-", "−")
        return f"at {printable(self.step.label)}: {value} ({printable(self.step.path.name)})"


@dataclass(frozen=True, eq=False)
class StepReading:
    """What was read under a cell at a step.

    Attributes
    ----------
    reading : Reading
        Of a change, where that is shown: its entries are differences.
    step : Step
    reference : Step or None
        What a change is measured from.
    sources : tuple of Source
        Of a change: the value of the largest entry at the step and at the reference.
    """

    reading: Reading
    step: Step
    reference: Step | None
    sources: tuple[Source, ...]

    def lines(self) -> tuple[str, ...]:
        """Return short lines for a panel."""
        name, *rest = self.reading.lines()
        return (name, self.when, *rest[:-1], *(s.line for s in self.sources), *rest[-1:])

    @property
    def when(self) -> str:
        """Which step, or from which to which."""
        if self.reference is None:
            return f"{printable(self.step.label)} ({printable(self.step.path.name)})"
        if self.reference == self.step:
            return f"{printable(self.step.label)}, from which changes are measured"
        return f"change from {printable(self.reference.label)} to {printable(self.step.label)}"

    @property
    def copy_text(self) -> str:
        """The largest entry for the clipboard, or ""."""
        return f"{self.reading.copy_text}, {self.when}" if self.reading.copy_text else ""


def read_step_steps(
    series: Growing, name: str, step: int, cell: int
) -> Generator[Progress, None, tuple[Plan, StepReading]]:
    """Read what lies under a cell of a surface of a training run, out of its files.

    Parameters
    ----------
    series : Growing
        As the scene keeps it.
    name : str
        Of the field.
    step : int
        Index of the step; of a field through time, the cell tells it.
    cell : int
        Flat index into the field's grid.

    Raises
    ------
    CheckpointError
        A file is gone, or has changed since it was read.
    SelectionError
        The step has no such field, or that has no such cell.
    """
    with ExitStack() as stack:
        files = _Files(series, stack)
        if series.settings.view == "time":
            plan = files.plan_through_time(name)
        else:
            plan = files.plan_at(name, step)
        rows, cols = plan.shape[1:]
        if not 0 <= cell < plan.shape[0] * rows * cols:
            raise SelectionError(f"{printable(name)} has no cell {cell}")
        tensor = plan.cell(cell // (rows * cols), 0, 0)[0]
        sigma = files.unit_of(tensor)
        reading = yield from read_cell(plan, series.settings.build.field, cell, sigma)
        return plan, _told(reading, tensor, files)


def _told(reading: Reading, tensor: Tensor, files: _Files) -> StepReading:
    """Return a reading with the steps that it is of, and of a change both values."""
    step = files.step_of(tensor)
    if not isinstance(tensor, Change):
        return StepReading(reading, step, None, ())
    reference = files.step_of(tensor.reference)
    sources: tuple[Source, ...] = ()
    if reading.largest is not None:
        at = reading.largest.row * reading.matrix[1] + reading.largest.col
        after = float(Tensor.flat(tensor, at, at + 1, np.float64)[0])
        before = float(tensor.reference.flat(at, at + 1, np.float64)[0])
        sources = (Source(step, after), Source(reference, before))[: 1 + (reference != step)]
    return StepReading(reading, step, reference, sources)


class _Files:
    """The checkpoints of a series, opened as they are asked for."""

    def __init__(self, series: Growing, stack: ExitStack) -> None:
        self.series, self._stack = series, stack
        self._open: dict[int, Checkpoint] = {}
        self._step_of: dict[Place, int] = {}

    def _checkpoint(self, i: int) -> Checkpoint:
        """Open a step's checkpoint, which must be what it was."""
        if i not in self._open:
            step = self.series.steps[i]
            found = self._stack.enter_context(open_checkpoint(step.path))
            if found.stamp != self.series.stamps[i]:
                raise CheckpointError(
                    f"{printable(step.path, 1000)}: the files have changed since they were read; "
                    "build the animation again"
                )
            self._open[i] = found
            self._step_of |= dict.fromkeys((tensor.file for tensor in found.values()), i)
        return self._open[i]

    def step_of(self, tensor: Tensor) -> Step:
        """Return the step whose file a tensor is read from."""
        return self.series.steps[self._step_of[tensor.file]]

    def plan_at(self, name: str, step: int) -> Plan:
        """Return the field that a step shows under a name, of changes where these are shown."""
        settings, at = self.series.settings, self.series.steps[step]
        own = self._checkpoint(step)
        names = Names((one.name, one.shape, one.planes) for one in self.series.lock.levels)
        made, _ = take(at, own, self._references(step), names, settings)
        for plan in made.plans.values():
            if plan.name == name:
                return plan
        what = "change" if settings.delta != "none" else "field"
        raise SelectionError(f"{printable(at.label)} has no {what} of {printable(name)} to show")

    def _references(self, step: int) -> Sequence[Mapping[Key, Tensor]]:
        """Return the tensors of earlier steps, in order; only of those that are needed."""
        delta = self.series.settings.delta
        if delta == "none":
            return []
        needed = {key_of(tensor) for tensor in self._checkpoint(step).values()}
        tables: list[Mapping[Key, Tensor]] = []
        for i in range(step) if delta == "first" else reversed(range(step)):
            table = {key_of(tensor): tensor for tensor in self._checkpoint(i).values()}
            tables.append(table)
            needed -= table.keys()
            if not needed:
                break
        return tables if delta == "first" else tables[::-1]

    def plan_through_time(self, name: str) -> Plan:
        """Return a field whose planes are the steps."""
        settings, steps = self.series.settings, self.series.steps
        for i in range(len(steps)):
            self._checkpoint(i)
        takes, _, _ = takes_of(steps, settings, self._stack)
        for plan in through_time(takes, settings)[0]:
            if plan.name == name:
                return plan
        raise SelectionError(f"no field is called {printable(name)} any more")

    def unit_of(self, tensor: Tensor) -> float | None:
        """Return how much one σ is: what was locked; None where nothing was."""
        locked = {(u.name, u.shape): u.sigma for u in self.series.lock.units}
        return locked.get(key_of(tensor))
