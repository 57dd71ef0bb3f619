"""Outputs of a model's layers for several tokens → signed isosurfaces within a face budget."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..color import ColorScale
from ..errors import EmptyFieldError, SettingsError, WeightwalkError
from ..fields import Field, FieldInfo, Plan
from ..layout import Vector
from ..model import Progress
from ..settings import FieldSettings, SurfaceSettings
from ..stages import Ticks, told
from ..surfaces import Surface, extract_steps, level_steps
from ..writers import MeshPart
from .legend import colors_of, unit_text
from .run import FlowRun
from .settings import FlowSettings, FlowShape
from .standing import (
    Moment,
    columns_line,
    moments_of,
    number,
    pooled,
    prompt_line,
    scale_of,
    skips_line,
    stride_of,
    width_of,
)
from .terrain import place
from .units import Units
from .words import what_of

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]

COLUMNS = 256  # at most: surfaces of more features could not be told apart
# Metres: from a token to the next, the height of them all, and of the lowest above the floor.
CLOSEST, APART, HIGH, BASE = 0.12, 0.5, 4.0, 0.35
# Where a surface lies, as a share of the colours, unless the budget asks for more.
LEVEL = 0.5


@dataclass(frozen=True, eq=False)
class Volume:
    """The surfaces of a run: a set for each moment, cut at one level.

    Layer 0 is at y = 0 and the last one is the farthest; features are centred about x = 0, and the
    first token is the lowest: what many models do with it is out of proportion, and would hide the
    others from above. A field's rows lead downward, so that its first row is the last token.

    Attributes
    ----------
    moments : tuple of Moment
    surfaces : tuple of tuple of Surface
        For each moment: positive, negative and not finite, as far as there are any.
    shape : tuple of 3 int
        Layers, tokens and columns.
    features : int
    step : tuple of 3 float
        Metres from a column, a layer and a token to the next.
    level : float
        In σ.
    scale : ColorScale
    largest : float
        Magnitude in σ.
    """

    moments: tuple[Moment, ...]
    surfaces: tuple[tuple[Surface, ...], ...] = field(repr=False)
    shape: tuple[int, int, int]
    features: int
    step: tuple[float, float, float]
    level: float
    scale: ColorScale
    largest: float

    @property
    def faces(self) -> int:
        """Number of triangles of all moments."""
        return sum(len(s.mesh.faces) for held in self.surfaces for s in held)

    @property
    def box(self) -> tuple[Vector, Vector]:
        """Lowest and highest corner in metres; a surface may reach a cell beyond the middles."""
        layers, tokens, columns = self.shape
        x, y, z = self.step
        half = (columns + 1) * x / 2.0
        return (-half, -y, BASE), (half, layers * y, BASE + (tokens + 1) * z)

    def height_of(self, token: int) -> float:
        """Return how high the middle of a token is, in metres."""
        return BASE + (token + 1) * self.step[2]

    def part(self, surface: Surface, name: str) -> MeshPart:
        """Return a surface in metres, with the colours of its values."""
        mesh = surface.mesh
        vertices = place(mesh.vertices, self.shape[2], self.step)
        vertices[:, 2] += self.height_of(self.shape[1] - 1)
        colors = np.full((len(vertices), 4), 255, np.uint8)
        colors[:, :3] = colors_of(surface.values, self.scale)
        return MeshPart(name, "", vertices, np.zeros_like(vertices), mesh.faces, colors)

    def cells(self, surface: Surface) -> Int32:
        """Return the flat index into (layer, token, column) of the cell that each vertex shows."""
        layer, row, column = np.unravel_index(surface.cells, self.shape)
        at = (layer, self.shape[1] - 1 - row, column)
        return np.ravel_multi_index(at, self.shape).astype(np.int32)


def volume_steps(
    run: FlowRun, settings: FlowSettings, shape: FlowShape, units: Units
) -> Generator[Progress, None, Volume]:
    """Cut a run's outputs at a level.

    Raises
    ------
    SettingsError
        One token was kept; or no level keeps within the budget.
    CheckpointError
        There is no such prompt or output.
    WeightwalkError
        Layers differ in shape; or nothing is finite and other than 0.
    """
    moments = moments_of(run, settings, shape)
    layers = run.probes[0].layers(settings.prompt, settings.output)
    _check(layers)
    tokens, features = layers[0].shape
    grid = len(layers), tokens, min(features, COLUMNS)
    fields: list[Field] = []
    for i, moment in enumerate(moments):
        yield Progress("values", i, len(moments), moment.label)
        fields.append(_field(run, settings, units, moment, grid))
    largest = max(float(np.abs(each.cells).max()) for each in fields)
    if largest == 0.0 and not any(each.nonfinite.any() for each in fields):
        raise WeightwalkError("all values are the same: there is no surface to show")
    level, cut = yield from _cut(fields, LEVEL * min(settings.limit, largest), shape.faces)
    rise = float(np.clip(HIGH / tokens, CLOSEST, APART))
    # Surfaces are as wide as the terrain of as many features.
    step = (width_of(features) / (grid[2] + 1), stride_of(len(layers)), rise)
    return Volume(moments, cut, grid, features, step, level, scale_of(settings), largest)


def _check(layers: Sequence[Float32]) -> None:
    if len({layer.shape for layer in layers}) > 1:
        raise WeightwalkError(
            "the layers put out different numbers of tokens or features, which make no volume; "
            "show a terrain"
        )
    if len(layers[0]) < 2:
        raise SettingsError(
            "a volume takes several tokens, and one was kept: probe with --token all"
        )


def _field(
    run: FlowRun,
    settings: FlowSettings,
    units: Units,
    moment: Moment,
    shape: tuple[int, int, int],
) -> Field:
    """Return a moment's values; planes are layers, rows tokens, the last one first."""
    layers = run.probes[moment.step].layers(settings.prompt, settings.output)
    values = np.stack(units.scaled(layers))[:, ::-1]
    finite = np.isfinite(values)
    cells = pooled(np.where(finite, values, np.float32(0.0)), shape[2])
    bad = pooled(np.where(finite, np.float32(0.0), np.float32(1.0)), shape[2]) > 0.0
    cells = np.where(bad, np.float32(0.0), cells)
    plan = Plan(settings.output, "depth", settings.output, "", None, (), run.probes[0].info.layers)
    info = FieldInfo(
        plan, FieldSettings("depth", pool="absmax"), (1.0,) * shape[0],
        int(np.isnan(values).sum()), int(np.isinf(values).sum()),
        float(cells.min()), float(cells.max()), (),
    )  # fmt: skip
    return Field(info, cells, cells, bad)


def _cut(
    fields: Sequence[Field], level: float, budget: int
) -> Generator[Progress, None, tuple[float, tuple[tuple[Surface, ...], ...]]]:
    """Cut fields at the lowest level, from one on, at which each keeps within the budget."""
    while True:
        surfaces: list[tuple[Surface, ...]] = []
        for i, each in enumerate(fields):
            now = Progress("surfaces", i, len(fields), f"beyond ±{number(level)} σ")
            yield now
            held = yield from told(_surfaces(each, level, budget), now)
            if sum(len(s.mesh.faces) for s in held) > budget:
                higher = yield from told(level_steps(each, budget), now)
                if higher is None:
                    raise SettingsError(f"faces: no surface has {budget} faces or less")
                # From here on upward there are fewer faces; a little, where these come in leaps.
                level = max(higher, level * 1.05)
                break
            surfaces.append(held)
        else:
            return level, tuple(surfaces)


def _surfaces(each: Field, level: float, budget: int) -> Ticks[tuple[Surface, ...]]:
    if level == 0.0 or np.abs(each.cells).max() <= level:
        # Nothing but, maybe, what is not finite.
        if not each.nonfinite.any():
            return ()
        level = 1.0
    try:
        return tuple((yield from extract_steps(each, SurfaceSettings(level=level), budget)))
    except EmptyFieldError:
        return ()


def volume_lines(
    volume: Volume, run: FlowRun, settings: FlowSettings, units: Units
) -> tuple[str, ...]:
    """Return the legend's lines."""
    level, largest = number(volume.level), number(volume.largest)
    lines = [
        f"solid beyond ±{level} σ, up to {largest} σ: {what_of(run, settings)}",
        f"{prompt_line(run, settings, FlowShape('volume'))}, the first one at the bottom",
        unit_text(units, shared=settings.sigma == "all"),
        *columns_line(volume.features, volume.shape[2]),
    ]
    bad = sum(int(np.unique(s.cells).size) for h in volume.surfaces for s in h if not s.sign)
    if bad:
        lines.append(f"green boxes: {bad:,} cells with NaN or infinity")
    return (*lines, *skips_line(run))
