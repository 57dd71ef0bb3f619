"""Operators that write files, and ask before they replace some."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bpy

from ..core.errors import WeightwalkError
from .job import Working
from .places import absolute


class Replacing(Working):
    """Base of operators with a property ``sure``, which write into the folder that was chosen."""

    sure: Any

    def written(self, context: bpy.types.Context) -> Iterable[Path]:
        """Return where the files will be; a folder has been chosen."""
        raise NotImplementedError

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask before files of the same names are replaced."""
        folder = context.scene.weightwalk.export_folder
        asks = folder and not self.sure
        there = [path.name for path in self.written(context) if path.exists()] if asks else []
        if there:
            bpy.ops.weightwalk.confirm(
                "INVOKE_DEFAULT",
                operator=type(self).bl_idname.partition(".")[2],
                question=f"{', '.join(there)}: already in {absolute(folder)}",
                yes="Replace",
            )
            return {"CANCELLED"}
        return self.begin(context)


def require_folder(context: bpy.types.Context) -> None:
    """Raise `WeightwalkError` where no folder was chosen."""
    if not context.scene.weightwalk.export_folder:
        raise WeightwalkError("choose a folder for the files")
