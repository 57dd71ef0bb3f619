"""The scene as a .blend."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..core.errors import OutputError


def save(path: Path) -> None:
    """Save everything to a .blend, without making it the file at hand.

    Raises
    ------
    OutputError
        Blender could not write it.
    """
    try:
        bpy.ops.wm.save_as_mainfile(filepath=str(path), copy=True, check_existing=False)
    except RuntimeError as error:
        raise OutputError(f"cannot write {path.name}: {str(error).strip()}") from error
    if not path.exists():
        raise OutputError(f"cannot write {path.name}")
