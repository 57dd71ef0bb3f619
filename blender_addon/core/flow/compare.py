"""How a model's outputs differ from a reference's, layer by layer, and what is odd in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..errors import CheckpointError, SettingsError
from ..readers import printable
from .departure import BEYOND, Float64, allowed, said, shifts, sign_test
from .probe import Float32, Output, Probe, alike

Bools = npt.NDArray[np.bool_]
Table = tuple[tuple[float, ...], ...]

# Times the median magnitude of a layer (M. Sun and others, 2024, https://arxiv.org/abs/2402.17762,
# who ask for a magnitude above 100 besides, which depends on a model's units).
MASSIVE = 100.0


@dataclass(frozen=True)
class Comparison:
    """A model against a reference, on the same prompts.

    With g a prompt's state in a layer, h that of the reference, and d = g − h. NaN where a state is
    not finite, or where a quotient's denominator alone is zero.

    Attributes
    ----------
    layers : tuple of str
        Their modules.
    prompts : int
    relative : tuple of tuple of float, shape (prompts, layers)
        |d| / |h|.
    angle : tuple of tuple of float, shape (prompts, layers)
        1 − cosine of the angle between g and h; from 0, the same direction, to 2.
    norm : tuple of tuple of float, shape (prompts, layers)
        |g| / |h| − 1.
    shift : tuple of tuple of float, shape (prompts, layers), or ()
        How far a prompt has moved together with the others, in standard deviations of the prompts'
        own spread; see `departure.shifts`. () with fewer than three prompts.
    needed : float
        The chance below which a layer departs.
    p : tuple of float
        For each layer, the chance of so many prompts beyond 2 standard deviations.
    departs : int or None
        The first layer that does, from 0.
    said : str
        All this in a sentence.
    """

    layers: tuple[str, ...]
    prompts: int
    relative: Table
    angle: Table
    norm: Table
    shift: Table
    needed: float
    p: tuple[float, ...]
    departs: int | None
    said: str


def compare(
    probe: Probe, reference: Probe, output: Output = "hidden", token: int = -1
) -> Comparison:
    """Compare a model with a reference and find the first layer that departs.

    How departing is tested, on what that rests and what it cannot see: `departure`.

    Parameters
    ----------
    probe, reference : Probe
        Of the same prompts.
    output : str
        What is compared of each layer.
    token : int
        Index among the tokens that were kept of a prompt; -1 is the last one.

    Raises
    ------
    CheckpointError
        Their layers, prompts or features do not fit, or the output was not probed.
    SettingsError
        There is no such token, or the output has no distances (the experts that a router chose).
    """
    if output == "router":
        raise SettingsError("the numbers of chosen experts have no distance; compare hidden")
    why = alike(probe.info, reference.info)
    if why:
        raise _unlike(probe, reference, why)
    columns = []
    for layer in range(len(reference.info.layers)):
        states = _states(probe, output, layer, token)
        there = _states(reference, output, layer, token)
        if states.shape != there.shape:
            sizes = f"{states.shape[1]} and {there.shape[1]} features"
            raise _unlike(probe, reference, f"{sizes} at layer {layer}")
        finite = np.isfinite(states).all(axis=1) & np.isfinite(there).all(axis=1)
        columns.append((*_changes(states, there, finite), shifts(states, there, finite), finite))
    relative, angle, norm, shift, known = np.array(columns).transpose(1, 2, 0)
    return _judged(reference, (relative, angle, norm), shift, known != 0.0)


def _unlike(probe: Probe, reference: Probe, why: str) -> CheckpointError:
    names = f"{printable(probe.info.label)} and {printable(reference.info.label)}"
    return CheckpointError(f"{names} cannot be compared: {why}")


def _states(probe: Probe, output: Output, layer: int, token: int) -> Float64:
    """Return a token's state in each prompt, shape (prompts, features)."""
    rows = []
    for prompt in range(len(probe.info.prompts)):
        values = probe.layers(prompt, output)[layer]
        if not -len(values) <= token < len(values):
            raise SettingsError(
                f"prompt {prompt + 1} has {len(values)} kept tokens at layer {layer}, "
                f"and none with the index {token}"
            )
        rows.append(values[token])
    if len({len(row) for row in rows}) > 1:
        name = printable(probe.info.label)
        raise CheckpointError(f"{name}: at layer {layer} prompts differ in their features")
    return np.array(rows, np.float64)


def _changes(states: Float64, there: Float64, finite: Bools) -> Float64:
    """Return relative change, 1 − cosine and change of norm, shape (3, prompts)."""
    result = np.full((3, len(states)), np.nan)
    g, h = states[finite], there[finite]
    now, before = np.linalg.norm(g, axis=1), np.linalg.norm(h, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.linalg.norm(g - h, axis=1) / before
        # Of unit vectors; exact where they are almost the same, unlike 1 − cosine itself.
        apart = g / now[:, None] - h / before[:, None]
        changes = np.stack([relative, (apart**2).sum(axis=1) / 2.0, now / before - 1.0])
    changes[:, (now == 0.0) & (before == 0.0)] = 0.0
    changes[~np.isfinite(changes)] = np.nan
    result[:, finite] = changes
    return result


def _judged(
    reference: Probe, changes: Sequence[Float64], shift: Float64, finite: Bools
) -> Comparison:
    """Find the first layer that departs; arrays of shape (prompts, layers)."""
    relative, angle, norm = map(_table, changes)
    prompts, layers = shift.shape
    beyond, tested = (shift > BEYOND).sum(axis=0), (~np.isnan(shift)).sum(axis=0)
    p = tuple(sign_test(int(b), int(t)) for b, t in zip(beyond, tested, strict=True))
    departs = next((layer for layer in range(layers) if p[layer] < allowed(layers)), None)
    names = [printable(name) for name in reference.info.layers]
    return Comparison(
        layers=reference.info.layers,
        prompts=prompts,
        relative=relative,
        angle=angle,
        norm=norm,
        shift=_table(shift) if prompts > 2 else (),
        needed=allowed(layers),
        p=p,
        departs=departs,
        said=said(names, shift, finite, departs),
    )


def _table(values: Float64) -> Table:
    return tuple(tuple(row) for row in values.tolist())


@dataclass(frozen=True)
class Massive:
    """An output far larger than those beside it.

    Attributes
    ----------
    prompt, layer, token, feature : int
        From 0; the token's position in the prompt.
    text : str
        The token's.
    value : float
    ratio : float
        Its magnitude over the median magnitude of the layer, over all kept tokens of the prompt.
    """

    prompt: int
    layer: int
    token: int
    text: str
    feature: int
    value: float
    ratio: float


def massive(probe: Probe, output: Output = "hidden") -> tuple[Massive, ...]:
    """Find outputs above `MASSIVE` times the median magnitude in their layer, the largest first.

    Those that are not finite are left out. A layer whose median is zero has no unit to measure by,
    and gives none.
    """
    found: list[Massive] = []
    for prompt in range(len(probe.info.prompts)):
        for layer, values in enumerate(probe.layers(prompt, output)):
            found += _massive(probe, values, prompt, layer)
    return tuple(sorted(found, key=lambda each: -each.ratio))


def _massive(probe: Probe, values: Float32, prompt: int, layer: int) -> Iterator[Massive]:
    magnitude = np.abs(values)
    median = _median_if_needed(magnitude)
    if not median:
        return
    asked = probe.info.prompts[prompt]
    above = np.isfinite(magnitude) & (magnitude > np.float32(MASSIVE * median))
    rows, features = np.nonzero(above)
    for row, feature in zip(rows.tolist(), features.tolist(), strict=True):
        # Layers that merge patches have fewer tokens than the prompt.
        named = len(values) == len(asked.positions)
        token = asked.positions[row] if named else row
        value = float(values[row, feature])
        text = asked.tokens[token] if named else ""
        yield Massive(prompt, layer, token, text, feature, value, abs(value) / median)


def _median_if_needed(magnitude: Float32) -> float:
    """Return the median of the finite ones, or 0 where none of them is `MASSIVE` times as large."""
    known = magnitude[np.isfinite(magnitude)]
    if not known.size:
        return 0.0
    # Where half of them reach a hundredth of the largest, the median does: 20 times as fast.
    least = known.max() / np.float32(MASSIVE)
    if 2 * np.count_nonzero(known >= least) > known.size:
        return 0.0
    return float(np.median(known, overwrite_input=True))


def first_nonfinite(probe: Probe, output: Output = "hidden") -> str | None:
    """Say in which layer NaN or infinite values begin, or None where there are none."""
    count = len(probe.info.prompts)
    bad = np.array([
        [not np.isfinite(values).all() for values in probe.layers(prompt, output)]
        for prompt in range(count)
    ])  # fmt: skip
    if not bad.any():
        return None
    layer = int(bad.any(axis=0).argmax())
    prompts = np.flatnonzero(bad[:, layer])
    first = probe.layers(int(prompts[0]), output)[layer]
    what = "NaN" if np.isnan(first).any() else "infinite values"
    name = printable(probe.info.layers[layer])
    last = layer == len(probe.info.layers) - 1
    where = f"from {name} on" if bad.any(axis=0)[layer:].all() and not last else f"in {name}"
    return f"{what} {where}{_among(prompts, count)}"


def _among(prompts: Sequence[int] | npt.NDArray[np.intp], count: int) -> str:
    if count == 1:
        return ""
    if len(prompts) == 1:
        return f" (prompt {prompts[0] + 1})"
    return f" ({len(prompts)} of {count} prompts, the first is prompt {prompts[0] + 1})"
