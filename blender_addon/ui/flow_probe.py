"""A model and a prompt → a probe file, where Blender's Python has torch."""

from __future__ import annotations

from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import ClassVar

import bpy

from ..core.errors import WeightwalkError
from ..core.flow.settings import ProbeSettings
from ..core.model import Progress
from ..files import safe_name
from ..scene.probe import probe_apart_steps
from .job import Working
from .places import absolute

COMMANDS = ("pip install 'weightwalk[probe]'", "weightwalk probe MODEL --out DIR")
OUTSIDE = "Blender's Python has no torch and transformers; make the file in a terminal:"


@cache
def missing() -> str:
    """Say what this Blender's Python lacks for a probe, or ""; a package is found once."""
    from ..probing import missing as needed  # Blender starts without it

    return needed()


class RunProbe(Working, bpy.types.Operator):
    """Give the model the prompt, keep what each layer puts out as a probe file, and load it. Esc cancels"""  # noqa: D400, E501 (a tooltip)

    bl_idname = "weightwalk.run_probe"
    bl_label = "Run Probe"
    bl_options = {"UNDO"}  # noqa: RUF012
    title = "Probing"
    shares: ClassVar = {"imports": 0.2, "model": 0.6, "probe": 0.2}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Where it can be done."""
        if missing():
            cls.poll_message_set(missing())
            return False
        return super().poll(context)

    def work(self, context: bpy.types.Context) -> Generator[Progress, None, Path]:
        """Return the steps from the model to the file."""
        weights = context.scene.weightwalk
        flow = weights.flow
        if not flow.model:
            raise WeightwalkError("choose a model: its folder, or a GGUF file")
        if not weights.export_folder:
            raise WeightwalkError("choose a folder for the file")
        model = absolute(flow.model)
        prompts = (flow.text,) if flow.text else ()
        settings = ProbeSettings(model, prompts, token=flow.keep)
        name = safe_name(f"{model.stem if model.is_file() else model.name}-probe")
        return probe_apart_steps(settings, _free(absolute(weights.export_folder), name))

    def done(self, context: bpy.types.Context, result: Path) -> None:
        """Load it."""
        self.report({"INFO"}, f"{result} was written")
        bpy.ops.weightwalk.load_flow("EXEC_DEFAULT", filepath=str(result))


def _free(folder: Path, name: str) -> Path:
    """Return a path that nothing has yet: a probe may have taken long, and is not replaced."""
    names = (name, *(f"{name}-{number}" for number in range(2, 10_000)))
    return next(p for n in names if not (p := folder / f"{n}.safetensors").exists())


class CopyCommand(bpy.types.Operator):
    """Copy the two commands that make a probe file, for a terminal"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.copy_command"
    bl_label = "Copy the Commands"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy."""
        context.window_manager.clipboard = "\n".join(COMMANDS)
        self.report({"INFO"}, "the commands are copied")
        return {"FINISHED"}
