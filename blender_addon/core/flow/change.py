"""What a run's steps have more than its first one, or than another probe, in σ of that one."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..color import ColorScale, scale_for
from ..errors import BadInputError, SettingsError
from ..model import Progress
from ..readers import printable
from .compare import compare
from .probe import Probe
from .run import FlowRun
from .settings import FlowSettings, FlowShape
from .standing import Moment
from .units import Units, units_of
from .words import token_values

Float32 = npt.NDArray[np.float32]
Layers = tuple[Float32, ...]


@dataclass(frozen=True, eq=False)
class Changes:
    """A run's steps minus its first one.

    Attributes
    ----------
    run : FlowRun
        Its probes hold the changes, of the shown prompt and output alone.
    settings : FlowSettings
        With the limit that suits the changes of its token.
    units : Units
        σ of the first step.
    departs : tuple of (int or None)
        For each step, the first layer that departs from the first step; see `compare`.
    said : str
        Where the last step does.
    """

    run: FlowRun
    settings: FlowSettings
    units: Units
    departs: tuple[int | None, ...]
    said: str

    def marks(self, moments: Sequence[Moment]) -> dict[int, list[bool]]:
        """Return at which moments a layer is the one that departs, for each such layer."""
        layers = [self.departs[moment.step] for moment in moments]
        return {mark: [mark == at for at in layers] for mark in layers if mark is not None}


def minus(layers: Sequence[Float32], before: Sequence[Float32], units: Units) -> Layers:
    """Return outputs minus others of the same shapes, in σ; not finite where either is not."""
    return units.scaled(_apart(layers, before))


def change_scale(steps: Iterable[Sequence[Float32]]) -> ColorScale:
    """Return one colour scale for changes in σ, an array a layer, of all steps."""
    values = np.concatenate([np.ravel(layer) for layers in steps for layer in layers])
    return scale_for(values, diverging=True)


def changes_steps(
    run: FlowRun, settings: FlowSettings, shape: FlowShape
) -> Generator[Progress, None, Changes]:
    """Take a run's first step away from each of its steps.

    The first one stays, as nothing but zeros: what changes begins there.

    Raises
    ------
    SettingsError
        The run is one step; or there is no such token.
    CheckpointError
        There is no such prompt or output.
    """
    if len(run.probes) < 2:
        raise SettingsError(
            f"changes: {printable(run.name)} is one step, which has changed nothing; "
            "give two probe files or more"
        )
    base, output = run.probes[0], settings.output
    token_values(base, settings)  # raises
    before = base.layers(settings.prompt, output)
    probes = []
    for i, probe in enumerate(run.probes):
        yield Progress("values", i, len(run.probes), run.labels[i])
        after = _apart(probe.layers(settings.prompt, output), before)
        probes.append(Probe(probe.info, {(settings.prompt, output): after}))
    changed = replace(run, probes=tuple(probes), since=run.labels[0])
    units = units_of([base], output, settings.sigma, run.labels[0])
    # One token's, as in its picture: what many models do with the first one is out of proportion.
    shown = [units.scaled(token_values(probe, settings)) for probe in probes[1:]]
    held = replace(settings, limit=change_scale(shown).high, palette="diverging")
    departs, said = yield from _departures(run, settings, shape)
    return Changes(changed, held, units, departs, said)


def _apart(layers: Sequence[Float32], before: Sequence[Float32]) -> Layers:
    with np.errstate(invalid="ignore", over="ignore"):
        return tuple(a - b for a, b in zip(layers, before, strict=True))


def _departures(
    run: FlowRun, settings: FlowSettings, shape: FlowShape
) -> Generator[Progress, None, tuple[tuple[int | None, ...], str]]:
    """Find the layer at which each step departs from the first; say it of the last one."""
    departs: list[int | None] = [None]
    said = ""
    try:
        for i, probe in enumerate(run.probes[1:], 1):
            yield Progress("comparison", i, len(run.probes), run.labels[i])
            found = compare(probe, run.probes[0], settings.output, settings.token)
            departs.append(found.departs)
            said = found.said
    except BadInputError as error:
        return (None,) * len(run.probes), f"where it departs is not known: {error}"
    # Where several tokens are seen, it has to be told of which one this is.
    several = shape.view == "volume" or shape.over == "tokens"
    which = "the last token" if settings.token == -1 else f"token {settings.token}"
    return tuple(departs), f"{run.labels[-1]}{f', {which}' * several}: {said}"
