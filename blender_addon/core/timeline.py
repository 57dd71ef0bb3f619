"""Which frame shows which training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from .errors import SettingsError
from .settings import TimelineSettings

LAST = 1_048_574  # Blender's last frame


@dataclass(frozen=True)
class Timeline:
    """Every step has the same number of frames, one step after the other.

    Attributes
    ----------
    steps : int
    settings : TimelineSettings

    Raises
    ------
    SettingsError
        Blender has not so many frames.
    """

    steps: int
    settings: TimelineSettings

    def __post_init__(self) -> None:
        if self.end > LAST:
            raise SettingsError(
                f"frames: {self.steps} steps of {self.settings.frames} frames from "
                f"{self.settings.start} on end at {self.end:,}; Blender has {LAST:,} frames"
            )

    @property
    def start(self) -> int:
        """The first frame."""
        return self.settings.start

    @property
    def end(self) -> int:
        """The last frame."""
        return self.first(self.steps) - 1

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.steps * self.settings.frames / self.settings.fps

    def first(self, step: int) -> int:
        """Return a step's first frame."""
        return self.settings.start + step * self.settings.frames

    def last(self, step: int) -> int:
        """Return a step's last frame."""
        return self.first(step + 1) - 1

    def middle(self, step: int) -> tuple[int, ...]:
        """Return the frame in the middle of a step's time, or its two that are nearest to it."""
        first, frames = self.first(step), self.settings.frames
        if frames == 1:
            return (first,)
        return tuple(dict.fromkeys((first + frames // 2, first + (frames + 1) // 2)))

    def step_at(self, frame: float) -> int:
        """Return the step that a frame shows; the first one before the start, the last after."""
        step = int((frame - self.start) // self.settings.frames)
        return min(max(step, 0), self.steps - 1)

    def at(self, frame: float) -> float:
        """Return a frame's time in seconds from the start."""
        return (frame - self.start) / self.settings.fps

    def changes(self, shown: Sequence[bool]) -> list[tuple[int, bool]]:
        """Return the frames from which on something is there or not, the first frame always.

        Parameters
        ----------
        shown : sequence of bool, shape (steps,)
        """
        after = [(self.first(i + 1), b) for i, (a, b) in enumerate(pairwise(shown)) if a != b]
        return [(self.start, bool(shown[0])), *after]
