"""One more step of a training run that goes on → the scene that shows the steps before it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

import bpy

from ..core.animation import Animation
from ..core.errors import WeightwalkError
from ..core.flight import far_of
from ..core.model import Progress
from ..core.readers import printable
from ..core.record import Record
from ..core.relief import Relief
from ..quiet import held_signals
from .build import Scenery, Site, furniture
from .flight import renew
from .keys import add_key, curves_of, give
from .labels import LONGEST, legend
from .made import Made
from .markers import set_marker
from .mesh import INDEX, KEY, MARK, RUN, STEP
from .ours import GROUP, find_root, materials_of, objects_in, ours_among, run_of
from .relief import add_shape, flow, flow_on
from .swap import remove, untie
from .timeline import HIDDEN, pattern_name
from .troupe import Troupe, announce, flight_in, flight_of, group_of, scenery

ASPECT = "weightwalk_aspect"  # on the root: width of the picture over its height
CHANGED = "the training run in the scene is another one now; build it again"


def extend_series_steps(
    scene: bpy.types.Scene, animation: Animation
) -> Generator[Progress, None, bpy.types.Collection]:
    """Append a step to the training run in a scene.

    What was shown at the step before it now ends there; what a person has done to the scene stays.
    Nothing is changed until the last step, and what was made is removed when that is not reached.

    Parameters
    ----------
    scene : bpy.types.Scene
    animation : Animation
        As `core.produce.grown_steps` returns it: all steps, the surfaces of the last one.

    Yields
    ------
    Progress

    Returns
    -------
    bpy.types.Collection

    Raises
    ------
    WeightwalkError
        The scene shows no training run, or not the steps before this one.
    """
    made = Made()
    try:
        yield Progress("scene", 0, 1, "materials")
        root = _root_of(scene, animation)
        record = str(root[MARK])
        stand = Stand(root, animation, made)
        del root
        yield from stand.make()
        yield Progress("scene", 1, 1, "all into place")
        root = _root_of(scene, animation)
        if str(root[MARK]) != record:
            raise WeightwalkError(CHANGED)
        with held_signals():
            stand.enter(scene, root)
    except BaseException:
        made.take_back()
        raise
    return root


def _root_of(scene: bpy.types.Scene, animation: Animation) -> bpy.types.Collection:
    root = find_root(scene)
    series = Record.from_json(str(root[MARK])).series if root else None
    if root is None or series is None:
        raise WeightwalkError("the scene has no training run to which a step could be added")
    names = [step.name for step in animation.steps]
    if [step.name for step in series.steps] != names[:-1]:
        raise WeightwalkError(CHANGED)
    return root


class Stand:
    """What one more step brings, made out of sight, and its entry."""

    def __init__(self, root: bpy.types.Collection, animation: Animation, made: Made) -> None:
        self.animation, self.made = animation, made
        self.aspect = float(root.get(ASPECT, 16 / 9))
        self.step, self.timeline = len(animation.steps) - 1, animation.timeline
        ours = ours_among(objects_in(root))
        meshes = {o.data[KEY]: o.data for o in ours if o.type == "MESH" and KEY in o.data}
        known = {o["plan"]: len(o.data.vertices) for o in ours if _is_relief(o)}
        self.flowing: list[Relief] = []
        new = []
        for relief in animation.reliefs:
            alike = known.get(relief.plan.name) == len(relief.part.vertices)
            (self.flowing if alike else new).append(relief)
        self.troupe = Troupe(animation, self.aspect, meshes, new)
        self.materials = furniture(materials_of(root), made)
        self.index = 1 + max((int(o.get(INDEX, 0)) for o in ours), default=0)
        self.nonfinite = any(o.get("sign") == 0 for o in ours)
        # A root of its own, in no scene, until all enters.
        self.aside = made.collection("Weightwalk step")
        self.aside[MARK] = root[MARK]

    def make(self) -> Generator[Progress, None, None]:
        """Make the surfaces of the new step, and the legend that names it."""
        animation, aside, made = self.animation, self.aside, self.made
        scene = self._scenery()
        layers = {stop.label: made.group(stop.label, aside) for stop in animation.layout.stops}
        site = Site(layers, self.materials.surface, made, "", max(scene.faces, 1), self.index)
        with closing(self.troupe.enter(site)) as entering:
            yield from entering
        group = made.group("Legend", aside)
        for part in legend(scene.legend, scene.layout, self.materials.ink, scene.view.turn):
            group.objects.link(made.keep(part))
            yield Progress("scene", scene.faces, scene.faces + 1, "Legend")

    def _scenery(self) -> Scenery:
        return scenery(self.animation, self.aspect, nonfinite=self.nonfinite)

    def enter(self, scene: bpy.types.Scene, root: bpy.types.Collection) -> None:
        """Bring it all into the scene, at one go."""
        made, timeline, step = self.made, self.timeline, self.animation.steps[-1]
        held = [thing for thing in ours_among(objects_in(root)) if STEP in thing]
        reliefs = [thing for thing in held if _is_relief(thing)]
        self._shapes(reliefs)
        # From here on nothing can fail but for want of memory.
        self._end(held)
        flow_on(reliefs, timeline)
        self._join(reliefs)
        group, camera = group_of(self.aside, "Legend"), flight_in(scene)
        known = [*held, *objects_in(self.aside)]
        announce(self.animation, group, camera, aspect=self.aspect, made=made, others=known)
        replaced = self._legend(root)
        for group in self.aside.children:
            self._move(group, root)
        made.leave()
        untie(set(replaced))
        remove(replaced, [self.aside, *self.aside.children])
        made.name()
        set_marker(scene, root, printable(step.name, LONGEST), self.animation.mark(self.step))
        if scene.frame_end == timeline.first(self.step) - 1:
            scene.frame_end = timeline.end
        flight = flight_of(self.animation)
        if flight is not None and camera is not None:
            renew(camera, flight, far_of(self.animation.layout))
        self._note(root)

    def _shapes(self, reliefs: list[bpy.types.Object]) -> None:
        """Give the reliefs that are there the shape of the new step; flat where it is absent."""
        grown = {relief.plan.name: relief for relief in self.flowing}
        name = printable(self.animation.steps[-1].name, LONGEST)
        for thing in reliefs:
            relief = grown.get(thing["plan"])
            if relief is not None:
                block = add_shape(thing, relief, self.step, name)
            else:
                block = thing.shape_key_add(name=name, from_mix=False)
            block.value = 0.0
            self.made.undo(lambda thing=thing, block=block: thing.shape_key_remove(block))

    def _join(self, reliefs: list[bpy.types.Object]) -> None:
        """Let new reliefs flow as those do that are there."""
        new = self.troupe.reliefs
        moved = [thing.data.shape_keys.animation_data for thing in reliefs]
        action = next((m.action for m in moved if m is not None and m.action), None)
        if action is None:
            flow(new, self.timeline, self.made)
        for thing in new if action else ():
            give(thing.data.shape_keys, action)

    def _end(self, held: list[bpy.types.Object]) -> None:
        """End what was shown at the last step, but for reliefs that have the new one, too."""
        on = {relief.plan.name for relief in self.flowing}
        groups: dict[bpy.types.Action, list[bpy.types.Object]] = defaultdict(list)
        for thing in held:
            if thing.animation_data is not None and thing.animation_data.action is not None:
                groups[thing.animation_data.action].append(thing)
        for action, things in groups.items():
            going = [t for t in things if not (_is_relief(t) and t["plan"] in on)]
            staying = [t for t in things if t not in going]
            if going and staying:
                # What was alike so far, and is no more.
                own = self.made.named(action.copy(), action.name)
                for thing in staying:
                    give(thing, own)
            for alike, shown in ((going, False), (staying, True)):
                if alike:
                    self._set(alike[0], shown)

    def _set(self, thing: bpy.types.Object, shown: bool) -> None:
        """Let a thing's action show it, or not, from the new step on."""
        first, action = self.timeline.first(self.step), thing.animation_data.action
        curves = [c for (path, _), c in curves_of(thing).items() if path in HIDDEN]
        steps, starts = self.animation.steps, [self.timeline.first(i) for i in range(self.step)]
        if not curves:
            return
        before = tuple(curves[0].evaluate(frame) < 0.5 for frame in starts)
        for curve in curves:
            if (curve.evaluate(first) < 0.5) is not shown:
                add_key(curve, first, float(not shown), "CONSTANT")
        if action[MARK].startswith(f"Weightwalk {pattern_name(steps[:-1], before)}"):
            self.made.rename(action, f"Weightwalk {pattern_name(steps, (*before, shown))}")

    def _legend(self, root: bpy.types.Collection) -> list[bpy.types.Object]:
        """Put the new legend where the earlier one stands; return what it replaces."""
        group = next((c for c in root.children_recursive if c.get(GROUP) == "Legend"), None)
        old = ours_among(group.objects) if group else []
        new = list(group_of(self.aside, "Legend").objects)
        if not old:
            # A person has removed it.
            return new
        desks = [next((t for t in all if t.type == "EMPTY"), None) for all in (old, new)]
        if None not in desks:
            desks[1].matrix_basis = desks[0].matrix_basis
        return old

    def _move(self, group: bpy.types.Collection, root: bpy.types.Collection) -> None:
        name = group[GROUP]
        target = next((c for c in root.children_recursive if c.get(GROUP) == name), root)
        for thing in group.objects:
            target.objects.link(thing)

    def _note(self, root: bpy.types.Collection) -> None:
        """Note the new step, and that all surfaces are of the same run still."""
        run, earlier = run_of(root), Record.from_json(str(root[MARK]))
        record = Record.of_animation(self.animation)
        root[MARK] = replace(record, notes=(*earlier.notes, *record.notes)).to_json()
        for thing in objects_in(root):
            if thing.get(RUN) in {run, ""}:
                thing[RUN] = run_of(root)


def _is_relief(thing: bpy.types.Object) -> bool:
    return thing.type == "MESH" and thing.get(STEP) == -1 and thing.data.shape_keys is not None
