"""What appears in the scene of a training run: surfaces, reliefs, the steps' names, a camera."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace

import bpy

from ..core.animation import Actor, Animation
from ..core.exhibit import Exhibit, place_steps
from ..core.flight import Flight, far_of, fly
from ..core.model import Progress
from ..core.readers import printable
from ..core.record import Record
from ..core.relief import Relief
from ..core.stages import Ticks, told
from .build import Scenery, Site, View, toward
from .camera import FLOWN
from .flight import ACTION, hold_before, new_flight
from .labels import LONGEST, Legend, Subject, subjects, text
from .made import Made
from .mesh import KEY, STEP, surface_steps
from .ours import GROUP, find_root, objects_in, ours_among, scenes_with
from .relief import GROUP as COLORS
from .relief import flow, new_colors, relief_steps
from .timeline import Playbill


def scenery(animation: Animation, aspect: float, *, nonfinite: bool = False) -> Scenery:
    """Return what stands in the scene beside surfaces and reliefs.

    `nonfinite` says that there are cells already which are not finite.
    """
    layout, lock = animation.layout, animation.lock
    of_reliefs = {r.plan.name: Subject(r.plan, r.placement) for r in animation.reliefs}
    shells = [a.shell for a in animation.actors if a.shell.field.plan.name not in of_reliefs]
    kind = animation.settings.build.field.kind
    return Scenery(
        Record.of_animation(animation),
        layout,
        [*subjects(shells, layout), *of_reliefs.values()],
        Legend(
            animation.name,
            animation.captions,
            lock.scale,
            nonfinite or any(actor.shell.sign == 0 for actor in animation.actors),
            # Nothing comes or goes where the steps are an axis.
            tuple(s.label for s in animation.steps) if animation.settings.view != "time" else (),
            aside=animation.timeline.settings.flight is not None,
        ),
        View(toward(kind, len(lock.levels)), aspect),
        _work(animation),
    )


def _work(animation: Animation) -> int:
    sheets = sum(len(r.part.faces) * len(animation.steps) for r in animation.reliefs)
    return sum(actor.faces for actor in animation.actors) + sheets


class Troupe:
    """All that appears on the stage of a series, while it is made.

    Parameters
    ----------
    animation : Animation
    aspect : float
        Width of the picture over its height.
    meshes : dict of str to bpy.types.Mesh, optional
        Those that are there already, by `Actor.mesh`.
    sheets : sequence of Relief, optional
        The reliefs to make; all of them unless given.
    """

    def __init__(
        self,
        animation: Animation,
        aspect: float,
        meshes: dict[str, bpy.types.Mesh] | None = None,
        sheets: Sequence[Relief] | None = None,
    ) -> None:
        self.animation, self.aspect = animation, aspect
        self.meshes = dict(meshes or {})
        self.sheets = animation.reliefs if sheets is None else sheets
        self.reliefs: list[bpy.types.Object] = []

    def enter(self, site: Site) -> Generator[Progress, None, None]:
        """Make surfaces and reliefs and put them on the site."""
        animation, done = self.animation, 0
        playbill = Playbill(animation.steps, animation.timeline, site.made)
        for i, actor in enumerate(animation.actors):
            now = Progress("scene", done, site.total, actor.name)
            yield now
            with closing(self._surface(actor, site.material)) as making:
                surface = yield from told(making, now)
            plan = actor.shell.field.plan
            site.put(surface, animation.layout.placements[plan.name].collection, i)
            if actor.step >= 0 or not all(actor.shown):
                playbill.show(surface, actor.shown)
            done += actor.faces
        if self.sheets:
            yield from self._reliefs(site, playbill, done)

    def _surface(self, actor: Actor, material: bpy.types.Material) -> Ticks[bpy.types.Object]:
        exhibit = yield from exhibit_steps(self.animation, actor)
        known = self.meshes.get(actor.mesh)
        surface = yield from surface_steps(exhibit, material, known)
        surface[STEP] = actor.step
        if known is None:
            surface.data[KEY] = actor.mesh
            self.meshes[actor.mesh] = surface.data
        return surface

    def _reliefs(
        self, site: Site, playbill: Playbill, done: int
    ) -> Generator[Progress, None, None]:
        animation = self.animation
        scale, height = animation.lock.scale, animation.lock.height
        colors = site.made.named(new_colors(scale, height), COLORS)
        names = [printable(step.name, LONGEST) for step in animation.steps]
        for i, relief in enumerate(self.sheets, len(animation.actors)):
            now = Progress("scene", done, site.total, relief.part.name)
            yield now
            with closing(relief_steps(relief, names, site.material, colors)) as making:
                thing = yield from told(making, now)
            site.put(thing, relief.placement.collection, i)
            playbill.show(thing, relief.shown)
            self.reliefs.append(thing)
            done += len(relief.part.faces) * len(names)

    def finish(
        self, scene: bpy.types.Scene, root: bpy.types.Collection, made: Made
    ) -> bpy.types.Object | None:
        """Let the reliefs flow, key the steps' names, and make the camera that flies."""
        animation = self.animation
        if self.reliefs:
            flow(self.reliefs, animation.timeline, made)
        flight = flight_of(animation)
        camera = None
        if flight is not None:
            camera = flight_in(scene)
            if camera is None:
                camera, action = new_flight(flight, far_of(animation.layout))
                made.named(action, ACTION)
                group_of(root, "Stage").objects.link(made.keep(camera))
        group = group_of(root, "Legend")
        announce(animation, group, camera, aspect=self.aspect, made=made, others=objects_in(root))
        return camera


def exhibit_steps(animation: Animation, actor: Actor) -> Ticks[Exhibit]:
    """Do what `Animation.exhibit` does, a step at a time; the part has the actor's name."""
    mesh, cells, values = animation.store.read(actor.mesh)
    yield 0
    surface = replace(actor.shell, mesh=mesh, cells=cells, values=values)
    layout, scale = animation.layout, animation.lock.scale
    exhibit = yield from place_steps(surface, layout, scale, animation.name)
    return replace(exhibit, part=replace(exhibit.part, name=actor.name))


def announce(
    animation: Animation,
    group: bpy.types.Collection,
    camera: bpy.types.Object | None,
    *,
    aspect: float,
    made: Made,
    others: Iterable[bpy.types.Object],
) -> None:
    """Show each step's name at its time, on the legend and before a camera that flies.

    Parameters
    ----------
    animation : Animation
    group : bpy.types.Collection
        With the legend.
    camera : bpy.types.Object or None
    aspect : float
    made : Made
    others : iterable of bpy.types.Object
        Things of the same steps, whose actions the names share.
    """
    count = len(animation.steps)
    names = [thing for thing in group.objects if STEP in thing]
    for name in list(names) if camera else ():
        held = text(name.data.body, 1.0, (0.0, 0.0, 0.0), name.active_material, "LEFT")
        hold_before(held, camera, aspect)
        held[STEP] = name[STEP]
        group.objects.link(made.keep(held))
        names.append(held)
    known = {}
    for thing in others:
        step, moved = thing.get(STEP, -1), thing.animation_data
        if step >= 0 and moved is not None and moved.action is not None:
            known.setdefault(_only(step, count), moved.action)
    playbill = Playbill(animation.steps, animation.timeline, made, known)
    for name in names:
        playbill.show(name, _only(name[STEP], count))


def _only(step: int, count: int) -> tuple[bool, ...]:
    return tuple(i == step for i in range(count))


def flight_of(animation: Animation) -> Flight | None:
    """Plan the flight, if the camera is to fly."""
    settings = animation.timeline.settings.flight
    return fly(animation.layout, animation.timeline, settings) if settings else None


def flight_in(scene: bpy.types.Scene) -> bpy.types.Object | None:
    """Return the camera of an earlier flight, unless another scene has it, too."""
    things = ours_among(objects_in(find_root(scene)))
    return next((t for t in things if FLOWN in t and scenes_with(t) == [scene]), None)


def group_of(root: bpy.types.Collection, name: str) -> bpy.types.Collection:
    """Return the collection below a root that was made under a name."""
    return next(c for c in root.children if c.get(GROUP) == name)
