"""Which things are seen at which steps: keys of visibility, shared by things that have the same.

Who moves a key of a shared action moves the boundary of a step for all that is shown then.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import bpy
import numpy as np

from ..core.readers import printable
from ..core.series import Step
from ..core.timeline import Timeline
from .keys import Keys, give, new_action, set_keys
from .made import Made

HIDDEN = ("hide_viewport", "hide_render")
LONGEST = 40  # letters of an action's name


class Playbill:
    """Actions that show things at some steps: one for each pattern of steps.

    Parameters
    ----------
    steps : sequence of Step
    timeline : Timeline
    made : Made
        Keeps the actions.
    known : dict of (tuple of bool) to bpy.types.Action, optional
        Those that are there already.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        timeline: Timeline,
        made: Made,
        known: dict[tuple[bool, ...], bpy.types.Action] | None = None,
    ) -> None:
        self.steps, self.timeline, self.made = steps, timeline, made
        self._actions = dict(known or {})

    def show(self, thing: bpy.types.Object, shown: Sequence[bool]) -> None:
        """Show a thing at some steps only."""
        give(thing, self.action(tuple(shown)))
        thing.hide_viewport = thing.hide_render = not shown[0]

    def action(self, shown: tuple[bool, ...]) -> bpy.types.Action:
        """Return the action that shows things at some steps."""
        if shown not in self._actions:
            name = f"Weightwalk {pattern_name(self.steps, shown)}"
            made = self.made.named(new_action(name, "OBJECT"), name)
            self._actions[shown] = made
            changes = self.timeline.changes(shown)
            frames = np.array([frame for frame, _ in changes])
            hidden = np.array([not now for _, now in changes])
            for path in HIDDEN:
                set_keys(made, Keys(path, 0, frames, hidden, "CONSTANT"))
        return self._actions[shown]


def pattern_name(steps: Sequence[Step], shown: Sequence[bool]) -> str:
    """Say at which steps something is shown: "step 500", "steps 500 to 900, 1200"."""
    if all(shown) and len(steps) > 1:
        return "all steps"
    runs = []
    for on, run in groupby(zip(shown, steps, strict=True), key=lambda pair: pair[0]):
        if on:
            held = [step for _, step in run]
            names = (held[0].name, held[-1].name) if len(held) > 1 else (held[0].name,)
            runs.append(" to ".join(names))
    if sum(shown) == 1:
        only = next(step for step, on in zip(steps, shown, strict=True) if on)
        return printable(only.label, LONGEST)
    return printable(f"steps {', '.join(runs)}" if runs else "no step", LONGEST)
