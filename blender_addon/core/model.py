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
from .readers import Checkpoint, Tensor, open_checkpoint, printable
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
        left_out = [] if settings.selection.patterns else _left_out(checkpoint, tensors, plans)
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
        [*checkpoint.notes, *left_out, *notes], stages,
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
    """Return the legend's lines: what is seen, in what unit, at which level, and what is not."""
    settings = model.settings
    pooling = {
        "rms": "root mean square of the weights under a cell",
        "absmax": "largest weight under a cell, with its sign,",
        "mean": "mean of the weights under a cell",
    }[settings.field.pool]
    planes = {
        "slab": "each plate is one tensor; it is thicker where its weights are larger",
        "depth": "each plane is a layer: what runs through is used by every layer",
        "heads": "each plane is a head: what runs through is used by every head",
        "experts": "each plane is an expert: what runs through is used by every expert",
    }[settings.field.kind]
    unit = "its tensor's" if settings.field.sigma == "tensor" else "all tensors'"
    budget = settings.surface.budget(settings.field.kind)
    why = f"; each level spends at most {budget:,} faces" if budget else ""
    lines = [planes, f"solid where the {pooling} lies {_levels(model)}"]
    lines.append(f"σ is {unit} standard deviation{why}")
    if settings.field.smooth:
        lines.append(f"smoothed by a Gaussian of {settings.field.smooth:g} cells")
    if model.skips:
        first = f"{printable(model.skips[0].name, 60)} {printable(model.skips[0].reason, 60)}"
        more = f", and {len(model.skips) - 1} more in the report" if len(model.skips) > 1 else ""
        lines.append(f"not shown: {first}{more}")
    return tuple(lines)


def _levels(model: Model) -> str:
    """Say beyond which levels there is something, for matrices and vectors apart."""
    beyond = "beyond ±" if model.settings.field.signed else "above "
    said = []
    for strips in (False, True):
        cut = [e for e in model.exhibits if e.surface.sign and e.placement.strip is strips]
        levels = [e.surface.level for e in cut]
        if levels:
            low, high = f"{min(levels):.2f}", f"{max(levels):.2f}"
            said.append(beyond + (f"{low} σ" if low == high else f"{low} to {high} σ"))
    return f"{said[0]} (vectors: {said[1]})" if len(said) == 2 else "".join(said)


def _left_out(checkpoint: Checkpoint, chosen: list[Tensor], plans: list[Plan]) -> list[str]:
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
