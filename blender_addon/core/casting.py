"""The fields of all steps → surfaces on the disk, each field at one level."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .errors import CheckpointError, EmptyFieldError
from .fields import Field, Plan
from .locking import Cutter, Held, Units, compose, pool_and_keep
from .marching import NOTHING
from .model import Bar, Progress, fetched
from .notes import Notes, Show
from .plans import Skip
from .settings import AnimationSettings, SurfaceSettings
from .sigma import tensors_of
from .stages import Stages, Ticks
from .store import Store
from .surfaces import Surface, extract_steps
from .tracks import Take, key_of
from .units import work_of

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Role:
    """A field through all steps.

    Attributes
    ----------
    plan : Plan
        Of the first step that has it.
    level : float
        In σ; 0 in a relief.
    values : tuple of (ndarray of float32, shape (rows, columns)) or None
        Of a relief, in σ, at each step.
    """

    plan: Plan
    level: float
    values: tuple[Float32 | None, ...]


@dataclass(frozen=True)
class PartOfCast:
    """A surface of a step; its arrays lie on the disk under `mesh`."""

    step: int
    mesh: str
    shell: Surface
    faces: int
    vertices: int


@dataclass(frozen=True)
class Cast:
    """All that a series shows.

    Attributes
    ----------
    takes : tuple of Take
        The steps that could be read to their end.
    roles : tuple of Role
        What shows something at one step at least.
    parts : tuple of PartOfCast
        By step, then in the order of the checkpoint.
    units : Units
    skips : tuple of Skip
    notes : tuple of str
    """

    takes: tuple[Take, ...]
    roles: tuple[Role, ...]
    parts: tuple[PartOfCast, ...]
    units: Units
    skips: tuple[Skip, ...]
    notes: tuple[str, ...]


Steps = Generator[Progress, None, Cast]


class Casting:
    """Makes the surfaces of a series.

    Parameters
    ----------
    settings : AnimationSettings
    store : Store
    stages : Stages
    units : Units or None
        Those of before, where a series grows.
    """

    def __init__(
        self,
        settings: AnimationSettings,
        store: Store,
        stages: Stages,
        units: Units | None = None,
    ) -> None:
        self.settings, self.store, self.stages = settings, store, stages
        self.units = units or Units(settings)
        self.budget = settings.build.surface.budget(settings.build.field.kind)
        self._counts: dict[str, tuple[int, int]] = {}
        self._notes = Notes()

    def of(
        self, takes: Sequence[Take], levels: Mapping[str, float] | None = None, first: int = 0
    ) -> Steps:
        """Cast the steps of a series.

        Parameters
        ----------
        takes : sequence of Take
        levels : mapping of str to float or None
            Those of before, where a series grows.
        first : int
            Index of the first of the takes.
        """
        for made in takes:
            self.units.know(made.tensors.values(), made.whole)
        pooled, kept, skips = yield from self._pool(takes)
        shows: dict[str, list[Show]] = defaultdict(list)
        for i, (made, held) in enumerate(zip(kept, pooled, strict=True), first):
            for name, plan in made.plans.items():
                shows[name].append(Show(i, plan, held[name]))
        cast = yield from self._cut(shows, len(kept) + first, levels)
        order = {(i + first, n): k for i, t in enumerate(kept) for k, n in enumerate(t.plans)}
        parts = sorted(cast.parts, key=lambda p: (p.step, order[p.step, p.shell.field.plan.name]))
        labels = [made.step.label for made in kept]
        notes = self._notes.said(labels, first, self.units.substitutes)
        changes = self.settings.delta != "none"
        roles = tuple(_flat_at_first(r, kept, first) if changes else r for r in cast.roles)
        return replace(
            cast, takes=tuple(kept), roles=roles, parts=tuple(parts), skips=(*skips, *cast.skips),
            notes=tuple(notes),
        )  # fmt: skip

    def through_time(self, takes: Sequence[Take], plans: Sequence[Plan]) -> Steps:
        """Cast fields in which the steps are the third axis."""
        for made in takes:
            self.units.know(made.tensors.values(), made.whole)
        bar = Bar(self.stages, "fields", sum(map(work_of, plans)))
        shows: dict[str, list[Show]] = {}
        for plan in plans:
            yield bar.at(plan.name)
            yield from fetched(tensors_of([plan]), self.stages, plan.name)
            held = yield from bar.follow("fields", self._pooled(plan), plan.name)
            yield from bar.follow("fields", self.units.add([plan], [held]), plan.name)
            shows[plan.name] = [Show(-1, plan, held)]
        cast = yield from self._cut(shows, 1, None)
        notes = self._notes.said([], 0, self.units.substitutes)
        return replace(cast, takes=tuple(takes), notes=tuple(notes))

    def _pool(
        self, takes: Sequence[Take]
    ) -> Generator[Progress, None, tuple[list[dict[str, Held]], list[Take], list[Skip]]]:
        """Read all steps; one that cannot be read to its end is left out."""
        bar = Bar(self.stages, "fields", sum(work_of(p) for t in takes for p in t.plans.values()))
        pooled: list[dict[str, Held]] = []
        kept: list[Take] = []
        skips: list[Skip] = []
        for made in takes:
            end = bar.done + sum(map(work_of, made.plans.values()))
            held: dict[str, Held] = {}
            try:
                for name, plan in made.plans.items():
                    what = f"{made.step.label}: {name}"
                    yield bar.at(what)
                    yield from fetched(tensors_of([plan]), self.stages, what)
                    held[name] = yield from bar.follow("fields", self._pooled(plan), what)
                adding = self.units.add(made.plans.values(), held.values())
                yield from bar.follow("fields", adding, made.step.label)
            except CheckpointError as error:
                skips.append(Skip(made.step.label, str(error)))
            else:
                kept.append(made)
                pooled.append(held)
            bar.done = end
        if not kept:
            raise CheckpointError(f"no step can be read: {skips[0].name}: {skips[0].reason}")
        return pooled, kept, skips

    def _pooled(self, plan: Plan) -> Ticks[Held]:
        self.stages.add("fields", sum(part.tensor.nbytes for part in plan.parts))
        return pool_and_keep(plan, self.settings, self.store)

    def _cut(
        self, shows: Mapping[str, list[Show]], steps: int, levels: Mapping[str, float] | None
    ) -> Steps:
        bar = Bar(self.stages, "surfaces", sum(len(s) for s in shows.values()))
        roles: list[Role] = []
        parts: list[PartOfCast] = []
        skips: list[Skip] = []
        for name, of_name in shows.items():
            reasons: dict[int, str] = {}
            yield bar.at(name)
            level = None if levels is None else levels.get(name)
            if levels is not None and level is None:
                if not all(show.held.unchanged for show in of_name):
                    self._notes.unplaced.append(name)
                continue
            make = self._relief if self.settings.view == "relief" else self._surfaces
            work = make(of_name, steps, level, reasons)
            role, made = yield from bar.follow("surfaces", work, name)
            parts += made
            bar.done += len(of_name)
            if role is not None:
                roles.append(role)
            said = {reason for reason in reasons.values() if reason}
            if role is None and said and levels is None:
                skips.append(Skip(name, " and ".join(sorted(said))))
            elif role is None:
                self._notes.unchanged.append(name)
            else:
                for step, reason in reasons.items():
                    self._notes.empty[reason, name].append(step)
            self._notes.look(name, of_name)
        return Cast((), tuple(roles), tuple(parts), self.units, tuple(skips), ())

    def _fields(self, show: Show) -> Ticks[Field]:
        """Compose a field; raises `EmptyFieldError` where there is nothing to see in it."""
        if sum(part.entries for part in show.plan.parts) == 0:
            raise EmptyFieldError("has no entries")
        if show.held.unchanged:
            raise EmptyFieldError("is all zero" if self.settings.delta == "none" else "")
        if not any(self.units.of(part.tensor) for part in show.plan.parts):
            raise EmptyFieldError("is constant")
        return (yield from compose(show.plan, show.held, self.units, self.settings, self.store))

    def _alike(self, show: Show) -> str:
        """Return what two shows of a field have in common when they look the same."""
        sigmas = [self.units.of(part.tensor) for part in show.plan.parts]
        return f"{show.held.digest} {sigmas!r}"

    def _surfaces(
        self, shows: Sequence[Show], steps: int, level: float | None, reasons: dict[int, str]
    ) -> Ticks[tuple[Role | None, list[PartOfCast]]]:
        """Cut one field at all steps at one level."""
        kinds: dict[str, Show] = {}
        empty: dict[str, str] = {}
        for show in shows:
            kinds.setdefault(self._alike(show), show)
        cutter = Cutter(self.settings.build.surface, self.budget)
        if level is not None:
            cutter.level = level
        else:
            ends = list(kinds.values()) if self.budget is None else _ends(list(kinds.values()))
            yield from cutter.find([self._fields(show) for show in ends])
        made: dict[str, tuple[float, list[tuple[str, Surface]]]] = {}
        for turn in range(2):
            for alike, show in kinds.items():
                if turn and (alike in empty or made[alike][0] == cutter.level):
                    continue
                try:
                    field = yield from self._fields(show)
                    again = turn or level is not None
                    cut = yield from (cutter.cut_here(field) if again else cutter.cut(field))
                except EmptyFieldError as error:
                    empty[alike] = str(error)
                    continue
                made[alike] = cutter.level, [self._keep(alike, s) for s in cut]
                self._watch_budget(show, cut)
        parts = []
        for show in shows:
            alike = self._alike(show)
            if alike in empty:
                reasons[show.step] = empty[alike]
                continue
            for mesh, shell in made[alike][1]:
                own = replace(shell, field=replace(shell.field, plan=show.plan))
                counts = self._counts[mesh]
                parts.append(PartOfCast(show.step, mesh, own, counts[0], counts[1]))
        role = Role(shows[0].plan, cutter.level, ()) if parts else None
        return role, parts

    def _keep(self, alike: str, surface: Surface) -> tuple[str, Surface]:
        """Put a surface's arrays on the disk; return their key and what is left."""
        what = f"{surface.name} {surface.level!r} {alike}"
        key = hashlib.sha256(what.encode(errors="replace")).hexdigest()[:32]
        self.store.keep_surface(key, surface)
        mesh = surface.mesh
        self._counts[key] = len(mesh.faces), len(mesh.vertices)
        self.stages.add("surfaces", mesh.vertices.nbytes + mesh.faces.nbytes)
        return key, replace(
            surface, mesh=NOTHING, cells=np.zeros(0, np.int32), values=np.zeros(0, np.float32)
        )

    def _watch_budget(self, show: Show, cut: Sequence[Surface]) -> None:
        """Say where a level that was found earlier takes more faces than the budget."""
        faces = sum(len(s.mesh.faces) for s in cut)
        if self.budget is not None and faces > self.budget:
            self._notes.over[show.plan.name] = faces, self.budget

    def _relief(
        self, shows: Sequence[Show], steps: int, _level: float | None, reasons: dict[int, str]
    ) -> Ticks[tuple[Role | None, list[PartOfCast]]]:
        """Return the values of one matrix at all steps, and marks where they are not finite."""
        values: list[Float32 | None] = [None] * steps
        parts: list[PartOfCast] = []
        for show in shows:
            if show.held.unchanged:
                # Flat, which is what it is.
                values[show.step] = np.zeros(show.plan.shape[1:], np.float32)
                continue
            try:
                field = yield from self._fields(show)
            except EmptyFieldError as error:
                reasons[show.step] = str(error)
                continue
            values[show.step] = field.cells[0]
            if field.nonfinite.any():
                above = SurfaceSettings(level=2.0 * float(np.abs(field.cells).max()) + 1.0)
                for surface in (yield from extract_steps(field, above, self.budget)):
                    mesh, shell = self._keep(self._alike(show), surface)
                    parts.append(PartOfCast(show.step, mesh, shell, *self._counts[mesh]))
        if not parts and not any(v is not None and v.any() for v in values):
            zero = "is all zero" if self.settings.delta == "none" else ""
            reasons.setdefault(shows[0].step, zero)
            return None, []
        return Role(shows[0].plan, 0.0, tuple(values)), parts


def _flat_at_first(role: Role, takes: Sequence[Take], first: int) -> Role:
    """Return a relief that is flat where its tensor has nothing to differ from yet."""
    values = list(role.values)
    keys = [key_of(part.tensor) for part in role.plan.parts]
    for i, made in enumerate(takes, first):
        if not values or values[i] is not None:
            break
        if all(key in made.tensors for key in keys):
            values[i] = np.zeros(role.plan.shape[1:], np.float32)
    return replace(role, values=tuple(values))


def _ends(shows: Sequence[Show]) -> list[Show]:
    """Return the first, the middle and the last: steps between them ask for levels between."""
    return list({id(s): s for s in (shows[0], shows[len(shows) // 2], shows[-1])}.values())
