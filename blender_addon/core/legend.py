"""The lines of the legend: what is seen, in what unit, at which level, and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .plans import Skip
from .readers import printable
from .settings import AnimationSettings, FieldSettings

if TYPE_CHECKING:
    from .model import Model
    from .series import Step


def captions(model: Model) -> tuple[str, ...]:
    """Return the legend's lines: what is seen, in what unit, at which level, and what is not."""
    settings = model.settings
    cuts = [Cut(e.surface.level, e.placement.strip) for e in model.exhibits if e.surface.sign]
    what = f"{pooling_text(settings.field)} lies {levels_text(settings.field, cuts)}"
    unit = "its tensor's" if settings.field.sigma == "tensor" else "all tensors'"
    budget = settings.surface.budget(settings.field.kind)
    why = f"; each level spends at most {budget:,} faces" if budget else ""
    lines = [PLANES[settings.field.kind], f"solid where the {what}"]
    lines.append(f"σ is {unit} standard deviation{why}")
    return (*lines, *closing_lines(settings.field, model.skips))


PLANES: dict[str, str] = {
    "slab": "each plate is one tensor; it is thicker where its weights are larger",
    "depth": "each plane is a layer: what runs through is used by every layer",
    "heads": "each plane is a head: what runs through is used by every head",
    "experts": "each plane is an expert: what runs through is used by every expert",
    "time": "each plane is a step: what runs through is there at every step",
}


@dataclass(frozen=True)
class Cut:
    """A surface's level, and whether it is a vector's."""

    level: float
    strip: bool


def pooling_text(settings: FieldSettings, what: str = "weights") -> str:
    """Say what a cell's value is."""
    sign = "with" if settings.signed else "without"
    return {
        "rms": f"root mean square of the {what} under a cell",
        "absmax": f"largest of the {what} under a cell, {sign} its sign,",
        "mean": f"mean of the {what} under a cell, {sign} its sign,",
    }[settings.pool]


def levels_text(settings: FieldSettings, cuts: Sequence[Cut]) -> str:
    """Say beyond which levels there is something, for matrices and vectors apart."""
    beyond = "beyond ±" if settings.signed else "above "
    said = []
    for strips in (False, True):
        levels = [cut.level for cut in cuts if cut.strip is strips]
        if levels:
            low, high = level_text(min(levels)), level_text(max(levels))
            said.append(beyond + (f"{low} σ" if low == high else f"{low} to {high} σ"))
    return f"{said[0]} (vectors: {said[1]})" if len(said) == 2 else "".join(said)


def level_text(level: float) -> str:
    """Return a level with as many digits as it takes: changes are small."""
    return f"{level:.2f}" if level >= 0.1 else f"{level:.2g}"


def closing_lines(settings: FieldSettings, skips: Sequence[Skip]) -> list[str]:
    """Say what was smoothed and what is not shown."""
    lines = []
    if settings.smooth:
        lines.append(f"smoothed by a Gaussian of {settings.smooth:g} cells")
    if skips:
        first = f"{printable(skips[0].name, 60)} {printable(skips[0].reason, 60)}"
        more = f", and {len(skips) - 1} more in the report" if len(skips) > 1 else ""
        lines.append(f"not shown: {first}{more}")
    return lines


def series_captions(
    settings: AnimationSettings,
    steps: Sequence[Step],
    over: Sequence[str],
    cuts: Sequence[Cut],
    *,
    height: float,
    clipped: int,
    grids: Sequence[str],
    skips: Sequence[Skip],
) -> tuple[str, ...]:
    """Return the legend's lines of a series.

    Parameters
    ----------
    settings : AnimationSettings
    steps : sequence of Step
    over : sequence of str
        Names of the steps over which levels and colours were found.
    cuts : sequence of Cut
        One for each field.
    height : float
        Metres that one σ is high in a relief.
    grids : sequence of str
        How tensors were pooled when they were saved, if they were.
    clipped : int
        Values beyond the colour scale at later steps than those.
    skips : sequence of Skip
    """
    field, first = settings.build.field, steps[0].label
    since = {"none": "weights", "first": f"changes since {first}", "previous": "latest changes"}
    what = pooling_text(field, since[settings.delta])
    if settings.view == "relief":
        lines = [f"each sheet is one tensor; it stands out by the {what}"]
        lines.append(f"1 σ is {height:.2g} m")
    else:
        moved = field.kind == "time" and settings.delta != "none"
        lines = [_PLATES if field.kind == "slab" else _LINES if moved else PLANES[field.kind]]
        lines.append(f"solid where the {what} lies {levels_text(field, cuts)}")
    whose = "its tensor's" if field.sigma == "tensor" else "all tensors'"
    when = f"at {first}"
    if settings.delta == "none" and len(over) > 1:
        when = "over all steps" if len(over) == len(steps) else f"over the first {len(over)} steps"
    lines.append(f"σ is {whose} standard deviation {when}")
    lines.append(_locked(steps, over, still=settings.view == "time"))
    if grids:
        lines.append(f"pooled by {' and '.join(grids)} already when they were saved")
    if clipped:
        lines.append(f"beyond the colours since then: {clipped:,} values; built again, all are in")
    return (*lines, *closing_lines(field, skips))


_LINES = "each plane is a step: a weight that has moved draws a line"
_PLATES = "each plate is one tensor; it is thicker where the value is larger"


def _locked(steps: Sequence[Step], over: Sequence[str], *, still: bool) -> str:
    """Say over which steps levels and colours were found."""
    if still:
        return f"from the front, {steps[0].label}, to the back, {steps[-1].label}"
    names = [step.name for step in steps]
    if len(over) == 1:
        found = f"found at {next(s.label for s in steps if s.name == over[0])}"
    else:
        found = f"found over {len(over)} of them" if len(over) < len(names) else "found over all"
    return f"levels, units and colours are the same at all {len(names)} steps, {found}"
