"""The tab "Weights" in the 3D view's sidebar."""

from __future__ import annotations

import bpy

from ..core.readers import printable
from .build import Build
from .course import course_of
from .draw import InTab, draw_job, write
from .export import Export
from .inspect import CopyEntry, Inspect, Refine
from .load import KINDS, Choose, LoadModel, RecentMenu, TensorList
from .load_url import FromWeb, LoadUrl
from .navigate import LayerMenu, Overview, Step, Walk, key_of
from .session import session
from .view import place_of


class WithModel(InTab):
    """Base of panels that need a model."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With a tensor list."""
        return bool(context.scene.weightwalk.path)


class WithSurfaces(InTab):
    """Base of panels that need surfaces."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With something built."""
        return session().record(context.scene) is not None


class ModelPanel(InTab, bpy.types.Panel):
    """Load a model and choose tensors."""

    bl_idname = "WEIGHTWALK_PT_model"
    bl_label = "Model"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        weights, layout = context.scene.weightwalk, self.layout
        row = layout.row(align=True)
        row.scale_y = 1.5
        row.operator(LoadModel.bl_idname, icon="FILE_FOLDER")
        row.menu(RecentMenu.bl_idname, text="", icon="RECOVER_LAST")
        layout.operator(FromWeb.bl_idname, icon="URL")
        if session().notice:
            write(layout.column(align=True), context, session().notice)
        if not weights.path:
            job = session().job
            if job is not None and job.title == LoadUrl.title:
                draw_job(layout)
                return
            column = layout.column(align=True)
            column.active = False
            column.label(text="A file of weights or a model's folder;")
            column.label(text="or drop a file here.")
            return
        _tensor_list(layout, context)


def _tensor_list(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    weights = context.scene.weightwalk
    chosen = int(weights.column("chosen").sum())
    row = layout.row()
    row.label(text=weights.title, icon="OUTLINER_OB_POINTCLOUD")
    count = row.row()
    count.alignment = "RIGHT"
    count.label(text=f"{chosen} of {len(weights.tensors)} chosen")
    column = layout.column(align=True)
    column.prop(weights, "search", text="", icon="VIEWZOOM")
    row = column.row(align=True)
    row.prop(weights, "by_layer", toggle=True)
    layers = row.row(align=True)
    layers.enabled = weights.by_layer
    layers.prop(weights, "first_layer", text="")
    layers.prop(weights, "last_layer", text="")
    rows = min(max(len(weights.tensors), 2), 7)
    layout.template_list(
        TensorList.bl_idname, "", weights, "tensors", weights, "active", rows=rows, maxrows=rows
    )
    _facts(layout, context)
    grid = layout.grid_flow(columns=3, align=True, even_columns=True, row_major=True)
    for what, text, icon in (
        ("all", "All", "CHECKBOX_HLT"), ("none", "None", "CHECKBOX_DEHLT"),
        ("invert", "Invert", "ARROW_LEFTRIGHT"), *KINDS,
    ):  # fmt: skip
        grid.operator(Choose.bl_idname, text=text, icon=icon).what = what


def _facts(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Tell all of the tensor that is clicked, for a narrow list cuts it off."""
    weights = context.scene.weightwalk
    if not 0 <= weights.active < len(weights.tensors):
        return
    item = weights.tensors[weights.active]
    column = layout.column(align=True)
    column.scale_y = 0.8
    write(column, context, printable(item.name))
    facts = column.row()
    facts.active = False
    facts.label(text=f"{item.shape}   {item.dtype}   {item.size}")


class ShapePanel(WithModel, bpy.types.Panel):
    """How tensors become shapes."""

    bl_idname = "WEIGHTWALK_PT_shape"
    bl_label = "Shape"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        weights, layout = context.scene.weightwalk, self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        column = layout.column()
        through_time = bool(weights.run.loaded) and weights.run.view == "time"
        kind = column.column()
        kind.enabled = not through_time
        kind.prop(weights, "kind")
        pair = column.column(align=True)
        pair.prop(weights, "rows")
        pair.prop(weights, "cols")
        column.prop(weights, "cut")
        column.prop(weights, weights.cut)
        column.prop(weights, "pool")
        signed = column.column()
        signed.enabled = weights.pool != "rms"
        signed.prop(weights, "signed")
        column.prop(weights, "smooth")
        column.prop(weights, "sigma")
        colors = column.column()
        colors.enabled = weights.pool == "rms" or not weights.signed
        colors.prop(weights, "colors")


class BuildPanel(WithModel, bpy.types.Panel):
    """Build, and see how far it is."""

    bl_idname = "WEIGHTWALK_PT_build"
    bl_label = "Build"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With a single model: a training run has a panel of its own."""
        return super().poll(context) and not context.scene.weightwalk.run.loaded

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        weights, layout = context.scene.weightwalk, self.layout
        if session().job is not None:
            draw_job(layout)
            return
        column = layout.column(align=True)
        for line in weights.cost.split(" · ", 1):
            write(column, context, line)
        row = layout.row()
        row.scale_y = 1.5
        row.operator(Build.bl_idname, icon="MESH_ICOSPHERE")


class NavigatePanel(InTab, bpy.types.Panel):
    """Walk."""

    bl_idname = "WEIGHTWALK_PT_navigate"
    bl_label = "Navigate"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With something to walk along."""
        return course_of(context) is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        weights, layout = context.scene.weightwalk, self.layout
        row = layout.row()
        row.scale_y = 1.5
        row.operator(Walk.bl_idname, text=_with_key(context, "Walk", Walk), icon="VIEW_PAN")
        row = layout.row(align=True)
        row.operator(Step.bl_idname, text="", icon="TRIA_LEFT").by = -1
        row.menu(LayerMenu.bl_idname, text=_here(context))
        row.operator(Step.bl_idname, text="", icon="TRIA_RIGHT").by = 1
        layout.operator(
            Overview.bl_idname, text=_with_key(context, "Overview", Overview), icon="HOME"
        )
        keys = [key_of(context, Step.bl_idname, by=by) for by in (-1, 1)]
        if all(keys):
            hint = layout.row()
            hint.active = False
            hint.label(text=f"{keys[0]}, {keys[1]}: from layer to layer")
        column = layout.column(align=True)
        column.use_property_split, column.use_property_decorate = True, False
        column.prop(weights, "walk_speed")
        column.prop(weights, "mouse_speed")
        layout.prop(weights, "head_up")


def _with_key(context: bpy.types.Context, text: str, operator: type) -> str:
    key = key_of(context, operator.bl_idname)
    return f"{text}   ({key})" if key else text


def _here(context: bpy.types.Context) -> str:
    """Return the name of the layer that the viewer stands before."""
    place, course = place_of(context), course_of(context)
    at = course.reached(place.eye) if place else -1
    return course.stops[at].label if at >= 0 else "Go to layer"


class InspectPanel(WithSurfaces, bpy.types.Panel):
    """Read the numbers under a surface."""

    bl_idname = "WEIGHTWALK_PT_inspect"
    bl_label = "Inspect"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        weights, layout = context.scene.weightwalk, self.layout
        row = layout.row()
        row.scale_y = 1.5
        row.operator(Inspect.bl_idname, text="Click a Surface", icon="EYEDROPPER")
        if not weights.reading:
            return
        box = layout.box().column(align=True)
        for line in weights.reading.splitlines():
            write(box, context, line)
        layout.operator(CopyEntry.bl_idname, text="Copy the Largest", icon="COPYDOWN")
        if session().record(context.scene).series is not None:
            return
        column = layout.column(align=True)
        column.label(text="Row and column to refine:")
        for name in ("refine_from", "refine_to"):
            column.row(align=True).prop(weights, name)
        layout.operator(Refine.bl_idname, icon="ZOOM_IN")


class ExportPanel(WithSurfaces, bpy.types.Panel):
    """Take it away."""

    bl_idname = "WEIGHTWALK_PT_export"
    bl_label = "Export"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        weights, layout = context.scene.weightwalk, self.layout
        if session().record(context.scene).series is not None:
            layout.label(text="Only what is seen at this frame:")
        layout.row().prop(weights, "export_formats")
        layout.row().prop(weights, "export_scope", expand=True)
        camera = layout.row()
        camera.enabled = "png" in weights.export_formats
        camera.prop(weights, "export_camera", text="Camera")
        layout.prop(weights, "export_folder", text="")
        layout.operator(Export.bl_idname, icon="EXPORT")
