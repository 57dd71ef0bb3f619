"""Surfaces of the scene → files, by the code that the command line uses."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import ClassVar

import bpy

from .. import pipeline
from ..core.errors import WeightwalkError
from ..core.model import Progress
from ..core.settings import OutputSettings
from ..files import REPORT, file_name
from ..scene.ours import find_root, objects_in, ours_among
from .job import WorkingOnSurfaces
from .places import absolute
from .preferences import cache_folder
from .replacing import Replacing, require_folder
from .session import session, visible_surfaces


class Export(Replacing, WorkingOnSurfaces, bpy.types.Operator):
    """Write the surfaces, as they stand, and a report of what they are"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.export"
    bl_label = "Export"
    title = "Exporting"

    sure: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"})
    shares: ClassVar = {"surfaces": 0.3, "files": 0.7}

    def written(self, context: bpy.types.Context) -> list[Path]:
        """Return where the files will be."""
        output, record = _output(context.scene.weightwalk), session().record(context.scene)
        name = file_name(record.model, output)
        names = [*(f"{name}.{kind}" for kind in output.formats), REPORT]
        return [output.directory / each for each in names]

    def work(self, context: bpy.types.Context) -> Generator[Progress, None, tuple[Path, ...]]:
        """Return the steps that write the files."""
        weights = context.scene.weightwalk
        require_folder(context)
        things = visible_surfaces(context.scene)
        if weights.export_scope == "selected":
            things = [thing for thing in things if thing.select_get()]
        if not things:
            raise WeightwalkError(f"no surface is {weights.export_scope}")
        output = _output(weights)
        record = session().record(context.scene)
        held = ours_among(objects_in(find_root(context.scene)))
        own = next((thing.name for thing in held if thing.type == "CAMERA"), None)
        camera = own if weights.export_camera == "overview" else None
        cache = cache_folder(context)
        return pipeline.export_steps(
            context.scene, things, record, output, cache=cache, camera=camera
        )

    def done(self, context: bpy.types.Context, result: tuple[Path, ...]) -> None:
        """Name the files."""
        names = ", ".join(path.name for path in result)
        self.report({"INFO"}, f"{result[0].parent}: {names}")


def _output(weights: bpy.types.PropertyGroup) -> OutputSettings:
    formats = tuple(f for f in ("stl", "glb", "png") if f in weights.export_formats)
    return OutputSettings(absolute(weights.export_folder), formats)
