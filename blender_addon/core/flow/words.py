"""What is written on a picture of a run."""

from __future__ import annotations

from dataclasses import replace

from ..errors import SettingsError
from ..readers import printable
from .compare import Comparison
from .legend import unit_text
from .picture import Words
from .probe import Output, Probe
from .run import FlowRun
from .settings import FlowSettings
from .units import Float32, Units

# What a layer's number is, and what all of them together are.
WHAT: dict[Output, str] = {
    "hidden": "what each layer puts out",
    "attention": "what the attention of each layer adds",
    "mlp": "what the MLP of each layer adds",
    "router_weight": "weights of each layer's chosen experts",
}
CELL: dict[Output, str] = {
    "hidden": "a layer's output",
    "attention": "what a layer's attention adds",
    "mlp": "what a layer's MLP adds",
    "router_weight": "the weight of an expert that a layer chose",
}


def what_of(run: FlowRun, settings: FlowSettings) -> str:
    """Say what is shown of a run."""
    what = WHAT[settings.output]
    return f"{what}, minus that of {run.since}" if run.since else what


def token_values(probe: Probe, settings: FlowSettings) -> tuple[Float32, ...]:
    """Return the shown token's values in each layer, shape (features,) each.

    Raises
    ------
    CheckpointError
        There is no such prompt, or this output was not probed.
    SettingsError
        There is no such token.
    """
    layers = probe.layers(settings.prompt, settings.output)
    count = min(len(layer) for layer in layers)
    if not -count <= settings.token < count:
        kept = f"{count} token{'s were' if count > 1 else ' was'} kept, counted from 0"
        raise SettingsError(
            f"{printable(probe.info.model)}: there is no token {settings.token} of prompt "
            f"{settings.prompt + 1}: {kept}"
        )
    return tuple(layer[settings.token] for layer in layers)


def words_of(run: FlowRun, settings: FlowSettings, label: str, units: Units) -> Words:
    """Return the words of a step's picture."""
    what = CELL[settings.output]
    cell = f"a cell is {what} in one feature, for the token that is set off, in σ"
    stepless = run.probes[-1].info.step is None and len(run.probes) == 1
    return _words(run, settings, "" if stepless else label, cell, units)


def difference_words(
    run: FlowRun,
    settings: FlowSettings,
    pair: tuple[str, str],
    units: Units,
    comparison: Comparison | None,
) -> Words:
    """Return the words of a difference: the first of the pair minus the second."""
    cell = (
        f"a cell is {pair[0]} minus {pair[1]} in one feature of one layer, for the token that is "
        "set off, in σ"
    )
    words = _words(run, settings, f"{pair[0]} − {pair[1]}", cell, units)
    if comparison is None:
        return words
    said = comparison.said[:1].upper() + comparison.said[1:]
    return replace(words, finding=said, mark=comparison.departs)


def _words(run: FlowRun, settings: FlowSettings, label: str, cell: str, units: Units) -> Words:
    info = run.probes[0].info
    prompt = info.prompts[settings.prompt]
    at = range(len(prompt.positions))[settings.token] if prompt.positions else 0
    shown = prompt.positions[at]
    features = sorted({len(layer) for layer in token_values(run.probes[0], settings)})
    wide = f"{features[0]}" if len(features) == 1 else f"{features[0]} to {features[-1]}"
    parts = [f"{len(info.layers)} layers × {wide} features", WHAT[settings.output]]
    parts += [printable(prompt.image, 60)] if prompt.image else []
    if len(info.prompts) > 1:
        parts.append(f"prompt {settings.prompt + 1} of {len(info.prompts)}")
    parts.append(f"token {shown} of 0 to {len(prompt.tokens) - 1}")
    unit = unit_text(units, shared=settings.sigma == "all")
    rows = -(-features[-1] // settings.width)
    if rows > 1 and settings.layout == "layers":
        cell += f"; a layer has {rows} rows of {settings.width} features"
    return Words(run.name, label, " · ".join(parts), prompt.tokens, shown, (cell, unit))
