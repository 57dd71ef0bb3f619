"""Probe files → what the panel asks about them."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import ClassVar

import bpy

from ..core.errors import SeriesError, WeightwalkError
from ..core.flow.run import FlowRun, find_run_steps
from ..core.model import Progress
from ..core.readers import printable
from .flow_properties import BETWEEN
from .job import Working
from .places import absolute


class LoadFlow(Working, bpy.types.Operator):
    """Choose a probe file, several of them, or a folder: what each layer of a model put out"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.load_flow"
    bl_label = "Load Probe"
    bl_options = {"UNDO"}  # noqa: RUF012
    title = "Reading probe files"
    shares: ClassVar = {}

    filepath: bpy.props.StringProperty(
        name="Probe",
        description="A probe file, a folder of them, or a pattern",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    directory: bpy.props.StringProperty(subtype="DIR_PATH", options={"HIDDEN", "SKIP_SAVE"})
    files: bpy.props.CollectionProperty(
        type=bpy.types.OperatorFileListElement, options={"HIDDEN", "SKIP_SAVE"}
    )
    filter_glob: bpy.props.StringProperty(default="*.safetensors", options={"HIDDEN"})
    build: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Let the person choose, unless a file is given."""
        if self.filepath:
            return self.begin(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Read at once in the background; after the file browser, begin in the window."""
        if bpy.app.background or context.window is None or not self.filepath:
            return super().execute(context)
        files = [{"name": file.name} for file in self.files]
        bpy.ops.weightwalk.load_flow(
            "INVOKE_DEFAULT", filepath=self.filepath, directory=self.directory, files=files
        )
        return {"FINISHED"}

    def work(self, _context: bpy.types.Context) -> Generator[Progress, None, FlowRun]:
        """Return the steps that read the files."""
        if not self.filepath:
            raise WeightwalkError("choose a probe file, or a folder of them")
        return _find(self._targets())

    def done(self, context: bpy.types.Context, result: FlowRun) -> None:
        """Offer what is in them."""
        context.scene.weightwalk.flow.hold(self._targets(), result)
        if result.skips:
            named = f"{printable(result.skips[0].name)}: {result.skips[0].reason}"
            self.report({"WARNING"}, f"{len(result.skips)} left out, such as {named}")
        count = len(result.probes)
        self.report({"INFO"}, f"{printable(result.name)}: {count} probe{'s' * (count != 1)}")
        if self.build and result.probes:
            # This work is not over yet: another one can begin with the next event.
            how = "EXEC_DEFAULT" if bpy.app.background else "INVOKE_DEFAULT"
            bpy.ops.weightwalk.build_flow(how)

    def _targets(self) -> tuple[str, ...]:
        """Return the files that were chosen together, or what the field has."""
        names = [file.name for file in self.files if file.name]
        if len(names) > 1:
            return tuple(str(absolute(self.directory) / name) for name in names)
        whole = absolute(self.filepath)
        parts = [self.filepath] if whole.exists() else self.filepath.split(BETWEEN)
        return tuple(str(absolute(part)) for part in parts)


def _find(targets: tuple[str, ...]) -> Generator[Progress, None, FlowRun]:
    """Find probes; in the folder of a training that has just begun there may be none yet."""
    try:
        return (yield from find_run_steps(targets))
    except SeriesError:
        folder = Path(targets[0])
        if len(targets) > 1 or not folder.is_dir() or any(folder.glob("*.safetensors")):
            raise
        return FlowRun(printable(folder.name), folder, (), ())
