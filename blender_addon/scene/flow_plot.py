"""Where the parts of a flow are put while they are made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import bpy
import numpy as np

from ..core.readers import printable
from ..core.series import Step
from ..core.timeline import Timeline
from .build import Materials, corners_of
from .labels import LONGEST
from .made import Made
from .mesh import STEP
from .ours import FLOW
from .timeline import Playbill

GROUPS = ("Flow", "Picture", "Labels", "Legend", "Stage")


class Plot:
    """A flow that is being made: its collections, an empty that moves it all, and its keys.

    Parameters
    ----------
    made : Made
    root : bpy.types.Collection
    materials : Materials
    labels : sequence of str
        What is seen one after the other.
    timeline : Timeline
        With as many steps.

    Attributes
    ----------
    anchor : bpy.types.Object
        All but lights, floor and camera are its children.
    points : list of ndarray, shape (n, 3)
        What the camera should see, before the anchor is moved.
    """

    def __init__(
        self,
        made: Made,
        root: bpy.types.Collection,
        materials: Materials,
        labels: Sequence[str],
        timeline: Timeline,
    ) -> None:
        self.made, self.root, self.materials = made, root, materials
        self.groups = {name: made.group(name, root) for name in GROUPS}
        steps = [Step(printable(label, LONGEST), None, Path()) for label in labels]
        self._playbill = Playbill(steps, timeline, made)
        self.points: list[np.ndarray] = []
        self.anchor = _anchor("Flow")
        self.put(self.anchor, "Stage", tied=False)

    def put(self, thing: bpy.types.Object, group: str, *, tied: bool = True) -> bpy.types.Object:
        """Put a new thing into a group, tied to the anchor."""
        thing[FLOW] = True
        self.groups[group].objects.link(self.made.keep(thing))
        if tied and thing.parent is None:
            thing.parent = self.anchor
        return thing

    def label(self, thing: bpy.types.Object, group: str) -> bpy.types.Object:
        """Put something that the camera should see as a whole."""
        if thing.type != "EMPTY":
            # Before it is tied, for its parent is the legend's desk or nothing.
            self.points.append(corners_of(thing))
        return self.put(thing, group)

    def show(self, thing: bpy.types.Object, shown: Sequence[bool]) -> None:
        """Show a thing at some moments only; always, where there is one moment."""
        if len(shown) > 1:
            self._playbill.show(thing, shown)

    def show_names(self, things: Sequence[bpy.types.Object], count: int) -> None:
        """Show what the moments are called, each at its time."""
        for thing in things:
            if STEP in thing:
                self.show(thing, [i == thing[STEP] for i in range(count)])


def _anchor(name: str) -> bpy.types.Object:
    from .mesh import new_object

    anchor = new_object(name, None)
    anchor.empty_display_size = 0.5
    return anchor
