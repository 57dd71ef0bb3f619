"""What one σ of each layer is: the unit in which outputs are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..text import printable
from .compare import MASSIVE
from .probe import Output, Probe
from .run import FlowRun, read_alike
from .settings import FlowSettings, Sigma

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """The standard deviation of each layer's outputs.

    Attributes
    ----------
    sigmas : tuple of float
        One a layer; 0 where all its outputs are the same.
    of : str
        Of what it was found, in words: "step 0", "all 12 steps", "base".
    massive : int
        How many massive activations there were, whose tokens were left out.
    prompts, tokens : int
        How many there were, tokens in all.
    """

    sigmas: tuple[float, ...]
    of: str
    massive: int = 0
    prompts: int = 1
    tokens: int = 1

    def scaled(self, layers: Sequence[Float32]) -> tuple[Float32, ...]:
        """Return outputs, an array a layer, in σ; 0 where σ is 0, and what is not finite as it is.

        Shapes stay as they are.
        """
        return tuple(_in(layer, sigma) for layer, sigma in zip(layers, self.sigmas, strict=True))


def units_of(probes: Sequence[Probe], output: Output, sigma: Sigma, of: str) -> Units:
    """Find the standard deviation of all finite outputs of each layer.

    Parameters
    ----------
    probes : sequence of Probe
        All their prompts and all tokens that were kept count.
    output : str
        Which of the outputs.
    sigma : {"layer", "all"}
        Each layer's own, or that of all layers together.
    of : str
        What the probes are, in words.

    Returns
    -------
    Units
        Tokens with massive activations, beyond 100 times the median magnitude in their layer, are
        left out there: a few of them would be most of its σ, and other features of such a token
        are often large, too. Where all tokens have some, these alone are left out.
    """
    layers = range(len(probes[0].info.layers))
    found = [_moments(_values(probes, output, layer)) for layer in layers]
    table = np.array([moments for moments, _ in found])
    table = table if sigma == "layer" else np.repeat([_merged(table)], len(layers), axis=0)
    sigmas = np.sqrt(table[:, 2] / np.maximum(table[:, 0], 1.0))
    massive = sum(count for _, count in found)
    prompts = probes[0].info.prompts
    tokens = len(probes) * sum(len(prompt.positions) for prompt in prompts)
    return Units(tuple(map(float, sigmas)), of, massive, len(prompts), tokens)


def reference_units(run: FlowRun, settings: FlowSettings, against: Probe | None = None) -> Units:
    """Return the units that a run is shown in.

    Parameters
    ----------
    run : FlowRun
    settings : FlowSettings
    against : Probe or None
        What the run is compared with: it comes before the run's first step.

    Raises
    ------
    CheckpointError
        The reference's file cannot be read.
    SeriesError
        It is of other prompts or layers.
    """
    output, sigma = settings.output, settings.sigma
    if settings.reference_file is not None:
        probe = read_alike(settings.reference_file, run)
        return units_of([probe], output, sigma, name_of(probe, run))
    if settings.reference == "run" and len(run.probes) > 1:
        return units_of(run.probes, output, sigma, f"all {len(run.probes)} steps")
    if settings.reference == "first" and against is not None:
        return units_of([against], output, sigma, name_of(against, run))
    return units_of(run.probes[:1], output, sigma, run.labels[0])


def name_of(probe: Probe, run: FlowRun) -> str:
    """Return what tells a probe from those of a run: its label, with the model where that helps."""
    model, label = printable(probe.info.model, 60), printable(probe.info.label, 60)
    if label in run.labels or model not in {label, run.name}:
        return f"{model}, {label}" if label != model else f"{model} (the reference)"
    return label


def _values(probes: Sequence[Probe], output: Output, layer: int) -> Iterator[Float32]:
    for probe in probes:
        for prompt in range(len(probe.info.prompts)):
            yield probe.layers(prompt, output)[layer]


def _moments(values: Iterator[Float32]) -> tuple[tuple[float, float, float], int]:
    """Return count, mean and squared deviations, and how many massive ones there are."""
    tokens = np.concatenate(list(values)).astype(np.float64)
    finite = np.isfinite(tokens)
    if not finite.any():
        return (0.0, 0.0, 0.0), 0
    magnitude = np.abs(tokens)
    median = np.median(magnitude[finite])
    massive = finite & (magnitude > MASSIVE * median) & (median > 0)
    ordinary = finite & ~massive.any(axis=1, keepdims=True)
    kept = tokens[ordinary if ordinary.any() else finite & ~massive]
    mean = kept.mean()
    # Of equal values the rounding of the mean is no deviation.
    squares = 0.0 if np.ptp(kept) == 0 else float(np.sum((kept - mean) ** 2))
    return (float(len(kept)), float(mean), squares), int(massive.sum())


def _merged(table: Float64) -> Float64:
    """Return the moments of all layers together (Chan et al., 1979)."""
    counts, means, squares = table.T
    total = max(counts.sum(), 1.0)
    mean = (counts * means).sum() / total
    return np.array([total, mean, squares.sum() + (counts * (means - mean) ** 2).sum()])


def _in(layer: Float32, sigma: float) -> Float32:
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = layer / sigma if sigma else np.where(np.isfinite(layer), 0.0, layer)
    kept: Float32 = np.where(np.isfinite(layer), np.nan_to_num(scaled), layer).astype(np.float32)
    return kept
