"""An animation in the scene → files, by the code that the command line uses."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import ClassVar

import bpy

from .. import animate
from ..core.model import Progress
from ..files import REPORT, safe_name
from ..scene.mesh import MARK
from ..scene.ours import find_root, objects_in, ours_among
from .job import WorkingOnSurfaces
from .places import absolute
from .preferences import cache_folder
from .replacing import Replacing, require_folder
from .session import session


class ExportRun(Replacing, WorkingOnSurfaces, bpy.types.Operator):
    """Write the animation, as it stands, and a report of what it is"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.export_run"
    bl_label = "Export Animation"
    title = "Exporting"
    shares: ClassVar = {
        "open": 0.01,
        "fields": 0.1,
        "imports": 0.01,
        "surfaces": 0.1,
        "place": 0.02,
        "glb": 0.1,
        "files": 0.01,
        "frames": 0.6,
        "dataset": 0.05,
    }

    sure: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With an animation."""
        if not super().poll(context):
            return False
        if session().record(context.scene).series is None:
            cls.poll_message_set("build an animation first")
            return False
        return True

    def written(self, context: bpy.types.Context) -> list[Path]:
        """Return where the files will be; frames that are there already are made use of."""
        output = context.scene.weightwalk.run.output()
        name = safe_name(session().record(context.scene).model)
        names = [*(f"{name}.{kind}" for kind in output.formats if kind != "frames"), REPORT]
        return [output.directory / each for each in names]

    def work(self, context: bpy.types.Context) -> Generator[Progress, None, tuple[Path, ...]]:
        """Return the steps that write the files."""
        weights = context.scene.weightwalk
        require_folder(context)
        camera = _overview(context.scene) if weights.run.camera == "overview" else None
        return animate.export_run_steps(
            context.scene, session().record(context.scene), weights.run.output(),
            cache=cache_folder(context), camera=camera,
        )  # fmt: skip

    def done(self, context: bpy.types.Context, result: tuple[Path, ...]) -> None:
        """Name the files."""
        names = ", ".join(path.name for path in result)
        self.report({"INFO"}, f"{absolute(context.scene.weightwalk.export_folder)}: {names}")


def _overview(scene: bpy.types.Scene) -> str | None:
    """Return the name of our camera that stands still and sees everything."""
    cameras = [o for o in ours_among(objects_in(find_root(scene))) if o.type == "CAMERA"]
    return next((o.name for o in cameras if str(o[MARK]).startswith("Overview")), None)
