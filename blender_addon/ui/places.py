"""Where the files and models are that a property names."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import bpy

from ..core.errors import CheckpointError
from ..core.fetching import opened
from ..core.location import Location, Url, is_url
from ..core.model import Progress
from ..core.readers import Checkpoint, printable
from ..core.stages import told
from .preferences import cache_folder

OFFLINE = (
    "this is on another machine, and Blender may not go online: "
    "Edit → Preferences → System → Network → Allow Online Access allows it"
)


def absolute(path: str) -> Path:
    """Return a path out of a property, which may be relative to the .blend, as a whole one."""
    return Path(bpy.path.abspath(path)).absolute()


def located(path: str) -> Location:
    """Return where a model is that a property names: a whole path, or a URL.

    Raises
    ------
    CheckpointError
        It is a URL, and Blender may not go online.
    """
    if not is_url(path):
        return absolute(path)
    if not bpy.app.online_access:
        raise CheckpointError(f"{printable(Url(path), 1000)}: {OFFLINE}")
    return Url(path, cache_folder(bpy.context).absolute() / "blocks")


def opening(where: Location) -> Generator[Progress, None, Checkpoint]:
    """Open a checkpoint in steps, for its headers may have to be fetched."""
    return (yield from told(opened(where), Progress("open", 0, 1, printable(where.name))))
