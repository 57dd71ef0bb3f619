"""Operators: properties → settings → pipeline, and the errors to the status bar."""

from __future__ import annotations

from pathlib import Path

import bpy

from .. import pipeline
from ..core.errors import WeightwalkError
from ..core.model import Progress, steps
from ..core.readers import printable
from ..core.settings import Settings
from .view import show_overview


class LoadModel(bpy.types.Operator):
    """Stand the weights of a model in the scene, one surface a tensor, layer after layer"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.load_model"
    bl_label = "Load Model Weights"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    filepath: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Model",
        description="A .safetensors file, or the folder of a model",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    filter_glob: bpy.props.StringProperty(  # type: ignore[valid-type]
        default="*.safetensors;*.safetensors.index.json", options={"HIDDEN"}
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Let the person choose a file or folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Build the scene; where that fails, say why and leave everything as it was."""
        manager = context.window_manager
        if not self.filepath:
            self.report({"ERROR"}, "choose a model: a .safetensors file, or a folder with one")
            return {"CANCELLED"}

        def show(progress: Progress) -> None:
            manager.progress_update(100 * progress.done / max(progress.total, 1))

        path = Path(bpy.path.abspath(self.filepath))
        manager.progress_begin(0, 100)
        try:
            model = pipeline.drain(steps(Settings(path)), show)
            root = pipeline.show_in(context.scene, model)
        except WeightwalkError as error:
            self.report({"ERROR"}, printable(error, 2000))
            return {"CANCELLED"}
        except MemoryError:
            self.report({"ERROR"}, f"{path.name}: there is not enough memory for this model")
            return {"CANCELLED"}
        finally:
            manager.progress_end()
        show_overview(context, root)
        if model.skips:
            first = f"{printable(model.skips[0].name)} {model.skips[0].reason}"
            self.report({"WARNING"}, f"{len(model.skips)} left out, such as {first}")
        self.report({"INFO"}, f"{printable(model.name)}: {len(model.exhibits)} surfaces")
        return {"FINISHED"}
