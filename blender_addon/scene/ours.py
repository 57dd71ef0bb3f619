"""What is ours in a scene, and what is a person's.

A thing is ours as long as it has the name that it notes of itself; a copy has another. Where all
things were copied, as in a full copy of a scene, the first copy of each is ours.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import TypeVar

import bpy

from .mesh import MARK

GROUP = "weightwalk_group"
KIND = "weightwalk_mark"  # of what a closer look adds
# On the root of a flow, the JSON of a `FlowRecord`; and on each of its objects.
FLOW = "weightwalk_flow"

# Blender puts a number behind a name that is taken, and cuts long names to make room for it.
_NUMBER = re.compile(r"\.\d{3,}$")
_LONG = 56  # bytes

ID = TypeVar("ID", bound=bpy.types.ID)


def roots_in(scene: bpy.types.Scene, mark: str = MARK) -> list[bpy.types.Collection]:
    """Return all collections of our surfaces in a scene, but not those of a linked file.

    With `FLOW` as the mark, those of a flow.
    """
    below = dict.fromkeys(scene.collection.children_recursive)
    return [c for c in below if mark in c and GROUP not in c and c.library is None]


def find_root(scene: bpy.types.Scene, mark: str = MARK) -> bpy.types.Collection | None:
    """Return the collection of our surfaces in a scene; its mark is the JSON of a `Record`.

    A person may have moved it into a collection of their own. With `FLOW` as the mark, the
    collection of a flow.
    """
    return next(iter(roots_in(scene, mark)), None)


def stands(scene: bpy.types.Scene) -> bool:
    """Return whether anything of ours stands in a scene: a corridor or a flow."""
    return find_root(scene) is not None or find_root(scene, FLOW) is not None


def run_of(root: bpy.types.Collection) -> str:
    """Return a short digest of a root's record; each surface of the same build notes it, too."""
    return hashlib.sha256(str(root[MARK]).encode(errors="replace")).hexdigest()[:16]


def objects_in(root: bpy.types.Collection | None) -> list[bpy.types.Object]:
    """Return all objects below a collection; none of None.

    Not `all_objects`: Blender keeps that list for a collection that an undo leaves as it is, with
    objects in it that the undo has taken away, and crashes when it is read (5.2).
    """
    held = [root, *root.children_recursive] if root else []
    return list(dict.fromkeys(thing for collection in held for thing in collection.objects))


def scenes_with(thing: bpy.types.Object) -> list[bpy.types.Scene]:
    """Return the scenes that an object is in."""
    return [scene for scene in bpy.data.scenes if thing in objects_in(scene.collection)]


def is_ours(thing: bpy.types.ID) -> bool:
    """Return whether we made a thing, and nobody has copied or renamed it since."""
    return thing.library is None and bool(thing.get(MARK) == thing.name)


def ours_among(things: Iterable[ID]) -> list[ID]:
    """Return which of some things are ours; of copies, only where their original is not there."""
    held = list(things)
    names = {thing.name for thing in held}
    ours = {thing for thing in held if is_ours(thing)}
    copies: dict[str, ID] = {}
    for thing in sorted(held, key=lambda t: (len(t.name), t.name)):
        mark = thing.get(MARK)
        copied = isinstance(mark, str) and mark not in names and _numbered(thing.name, mark)
        if copied and thing.library is None:
            copies.setdefault(mark, thing)
    ours.update(copies.values())
    return [thing for thing in held if thing in ours]


def _numbered(name: str, mark: str) -> bool:
    """Return whether a name is another one with a number, or with another number."""
    stem = _NUMBER.sub("", name)
    cut = len(name.encode()) > _LONG and mark.startswith(stem)
    return stem != name and (cut or stem == _NUMBER.sub("", mark))


def materials_of(root: bpy.types.Collection | None) -> dict[str, bpy.types.Material]:
    """Return our materials in an earlier build by the names that they were made with."""
    things = ours_among(objects_in(root))
    slots = [slot.material for thing in things for slot in thing.material_slots]
    return {m[MARK]: m for m in slots if m is not None and MARK in m}
