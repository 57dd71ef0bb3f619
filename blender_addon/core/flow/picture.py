"""One token's outputs of all layers → a page: cells, ticks, words and a legend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..color import ColorScale
from ..errors import SettingsError
from ..images import pillow
from ..text import printable
from .grid import Arranged, arrange
from .legend import Counts, colors_of, draw_legend, draw_lines, height_of, said_lines
from .page import (
    BACKGROUND,
    FAINT,
    INK,
    PANEL,
    new_page,
    shorten,
    text,
    text_width,
)
from .settings import FlowSettings

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]
Int64 = npt.NDArray[np.int64]

MARGIN = 28
NARROWEST = 860  # pixels of a page, for its words
ABOUT = (1100, 640)  # pixels of the cells where no zoom is asked for
LARGEST_CELL = (24, 36)
MOST = 60_000_000  # pixels of a picture
TICK = 12  # the size of their words
CHIP = 22


@dataclass(frozen=True)
class Words:
    """What is written on a page.

    Attributes
    ----------
    title : str
        The model.
    label : str
        The step, or what is subtracted from what; "" where there is one step.
    subtitle : str
    tokens : tuple of str
        Of the prompt.
    shown : int
        Which of these; -1 for none.
    lines : tuple of str
        Of the legend.
    finding : str
        Said first and brighter.
    longest : str
        The longest finding of a run, for which there is room on every page of it.
    mark : int or None
        The layer that the finding is about.
    """

    title: str
    label: str
    subtitle: str
    tokens: tuple[str, ...]
    shown: int
    lines: tuple[str, ...]
    finding: str = ""
    longest: str = ""
    mark: int | None = None


@dataclass(frozen=True)
class Plot:
    """Where the cells lie on a page.

    Attributes
    ----------
    arranged : Arranged
    cell : (int, int)
        Pixels that a value is wide and high.
    gap : int
        Pixels between bands, or between layers.
    corner : (int, int)
        Of the first cell.
    """

    arranged: Arranged
    cell: tuple[int, int]
    gap: int
    corner: tuple[int, int]

    @property
    def together(self) -> int:
        """Rows without a gap between them."""
        bands = self.arranged.layout == "bands"
        return len(self.arranged.features) if bands else self.arranged.chunks

    @property
    def size(self) -> tuple[int, int]:
        """Pixels that all cells are wide and high."""
        height = self.arranged.height
        gaps = (height // self.together - 1) * self.gap
        return self.arranged.width * self.cell[0], height * self.cell[1] + gaps

    def top(self, row: int) -> int:
        """Return the pixel at which a row begins."""
        return int(self.corner[1] + row * self.cell[1] + row // self.together * self.gap)

    def middle(self, layer: int, chunk: int = 0) -> float:
        """Return the pixel in the middle of a layer's rows: of a chunk's in bands, else of all."""
        rows = self.arranged.rows(layer)
        bands = self.arranged.layout == "bands"
        top, end = (self.top(rows[chunk]), self.top(rows[chunk if bands else -1]))
        return (top + end + self.cell[1]) / 2

    def paint(self, colors: UInt8) -> UInt8:
        """Return pixels of cells' colours, shape (height, width, 3); gaps are the background's."""
        rows = np.arange(self.arranged.height)
        painted = np.full((*self.size[::-1], 3), BACKGROUND, np.uint8)
        tops = rows * self.cell[1] + rows // self.together * self.gap
        at = (tops[:, None] + np.arange(self.cell[1])).ravel()
        painted[at] = colors.repeat(self.cell[1], axis=0).repeat(self.cell[0], axis=1)
        return painted


def plot_of(features: Sequence[int], settings: FlowSettings) -> Plot:
    """Choose how large cells are, and where they lie.

    Raises
    ------
    SettingsError
        The picture would be too large.
    """
    width = min(settings.width, max(features))
    arranged = Arranged(tuple(features), width, settings.layout)
    cell = (settings.zoom or 0,) * 2
    if settings.zoom is None:
        about = zip(ABOUT, (width, arranged.height), LARGEST_CELL, strict=True)
        cell = tuple(min(max(round(a / n), 1), most) for a, n, most in about)  # type: ignore[assignment]
    gap = 10 if settings.layout == "bands" else 1 if arranged.chunks * cell[1] >= 6 else 0
    gap *= arranged.chunks > 1
    digits = text_width(str(len(features) - 1), TICK)
    left = MARGIN + max(round(digits), round(text_width("layer", TICK))) + 12
    plot = Plot(arranged, cell, gap, (left, 150))
    check_pixels(plot.size)
    return plot


def check_pixels(size: tuple[int, int]) -> None:
    """Raise `SettingsError` where a picture has more pixels than a viewer likes."""
    if size[0] * size[1] > MOST or max(size) > 60_000:
        raise SettingsError(
            f"the picture would be {size[0]:,} × {size[1]:,} pixels; choose a smaller zoom or width"
        )


def draw_picture(
    layers: Sequence[Float32],
    plot: Plot,
    scale: ColorScale,
    words: Words,
    *,
    marked: bool = False,
) -> Any:
    """Draw a page.

    Parameters
    ----------
    layers : sequence of ndarray of float32, shape (features,)
        One token's outputs, in σ.
    plot : Plot
    scale : ColorScale
    words : Words
    marked : bool
        Whether the legend tells of values that are not finite; pages of one run are alike.

    Returns
    -------
    PIL.Image.Image
    """
    grid, there = arrange(layers, plot.arranged.width, plot.arranged.layout)
    colors = colors_of(grid, scale)
    colors[~there] = BACKGROUND
    bands = plot.arranged.layout == "bands" and plot.arranged.chunks > 1
    beside = round(text_width(_range(plot, plot.arranged.chunks - 1), TICK)) + 10 if bands else 0
    width = max(plot.corner[0] + plot.size[0] + beside + MARGIN, NARROWEST)
    room = width - 2 * MARGIN
    below = plot.corner[1] + plot.size[1] + 46
    said = said_lines(words.finding, words.longest, words.lines, room)
    height = below + height_of(said) + MARGIN - 6
    page = new_page(width + width % 2, height + height % 2)  # a movie's sides are even
    page.paste(pillow().fromarray(plot.paint(colors)), plot.corner)
    _draw_head(page, words)
    _draw_layers(page, plot, words.mark)
    _draw_features(page, plot, bands=bands)
    draw_legend(page, (MARGIN, below), scale, Counts.of(layers, scale), marked=marked)
    draw_lines(page, (MARGIN, below), said)
    return page


def _draw_head(page: Any, words: Words) -> None:
    room = page.width - 2 * MARGIN
    label = shorten(printable(words.label), 30, 0.55 * room)
    text(page, (page.width - MARGIN, 52), label, size=30, anchor="rs")
    left = room - text_width(label, 30) - 30 if label else room
    text(page, (MARGIN, 50), shorten(printable(words.title), 23, left), size=23, anchor="ls")
    text(page, (MARGIN, 64), shorten(words.subtitle, 13, room), color=FAINT)
    _draw_tokens(page, words, room)


def _draw_tokens(page: Any, words: Words, room: float) -> None:
    """Draw a prompt's tokens as far as there is room, the shown one set off."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(page)
    x: float = MARGIN
    for number, said, width in _chips(words.tokens, words.shown, room):
        shown = number == words.shown
        if number is not None:
            box = (round(x), 93, round(x + width), 93 + CHIP)
            draw.rounded_rectangle(box, 4, fill=INK if shown else PANEL)
        color = BACKGROUND if shown else FAINT
        text(page, (x + width / 2, 93 + CHIP / 2), said, color=color, anchor="mm")
        x += width + 3


def _chips(
    tokens: Sequence[str], shown: int, room: float
) -> Iterator[tuple[int | None, str, float]]:
    """Give index, words and width of what there is room for, around the shown token."""
    if not tokens:
        return
    centre = shown if 0 <= shown < len(tokens) else len(tokens) - 1
    said = {centre: _token(tokens[centre])}
    width = {centre: _wide(said[centre])}
    first = last = centre
    left = room - width[centre] - 60
    for _ in range(2 * len(tokens)):
        # What came before explains more than what comes after.
        for number in (first - 1, last + 1):
            if not 0 <= number < len(tokens):
                continue
            said[number] = _token(tokens[number])
            width[number] = _wide(said[number])
            left -= width[number] + 3
            if left < 0:
                break
            first, last = min(first, number), max(last, number)
        if left < 0 or (first == 0 and last == len(tokens) - 1):
            break
    if first > 0:
        yield None, "…", 16.0
    for number in range(first, last + 1):
        yield number, said[number], width[number]
    if last < len(tokens) - 1:
        yield None, "…", 16.0


def _token(token: str) -> str:
    """Return a token as one short line, its spaces visible where there is nothing else."""
    line = printable(token, 80)
    line = line if line.strip() else "·" * len(line)
    return shorten(line, 13, 240.0)


def _wide(said: str) -> float:
    return max(round(text_width(said)) + 12, 16)


def _draw_layers(page: Any, plot: Plot, mark: int | None) -> None:
    """Write the layers' numbers at their rows, as many as have room, and point at the mark."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(page)
    arranged, x = plot.arranged, plot.corner[0]
    bands = arranged.layout == "bands"
    pitch = plot.cell[1] if bands else plot.cell[1] * arranged.chunks + plot.gap
    step = spacing(pitch, TICK + 2)
    text(page, (x - 10, plot.corner[1] - 11), "layer", size=TICK, color=FAINT, anchor="rs")
    for chunk in range(arranged.chunks if bands else 1):
        for layer in range(0, len(arranged.features), step):
            middle = plot.middle(layer, chunk)
            color = INK if layer == mark else FAINT
            text(page, (x - 10, middle), str(layer), size=TICK, color=color, anchor="rm")
            page.paste(FAINT, (x - 6, round(middle - 0.5), x - 2, round(middle - 0.5) + 1))
        if mark is not None:
            y = plot.middle(mark, chunk)
            draw.polygon([(x - 8, y - 4), (x - 8, y + 4), (x - 2, y)], fill=INK)


def _draw_features(page: Any, plot: Plot, *, bands: bool) -> None:
    """Say which features a band has, and number the columns."""
    arranged, (left, top) = plot.arranged, plot.corner
    bottom = top + plot.size[1]
    for chunk in range(arranged.chunks if bands else 0):
        first = plot.top(chunk * plot.together)
        middle = first + plot.together * plot.cell[1] / 2
        end = left + len(_chunk(plot, chunk)) * plot.cell[0]
        text(page, (end + 8, middle), _range(plot, chunk), size=TICK, color=FAINT, anchor="lm")
    step = spacing(plot.cell[0], 64)
    sign = "+" if arranged.chunks > 1 else ""
    for column in range(0, arranged.width, step):
        x = left + round((column + 0.5) * plot.cell[0])
        page.paste(FAINT, (x, bottom + 3, x + 1, bottom + 7))
        said = f"{sign}{column}" if column else "feature" if not sign else "feature +0"
        anchor = "ma" if column else "la"
        at = (x if column else left, bottom + 9)
        text(page, at, "feature 0" if said == "feature" else said, size=TICK, color=FAINT,
             anchor=anchor)  # fmt: skip


def _range(plot: Plot, chunk: int) -> str:
    features = _chunk(plot, chunk)
    return f"features {features[0]}–{features[-1]}"


def _chunk(plot: Plot, chunk: int) -> range:
    """Return the features of a chunk."""
    first = chunk * plot.arranged.width
    return range(first, min(first + plot.arranged.width, max(plot.arranged.features)))


def spacing(pitch: float, room: float) -> int:
    """Return every how manieth tick has its room, in pixels: 1, 2, 5 or 10 times a power of ten."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power * pitch >= room:
                return factor * power
        power *= 10
