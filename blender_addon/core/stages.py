"""Seconds and bytes of each stage of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter


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
