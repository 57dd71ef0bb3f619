"""A run of probes → pictures of its steps, of what they have more, and curves."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .core.color import ColorScale
from .core.errors import BadInputError, SeriesError
from .core.flow.change import Layers, change_scale, minus
from .core.flow.chart import draw_chart
from .core.flow.classic import classic_of
from .core.flow.compare import Comparison, compare, first_nonfinite, massive
from .core.flow.legend import Counts, scale_palette
from .core.flow.page import save_png
from .core.flow.picture import Plot, check_pixels, draw_picture, plot_of
from .core.flow.probe import Probe
from .core.flow.report import Findings, Step
from .core.flow.run import FlowRun, difference
from .core.flow.settings import FlowOutput, FlowSettings
from .core.flow.units import Units, name_of, reference_units, units_of
from .core.flow.words import difference_words, token_values, words_of
from .core.model import Progress
from .core.readers import printable
from .core.stages import Ticks, told
from .version import VERSION

Make = Callable[[], Any]

# Times the other steps that the last one is seen.
HELD = 5.0
# Pixels on the shorter side of a film, at least.
FILMED = 32
# A share of values beyond the scale that is told of.
MANY = 0.2
FPS = 24


@dataclass(frozen=True)
class _Reel:
    """Pictures that follow one another.

    Attributes
    ----------
    name : str
        Of the files, without ending.
    labels : tuple of str
        Of the pictures.
    palette : ndarray of uint8, shape (n, 3), or None
        Of a GIF; None finds it in the pictures.
    still : bool
        Whether the last one is written as a PNG.
    """

    name: str
    labels: tuple[str, ...]
    palette: npt.NDArray[np.uint8] | None
    still: bool


@dataclass
class Drawing:
    """A run on its way to files.

    Attributes
    ----------
    run : FlowRun
    settings : FlowSettings
    output : FlowOutput
    against : Probe or None
        What the run is compared with; None compares its steps with the first one.
    files : list of Path
        What has been written so far.
    versions : dict of str to str
        Of what made it.
    found : Findings
    """

    run: FlowRun
    settings: FlowSettings
    output: FlowOutput
    against: Probe | None
    files: list[Path] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=lambda: {"weightwalk": VERSION})
    found: Findings = field(init=False)

    def __post_init__(self) -> None:
        run, settings = self.run, self.settings
        if self.against is not None and (apart := difference(run.probes[0], self.against)):
            other = printable(self.against.info.label)
            raise SeriesError(f"{other} cannot be compared with {run.name}: {apart}")
        for probe in run.probes:
            token_values(probe, settings)
        units = reference_units(run, settings, self.against)
        diverging = settings.palette == "diverging"
        scale = ColorScale(-settings.limit, settings.limit, diverging=True) if diverging else None
        self.found = Findings(units, scale)
        self.found.notes += _flat(units)
        self.found.notes += _infinite(run, settings)

    def pictures(self, staging: Path) -> Generator[Progress, None, None]:
        """Draw every step."""
        drawn = self._classic() if self.found.scale is None else self._pages()
        palette = None if self.found.scale is None else scale_palette()
        reel = _Reel(self.output.name, self.run.labels, palette, still="png" in self.output.formats)
        yield from self._written(staging, reel, drawn)

    def _written(
        self, staging: Path, reel: _Reel, drawn: Iterator[Make]
    ) -> Generator[Progress, None, None]:
        """Write the last of some pictures, and all of them as GIF and MP4, as asked."""
        count = len(reel.labels)
        moving = {"gif", "mp4"} & set(self.output.formats) if count > 1 else set()
        frames = staging / f"{reel.name}-frames"
        frames.mkdir()
        paths = []
        for i, make in enumerate(drawn):
            yield Progress("pictures", i, count, reel.labels[i])
            if moving or i == count - 1:
                with self.found.stages.time("pictures") as stage:
                    paths.append(frames / f"{i:06d}.png")
                    save_png(paths[-1], make())
                    stage.bytes += paths[-1].stat().st_size
        still = staging / f"{reel.name}.png"
        self.files += [still] if reel.still else []
        seconds = [self.output.seconds] * (count - 1) + [HELD * self.output.seconds]
        for kind, make_film in (("gif", self._gif), ("mp4", self._mp4)):
            if kind in moving:
                path = staging / f"{reel.name}.{kind}"
                now = Progress("files", 0, 1, path.name)
                yield now
                with self.found.stages.time(kind) as stage:
                    yield from told(make_film(path, paths, seconds, reel), now)
                    stage.bytes += path.stat().st_size
                self.files.append(path)
        if reel.still:
            paths[-1].replace(still)  # the films are made of it, too

    def _gif(
        self, path: Path, pictures: list[Path], seconds: list[float], reel: _Reel
    ) -> Ticks[None]:
        from .core.writers.gif import write_gif

        return write_gif(path, pictures, seconds, reel.palette)

    def _mp4(
        self, path: Path, pictures: list[Path], seconds: list[float], _reel: _Reel
    ) -> Ticks[None]:
        import bpy

        from .scene.movie import movie_steps

        self.versions["blender"] = bpy.app.version_string
        ends = [round(FPS * end) for end in accumulate(seconds)]
        frames = np.maximum(np.diff([0, *ends]), 1)
        return movie_steps(np.repeat(np.array(pictures), frames).tolist(), path, FPS)

    def _pages(self) -> Iterator[Make]:
        """Give what draws each step's page."""
        run, found = self.run, self.found
        scale = found.scale
        assert scale is not None
        steps = [self._scaled(probe, found.units) for probe in run.probes]
        counts = [Counts.of(layers, scale) for layers in steps]
        found.steps += [Step(*each) for each in zip(run.labels, counts, strict=True)]
        found.notes += self._beyond(counts[-1], steps[-1])
        marked = any(each.nonfinite for each in counts)
        plot = self._plot(steps[0])
        for label, layers in zip(run.labels, steps, strict=True):
            words = words_of(run, self.settings, label, found.units)
            yield partial(draw_picture, layers, plot, scale, words, marked=marked)

    def _beyond(self, counts: Counts, layers: Layers) -> list[str]:
        """Say what to do where the first step's σ is a poor unit for the last one."""
        share = (counts.below + counts.above) / max(sum(layer.size for layer in layers), 1)
        chosen = self.settings.reference == "run" or self.settings.reference_file
        if share < MANY or len(self.run.probes) < 2 or chosen:
            return []
        what = f"{share:.0%} of the values lie beyond the scale at {self.run.labels[-1]}"
        return [f"{what}; --reference run takes σ of all steps"]

    def _classic(self) -> Iterator[Make]:
        """Give each step's picture in the classic colours, bare."""
        settings = self.settings
        steps = [token_values(probe, settings) for probe in self.run.probes]
        pictures = classic_of(steps, settings.width, settings.layout)
        zoom = settings.zoom or 1
        if "mp4" in self.output.formats and settings.zoom is None:
            zoom = -(-FILMED // min(pictures.shape[1:3]))  # Blender refuses smaller ones
        check_pixels((pictures.shape[2] * zoom, pictures.shape[1] * zoom))
        for picture in pictures:
            yield partial(np.kron, picture, np.ones((zoom, zoom, 1), np.uint8))

    def compare(self, staging: Path) -> Generator[Progress, None, None]:
        """Draw by what each step has departed, and the curves."""
        run, found, name = self.run, self.found, self.output.name
        found.massive = massive(run.probes[-1], self.settings.output)
        if self.against is None and len(run.probes) < 2:
            return
        base = run.probes[0] if self.against is None else self.against
        other = run.labels[0] if self.against is None else name_of(base, run)
        lines = yield from self._compared(base, other)
        labels = run.labels[self.against is None :]
        reel = _Reel(f"{name}-difference", labels, scale_palette(), still=True)
        compared = [comparison for _, comparison in lines]
        yield from self._written(staging, reel, self._differences(base, other, compared))
        if lines:
            yield Progress("comparison", 1, 1, "curves")
            with found.stages.time("curves") as stage:
                path = staging / f"{name}-curve.png"
                what = lines[-1][0] if len(lines) == 1 else "each step"
                save_png(path, draw_chart(lines, f"{run.name}: {what} against {other}"))
                stage.bytes = path.stat().st_size
                self.files.append(path)

    def _compared(
        self, base: Probe, other: str
    ) -> Generator[Progress, None, list[tuple[str, Comparison]]]:
        """Compare each step with a probe; where that cannot be, say why."""
        run, found, settings = self.run, self.found, self.settings
        lines = []
        steps = list(zip(run.labels, run.probes, strict=True))[self.against is None :]
        try:
            for i, (label, probe) in enumerate(steps):
                yield Progress("comparison", i, len(steps), label)
                with found.stages.time("comparison"):
                    lines.append((label, compare(probe, base, settings.output, settings.token)))
        except BadInputError as error:
            found.notes.append(f"there are no curves: {error}")
            return []
        found.comparisons = tuple((f"{label} against {other}", each) for label, each in lines)
        return lines

    def _differences(
        self, base: Probe, other: str, comparisons: Sequence[Comparison]
    ) -> Iterator[Make]:
        """Give what draws the page of each step minus what it is compared with, in σ of that."""
        run, settings = self.run, self.settings
        units = units_of([base], settings.output, settings.sigma, other)
        before = token_values(base, settings)
        probes = run.probes[self.against is None :]
        steps = [minus(token_values(probe, settings), before, units) for probe in probes]
        scale = change_scale(steps)
        labels = run.labels[self.against is None :]
        last = Step(f"{labels[-1]} − {other}", Counts.of(steps[-1], scale))
        self.found.difference = (last, units, scale)
        plot = self._plot(steps[0])
        marked = not all(np.isfinite(layer).all() for layers in steps for layer in layers)
        longest = max((comparison.said for comparison in comparisons), key=len, default="")
        for i, (label, layers) in enumerate(zip(labels, steps, strict=True)):
            comparison = comparisons[i] if comparisons else None
            words = difference_words(run, settings, (label, other), units, comparison)
            words = replace(words, longest=longest)
            yield partial(draw_picture, layers, plot, scale, words, marked=marked)

    def _scaled(self, probe: Probe, units: Units) -> Layers:
        return units.scaled(token_values(probe, self.settings))

    def _plot(self, layers: Layers) -> Plot:
        return plot_of([len(layer) for layer in layers], self.settings)


def _flat(units: Units) -> list[str]:
    """Say which layers have no σ."""
    flat = [i for i, sigma in enumerate(units.sigmas) if not sigma]
    if not flat:
        return []
    named = f"layer {flat[0]}" if len(flat) == 1 else f"each of {len(flat)} layers"
    why = "those that are finite are all the same, and shown as 0"
    return [f"outputs of {named} have no σ in {units.of}: {why}"]


def _infinite(run: FlowRun, settings: FlowSettings) -> list[str]:
    """Name the first step that has values that are not finite, and where they begin."""
    said = {
        label: where
        for label, probe in zip(run.labels, run.probes, strict=True)
        if (where := first_nonfinite(probe, settings.output))
    }
    if not said:
        return []
    label, where = next(iter(said.items()))
    more = len(said) - 1
    return [f"{label}: {where}" + (f", and {more} later step{'s' * (more > 1)}" if more else "")]
