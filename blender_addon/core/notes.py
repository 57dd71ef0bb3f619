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
        self._nonfinite: dict[str, tuple[list[int], int, int, bool]] = {}

    def look(self, name: str, shows: Sequence[Show]) -> None:
        """Remember at which steps a field has entries that are not finite, and how many."""
        bad = []
        for show in shows:
            nan, inf = (sum(getattr(g, k) for g in show.held.grids) for k in ("nan", "inf"))
            if nan or inf:
                bad.append((show.step, nan, inf))
        if bad:
            last = bad[-1][0] == shows[-1].step and len(bad) == bad[-1][0] - bad[0][0] + 1
            self._nonfinite[name] = [step for step, _, _ in bad], *bad[0][1:], last

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
            (self.unplaced, "no unit and no level yet, so not shown; built again, they are found"),
            (substitutes, "constant at first, so that σ is that of the changes themselves"),
            (self.unchanged, "did not change"),
        ):
            if names:
                notes.append(f"{_some(names)}: {what}")
        if self.over:
            name = max(self.over, key=lambda n: self.over[n][0])
            faces, budget = self.over[name]
            named = _some([name, *(n for n in self.over if n != name)])
            notes.append(
                f"{named}: more faces at the locked level than the budget of {budget:,} "
                f"(up to {faces:,}); built again, another is found"
            )
        for name, (steps, nan, inf, to_the_end) in self._nonfinite.items():
            when = _when(steps, labels, first)
            if to_the_end and steps[0] >= 0:
                when = f" from {labels[steps[0] - first]} on"
            entries = f"{nan} NaN and {inf} infinite entries"
            notes.append(f"{printable(name)}: not finite{when} ({entries})")
        return notes


def _some(names: Sequence[str]) -> str:
    return printable(names[0]) + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _when(steps: Sequence[int], labels: Sequence[str], first: int) -> str:
    at = [labels[step - first] for step in steps if step >= 0]
    if not at:
        return ""
    return f" at {at[0]}" if len(at) == 1 else f" at {len(at)} steps, the first {at[0]}"
