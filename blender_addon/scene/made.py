"""What is made of a scene before it enters it, and how it is taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import bpy

from ..core.text import printable
from .mesh import MARK
from .ours import GROUP

ID = TypeVar("ID", bound=bpy.types.ID)


class Made:
    """What a build has made so far, to be taken back if it does not come to its end."""

    def __init__(self) -> None:
        self._fonts = set(bpy.data.fonts)
        self._things: list[bpy.types.ID] = []
        self._changes: list[Callable[[], object]] = []
        # The names that they should have; an earlier build has them still.
        self._names: list[tuple[bpy.types.ID, str]] = []

    def keep(self, thing: ID) -> ID:
        """Remember a new thing, and with it the data that no other object has."""
        self._things.append(thing)
        if isinstance(thing, bpy.types.Object):
            name, thing[MARK] = thing[MARK], thing.name
            self._names.append((thing, name))
            if thing.data is not None and thing.data.users == 1:
                self._things.append(thing.data)
                self._names.append((thing.data, name))
                shapes = getattr(thing.data, "shape_keys", None)
                if shapes is not None:
                    self._names.append((shapes, name))
        return thing

    def named(self, thing: ID, name: str) -> ID:
        """Remember a new thing that is no object, and the name that it should have."""
        self._things.append(thing)
        self._names.append((thing, name))
        thing[MARK] = thing.name
        return thing

    def collection(self, name: str) -> bpy.types.Collection:
        """Make a collection that is in no scene."""
        name = printable(name, len(name))  # a folder's, at times
        made = self.keep(bpy.data.collections.new(name))
        self._names.append((made, name))
        return made

    def group(self, name: str, root: bpy.types.Collection) -> bpy.types.Collection:
        """Make a collection below the root, which a later build knows by its name."""
        made = self.collection(name)
        made[GROUP], made[MARK] = name, made.name
        root.children.link(made)
        return made

    def undo(self, change: Callable[[], object]) -> None:
        """Remember what takes back a change of a thing that was there before."""
        self._changes.append(change)

    def rename(self, thing: bpy.types.ID, name: str) -> None:
        """Remember a name that a thing of ours should have in the end."""
        self._names.append((thing, name))

    def take_back(self) -> None:
        """Remove it all."""
        while self._changes:
            self._changes.pop()()
        bpy.data.batch_remove([thing for thing in self._things if _alive(thing)])
        # Blender's own font comes with the first text.
        fonts = set(bpy.data.fonts) - self._fonts
        bpy.data.batch_remove([font for font in fonts if not font.users])
        self.leave()

    def leave(self) -> None:
        """Leave it where it is from now on."""
        self._things, self._changes = [], []

    def name(self) -> None:
        """Give all the names that they would have had without the earlier build."""
        for thing, name in self._names:
            if not _alive(thing):
                continue
            noted = thing.get(MARK) == thing.name
            if thing.name != name:
                thing.name = name
            if noted:
                thing[MARK] = thing.name


def _alive(thing: Any) -> bool:
    """Return whether Blender still has a thing."""
    try:
        return thing.name is not None
    except ReferenceError:
        return False
