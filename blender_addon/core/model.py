"""A model on disk → placed, coloured surfaces: the street from the file to the edge of Blender."""

from __future__ import annotations

import sys
from collections.abc import Generator
from dataclasses import dataclass
from importlib import import_module
from math import prod
from typing import TypeVar

from .color import ColorScale
from .errors import EmptyFieldError, WeightwalkError
from .exhibit import Exhibit, color_scale, place_steps
from .fields import SLAB_PLANES, Plan, build_steps, shared_sigma, tensors_of
from .layout import Layout, corridor
from .plans import Skip, make_plans, select
from .readers import Checkpoint, Tensor, open_checkpoint, printable
from .settings import Settings
from .stages import Stages, Ticks
from .surfaces import Surface, extract_steps

T = TypeVar("T")

# What to search and cut a voxel costs: so many entries can be read meanwhile.
ENTRIES_PER_VOXEL = 20


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


def steps(settings: Settings) -> Steps:
    """Build the surfaces one field at a time, in steps of a few milliseconds.

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
    yield Progress("open", 0, 1, printable(settings.model.name))
    with stages.time("open"):
        checkpoint = open_checkpoint(settings.model)
    with checkpoint:
        yield Progress("open", 0, 1, printable(checkpoint.name))
        tensors, skips = select(checkpoint, settings.selection)
        yield Progress("open", 0, 1, printable(checkpoint.name))
        plans, unfit = make_plans(tensors, settings.field)
        skips += unfit
        chosen = settings.selection.patterns or settings.selection.names
        left_out = [] if chosen else unplanned(checkpoint, tensors, plans)
        yield from imports(stages)
        surfaces, empty, notes = yield from _surfaces(plans, settings, stages)
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
        while True:
            with self.stages.time(stage):
                try:
                    self.done += next(work)
                except StopIteration as end:
                    result: T = end.value
                    return result
            yield self.at(what)


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


def _surfaces(
    plans: list[Plan], settings: Settings, stages: Stages
) -> Generator[Progress, None, tuple[list[Surface], list[Skip], list[str]]]:
    surfaces: list[Surface] = []
    skips: list[Skip] = []
    notes: list[str] = []
    sigma = None
    if settings.field.sigma == "all":
        entries = sum(tensor.size for tensor in tensors_of(plans))
        bar = Bar(stages, "measure σ", entries)
        sigma = yield from bar.follow("measure", shared_sigma(plans), "all tensors")
    bar, end = Bar(stages, "surfaces", sum(map(work_of, plans))), 0
    for plan in plans:
        yield bar.at(plan.name)
        try:
            stages.add("fields", sum(part.tensor.nbytes for part in plan.parts))
            reading = build_steps(plan, settings.field, sigma)
            field = yield from bar.follow("fields", reading, plan.name)
            cutting = extract_steps(field, settings.surface)
            made = yield from bar.follow("surfaces", cutting, plan.name)
            stages.add("surfaces", sum(s.mesh.vertices.nbytes + s.mesh.faces.nbytes for s in made))
        except EmptyFieldError as error:
            skips.append(Skip(plan.name, str(error)))
        else:
            surfaces += made
            notes += field.info.notes
            if field.info.nan or field.info.inf:
                name = printable(plan.name)
                notes.append(f"{name}: {field.info.nan} NaN and {field.info.inf} infinite entries")
        end += work_of(plan)
        bar.done = end
    return surfaces, skips, notes


def work_of(plan: Plan) -> int:
    """Return how long a plan takes, in the time that it takes to read an entry."""
    voxels = prod(plan.shape) * (SLAB_PLANES if plan.kind == "slab" else 1)
    return sum(part.entries for part in plan.parts) + ENTRIES_PER_VOXEL * voxels


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
    planned = {part.tensor.name for plan in plans for part in plan.parts}
    unfit = [t.name for t in chosen if t.name not in planned and 0 not in t.shape]
    if unfit:
        kind = plans[0].kind
        notes.append(f"{len(unfit)} have no place in {kind} fields, such as {printable(unfit[0])}")
    return [f"tensors not shown: {note}" for note in notes]
