"""A training run's headers → its steps and the tensor list."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import ClassVar

import bpy

from ..core.errors import SeriesError, WeightwalkError
from ..core.model import Progress
from ..core.readers import open_checkpoint, printable
from ..core.series import Series, Step, find_series_steps
from ..core.watch import Watch
from .job import Working
from .load import fill
from .places import absolute
from .run_properties import TrainingRun


class LoadRun(Working, bpy.types.Operator):
    """Choose the folder of a training run, and see which checkpoints are in it"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.load_run"
    bl_label = "Load Training Run"
    bl_options = {"UNDO"}  # noqa: RUF012
    title = "Looking for checkpoints"
    shares: ClassVar = {"series": 1.0}

    directory: bpy.props.StringProperty(
        name="Folder",
        description="With checkpoint-500, checkpoint-1000 and so on, or step-500.safetensors; "
        "or a pattern",
        subtype="DIR_PATH",
        options={"SKIP_SAVE"},
    )
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Let the person choose, unless a folder is given."""
        if self.directory:
            return self.begin(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Look at once in the background; after the file browser, begin in the window."""
        if bpy.app.background or context.window is None or not self.directory:
            return super().execute(context)
        bpy.ops.weightwalk.load_run("INVOKE_DEFAULT", directory=self.directory)
        return {"FINISHED"}

    def work(self, _context: bpy.types.Context) -> Generator[Progress, None, Series]:
        """Return the steps that open the headers."""
        if not self.directory:
            raise WeightwalkError("choose the folder of a training run")
        return _find(str(absolute(self.directory)))

    def done(self, context: bpy.types.Context, result: Series) -> None:
        """List the tensors of the first step."""
        steps = result.steps
        if steps:
            list_tensors(context, result.name, steps[0])
        else:
            weights = context.scene.weightwalk
            weights.tensors.clear()
            weights.path = weights.stamp = weights.title = weights.cost = ""
        run = context.scene.weightwalk.run
        run.loaded = run.folder = str(absolute(self.directory))
        run.left_out = "\n".join(f"{printable(s.name)}: {s.reason}" for s in result.skips)
        list_steps(run, steps)
        if result.skips:
            named = f"{printable(result.skips[0].name)}: {result.skips[0].reason}"
            self.report({"WARNING"}, f"{len(result.skips)} left out, such as {named}")
        self.report({"INFO"}, f"{printable(result.name)}: {len(steps)} steps")


def list_tensors(context: bpy.types.Context, name: str, step: Step) -> None:
    """List what the first checkpoint of a run has; that it is of a run has to be said anew."""
    weights = context.scene.weightwalk
    with open_checkpoint(step.path) as checkpoint:
        fill(weights, checkpoint, context)
    weights.title = printable(f"{name}: {step.label}")


def list_steps(run: TrainingRun, steps: Sequence[Step]) -> None:
    """Note which steps a run has."""
    run.found = json.dumps([step.label for step in steps])
    run.tell_cost()


def _find(target: str) -> Generator[Progress, None, Series]:
    """Find a series; of a training run that has just begun, what there is of it."""
    try:
        return (yield from find_series_steps((target,)))
    except SeriesError:
        # It may be the folder of a training that has just begun, or will.
        if not Path(target).is_dir():
            raise
        watch = Watch((target,))
        for _ in range(2):  # what rests is complete
            _, skips = watch.poll()
            if skips:
                raise
        begun = watch.series or Series(printable(Path(target).name), Path(target), (), ())
        if len(begun.steps) > 1 or not (begun.steps or _may_begin(Path(target))):
            raise
        return begun


def _may_begin(folder: Path) -> bool:
    """Return whether a folder has checkpoints that may grow, or nothing yet that is no log."""
    entries = list(folder.iterdir())
    own = any(entry.is_dir() and entry.name.startswith("checkpoint-") for entry in entries)
    return own or not any(entry.suffix in {".safetensors", ".json"} for entry in entries)
