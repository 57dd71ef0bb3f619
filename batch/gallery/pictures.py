"""A card's picture, made of what a part drew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import MissingDependencyError
from ...core.images import pillow

WIDTH = 800
STRONG = 48  # difference of a pixel's channels from which on it is a surface's, and no lettering
BLOCKS = 50  # in a picture's width; the legend's bar is thin, and so it covers few of them
_KINDS = (".png", ".gif")


def card(scenes: list[Path], charts: list[Path], target: Path) -> bool:
    """Write the first picture that can be read as a WebP of at most `WIDTH` pixels.

    Of a film it is the last frame, for that is what came of it. A scene is cut to where its
    surfaces are: as small as a card, all of it is mostly dark, and its words cannot be read.

    Returns
    -------
    bool
        Whether there is one.
    """
    try:
        image = pillow()
    except MissingDependencyError:
        return False
    for source in (*scenes, *charts):
        try:
            with image.open(source) as opened:
                opened.seek(getattr(opened, "n_frames", 1) - 1)
                picture = opened.convert("RGB")
            if source in scenes:
                picture.thumbnail((2 * WIDTH, 2 * WIDTH))
                picture = picture.crop(_surfaces_in(picture))
            picture.thumbnail((WIDTH, WIDTH))
            picture.save(target, "WEBP", quality=82, method=6)
            return True
        except (OSError, ValueError, SyntaxError, image.DecompressionBombError):
            target.unlink(missing_ok=True)  # a broken picture is no reason to have no page
    return False


def _surfaces_in(picture: Any) -> tuple[int, int, int, int]:
    """Return the edges of the half of a picture, by width and height, that has the most colour.

    Where that is so in several places, it is in their middle.
    """
    side = max(picture.width // BLOCKS, 1)
    pixels = np.asarray(picture).astype(np.int16)
    colored = pixels.max(axis=2) - pixels.min(axis=2) > STRONG
    down, across = colored.shape[0] // side, colored.shape[1] // side
    blocks = colored[: down * side, : across * side].reshape(down, side, across, side)
    if min(down, across) < 2 or not blocks.any():
        return (0, 0, *picture.size)
    half = (down // 2, across // 2)
    counts = np.lib.stride_tricks.sliding_window_view(blocks.any(axis=(1, 3)), half).sum((2, 3))
    rows, columns = np.nonzero(counts == counts.max())
    width, height = picture.width // 2, picture.height // 2
    left = min(round(float(columns.mean()) * side), picture.width - width)
    top = min(round(float(rows.mean()) * side), picture.height - height)
    return left, top, left + width, top + height


def of_card(names: list[str]) -> list[str]:
    """Return the names of pictures, the best for a card first."""
    return sorted(
        (n for n in names if n.endswith(_KINDS)), key=lambda n: (_KINDS.index(n[-4:]), len(n), n)
    )
