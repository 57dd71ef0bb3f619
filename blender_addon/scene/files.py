"""The scene as a .blend."""

from __future__ import annotations

from pathlib import Path
from shutil import disk_usage

import bpy

from ..core.errors import OutputError
from ..quiet import silence


def save(path: Path, *, compress: bool = True) -> None:
    """Save everything to a .blend, without making it the file at hand.

    Raises
    ------
    OutputError
        Blender could not write it.
    """
    said = ""
    try:
        with silence():
            # Blender takes a relative path for one from the folder in PWD, which may be another.
            bpy.ops.wm.save_as_mainfile(
                filepath=str(path.absolute()), copy=True, check_existing=False, compress=compress
            )
    except RuntimeError as error:
        # Blender's reason is often another one than the disk's.
        said = f" ({' '.join(str(error).split())})"
    # On a disk that fills Blender may report success for a file that is cut.
    if said or not path.exists() or not disk_usage(path.parent).free:
        raise OutputError(f"cannot write {path}: Blender could not; is the disk full?{said}")
