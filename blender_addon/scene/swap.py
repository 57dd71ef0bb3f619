"""New things out of sight → the scene, in place of those of an earlier build, all at once.

What a person did by hand stays: things that are not ours (see `ours`), our lights as they are now
(also gone), our camera once it was moved, materials, and what is hidden. What another scene holds,
too, only leaves this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import bpy

from ..quiet import held_signals
from .camera import FLOWN, Shot, aim, new_camera, untouched
from .flight import unchanged
from .made import Made
from .markers import forget_markers
from .mesh import MARK
from .ours import FLOW, GROUP, find_root, is_ours, objects_in, ours_among, roots_in

_COLLECTION = ("hide_viewport", "hide_render", "hide_select", "color_tag")
_LAYER = ("hide_viewport", "holdout", "indirect_only", "exclude")


@dataclass(frozen=True)
class _Earlier:
    """An earlier build, sorted before anything is changed.

    Attributes
    ----------
    root : bpy.types.Collection
    parents : list of bpy.types.Collection
        Those in the scene that hold the root.
    ours, theirs : set of bpy.types.Object
        What in the scene is ours, wherever a person has moved it, and what we made no more.
    gone : list of bpy.types.Object
        Of ours, what the new build replaces and no other scene holds.
    released : list of bpy.types.Object
        What it replaces and another scene holds.
    shared : set of bpy.types.Collection
        What the other scenes hold.
    """

    root: bpy.types.Collection
    parents: list[bpy.types.Collection]
    ours: set[bpy.types.Object]
    theirs: set[bpy.types.Object]
    gone: list[bpy.types.Object]
    released: list[bpy.types.Object]
    shared: set[bpy.types.Collection]


def swap(
    scene: bpy.types.Scene,
    root: bpy.types.Collection,
    made: Made,
    shot: Shot,
    flight: bpy.types.Object | None = None,
    *,
    mark: str = MARK,
) -> None:
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
    flight : bpy.types.Object or None
        A camera that flies; the scene's, unless the earlier build had one and a person has chosen
        another since.
    mark : str
        What roots of this kind have: `MARK`, or `FLOW`.
    """
    with held_signals():
        held = find_root(scene, mark)
        old = _sort(scene, held, flight, mark) if held else None
        if old:
            _carry_over(old, root)
        camera, before = _camera(scene, root, old)
        free = [None, before, *(old.gone if old else ())]
        if camera is None and (old is None or scene.camera in free):
            camera = made.keep(new_camera(shot))
            if mark == FLOW:
                camera[FLOW] = True
            _stage(root).objects.link(camera)
        flew = old is not None and any(FLOWN in thing for thing in old.ours)
        chosen = (flight is not None and not flew) or scene.camera in free
        for parent in old.parents if old else [scene.collection]:
            parent.children.link(root)
        if old:
            _hide_alike(scene, old.root, root)
            untie(set(old.gone))
        made.leave()
        if old:
            _remove(scene, old)
            made.name()
            if camera is not None and untouched(camera):
                aim(camera, shot)
        if chosen:
            scene.camera = flight or camera


def take_away(scene: bpy.types.Scene, mark: str) -> None:
    """Remove a root and all that is ours below it; what a person made stays in the scene."""
    root = find_root(scene, mark)
    if root is None:
        return
    with held_signals():
        old = _sort(scene, root, None, mark)
        # A camera that a person has moved is theirs.
        ours = [o for o in old.ours if o.type != "CAMERA" or untouched(o)]
        kept = {thing for collection in old.shared for thing in collection.objects}
        gone, released = ([o for o in ours if (o in kept) is held] for held in (False, True))
        collections = _ours_of(root)
        for held in collections:
            for thing in held.objects:
                if thing not in ours and thing.name not in old.parents[0].objects:
                    old.parents[0].objects.link(thing)
            for child in held.children:
                if child not in collections:
                    old.parents[0].children.link(child)
        untie(set(gone))
        _remove(scene, replace(old, gone=gone, released=released))


def _stage(root: bpy.types.Collection) -> bpy.types.Collection:
    return next(c for c in root.children if c.get(GROUP) == "Stage")


def _sort(
    scene: bpy.types.Scene,
    root: bpy.types.Collection,
    flight: bpy.types.Object | None,
    mark: str = MARK,
) -> _Earlier:
    every = dict.fromkeys([scene.collection, *scene.collection.children_recursive])
    parents = [c for c in every if root in c.children.values()]
    others = {thing for c in roots_in(scene, mark) if c != root for thing in objects_in(c)}
    # A flow and a corridor may stand in one scene; each has its own things.
    held = (t for t in objects_in(scene.collection) if (FLOW in t) == (mark == FLOW))
    things = [thing for thing in held if thing not in others]
    ours = ours_among(things)
    known = set(ours)
    theirs = {thing for thing in things if MARK in thing and thing not in known}
    still = [thing for thing in ours if thing.type not in {"LIGHT", "CAMERA"}]
    # A camera that flew as we said flies no more, unless it is to fly again.
    dropped = [*still, *(thing for thing in ours if unchanged(thing) and thing != flight)]
    shared = _shared(scene, root, parents)
    kept = {thing for collection in shared for thing in collection.objects}
    return _Earlier(
        root,
        parents,
        known,
        theirs,
        [thing for thing in dropped if thing not in kept],
        [thing for thing in dropped if thing in kept],
        shared,
    )


def _shared(
    scene: bpy.types.Scene, root: bpy.types.Collection, parents: Sequence[bpy.types.Collection]
) -> set[bpy.types.Collection]:
    """Return what other scenes hold once the root is no more in its parents."""
    found: set[bpy.types.Collection] = set()

    def walk(collection: bpy.types.Collection) -> None:
        found.add(collection)
        for child in collection.children:
            if child != root or collection not in parents:
                walk(child)

    for other in bpy.data.scenes:
        if other != scene:
            walk(other.collection)
    return found


def _carry_over(old: _Earlier, root: bpy.types.Collection) -> None:
    """Link what stays into the new collections, too."""
    dropped = {*old.gone, *old.released}
    groups = {c[GROUP]: c for c in root.children}
    ours = _ours_of(old.root)
    for held in ours:
        target = groups.get(held.get(GROUP), root)
        for thing in held.objects:
            if thing not in dropped and thing.name not in target.objects:
                target.objects.link(thing)
        for child in held.children:
            if child not in ours and child.name not in target.children:
                target.children.link(child)


def _camera(
    scene: bpy.types.Scene, root: bpy.types.Collection, old: _Earlier | None
) -> tuple[bpy.types.Object | None, bpy.types.Object | None]:
    """Return our camera among what was carried over, and the one that a new one should replace."""
    if old is None:
        return None, None
    held = _stage(root).objects
    cameras = [o for o in held if o.type == "CAMERA" and FLOWN not in o]
    camera = next((o for o in cameras if o in old.ours), None)
    if camera is None or not untouched(camera):
        return camera, None
    if all(camera.name not in c.objects for c in old.shared):
        return camera, None
    # Aimed again, it would change the picture of another scene.
    held.unlink(camera)
    return None, camera


def _ours_of(root: bpy.types.Collection) -> list[bpy.types.Collection]:
    return [root, *ours_among(dict.fromkeys(root.children_recursive))]


def untie(gone: set[bpy.types.Object]) -> None:
    """Leave what is tied to things that go where it is."""
    for thing in bpy.data.objects:
        if thing.parent in gone and thing not in gone and thing.library is None:
            placed = thing.matrix_world.copy()
            thing.parent = None
            thing.matrix_world = placed


def _remove(scene: bpy.types.Scene, old: _Earlier) -> None:
    """Remove an earlier root, our things, and their data unless a person uses these."""
    collections = _ours_of(old.root)
    # Beside an original that may not come back, a copy must stay a person's.
    copies = {c for c in old.root.children_recursive if MARK in c and c not in collections}
    for copy in (*old.theirs, *copies):
        if copy.library is None and copy.override_library is None:
            del copy[MARK]
    for parent in old.parents:
        parent.children.unlink(old.root)
    for collection in (scene.collection, *scene.collection.children_recursive):
        for thing in old.released if collection not in old.shared else ():
            if collection.objects.get(thing.name) == thing:
                collection.objects.unlink(thing)
    forget_markers(scene, old.root)
    unused = [c for c in collections if c not in old.shared]
    remove(old.gone, unused)


def remove(
    things: Sequence[bpy.types.Object], collections: Sequence[bpy.types.Collection] = ()
) -> None:
    """Remove objects of ours with what only they use: data, actions and node groups."""
    data = {thing.data for thing in things} - {None}
    moving = {action for owner in (*things, *data) for action in _actions(owner)}
    groups = {m.node_group for thing in things for m in thing.modifiers if m.type == "NODES"}
    bpy.data.batch_remove([*things, *collections])
    bpy.data.batch_remove([one for one in data if not one.users])
    used = [one for one in (*moving, *groups) if one is not None and is_ours(one)]
    bpy.data.batch_remove([one for one in used if not one.users])


def _actions(owner: bpy.types.ID) -> Iterator[bpy.types.Action]:
    for one in (owner, getattr(owner, "shape_keys", None)):
        moved = getattr(one, "animation_data", None)
        if moved is not None and moved.action is not None:
            yield moved.action


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
