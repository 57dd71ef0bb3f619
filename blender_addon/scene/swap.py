"""New things out of sight → the scene, in place of those of an earlier build, all at once.

What a person did by hand stays: things that are not ours, our lights as they are now (also gone),
our camera once it was moved, materials, and what is hidden. A thing is ours as long as it has the
name that it notes of itself; a copy has another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import bpy

from ..quiet import held_signals
from .camera import Shot, aim, new_camera, untouched
from .mesh import MARK

GROUP = "weightwalk_group"

_COLLECTION = ("hide_viewport", "hide_render", "hide_select", "color_tag")
_LAYER = ("hide_viewport", "holdout", "indirect_only", "exclude")

ID = TypeVar("ID", bound=bpy.types.ID)


class Made:
    """What a build has made so far, to be taken back if it does not come to its end."""

    def __init__(self) -> None:
        self._fonts = set(bpy.data.fonts)
        self._things: list[bpy.types.ID] = []
        # The names that they should have; an earlier build has them still.
        self._names: list[tuple[bpy.types.ID, str]] = []

    def keep(self, thing: ID) -> ID:
        """Remember a new thing, and an object's data with it."""
        self._things.append(thing)
        if isinstance(thing, bpy.types.Object):
            name, thing[MARK] = thing[MARK], thing.name
            self._names.append((thing, name))
            if thing.data is not None:
                self._things.append(thing.data)
                self._names.append((thing.data, name))
        return thing

    def collection(self, name: str) -> bpy.types.Collection:
        """Make a collection that is in no scene."""
        made = self.keep(bpy.data.collections.new(name))
        self._names.append((made, name))
        return made

    def group(self, name: str, root: bpy.types.Collection) -> bpy.types.Collection:
        """Make a collection below the root, which a later build knows by its name."""
        made = self.collection(name)
        made[GROUP], made[MARK] = name, made.name
        root.children.link(made)
        return made

    def take_back(self) -> None:
        """Remove it all."""
        bpy.data.batch_remove([thing for thing in self._things if _alive(thing)])
        # Blender's own font comes with the first text.
        fonts = set(bpy.data.fonts) - self._fonts
        bpy.data.batch_remove([font for font in fonts if not font.users])
        self.leave()

    def leave(self) -> None:
        """Leave it where it is from now on."""
        self._things = []

    def name(self) -> None:
        """Give all the names that they would have had without the earlier build."""
        for thing, name in self._names:
            if thing.name != name:
                thing.name = name
            if isinstance(thing, bpy.types.Object) or GROUP in thing:
                thing[MARK] = thing.name


def find_root(scene: bpy.types.Scene) -> bpy.types.Collection | None:
    """Return the collection of our surfaces in a scene; its mark is the JSON of a `Record`."""
    return next((c for c in scene.collection.children if MARK in c and GROUP not in c), None)


def objects_in(root: bpy.types.Collection | None) -> list[bpy.types.Object]:
    """Return all objects below a collection; none of None.

    Not `all_objects`: Blender keeps that list for a collection that an undo leaves as it is, with
    objects in it that the undo has taken away, and crashes when it is read (5.2).
    """
    held = [root, *root.children_recursive] if root else []
    found = {thing.name: thing for collection in held for thing in collection.objects}
    return list(found.values())


def is_ours(thing: bpy.types.ID) -> bool:
    """Return whether we made a thing, and nobody has copied or renamed it since."""
    return bool(thing.get(MARK) == thing.name)


def materials_of(root: bpy.types.Collection | None) -> dict[str, bpy.types.Material]:
    """Return our materials in an earlier build by the names that they were made with."""
    things = [thing for thing in objects_in(root) if is_ours(thing)]
    slots = [slot.material for thing in things for slot in thing.material_slots]
    return {m[MARK]: m for m in slots if m is not None and MARK in m}


def swap(scene: bpy.types.Scene, root: bpy.types.Collection, made: Made, shot: Shot) -> None:
    """Put a new root into the scene, in place of the earlier one if there is one.

    Parameters
    ----------
    scene : bpy.types.Scene
    root : bpy.types.Collection
        In no scene, with a group "Stage".
    made : Made
        All that is new. Until nothing can go wrong any more, it can be taken back.
    shot : Shot
        For our camera, where a person has not taken it over.
    """
    with held_signals():
        old = find_root(scene)
        groups = {c[GROUP]: c for c in root.children}
        dropped = _keep_theirs(old, root, groups) if old else []
        camera = next((o for o in groups["Stage"].objects if _is_camera(o)), None)
        if camera is None and (old is None or scene.camera is None):
            camera = made.keep(new_camera(shot))
            groups["Stage"].objects.link(camera)
        scene.collection.children.link(root)
        made.leave()
        if old:
            _remove(scene, old, root, dropped)
            made.name()
            if camera is not None and untouched(camera):
                aim(camera, shot)
        scene.camera = scene.camera or camera


def _is_camera(thing: bpy.types.Object) -> bool:
    return thing.type == "CAMERA" and is_ours(thing)


def _keep_theirs(
    old: bpy.types.Collection,
    root: bpy.types.Collection,
    groups: dict[str, bpy.types.Collection],
) -> list[bpy.types.Object]:
    """Link what stays into the new collections, too; return what goes."""
    dropped = []
    for held in _ours_of(old):
        target = groups.get(held.get(GROUP), root)
        for thing in held.objects:
            if is_ours(thing) and thing.type not in {"LIGHT", "CAMERA"}:
                dropped.append(thing)
            elif thing.name not in target.objects:
                target.objects.link(thing)
        for child in held.children:
            if not is_ours(child) and child.name not in target.children:
                target.children.link(child)
    return dropped


def _ours_of(root: bpy.types.Collection) -> list[bpy.types.Collection]:
    return [root, *(c for c in root.children_recursive if is_ours(c))]


def _remove(
    scene: bpy.types.Scene,
    old: bpy.types.Collection,
    root: bpy.types.Collection,
    dropped: Sequence[bpy.types.Object],
) -> None:
    """Remove an earlier root, our things in it, and their data unless a person uses these."""
    _hide_alike(scene, old, root)
    gone = set(dropped)
    for thing in objects_in(root):
        if thing.parent in gone:
            placed = thing.matrix_world.copy()
            thing.parent = None
            thing.matrix_world = placed
    data = {thing.data for thing in dropped} - {None}
    bpy.data.batch_remove([*dropped, *_ours_of(old)])
    bpy.data.batch_remove([one for one in data if not one.users])


def _hide_alike(
    scene: bpy.types.Scene, old: bpy.types.Collection, root: bpy.types.Collection
) -> None:
    """Hide the collections that a person has hidden."""
    targets = {c.get(GROUP): c for c in _ours_of(root)}
    for held in _ours_of(old):
        target = targets.get(held.get(GROUP))
        if target is None:
            continue
        for key in _COLLECTION:
            setattr(target, key, getattr(held, key))
        for layer in scene.view_layers:
            hidden = _layer_collection(layer, held)
            wanted = {key: getattr(hidden, key) for key in _LAYER} if hidden else {}
            for key, value in wanted.items():
                # Looked up each time, for a change may make them anew.
                shown = _layer_collection(layer, target)
                if shown is not None and getattr(shown, key) != value:
                    setattr(shown, key, value)


def _layer_collection(
    layer: bpy.types.ViewLayer, collection: bpy.types.Collection
) -> bpy.types.LayerCollection | None:
    # A scene that was never shown has none yet.
    root = layer.layer_collection
    return next((c for c in _walk(root) if c.collection == collection), None) if root else None


def _walk(root: bpy.types.LayerCollection) -> Iterator[bpy.types.LayerCollection]:
    yield root
    for child in root.children:
        yield from _walk(child)


def _alive(thing: Any) -> bool:
    """Return whether Blender still has a thing."""
    try:
        return thing.name is not None
    except ReferenceError:
        return False
