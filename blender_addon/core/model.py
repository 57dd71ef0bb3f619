"""A model on disk → placed, coloured surfaces: the street from the file to the edge of Blender."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from importlib import import_module

from .color import ColorScale
from .errors import EmptyFieldError, WeightwalkError
from .exhibit import Exhibit, color_scale, place
from .fields import Plan, build, shared_sigma
from .layout import Layout, corridor
from .plans import Skip, make_plans, select
from .readers import open_checkpoint, printable
from .settings import Settings
from .stages import Stages
from .surfaces import Surface, extract


@dataclass(frozen=True)
class Progress:
    """Where the work is.

    Attributes
    ----------
    stage : str
        What is being done.
    done, total : int
        Steps of this stage.
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
    settings: Settings
    exhibits: tuple[Exhibit, ...]
    layout: Layout
    scale: ColorScale
    skips: tuple[Skip, ...]
    notes: list[str]
    stages: Stages


Steps = Generator[Progress, None, Model]


def steps(settings: Settings) -> Steps:
    """Build the surfaces one field at a time.

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
    with stages.time("open"):
        checkpoint = open_checkpoint(settings.model)
    with checkpoint:
        tensors, skips = select(checkpoint, settings.selection)
        plans, unfit = make_plans(tensors, settings.field)
        skips += unfit
        surfaces, empty, notes = yield from _surfaces(plans, settings, stages)
    skips += empty
    if not surfaces:
        first = f"{printable(skips[0].name)} {skips[0].reason}"
        rest = f", and {len(skips) - 1} more" if len(skips) > 1 else ""
        where = printable(checkpoint.path)
        raise WeightwalkError(f"{where}: no tensor gives a surface: {first}{rest}")
    with stages.time("place"):
        shown = {s.field.plan.name: s.field.plan for s in surfaces}
        layout, scale = corridor(list(shown.values())), color_scale(surfaces)
        exhibits = tuple(place(s, layout, scale, checkpoint.name) for s in surfaces)
    return Model(
        checkpoint.name, settings, exhibits, layout, scale, tuple(skips),
        [*checkpoint.notes, *notes], stages,
    )  # fmt: skip


def _surfaces(
    plans: list[Plan], settings: Settings, stages: Stages
) -> Generator[Progress, None, tuple[list[Surface], list[Skip], list[str]]]:
    surfaces: list[Surface] = []
    skips: list[Skip] = []
    notes: list[str] = []
    with stages.time("imports"):
        # Here once, so that the stages below tell the time of the work.
        for name in ("scipy.ndimage", "skimage.measure._marching_cubes_lewiner"):
            import_module(name)
    sigma = None
    if settings.field.sigma == "all":
        yield Progress("measure σ", 0, 1, "all tensors")
        with stages.time("measure"):
            sigma = shared_sigma(plans)
    for i, plan in enumerate(plans):
        yield Progress("surfaces", i, len(plans), printable(plan.name))
        try:
            with stages.time("fields") as stage:
                stage.bytes += sum(part.tensor.nbytes for part in plan.parts)
                field = build(plan, settings.field, sigma)
            with stages.time("surfaces") as stage:
                made = extract(field, settings.surface)
                stage.bytes += sum(s.mesh.vertices.nbytes + s.mesh.faces.nbytes for s in made)
        except EmptyFieldError as error:
            skips.append(Skip(plan.name, str(error)))
        else:
            surfaces += made
            notes += field.info.notes
            if field.info.nan or field.info.inf:
                name = printable(plan.name)
                notes.append(f"{name}: {field.info.nan} NaN and {field.info.inf} infinite entries")
    return surfaces, skips, notes


def captions(model: Model) -> tuple[str, ...]:
    """Return the legend's lines: what is seen, in what unit, and at which level it is cut."""
    settings = model.settings
    pooling = {
        "rms": "root mean square of the weights under a cell",
        "absmax": "largest weight under a cell, with its sign,",
        "mean": "mean of the weights under a cell",
    }[settings.field.pool]
    matrices = [e for e in model.exhibits if not e.placement.strip]
    levels = [e.surface.level for e in matrices or model.exhibits]
    low, high = min(levels), max(levels)
    cut = f"{low:.2f} σ" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f} σ"
    sides = "below minus or above" if settings.field.signed else "above"
    unit = "its tensor's" if settings.field.sigma == "tensor" else "all tensors'"
    budget = settings.surface.budget(settings.field.kind)
    why = f"; each level spends at most {budget:,} faces" if budget else ""
    planes = {
        "slab": "each plate is one tensor; it is thicker where its weights are larger",
        "depth": "each plane is a layer: what runs through is used by every layer",
        "heads": "each plane is a head: what runs through is used by every head",
        "experts": "each plane is an expert: what runs through is used by every expert",
    }[settings.field.kind]
    return (
        planes,
        f"solid where the {pooling} lies {sides} {cut}",
        f"σ is {unit} standard deviation{why}",
    )
