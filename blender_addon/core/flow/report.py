"""What was drawn, of what, and what it shows, as `report.json`; see docs/flow.schema.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..color import ColorScale
from ..plain import to_plain
from ..report import file_entry, stage_entries, versions_here
from ..stages import Stages
from .compare import Comparison, Massive
from .legend import Counts
from .run import FlowRun
from .settings import FlowOutput, FlowSettings
from .units import Units

if TYPE_CHECKING:
    from .probe import ProbeInfo

FORMAT = "weightwalk.flow"
VERSION = 1


@dataclass(frozen=True)
class Step:
    """A picture of a step, or of a difference.

    Attributes
    ----------
    label : str
    counts : Counts
        Values beyond the scale, and such as are not finite.
    """

    label: str
    counts: Counts


@dataclass
class Findings:
    """All that is told besides the pictures; grows while they are made.

    Attributes
    ----------
    units : Units
    scale : ColorScale or None
        None of the classic palette.
    steps : list of Step
    difference : (Step, Units, ColorScale) or None
    comparisons : tuple of (str, Comparison)
        Each with what is compared, in words.
    massive : tuple of Massive
        Of the last step.
    notes : list of str
    stages : Stages
    """

    units: Units
    scale: ColorScale | None
    steps: list[Step] = field(default_factory=list)
    difference: tuple[Step, Units, ColorScale] | None = None
    comparisons: tuple[tuple[str, Comparison], ...] = ()
    massive: tuple[Massive, ...] = ()
    notes: list[str] = field(default_factory=list)
    stages: Stages = field(default_factory=Stages)


def flow_report(
    run: FlowRun,
    settings: FlowSettings,
    output: FlowOutput,
    found: Findings,
    *,
    files: Sequence[Path],
    versions: dict[str, str],
) -> dict[str, Any]:
    """Return the report, JSON-able, without NaN or infinity: null stands for these.

    Parameters
    ----------
    run : FlowRun
    settings : FlowSettings
    output : FlowOutput
    found : Findings
    files : sequence of Path
        Where they lie now; they are read for their checksums.
    versions : dict of str to str
        Of Weightwalk and, where it made something, Blender.
    """
    return {
        "format": FORMAT,
        "schema_version": VERSION,
        "model": run.name,
        "settings": {**to_plain(settings), "drawn": to_plain(output)},
        "versions": versions | versions_here() | _pillow(),
        "probes": [_probe(run, i) for i in range(len(run.probes))],
        "layers": list(run.probes[0].info.layers),
        "prompts": [to_plain(prompt) for prompt in run.probes[0].info.prompts],
        "units": _units(found.units),
        "scale": None if found.scale is None else _scale(found.scale),
        "steps": [_step(step) for step in found.steps],
        "difference": _difference(found),
        "comparisons": [_comparison(*each) for each in found.comparisons],
        "massive": [to_plain(each) for each in found.massive],
        "skipped": to_plain(run.skips),
        "notes": list(found.notes),
        "stages": stage_entries(found.stages),
        "files": [file_entry(path) for path in files],
    }


def _pillow() -> dict[str, str]:
    from PIL import __version__

    return {"pillow": __version__}


def _probe(run: FlowRun, i: int) -> dict[str, Any]:
    info: ProbeInfo = run.probes[i].info
    keys = ("model", "revision", "model_type", "architecture", "dtype", "device", "step", "run")
    return {
        "label": run.labels[i],
        "file": run.files[i].name if i < len(run.files) else None,
        **{key: getattr(info, key) for key in keys},
        "versions": info.versions,
        "notes": list(info.notes),
    }


def _units(units: Units) -> dict[str, Any]:
    return {"of": units.of, "sigmas": list(units.sigmas), "massive_left_out": units.massive}


def _scale(scale: ColorScale) -> dict[str, Any]:
    return {"unit": "σ", "low": scale.low, "high": scale.high}


def _step(step: Step) -> dict[str, Any]:
    return {"label": step.label, **to_plain(step.counts)}


def _difference(found: Findings) -> dict[str, Any] | None:
    if found.difference is None:
        return None
    step, units, scale = found.difference
    return {**_step(step), "units": _units(units), "scale": _scale(scale)}


def _comparison(what: str, comparison: Comparison) -> dict[str, Any]:
    curves = {key: getattr(comparison, key) for key in ("relative", "angle", "norm", "shift")}
    return {
        "what": what,
        "said": comparison.said,
        "departs": comparison.departs,
        "layer": None if comparison.departs is None else comparison.layers[comparison.departs],
        "needed": comparison.needed,
        "p": [_finite(p) for p in comparison.p],
        **{key: _curve(values, len(comparison.layers)) for key, values in curves.items()},
    }


def _curve(values: Sequence[Sequence[float]], layers: int) -> dict[str, Any] | None:
    """Return median and quartiles over the prompts, a layer, and each prompt's own values."""
    if not values:
        return None
    table = np.array(values, np.float64).reshape(-1, layers)
    known = [column[np.isfinite(column)] for column in table.T]
    named = {"low": 0.25, "median": 0.5, "high": 0.75}
    return {
        **{
            name: [float(np.quantile(column, q)) if len(column) else None for column in known]
            for name, q in named.items()
        },
        "prompts": [[_finite(value) for value in row] for row in table.tolist()],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
