"""A model's headers → the tensor list, and the choice in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bpy

from ..core.errors import WeightwalkError
from ..core.estimate import size_text
from ..core.flow.probe import is_probe
from ..core.location import is_url
from ..core.readers import Checkpoint, Tensor, endings, open_checkpoint, printable
from .job import fail, idle
from .places import absolute
from .preferences import preferences, recent_models, remember_model
from .properties import Weights
from .session import session

# A sidebar this wide, in pixels at a scale of one, has room for all columns of the list.
WIDE = 420

KINDS = (
    ("attention", "Attention", "HIDE_OFF"),
    ("mlp", "MLP", "NODETREE"),
    ("embeddings", "Embeddings", "SORTALPHA"),
    ("norms", "Norms", "MOD_SMOOTH"),
    ("experts", "Experts", "COMMUNITY"),
    ("other", "Other", "DOT"),
)
CHOICES = [
    ("all", "All", "All listed weights"),
    ("none", "None", "No tensor"),
    ("invert", "Invert", "The listed ones that are not chosen"),
    *((name, label, f"The listed tensors of this kind: {label}") for name, label, _ in KINDS),
]


class LoadModel(bpy.types.Operator):
    """Choose a file of weights or the folder of a model, and see what is in it"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.load_model"
    bl_label = "Load Model Weights"
    bl_options = {"UNDO"}  # noqa: RUF012

    filepath: bpy.props.StringProperty(
        name="Model",
        description="A file of weights (safetensors, GGUF, PyTorch, ONNX, numpy), "
        "an index of shards, or the folder of a model",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    filter_glob: bpy.props.StringProperty(
        default=";".join(f"*{ending}" for ending in (*endings.ALL, *endings.INDICES)),
        options={"HIDDEN"},
    )
    build: bpy.props.BoolProperty(
        name="Build at once",
        description="Begin to build all weights, unless memory may be too small; "
        "otherwise choose tensors first",
        default=True,
    )

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Not while a model is built."""
        return idle(cls)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Let the person choose, unless a file was dropped or is a recent one."""
        if is_url(self.filepath):
            return self._fetch("INVOKE_DEFAULT")
        if self.filepath and _drops_probe(absolute(self.filepath)):
            bpy.ops.weightwalk.load_flow("INVOKE_DEFAULT", filepath=self.filepath, build=True)
            return {"CANCELLED"}  # nothing is changed by this operator itself
        if self.filepath:
            return self.execute(context)
        chosen = preferences(context)
        if chosen is not None and chosen.models:
            self.filepath = os.path.join(bpy.path.abspath(chosen.models), "")  # noqa: PTH118
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """List the tensors; where that fails, say why and leave everything as it was."""
        if not self.filepath:
            self.report({"ERROR"}, "choose a model: a file of weights, or a folder with one")
            return {"CANCELLED"}
        if is_url(self.filepath):
            return self._fetch("EXEC_DEFAULT")
        try:
            take(self, context, open_checkpoint(absolute(self.filepath)), build=self.build)
        except Exception as error:
            return fail(self, error)
        return {"FINISHED"}

    def _fetch(self, how: str) -> set[str]:
        """Load what is on another machine."""
        try:
            bpy.ops.weightwalk.load_url(how, url=self.filepath, build=self.build)
        except RuntimeError as error:  # what it reports
            self.report({"ERROR"}, str(error).removeprefix("Error: ").strip())
        return {"CANCELLED"}  # nothing is changed by this operator itself


def take(operator: Any, context: bpy.types.Context, checkpoint: Checkpoint, *, build: bool) -> None:
    """List the tensors of a checkpoint that was opened, and build them, if that is wanted.

    Raises
    ------
    WeightwalkError
        There is nothing to list, and all is as it was; or nothing could be built.
    """
    if not len(checkpoint):
        raise WeightwalkError(f"{printable(checkpoint.path, 1000)}: the model has no tensors")
    session().hold(checkpoint)
    fill(context.scene.weightwalk, checkpoint, context)
    remember_model(context, str(checkpoint.path))
    for note in checkpoint.notes:
        operator.report({"WARNING"}, note)
    operator.report({"INFO"}, f"{printable(checkpoint.name)}: {len(checkpoint)} tensors")
    if build:
        how = "EXEC_DEFAULT" if bpy.app.background else "INVOKE_DEFAULT"
        try:
            bpy.ops.weightwalk.build(how)
        except RuntimeError as error:  # what it reports, in the background
            raise WeightwalkError(str(error).removeprefix("Error: ").strip()) from None


def _drops_probe(path: Path) -> bool:
    """Return whether a file that was dropped is a probe; what is wrong with one is said later."""
    try:
        with open_checkpoint(path) as checkpoint:
            return is_probe(checkpoint)
    except (WeightwalkError, OSError):
        return False


def fill(weights: Weights, checkpoint: Checkpoint, context: bpy.types.Context) -> None:
    """List a checkpoint's tensors in place of what was loaded before.

    Raises
    ------
    WeightwalkError
        It is a probe file.
    """
    if is_probe(checkpoint):
        where = printable(checkpoint.path, 1000)
        raise WeightwalkError(f"{where}: this is a probe file, not weights; load it in Flow, below")
    if not weights.path:
        chosen = preferences(context)
        if chosen is not None:
            weights.faces, weights.colors = chosen.faces, chosen.colors
            weights.walk_speed = chosen.walk_speed
    weights.path, weights.stamp = str(checkpoint.path), checkpoint.stamp
    weights.title = printable(checkpoint.name)
    weights.reading = weights.copy_text = weights.refine_plan = ""
    weights.run.clear()
    weights.tensors.clear()
    # What an update is made of would stand in its way: it is listed, and chosen by hand.
    parts = {part for tensor in checkpoint.values() for part in tensor.values.parts}
    for tensor in checkpoint.values():
        item = weights.tensors.add()
        item.name = tensor.name
        _describe(item, tensor)
        if tensor.name in parts:
            item.kind = "part"
    layers = [tensor.layer for tensor in checkpoint.values() if tensor.layer is not None]
    weights.active = 0
    weights.search, weights.by_layer = "", False
    weights.first_layer, weights.last_layer = min(layers, default=0), max(layers, default=0)
    weights.choose("all")


def _describe(item: bpy.types.PropertyGroup, tensor: Tensor) -> None:
    shown = tensor.is_float or not tensor.decodable
    item.kind = tensor.names.role_class if shown else "integer"
    item.layer = -1 if tensor.layer is None else tensor.layer
    item.shape = " × ".join(map(str, tensor.shape)) or "scalar"
    item.dtype = str(tensor.packing or tensor.dtype)
    item.size = size_text(tensor.nbytes)
    names = tensor.names
    expert = None if names.expert is None else f"expert {names.expert}"
    words = (names.group, names.layer, expert, names.role)
    item.label = printable(" · ".join(str(word) for word in words if word not in ("", None)), 60)


class DropModel(bpy.types.FileHandler):
    """Takes a checkpoint that is dropped onto the 3D view."""

    bl_idname = "WEIGHTWALK_FH_model"
    bl_label = "Model weights"
    bl_import_operator = LoadModel.bl_idname
    bl_file_extensions = ";".join(ending for ending in endings.ALL if ending.count(".") == 1)

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Onto the 3D view."""
        return context.area is not None and context.area.type == "VIEW_3D"


class RecentMenu(bpy.types.Menu):
    """Models that were loaded before."""

    bl_idname = "WEIGHTWALK_MT_recent"
    bl_label = "Recent models"

    def draw(self, context: bpy.types.Context) -> None:
        """Name them."""
        paths = recent_models(context)
        for path in paths:
            folder, name = Path(path).parent.name, Path(path).name
            label, icon = printable(f"{folder}/{name}", 60), "URL" if is_url(path) else "NONE"
            self.layout.operator(LoadModel.bl_idname, text=label, icon=icon).filepath = path
        if not paths:
            self.layout.label(text="none so far")


class Choose(bpy.types.Operator):
    """Choose these of the listed tensors, and no others"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.choose"
    bl_label = "Choose Tensors"
    bl_options = {"UNDO"}  # noqa: RUF012

    what: bpy.props.EnumProperty(items=CHOICES)

    @classmethod
    def description(cls, _context: bpy.types.Context, properties: Any) -> str:
        """Return the tooltip of one of them."""
        return next(told for name, _, told in CHOICES if name == properties.what)

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With a model."""
        return bool(context.scene.weightwalk.path)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Choose."""
        count = context.scene.weightwalk.choose(self.what)
        self.report({"INFO"}, f"{count} tensors are chosen")
        return {"FINISHED"}


class TensorList(bpy.types.UIList):
    """The tensors of the model: chosen or not, kind, name, shape, dtype and size."""

    bl_idname = "WEIGHTWALK_UL_tensors"

    def draw_item(self, context, layout, data, item, icon, active, property):  # noqa: PLR0917 (as Blender calls it)
        """Draw one line."""
        icons = {name: icon for name, _, icon in KINDS}
        wide = context.region.width > WIDE * context.preferences.system.ui_scale
        row = layout.row(align=True)
        row.prop(item, "chosen", text="")
        split = row.split(factor=0.55 if wide else 0.64)
        label = printable(item.name, 90) if wide else item.label
        split.label(text=label, icon=icons.get(item.kind, "LINENUMBERS_ON"))
        facts = split.split(factor=0.42 if wide else 1.0)
        facts.active = False
        facts.label(text=item.shape.replace(" ", ""))
        if wide:
            facts.label(text=item.dtype)
            facts.label(text=item.size)

    def draw_filter(self, context, layout):
        """Draw nothing: the search stands above the list."""

    def filter_items(self, context, data, name):
        """Show what the search leaves."""
        listed = data.column("listed")
        return (listed * self.bitflag_filter_item).tolist(), []
