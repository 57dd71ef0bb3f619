"""Work in steps, and the seconds and bytes of each stage of a run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar

T = TypeVar("T")
Y = TypeVar("Y")

# Work that pauses every few milliseconds; each time it tells how many entries it has read since.
Ticks = Generator[int, None, T]


def finish(work: Generator[Any, None, T]) -> T:
    """Do all of some work and return its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


def told(work: Ticks[T], now: Y) -> Generator[Y, None, T]:
    """Do some work and yield the same with each tick."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        yield now


@dataclass
class Stage:
    """What one stage has cost so far: seconds of wall time, bytes read or made."""

    seconds: float = 0.0
    bytes: int = 0


@dataclass
class Stages:
    """The stages of a run in the order in which they began."""

    by_name: dict[str, Stage] = field(default_factory=dict)

    @contextmanager
    def time(self, name: str) -> Iterator[Stage]:
        """Add the time that the block takes to a stage."""
        stage = self.by_name.setdefault(name, Stage())
        begin = perf_counter()
        try:
            yield stage
        finally:
            stage.seconds += perf_counter() - begin

    def add(self, name: str, count: int) -> None:
        """Add bytes to a stage."""
        self.by_name.setdefault(name, Stage()).bytes += count
