"""The scene as a .blend."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import bpy

from ..core.errors import OutputError


def save(path: Path) -> None:
    """Save everything to a compressed .blend, without making it the file at hand.

    Raises
    ------
    OutputError
        Blender could not write it.
    """
    said = ""
    try:
        with _silence():
            bpy.ops.wm.save_as_mainfile(
                filepath=str(path), copy=True, check_existing=False, compress=True
            )
    except RuntimeError as error:
        # Blender's reason is often another one than the disk's.
        said = f" ({' '.join(str(error).split())})"
    if said or not path.exists():
        raise OutputError(f"cannot write {path}: Blender could not; is the disk full?{said}")


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what Blender itself says ("Info: Saved copy as …") out of the standard output."""
    # It says it through Python's standard output or through that of C.
    with redirect_stdout(StringIO()):
        try:
            kept = os.dup(1)
        except OSError:  # a windowed Blender may have none
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 (a name, not a path)
                os.dup2(nowhere.fileno(), 1)
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
