"""Outputs of a model's layers → a landscape: layers one behind the other, features side by side."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ..color import ColorScale
from ..errors import SettingsError, WeightwalkError
from ..layout import Vector
from ..markers import boxes
from ..model import Progress
from ..relief import DEPTH, sheet
from ..writers import MeshPart
from .legend import unit_text
from .run import FlowRun
from .settings import FlowSettings, FlowShape, Over
from .standing import (
    Moment,
    columns_line,
    edges,
    layers_at,
    moments_of,
    number,
    pooled,
    prompt_line,
    scale_of,
    skips_line,
    stride_of,
    width_of,
)
from .units import Units
from .words import what_of

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

# Ordinary values, this share of all, reach up and down by so many columns' widths, within these
# metres: where columns are narrow, peaks as high as elsewhere would hide all valleys.
SHARE, STEEP, ORDINARY = 0.98, 20.0, (0.2, 0.5)
# Nothing is higher or deeper, in metres: a hundred times the ordinary would be out of sight.
TOP = 3.0
# Of more values than about so many, every n-th one has a say in this.
VOTES = 1 << 18
# Half the height of the box that marks what is not finite, in metres.
BOX = 0.06
# Faces of all boxes of a moment.
BOXES = 60_000


@dataclass(frozen=True, eq=False)
class Terrain:
    """A sheet that lies on the floor; its heights are the values.

    Layer 0 is at y = 0 and the last one is the farthest; the features are centred about x = 0.

    Attributes
    ----------
    moments : tuple of Moment
    part : MeshPart
        The sheet at height 0, in metres.
    cells : ndarray of int32, shape (n,)
        Flat index into (layer, column) of the cell that each vertex shows.
    values : ndarray of float32, shape (moments, n)
        In σ, as high as they are drawn; 0 where a value is not finite.
    nonfinite : ndarray of bool, shape (moments, layers, columns)
    features, columns : int
        Columns are fewer where features are pooled.
    step : tuple of 2 float
        Metres from a column to the next, and from a layer to the next.
    height : float
        Metres for one σ.
    scale : ColorScale
    beyond, cut : int
        Values beyond the colours, and those higher than is drawn.
    finite : int
        All values.
    largest : tuple of (float, int, int)
        The largest magnitude with its sign, its layer and its feature's column.
    """

    moments: tuple[Moment, ...]
    part: MeshPart
    cells: Int32
    values: Float32 = field(repr=False)
    nonfinite: Bool
    features: int
    columns: int
    step: tuple[float, float]
    height: float
    scale: ColorScale
    beyond: int
    cut: int
    finite: int
    largest: tuple[float, int, int]

    @property
    def layers(self) -> int:
        """Number of layers."""
        return self.nonfinite.shape[1]

    @property
    def faces(self) -> int:
        """Number of triangles."""
        return len(self.part.faces)

    @property
    def box(self) -> tuple[Vector, Vector]:
        """Lowest and highest corner in metres, over all moments."""
        low, high = self.part.vertices.min(axis=0), self.part.vertices.max(axis=0)
        z = self.height * float(self.values.min()), self.height * float(self.values.max())
        return (
            (float(low[0]), float(low[1]), min(z[0], 0.0)),
            (float(high[0]), float(high[1]), max(z[1], 0.0)),
        )

    def offsets(self, step: int) -> Float32:
        """Return how far each vertex is moved at a moment, shape (n, 3), in metres: along Z."""
        moved = np.zeros((self.values.shape[1], 3), np.float32)
        moved[:, 2] = self.height * self.values[step]
        return moved

    def marker(self, moment: int) -> tuple[Float32, Int32] | None:
        """Return boxes around what is not finite: vertices in metres, and faces."""
        mask = self.nonfinite[moment]
        if not mask.any():
            return None
        vertices, faces = boxes(mask[:, None, :], BOXES)
        return place(vertices, self.columns, (*self.step, 2.0 * BOX)), faces


def terrain_steps(
    run: FlowRun, settings: FlowSettings, shape: FlowShape, units: Units
) -> Generator[Progress, None, Terrain]:
    """Make a terrain of a run.

    Raises
    ------
    SettingsError
        There is no such token; or the budget has less than two columns for each layer.
    CheckpointError
        There is no such prompt or output.
    WeightwalkError
        No value is finite.
    """
    moments = moments_of(run, settings, shape)
    first = layers_at(run, settings, units, moments[0])
    features = max(len(layer) for layer in first)
    columns = _columns(len(first), features, shape.faces)
    there = np.array([edges(features, columns)[:-1] < len(layer) for layer in first])
    grid = np.zeros((len(moments), *there.shape), np.float32)
    nonfinite = np.zeros(grid.shape, np.bool_)
    for i, moment in enumerate(moments):
        yield Progress("values", i, len(moments), moment.label)
        for j, layer in enumerate(layers_at(run, settings, units, moment)):
            row, bad = _row(layer, features, columns)
            grid[i, j], nonfinite[i, j] = row, bad
    known = there & ~nonfinite
    if not known.any():
        raise WeightwalkError("there is no finite value to show")
    at = (width_of(features) / columns, stride_of(len(first)))
    height = _height(grid, known, settings, at[0])
    top = TOP / height
    part, cells = _sheet(there, at, run.name)
    values = np.empty((len(moments), len(cells)), np.float32)
    found = _Found(settings.limit, top)
    for i, moment in enumerate(moments):
        yield Progress("values", i, len(moments), f"{moment.label}: heights")
        found.look(grid[i])
        values[i] = np.clip(grid[i].ravel()[cells], -top, top)
    return Terrain(
        moments, part, cells, values, nonfinite, features, columns, at, height,
        scale_of(settings), found.beyond, found.cut, int(known.sum()), found.largest,
    )  # fmt: skip


def _columns(layers: int, features: int, faces: int) -> int:
    """Return how many columns a budget allows."""
    most = faces // (2 * max(layers - 1, 1)) + 1
    if most < 2:
        raise SettingsError(f"faces: {faces} are too few for {layers} layers")
    return min(features, most)


def _row(layer: Float32, features: int, columns: int) -> tuple[Float32, Bool]:
    """Return a layer's values, 0 where there is none, and which columns hold what is not finite."""
    row, bad = np.zeros(features, np.float32), np.zeros(features, np.bool_)
    finite = np.isfinite(layer)
    row[: len(layer)], bad[: len(layer)] = np.where(finite, layer, 0.0), ~finite
    if columns == features:
        return row, bad
    held = np.logical_or.reduceat(bad, edges(features, columns)[:-1])
    return np.where(held, np.float32(0.0), pooled(row, columns)), held


def _height(grid: Float32, known: Bool, settings: FlowSettings, column: float) -> float:
    """Return metres for one σ, a round number of them, for columns of some metres."""
    every = grid.size // VOTES + 1
    votes = np.abs(grid.ravel()[::every][known.ravel()[::every]])
    usual = float(np.quantile(votes, SHARE)) if votes.size else 0.0
    high = float(np.clip(STEEP * column, *ORDINARY))
    return float(f"{high / usual if usual > 0.0 else DEPTH / settings.limit:.1g}")


class _Found:
    """Counts of what lies beyond the colours and beyond the heights, and the largest of all."""

    def __init__(self, limit: float, top: float) -> None:
        self.limit, self.top = limit, top
        self.beyond = self.cut = 0
        self.largest = 0.0, 0, 0

    def look(self, grid: Float32) -> None:
        """Count the values of one more moment, shape (layers, columns)."""
        size = np.abs(grid)
        self.beyond += int(np.count_nonzero(size > self.limit))
        self.cut += int(np.count_nonzero(size > self.top))
        layer, column = divmod(int(size.argmax()), grid.shape[1])
        if size[layer, column] > abs(self.largest[0]):
            self.largest = float(grid[layer, column]), layer, column


def _sheet(there: Bool, step: tuple[float, float], name: str) -> tuple[MeshPart, Int32]:
    """Return the sheet at height 0, with no faces where layers have fewer features than others."""
    grid, faces, cells = sheet(*there.shape)
    seen = there.ravel()[cells]
    faces = faces[seen[faces].all(axis=1)]
    used = np.zeros(len(grid), np.bool_)
    used[faces] = True
    faces = (np.cumsum(used, dtype=np.int32) - 1)[faces]
    vertices = place(grid[used], there.shape[1], (*step, 0.0), lying=True)
    up = np.tile(np.array([0.0, 0.0, 1.0], np.float32), (len(vertices), 1))
    grey = np.full((len(vertices), 4), 255, np.uint8)
    # Rows lead away from the visitor, not downward: what was in front is now below.
    part = MeshPart(name, "", vertices, up, np.ascontiguousarray(faces[:, ::-1]), grey)
    return part, cells[used]


def place(
    vertices: Float32, columns: int, step: tuple[float, float, float], *, lying: bool = False
) -> Float32:
    """Return grid coordinates (plane, row, column) in metres.

    Columns run along X and are centred about 0; planes run along Y from 0 on, and rows down along
    Z. Where all is in one plane and lies, rows run along Y instead.
    """
    plane, row, column = vertices.T
    x = (column - (columns - 1) / 2.0) * step[0]
    y, z = (row * step[1], plane) if lying else (plane * step[1], -row * step[2])
    return np.column_stack([x, y, z]).astype(np.float32)


def terrain_lines(
    terrain: Terrain, run: FlowRun, settings: FlowSettings, units: Units
) -> tuple[str, ...]:
    """Return the legend's lines."""
    over: Over = "tokens" if len({m.token for m in terrain.moments}) > 1 else "steps"
    limit, top = number(settings.limit), number(TOP / terrain.height)
    lines = [
        f"height and colour: {what_of(run, settings)}, in σ, for each feature",
        prompt_line(run, settings, FlowShape(over=over)),
        unit_text(units, shared=settings.sigma == "all"),
        f"1 σ is {terrain.height:g} m high; the floor is at 0",
        *columns_line(terrain.features, terrain.columns),
    ]
    if terrain.beyond:
        many = f"{terrain.beyond:,} of {terrain.finite:,} values"
        lines.append(f"beyond ±{limit} σ: {many}, golden above and turquoise below")
    if terrain.cut:
        value, layer, column = terrain.largest
        where = f"layer {layer}, feature {edges(terrain.features, terrain.columns)[column]}"
        many = f"{terrain.cut:,} heights are cut" if terrain.cut > 1 else "1 height is cut"
        lines.append(f"{many} at ±{top} σ; the largest is {number(value)} σ ({where})")
    bad = int(terrain.nonfinite.sum())
    if bad:
        lines.append(f"green boxes: {bad:,} cells with NaN or infinity")
    return (*lines, *skips_line(run))
