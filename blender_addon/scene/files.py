"""The scene as a .blend."""

from __future__ import annotations

from pathlib import Path

import bpy

from ..core.errors import OutputError
from ..quiet import silence


def save(path: Path) -> None:
    """Save everything to a compressed .blend, without making it the file at hand.

    Raises
    ------
    OutputError
        Blender could not write it.
    """
    said = ""
    try:
        with silence():
            bpy.ops.wm.save_as_mainfile(
                filepath=str(path), copy=True, check_existing=False, compress=True
            )
    except RuntimeError as error:
        # Blender's reason is often another one than the disk's.
        said = f" ({' '.join(str(error).split())})"
    if said or not path.exists():
        raise OutputError(f"cannot write {path}: Blender could not; is the disk full?{said}")
