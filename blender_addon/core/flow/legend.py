"""The colours of outputs in σ, and what is said about them below a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..color import NONFINITE, ColorScale, color_map
from ..images import pillow
from .compare import MASSIVE
from .page import FAINT, INK, Color, line_height, text, wrap
from .units import Units

UInt8 = npt.NDArray[np.uint8]

# What lies beyond the scale: gold above and turquoise below, which the map does not have. In OKLab
# they are 0.07 from it, from NONFINITE and from each other, for people without red or green, too.
ABOVE: Color = (224, 171, 2)
BELOW: Color = (0, 122, 131)

Said = list[tuple[str, Color]]

BAR = (288, 14)
SWATCH = 14
SIZE = 13


@dataclass(frozen=True)
class Counts:
    """How many values of a picture lie beyond its scale, and how many are not finite."""

    below: int
    above: int
    nonfinite: int

    @classmethod
    def of(cls, layers: Sequence[npt.NDArray[Any]], scale: ColorScale) -> Counts:
        """Count the values of some layers."""
        flat = np.concatenate([np.ravel(layer) for layer in layers])
        finite = np.isfinite(flat)
        below, above = finite & (flat < scale.low), finite & (flat > scale.high)
        return cls(*(int(np.count_nonzero(mask)) for mask in (below, above, ~finite)))


def colors_of(values: npt.NDArray[Any], scale: ColorScale) -> UInt8:
    """Return sRGB colours of values in σ, of their shape and three channels more.

    What lies beyond the scale is `ABOVE` or `BELOW`, what is not finite `color.NONFINITE`.
    """
    colors: UInt8 = scale.colors(values.ravel()).reshape(*values.shape, 4)[..., :3]
    finite = np.isfinite(values)
    colors[finite & (values > scale.high)] = ABOVE
    colors[finite & (values < scale.low)] = BELOW
    return colors


def scale_palette() -> UInt8:
    """Return at most 255 colours of which all our pages can be made, shape (n, 3).

    The map with every fourth colour left out, the reserved ones, and greys for words.
    """
    table = color_map(True)[:, :3]
    grays = [np.linspace(a, b, 14) for a, b in zip((25, 29, 35), INK, strict=True)]
    fixed = [ABOVE, BELOW, NONFINITE[:3]]
    kept = table[np.unique(np.linspace(0, 255, 192).round().astype(int))]
    whole = np.concatenate([kept, fixed, np.stack(grays, axis=1).round()])
    palette: UInt8 = np.unique(whole.astype(np.uint8), axis=0)
    return palette


def unit_text(units: Units, *, shared: bool) -> str:
    """Say what σ is, and what was left out of it."""
    prompts, tokens = units.prompts, units.tokens
    whose = "all layers" if shared else "each layer"
    over = f"{prompts} prompt{'s' * (prompts != 1)} and {tokens:,} token{'s' * (tokens != 1)}"
    said = f"σ is the standard deviation of {whose} in {units.of}, over {over}"
    if units.massive:
        some = "activations" if units.massive > 1 else "activation"
        said += (
            f"; left out of it are tokens with massive activations there ({units.massive:,} {some} "
            f"beyond {MASSIVE:g} times the layer's median magnitude)"
        )
    return said


def said_lines(finding: str, longest: str, lines: Sequence[str], width: float) -> Said:
    """Cut what is said below a legend into lines that fit into a width.

    Parameters
    ----------
    finding : str
        Said first and brighter; "" for nothing.
    longest : str
        It has as many lines as this one has, which may be "".
    lines : sequence of str
    width : float
        In pixels.

    Returns
    -------
    list of (str, (int, int, int))
        Words and their colour.
    """
    found = wrap(finding, SIZE, width) if finding else []
    room = len(wrap(longest, SIZE, width)) if longest else len(found)
    said = [(part, INK) for part in (*found, *[""] * room)[:room]]
    return said + [(part, FAINT) for line in lines for part in wrap(line, SIZE, width)]


def height_of(said: Said) -> int:
    """Return how high a legend is with its words, in pixels."""
    return 44 + line_height(SIZE) * len(said)


def draw_lines(page: Any, at: tuple[int, int], said: Said) -> None:
    """Write words below a legend whose corner is given, in pixels."""
    for number, (part, color) in enumerate(said):
        place = (at[0], at[1] + 44 + line_height(SIZE) * number)
        text(page, place, part, size=SIZE, color=color)


def draw_legend(
    page: Any, at: tuple[int, int], scale: ColorScale, counts: Counts, *, marked: bool
) -> None:
    """Draw colour bar and reserved colours.

    Parameters
    ----------
    page : PIL.Image.Image
    at : (int, int)
        Pixels from the left and from the top.
    scale : ColorScale
    counts : Counts
        Of the picture.
    marked : bool
        Whether any picture of the run has values that are not finite.
    """
    x, y = at
    x = round(_swatch(page, (x, y), BELOW, f"{counts.below:,} below", before=True))
    _bar(page, (x, y), scale)
    end = _swatch(page, (x + BAR[0] + 10, y), ABOVE, f"{counts.above:,} above")
    if marked:
        _swatch(page, (end + 22, y), NONFINITE[:3], f"{counts.nonfinite:,} NaN or infinite")


def _bar(page: Any, at: tuple[int, int], scale: ColorScale) -> None:
    """Draw the map from end to end, and ticks in σ."""
    across = np.linspace(scale.low, scale.high, BAR[0])
    colors = np.repeat(colors_of(across, scale)[None], BAR[1], axis=0)
    page.paste(pillow().fromarray(colors), at)
    span = scale.high - scale.low
    for tick in scale.ticks():
        x = at[0] + (tick - scale.low) / span * (BAR[0] - 1)
        page.paste(INK, (round(x), at[1] + BAR[1], round(x) + 1, at[1] + BAR[1] + 4))
        said = f"{tick:+.10g} σ" if tick in (scale.low, scale.high) else f"{tick:+.10g}"
        said = "0" if tick == 0 else said.replace("-", "−")
        text(page, (x, at[1] + BAR[1] + 7), said, size=12, anchor="ma")


def _swatch(
    page: Any, at: tuple[float, float], color: Color, said: str, *, before: bool = False
) -> float:
    """Draw a square and what it means, the words before it if asked; return where it ends."""
    x, y = at
    middle = y + SWATCH / 2
    if before:
        x = text(page, (x, middle), said, size=SIZE, anchor="lm") + 8
    page.paste(color, (round(x), round(y), round(x) + SWATCH, round(y) + SWATCH))
    if before:
        return round(x) + SWATCH + 10
    return text(page, (round(x) + SWATCH + 8, middle), said, size=SIZE, anchor="lm")
