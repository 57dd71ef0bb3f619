"""Pillow, which reads and writes pictures, imported when there are some."""

from __future__ import annotations

from typing import Any

from .errors import MissingDependencyError


def pillow() -> Any:
    """Return Pillow's ``PIL.Image``.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise MissingDependencyError("pictures need Pillow: pip install pillow") from None
    return Image
