"""A model on disk → placed, coloured surfaces: the street from the file to the edge of Blender."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TypeVar

from .color import ColorScale
from .crew import Crew, Foreman
from .errors import EmptyFieldError, WeightwalkError
from .exhibit import Exhibit, color_scale, place_steps
from .fetching import bytes_of, fetch, missing, opened
from .fields import Plan, build_steps
from .layout import Layout, corridor
from .plans import Skip, make_plans, select
from .readers import Checkpoint, Tensor, printable
from .results import Made
from .settings import Settings
from .sigma import shared_sigma, tensors_of
from .stages import Stages, Ticks
from .surfaces import Surface, extract_steps
from .units import work_of

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """Where the work is.

    Attributes
    ----------
    stage : str
        What is being done.
    done, total : int
        Work of this stage, in a unit of its own; the longer a step takes the more it counts.
    what : str
        The tensor or file at hand.
    """

    stage: str
    done: int
    total: int
    what: str


@dataclass(frozen=True)
class Model:
    """All surfaces of a run.

    Attributes
    ----------
    name : str
        The checkpoint's name.
    stamp : str
        `Checkpoint.stamp` of the files that were read.
    settings : Settings
    exhibits : tuple of Exhibit
        At least one.
    layout : Layout
    scale : ColorScale
        The one colour scale of all surfaces.
    skips : tuple of Skip
        What was asked for and gives no surface.
    notes : list of str
        Grows while files are written.
    stages : Stages
    """

    name: str
    stamp: str
    settings: Settings
    exhibits: tuple[Exhibit, ...]
    layout: Layout
    scale: ColorScale
    skips: tuple[Skip, ...]
    notes: list[str]
    stages: Stages


Steps = Generator[Progress, None, Model]


def steps(settings: Settings, crew: Crew | None = None) -> Steps:
    """Build the surfaces one field at a time, in steps of a few milliseconds.

    Parameters
    ----------
    settings : Settings
    crew : Crew or None
        Who makes the fields, several at a time; None makes them here. What comes of it is the same.

    Yields
    ------
    Progress
        Before each step; the caller may stop between any two.

    Returns
    -------
    Model

    Raises
    ------
    BadInputError
        The checkpoint or the selection cannot be used.
    WeightwalkError
        No field gives a surface.
    """
    stages = Stages()
    bar, what = Bar(stages, "open", 1), settings.model.name
    yield bar.at(what)
    checkpoint = yield from bar.follow("open", opened(settings.model), what)
    with checkpoint:
        yield Progress("open", 0, 1, printable(checkpoint.name))
        tensors, skips = select(checkpoint, settings.selection)
        yield Progress("open", 0, 1, printable(checkpoint.name))
        plans, unfit = make_plans(tensors, settings.field)
        skips += unfit
        chosen = settings.selection.patterns or settings.selection.names
        left_out = [] if chosen else unplanned(checkpoint, tensors, plans)
        if crew is None:
            made = yield from _made_here(plans, settings, stages)
        else:
            made = yield from _made_by(Foreman(crew, checkpoint, settings), plans, stages)
        surfaces, empty, notes = _looked_through(plans, made)
        notes += crew.notes if crew else []
    skips += empty
    if not surfaces:
        first = f"{printable(skips[0].name)} {skips[0].reason}"
        rest = f", and {len(skips) - 1} more" if len(skips) > 1 else ""
        where = printable(checkpoint.path)
        raise WeightwalkError(f"{where}: no tensor gives a surface: {first}{rest}")
    layout, scale, exhibits = yield from _place(surfaces, settings, stages, checkpoint.name)
    return Model(
        checkpoint.name, checkpoint.stamp, settings, exhibits, layout, scale, tuple(skips),
        [*checkpoint.notes, *left_out, *notes], stages,
    )  # fmt: skip


class Bar:
    """Turns the ticks of some work into progress of a stage, and times it."""

    def __init__(self, stages: Stages, stage: str, total: int) -> None:
        self.stages, self.stage, self.total, self.done = stages, stage, total, 0

    def at(self, what: str) -> Progress:
        """Return how far the stage is."""
        return Progress(self.stage, min(self.done, self.total), self.total, printable(what))

    def follow(self, stage: str, work: Ticks[T], what: str) -> Generator[Progress, None, T]:
        """Do some work, timed as part of a stage, and return its result."""
        return self._follow(stage, work, lambda: self.at(what))

    def watch(self, stage: str, work: Ticks[T], crew: Crew) -> Generator[Progress, None, T]:
        """Do what `follow` does with work of others, who say themselves what is going on."""

        def now() -> Progress:
            here = self.at(crew.doing)
            return replace(here, stage="waiting") if crew.waits else here

        return self._follow(stage, work, now)

    def _follow(
        self, stage: str, work: Ticks[T], now: Callable[[], Progress]
    ) -> Generator[Progress, None, T]:
        while True:
            with self.stages.time(stage):
                try:
                    self.done += next(work)
                except StopIteration as end:
                    result: T = end.value
                    return result
            yield now()


def fetched(
    tensors: Iterable[Tensor], stages: Stages, what: str
) -> Generator[Progress, None, None]:
    """Fetch what is missing of tensors on other machines; the progress counts bytes."""
    if blocks := missing(tensors):
        total = bytes_of(blocks)
        stages.add("fetch", total)
        yield from Bar(stages, "fetch", total).follow("fetch", fetch(blocks), what)


def imports(stages: Stages) -> Generator[Progress, None, None]:
    """Import what the stages to come need, so that these tell the time of the work.

    An import cannot be cut: from a cold disk, once a session, one may take longer than a blink.
    """
    names = ("scipy", "scipy.ndimage", "skimage", "skimage.measure._marching_cubes_lewiner")
    for i, name in enumerate(names):
        if name not in sys.modules:
            yield Progress("imports", i, len(names), name)
        with stages.time("imports"):
            import_module(name)


def _made_here(
    plans: list[Plan], settings: Settings, stages: Stages
) -> Generator[Progress, None, list[Made]]:
    yield from imports(stages)
    made: list[Made] = []
    sigma = None
    if settings.field.sigma == "all":
        yield from fetched(tensors_of(plans), stages, "all tensors")
        bar = Bar(stages, "measure σ", _entries(plans))
        sigma = yield from bar.follow("measure", shared_sigma(plans), "all tensors")
    bar, end = Bar(stages, "surfaces", sum(map(work_of, plans))), 0
    for plan in plans:
        yield bar.at(plan.name)
        yield from fetched(tensors_of([plan]), stages, plan.name)
        try:
            stages.add("fields", sum(part.tensor.nbytes for part in plan.parts))
            reading = build_steps(plan, settings.field, sigma)
            field = yield from bar.follow("fields", reading, plan.name)
            cutting = extract_steps(field, settings.surface)
            cut = yield from bar.follow("surfaces", cutting, plan.name)
        except EmptyFieldError as error:
            made.append(Made((), str(error)))
        else:
            stages.add("surfaces", _held(cut))
            made.append(Made(tuple(cut)))
        end += work_of(plan)
        bar.done = end
    return made


def _made_by(
    foreman: Foreman, plans: list[Plan], stages: Stages
) -> Generator[Progress, None, list[Made]]:
    """Have the fields made by a crew; what it takes here is to wait, and to read the files."""
    sigma = None
    if foreman.settings.field.sigma == "all":
        bar = Bar(stages, "measure σ", _entries(plans))
        sigma = yield from bar.watch("workers", foreman.sigma(plans), foreman.crew)
    bar = Bar(stages, "surfaces", sum(map(work_of, plans)))
    made = yield from bar.watch("workers", foreman.surfaces(plans, sigma), foreman.crew)
    stages.add("workers", sum(_held(one.surfaces) for one in made))
    return made


def _entries(plans: list[Plan]) -> int:
    return sum(tensor.size for tensor in tensors_of(plans))


def _held(surfaces: Sequence[Surface]) -> int:
    return sum(s.mesh.vertices.nbytes + s.mesh.faces.nbytes for s in surfaces)


def _looked_through(
    plans: list[Plan], made: list[Made]
) -> tuple[list[Surface], list[Skip], list[str]]:
    """Return all surfaces, in the order of the plans, and what there is to say of the fields."""
    surfaces: list[Surface] = []
    skips: list[Skip] = []
    notes: list[str] = []
    for plan, one in zip(plans, made, strict=True):
        if not one.surfaces:
            skips.append(Skip(plan.name, one.reason))
            continue
        surfaces += one.surfaces
        field = one.surfaces[0].field
        notes += field.notes
        if field.nan or field.inf:
            name = printable(plan.name)
            notes.append(f"{name}: {field.nan} NaN and {field.inf} infinite entries")
    return surfaces, skips, notes


def _place(
    surfaces: list[Surface], settings: Settings, stages: Stages, model: str
) -> Generator[Progress, None, tuple[Layout, ColorScale, tuple[Exhibit, ...]]]:
    bar = Bar(stages, "place", sum(len(s.mesh.faces) for s in surfaces))
    yield bar.at("colour scale")
    with stages.time("place"):
        scale = color_scale(surfaces, settings.colors)
    yield bar.at("layout")
    with stages.time("place"):
        shown = {s.field.plan.name: s.field.plan for s in surfaces}
        layout = corridor(list(shown.values()))
    exhibits = []
    for surface in surfaces:
        yield bar.at(surface.name)
        work = place_steps(surface, layout, scale, model)
        exhibits.append((yield from bar.follow("place", work, surface.name)))
        bar.done += len(surface.mesh.faces)
    return layout, scale, tuple(exhibits)


def unplanned(checkpoint: Checkpoint, chosen: list[Tensor], plans: list[Plan]) -> list[str]:
    """Say which tensors nobody excluded and yet no plan has."""
    notes = []
    integers = [t.name for t in checkpoint.values() if t.decodable and not t.is_float]
    if integers:
        name = printable(integers[0])
        notes.append(f"{len(integers)} of integers, such as {name}: shown when named exactly")
    names = {t.name for t in chosen}
    parts = [part for t in chosen for part in t.values.parts if part not in names]
    if parts:
        name = printable(parts[0])
        notes.append(f"{len(parts)} that updates are made of, such as {name}: shown when named")
    planned = {part.tensor.held_by[0] for plan in plans for part in plan.parts}
    unfit = [t.name for t in chosen if t.name not in planned and 0 not in t.shape]
    if unfit:
        kind = plans[0].kind
        notes.append(f"{len(unfit)} have no place in {kind} fields, such as {printable(unfit[0])}")
    return [f"tensors not shown: {note}" for note in notes]
