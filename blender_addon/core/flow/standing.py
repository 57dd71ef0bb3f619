"""What of a run stands in a scene: its moments, its measures in metres, its words, its record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..color import ColorScale
from ..errors import SettingsError
from ..layout import Stop, Vector
from ..plain import from_versioned, versioned_text
from ..text import printable
from .classic import classic_of
from .grid import Arranged, arrange
from .legend import colors_of
from .page import PANEL
from .run import FlowRun
from .settings import FlowSettings, FlowShape
from .units import Units

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

VERSION = 1
# Metres: of a column of features, between the sides, from a layer to the next, of all layers.
COLUMN, NARROWEST, WIDEST = 0.025, 6.0, 24.0
NEAREST, FARTHEST, LONGEST = 0.3, 1.0, 24.0
TEXT = 80  # letters of a prompt in the legend


@dataclass(frozen=True)
class Moment:
    """What is seen for a while.

    Attributes
    ----------
    label : str
        For people; of a run that does not move, its only one.
    step : int
        Index of a probe of the run.
    token : int
        Index of a token among those that were kept.
    """

    label: str
    step: int
    token: int


def moments_of(run: FlowRun, settings: FlowSettings, shape: FlowShape) -> tuple[Moment, ...]:
    """Return what is seen one after the other: the steps of a run, or the tokens of its last one.

    Raises
    ------
    CheckpointError
        There is no such prompt or output.
    SettingsError
        There is no such token.
    """
    count = min(len(layer) for layer in run.probes[0].layers(settings.prompt, settings.output))
    if not -count <= settings.token < count:
        kept = f"{count} were kept" if count > 1 else "one was kept"
        raise SettingsError(f"token: {settings.token} is not there, for {kept}")
    if shape.view == "terrain" and shape.over == "tokens":
        last = len(run.probes) - 1
        names = tokens_of(run, settings)[:count]
        return tuple(Moment(name, last, token) for token, name in enumerate(names))
    token = settings.token % count
    return tuple(Moment(label, step, token) for step, label in enumerate(run.labels))


def tokens_of(run: FlowRun, settings: FlowSettings) -> list[str]:
    """Return the kept tokens' names: number and text."""
    prompt = run.probes[0].info.prompts[settings.prompt]
    return [f"{at} {_quoted(prompt.tokens[at], 20)}" for at in prompt.positions]


def layers_at(
    run: FlowRun, settings: FlowSettings, units: Units, moment: Moment
) -> tuple[Float32, ...]:
    """Return what each layer puts out for a token at a moment, in σ, shape (features,) each."""
    layers = run.probes[moment.step].layers(settings.prompt, settings.output)
    return units.scaled([layer[moment.token] for layer in layers])


def scale_of(settings: FlowSettings) -> ColorScale:
    """Return the colour scale."""
    return ColorScale(-settings.limit, settings.limit, diverging=True)


def pictures_of(
    run: FlowRun, settings: FlowSettings, units: Units, moments: Sequence[Moment]
) -> Iterator[UInt8]:
    """Give the picture of each moment, a pixel a value, shape (height, width, 3), sRGB-encoded."""
    width = min(settings.width, features_of(run, settings))
    if settings.palette == "classic":
        held = [run.probes[m.step].layers(settings.prompt, settings.output) for m in moments]
        raw = [[a[m.token] for a in layers] for m, layers in zip(moments, held, strict=True)]
        yield from classic_of(raw, width, settings.layout)
        return
    for moment in moments:
        layers = layers_at(run, settings, units, moment)
        grid, there = arrange(layers, width, settings.layout)
        colors = colors_of(grid, scale_of(settings))
        colors[~there] = PANEL
        yield colors


def picture_shape(run: FlowRun, settings: FlowSettings) -> tuple[int, int]:
    """Return the height and width of a picture in pixels."""
    features = [a.shape[1] for a in run.probes[0].layers(settings.prompt, settings.output)]
    width = min(settings.width, max(features))
    return Arranged(tuple(features), width, settings.layout).height, width


def features_of(run: FlowRun, settings: FlowSettings) -> int:
    """Return how many features the widest layer has."""
    layers = run.probes[0].layers(settings.prompt, settings.output)
    return max(layer.shape[1] for layer in layers)


def width_of(columns: int) -> float:
    """Return how many metres a number of columns takes from side to side."""
    return float(np.clip(COLUMN * columns, NARROWEST, WIDEST))


def stride_of(layers: int) -> float:
    """Return the metres from a layer to the next: a stride, and shorter where there are many."""
    return float(np.clip(LONGEST / layers, NEAREST, FARTHEST))


def pooled(values: Float32, columns: int) -> Float32:
    """Return the largest of neighbouring features by magnitude, with its sign.

    Parameters
    ----------
    values : ndarray of float32, shape (..., features)
        Finite.
    columns : int
        Not more than there are features.

    Returns
    -------
    ndarray of float32, shape (..., columns)
    """
    begins = edges(values.shape[-1], columns)[:-1]
    most = np.maximum.reduceat(values, begins, axis=-1)
    least = np.minimum.reduceat(values, begins, axis=-1)
    return np.where(most >= -least, most, least)


def edges(features: int, columns: int) -> npt.NDArray[np.int64]:
    """Return where columns of features begin, and where the last one ends, shape (columns + 1,)."""
    return np.arange(columns + 1, dtype=np.int64) * features // columns


def prompt_line(run: FlowRun, settings: FlowSettings, shape: FlowShape) -> str:
    """Say of which prompt and token."""
    prompt = run.probes[0].info.prompts[settings.prompt]
    name = _quoted(prompt.name, TEXT) if prompt.text else printable(prompt.name, TEXT)
    count = len(prompt.positions)
    if shape.view == "volume":
        return f"for {count} tokens of {name}"
    if shape.over == "tokens":
        when = f" at {run.labels[-1]}" if len(run.probes) > 1 else ""
        return f"for {count} tokens of {name}{when}, one after the other"
    at = prompt.positions[settings.token] if -count <= settings.token < count else 0
    which = "the last token" if at == len(prompt.tokens) - 1 else f"token {at}"
    return f"for {which}, {_quoted(prompt.tokens[at], 20)}, of {name}"


def columns_line(features: int, columns: int) -> list[str]:
    """Say how features were pooled, if they were."""
    if columns == features:
        return []
    sizes = np.diff(edges(features, columns))
    low, high = int(sizes.min()), int(sizes.max())
    many = f"{low}" if low == high else f"{low} to {high}"
    return [f"a column is {many} features: the largest of them, with its sign"]


def skips_line(run: FlowRun) -> list[str]:
    """Say what is not shown."""
    if not run.skips:
        return []
    first, others = run.skips[0], len(run.skips) - 1
    more = f", and {others} more" if others else ""
    return [f"not shown: {printable(first.name, TEXT)} ({printable(first.reason, TEXT)}){more}"]


def _quoted(text: str, longest: int) -> str:
    said = printable(text, 4 * longest)
    return f"“{said}”" if len(said) <= longest else f"“{said[: longest - 1]}…”"


def number(value: float) -> str:
    """Return a number of σ with a typographer's minus."""
    return (f"{value:.3g}" if abs(value) < 1000.0 else f"{value:,.0f}").replace("-", "−")


@dataclass(frozen=True)
class FlowRecord:
    """What a scene knows of the flow that stands in it, kept in the .blend as JSON.

    Attributes
    ----------
    model : str
    files : tuple of str
        Of the probes, absolute; none of a probe that was never saved.
    settings : FlowSettings
    shape : FlowShape
    labels : tuple of str
        What is seen one after the other.
    layers : tuple of str
    captions : tuple of str
        The legend's lines.
    low, high : tuple of 3 float
        Corners of the box around the shape, in metres, before it was moved aside.
    faces : int
        Of the terrain, or of all surfaces.
    scale : ColorScale
        As it is shown: of changes it is found in them.
    stops : tuple of Stop
        The layers in walking order, before they were moved aside.
    """

    model: str
    files: tuple[str, ...]
    settings: FlowSettings
    shape: FlowShape
    labels: tuple[str, ...]
    layers: tuple[str, ...]
    captions: tuple[str, ...]
    low: Vector
    high: Vector
    faces: int
    scale: ColorScale
    stops: tuple[Stop, ...]

    def to_json(self) -> str:
        """Return the record in ASCII."""
        return versioned_text(self, VERSION)

    @classmethod
    def from_json(cls, text: str) -> FlowRecord:
        """Return the record that `to_json` wrote.

        Raises
        ------
        BadInputError
            It was written by a newer version, by something else, or was damaged.
        """
        return from_versioned(cls, text, VERSION, "flow cannot be read; show it again")


def record_of(
    run: FlowRun,
    settings: FlowSettings,
    shape: FlowShape,
    *,
    labels: Sequence[str],
    captions: Sequence[str],
    box: tuple[Vector, Vector],
    faces: int,
    scale: ColorScale,
) -> FlowRecord:
    """Return the record of what is about to stand in a scene."""
    layers = run.probes[0].info.layers
    stride = stride_of(len(layers))
    stops = tuple(Stop(f"layer {i}", i * stride, stride) for i in range(len(layers)))
    return FlowRecord(
        printable(run.name, 200), tuple(str(file.absolute()) for file in run.files), settings,
        shape, tuple(labels), layers, tuple(captions), *box, faces, scale, stops,
    )  # fmt: skip
