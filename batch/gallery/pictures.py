"""A card's picture, made of what a part drew."""

from __future__ import annotations

from pathlib import Path

from ...core.errors import MissingDependencyError
from ...core.images import pillow

WIDTH = 800
_KINDS = (".png", ".gif")


def card(sources: list[Path], target: Path) -> bool:
    """Write the first picture that can be read as a WebP of at most `WIDTH` pixels.

    Of a film it is the last frame, for that is what came of it.

    Returns
    -------
    bool
        Whether there is one.
    """
    try:
        image = pillow()
    except MissingDependencyError:
        return False
    for source in sources:
        try:
            with image.open(source) as opened:
                opened.seek(getattr(opened, "n_frames", 1) - 1)
                picture = opened.convert("RGB")
            picture.thumbnail((WIDTH, WIDTH))
            picture.save(target, "WEBP", quality=82, method=6)
            return True
        except (OSError, ValueError, SyntaxError, image.DecompressionBombError):
            target.unlink(missing_ok=True)  # a broken picture is no reason to have no page
    return False


def of_card(names: list[str]) -> list[str]:
    """Return the names of pictures, the best for a card first."""
    return sorted(
        (n for n in names if n.endswith(_KINDS)), key=lambda n: (_KINDS.index(n[-4:]), len(n), n)
    )
