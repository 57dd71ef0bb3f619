"""A dark page and what is written on it; needs Pillow, and no font of the machine's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OutputError
from ..images import pillow
from ..text import printable

Color = tuple[int, int, int]

# The world's background and the ink of `scene.build`, sRGB-encoded.
BACKGROUND: Color = (25, 29, 35)
INK: Color = (231, 234, 239)
# For what is said beside the point; for lines; for a ground under words.
FAINT: Color = (150, 157, 168)
RULE: Color = (66, 73, 84)
PANEL: Color = (38, 43, 51)

# Pillow's own font has little more than ASCII. What it lacks is looked for in these, in the words
# of a person's prompts alone: our own words look the same on every machine.
OTHERS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "arial.ttf", "Arial.ttf",
    "Arial Unicode.ttf", "PingFang.ttc", "msyh.ttc", "YuGothR.ttc", "malgun.ttf",
)  # fmt: skip
# Drawn by us.
OWN = "σ×"


def new_page(width: int, height: int) -> Any:
    """Return an empty page, a Pillow image."""
    return pillow().new("RGB", (width, height), BACKGROUND)


def save_png(path: Path, picture: npt.NDArray[np.uint8] | Any) -> None:
    """Write a page, or pixels of shape (height, width, 3), without anything beside them.

    Raises
    ------
    OutputError
        With the system's reason.
    """
    image = pillow().fromarray(picture) if isinstance(picture, np.ndarray) else picture
    try:
        image.save(path, "PNG")
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def text(
    page: Any,
    at: tuple[float, float],
    words: str,
    *,
    size: int = 13,
    color: Color = INK,
    anchor: str = "la",
) -> float:
    """Write a line on a page.

    Parameters
    ----------
    page : PIL.Image.Image
    at : (float, float)
        Pixels from the left and from the top.
    words : str
        What cannot be drawn is escaped.
    size : int
        Pixels of an em.
    color : (int, int, int)
    anchor : str
        What `at` is of the line: l, m or r for its left end, middle or right end; then a, m or s
        for its top, the middle of its capitals, or its baseline.

    Returns
    -------
    float
        Where the line ends.
    """
    from PIL import ImageDraw

    x, y = at
    x -= {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * text_width(words, size)
    y += {"a": font(size).getmetrics()[0], "m": round(0.355 * size), "s": 0}[anchor[1]]
    draw = ImageDraw.Draw(page)
    for piece, face in _pieces(words, size):
        if face is None:
            _draw_own(page, (x, y), piece, size, color)
        else:
            draw.text((round(x), round(y)), piece, color, face, anchor="ls")
        x += _length(piece, face, size)
    return x


def text_width(words: str, size: int = 13) -> float:
    """Return how wide a line is, in pixels."""
    return sum(_length(piece, face, size) for piece, face in _pieces(words, size))


def shorten(words: str, size: int, width: float) -> str:
    """Return the beginning of a line that fits into a width, with … where something is missing."""
    words = words[:2000]
    if text_width(words, size) <= width:
        return words
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        fits = text_width(words[:middle] + "…", size) <= width
        low, high = (middle, high) if fits else (low, middle - 1)
    return words[:low].rstrip() + "…"


def wrap(words: str, size: int, width: float) -> list[str]:
    """Cut words into lines that fit into a width."""
    lines: list[str] = []
    line = ""
    for word in words.split(" "):
        longer = f"{line} {word}" if line else word
        if line and text_width(longer, size) > width:
            lines.append(line)
            longer = word
        line = longer
    return [shorten(each, size, width) for each in (*lines, line)]


def line_height(size: int) -> int:
    """Return from one line to the next, in pixels."""
    return round(1.45 * size)


@cache
def font(size: int) -> Any:
    """Return Pillow's own font."""
    pillow()
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _pieces(words: str, size: int) -> Iterator[tuple[str, Any]]:
    """Cut a line where the font changes; of what we draw ourselves, the font is None."""
    found: list[tuple[str, Any]] = []
    for character in words.replace("−", "–"):
        face = _face(character, size)
        if face is False:
            escaped = character.encode("unicode_escape", "surrogatepass").decode()
            found += [(each, font(size)) for each in escaped]
        else:
            found.append((character, face))
    for _, group in groupby(found, lambda pair: id(pair[1])):
        same = list(group)
        yield "".join(character for character, _ in same), same[0][1]


@cache
def _face(character: str, size: int) -> Any:
    """Return what draws a character: a font, None for ourselves, or False for nothing."""
    if character in OWN:
        return None
    if printable(character) == character:
        for face in (font(size), *_others(size)):
            if _has(face, character):
                return face
    return False


@cache
def _others(size: int) -> tuple[Any, ...]:
    from PIL import ImageFont

    found = []
    for name in OTHERS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return tuple(found)


def _has(face: Any, character: str) -> bool:
    """Return whether a font has a character: what it lacks it draws as it does U+FFFF."""
    return bytes(face.getmask(character)) != _missing(face)


@cache
def _missing(face: Any) -> bytes:
    return bytes(face.getmask("\uffff"))


def _length(piece: str, face: Any, size: int) -> float:
    if face is None:
        return 0.6 * size * len(piece)
    length: float = face.getlength(piece)
    return length


def _draw_own(page: Any, at: tuple[float, float], piece: str, size: int, color: Color) -> None:
    """Draw σ and ×, eight times as large and then made smaller, for smooth edges."""
    from PIL import ImageDraw

    big = 8 * size
    pen = max(round(0.085 * big), 1)
    for number, character in enumerate(piece):
        mask = pillow().new("L", (big, big))
        draw = ImageDraw.Draw(mask)
        # Of an em: the baseline lies at 0.75, small letters are 0.52 high.
        top, low = round(0.23 * big), round(0.76 * big)
        if character == "σ":
            right = round(0.04 * big) + (low - top)
            draw.ellipse((round(0.04 * big), top, right - pen // 2, low), outline=255, width=pen)
            draw.rectangle((round(0.3 * big), top, round(0.58 * big), top + pen), fill=255)
        else:
            left, right, up = round(0.09 * big), round(0.48 * big), round(0.30 * big)
            down = up + right - left
            draw.line((left, up, right, down), fill=255, width=pen)
            draw.line((left, down, right, up), fill=255, width=pen)
        corner = (round(at[0] + 0.6 * size * number), round(at[1] - 0.75 * size))
        page.paste(color, corner, mask.reduce(8))
