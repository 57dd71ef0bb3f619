"""What is to be said of many fields at many steps, in few sentences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .fields import Plan
from .locking import Held
from .readers import printable


@dataclass(frozen=True)
class Show:
    """A field at one step: -1 stands for all of them."""

    step: int
    plan: Plan
    held: Held


class Notes:
    """Collects while the surfaces of a series are made.

    Attributes
    ----------
    empty : dict of (reason, name) to list of int
        At which steps a field has no surface.
    unchanged, unplaced : list of str
        Fields that did not change, and that have no level and no place yet.
    over : dict of str to (faces, budget)
        Fields that have more faces at a locked level than their budget.
    """

    def __init__(self) -> None:
        self.empty: dict[tuple[str, str], list[int]] = defaultdict(list)
        self.unchanged: list[str] = []
        self.unplaced: list[str] = []
        self.over: dict[str, tuple[int, int]] = {}
        self._nonfinite: dict[str, tuple[int, int, int]] = {}

    def look(self, name: str, shows: Sequence[Show]) -> None:
        """Remember from which step on a field has entries that are not finite, and how many."""
        for show in shows:
            nan, inf = (sum(getattr(g, k) for g in show.held.grids) for k in ("nan", "inf"))
            if nan or inf:
                self._nonfinite.setdefault(name, (show.step, nan, inf))

    def said(self, labels: Sequence[str], first: int, substitutes: Sequence[str]) -> list[str]:
        """Put it together.

        Parameters
        ----------
        labels : sequence of str
            Of the steps.
        first : int
            Index of the first of these.
        substitutes : sequence of str
            See `locking.Units.substitutes`.
        """
        groups: dict[tuple[str, tuple[int, ...]], list[str]] = defaultdict(list)
        lower: list[str] = []
        for (reason, name), steps in self.empty.items():
            if reason.startswith("no cell lies above"):
                lower.append(name)
            elif reason:
                groups[reason, tuple(steps)].append(name)
        notes = [
            f"{_some(names)}: no surface{_when(steps, labels, first)}: {reason}"
            for (reason, steps), names in groups.items()
        ]
        for names, what in (
            (
                list(dict.fromkeys(lower)),
                "no surface at some steps, where all cells lie below the level",
            ),
            (self.unplaced, "no unit and no level yet, so not shown; Relock finds them"),
            (substitutes, "constant at first, so that σ is that of the changes themselves"),
            (self.unchanged, "did not change"),
        ):
            if names:
                notes.append(f"{_some(names)}: {what}")
        for name, (faces, budget) in self.over.items():
            notes.append(
                f"{printable(name)}: {faces:,} faces at the locked level, more than the budget of "
                f"{budget:,}; Relock finds another"
            )
        for name, (step, nan, inf) in self._nonfinite.items():
            since = f" from {labels[step - first]} on" if step >= 0 else ""
            notes.append(
                f"{printable(name)}: not finite{since} ({nan} NaN and {inf} infinite entries)"
            )
        return notes


def _some(names: Sequence[str]) -> str:
    return printable(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _when(steps: Sequence[int], labels: Sequence[str], first: int) -> str:
    at = [labels[step - first] for step in steps if step >= 0]
    if not at:
        return ""
    return f" at {at[0]}" if len(at) == 1 else f" at {len(at)} steps, the first {at[0]}"
