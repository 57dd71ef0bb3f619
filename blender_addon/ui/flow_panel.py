"""The panel "Flow": from probe files to a landscape, and out into pictures."""

from __future__ import annotations

import bpy

from ..scene.flow import flow_record
from .draw import InTab, draw_following, draw_job, write
from .flow_build import BuildFlow, SaveFlow
from .flow_follow import FollowFlow
from .flow_load import LoadFlow
from .flow_probe import COMMANDS, OUTSIDE, CopyCommand, RunProbe, missing
from .flow_properties import Flow
from .session import session


class FlowPanel(InTab, bpy.types.Panel):
    """Load probe files, choose what is seen of them, and build it."""

    bl_idname = "WEIGHTWALK_PT_flow"
    bl_label = "Flow"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        flow, layout = context.scene.weightwalk.flow, self.layout
        row = layout.row()
        row.scale_y = 1.5
        row.operator(LoadFlow.bl_idname, icon="FILE_FOLDER")
        if not flow.loaded:
            column = layout.column(align=True)
            column.active = False
            write(column, context, "What each layer of a model puts out for a prompt: one or "
                  "more probe files, or a folder of them.")  # fmt: skip
        layout.prop(flow, "target", text="", placeholder="or type it here")
        if flow.loaded:
            _found(layout.column(align=True), context, flow)
        if flow.names:
            _choice(layout, flow)
            _look(layout, flow)
        _build(layout, context, flow)
        _follow(layout, context, flow)


def _found(layout: bpy.types.UILayout, context: bpy.types.Context, flow: Flow) -> None:
    """Name the model and the steps, and what was left out and why."""
    names, left_out = flow.names, flow.left_out.splitlines()
    if not names:
        write(layout, context, "No probe file is there yet: press Follow to wait for them.")
        return
    about = flow.about
    low, *_, high = [*about["features"], about["features"][-1]]
    features = f"{low}" if low == high else f"{low} to {high}"
    write(layout, context, about["model"])
    write(layout, context, f"{about['layers']} layers, {features} features each")
    if len(names) > 1:
        last = names[-1].removeprefix("step ") if names[0].startswith("step ") else names[-1]
        write(layout, context, f"{len(names)} steps: {names[0]} to {last}")
    if flow.departs:
        write(layout, context, flow.departs)
    for line in left_out[:3]:
        write(layout, context, f"Left out: {line}")
    if len(left_out) > 3:
        layout.label(text=f"and {len(left_out) - 3} more")


def _choice(layout: bpy.types.UILayout, flow: Flow) -> None:
    """Ask for what is shown: only where there is a choice."""
    column = layout.column(align=True)
    _named(column, flow, "prompt")
    token = column.column(align=True)
    token.enabled = flow.view == "terrain" and flow.over == "steps" and len(flow.tokens) > 1
    _named(token, flow, "token")
    if len(flow.about["outputs"]) > 1:
        _named(column, flow, "output")


def _named(layout: bpy.types.UILayout, owner: bpy.types.PropertyGroup, name: str) -> None:
    """Ask for one of several texts, which need more room than their name."""
    split = layout.split(factor=0.24)
    split.label(text=owner.bl_rna.properties[name].name)
    split.prop(owner, name, text="")


def _look(layout: bpy.types.UILayout, flow: Flow) -> None:
    """Ask how it is shown, and for how long."""
    column = layout.column(align=True)
    column.row(align=True).prop(flow, "view", expand=True)
    split = layout.column()
    split.use_property_split, split.use_property_decorate = True, False
    if len(flow.names) > 1:
        split.row(align=True).prop(flow, "values")
    if flow.view == "terrain" and len(flow.tokens) > 1:
        split.row(align=True).prop(flow, "over", expand=True)
    scale = split.column(align=True)
    limit = scale.column(align=True)
    limit.active = flow.values == "outputs" or len(flow.names) < 2
    limit.prop(flow, "limit")
    scale.prop(flow, "sigma")
    split.prop(flow, "faces")
    if flow.moments > 1:
        time = layout.column(align=True)
        for name in ("frames", "fps", "start"):
            time.prop(flow, name)


def _build(layout: bpy.types.UILayout, context: bpy.types.Context, flow: Flow) -> None:
    """Say what it costs, and offer to do it; or tell how far it is."""
    job = session().job
    if job is not None and job.title not in (SaveFlow.title, RunProbe.title):
        draw_job(layout)
    elif flow.names:
        write(layout.column(align=True), context, flow.cost)
        row = layout.row()
        row.scale_y = 1.5
        row.operator(BuildFlow.bl_idname, icon="RNDCURVE")
        record = flow_record(context.scene)
        if record is not None and len(record.labels) > 1:
            hint = layout.column(align=True)
            hint.active = False
            write(hint, context, "Space plays, arrow keys step.")


def _follow(layout: bpy.types.UILayout, context: bpy.types.Context, flow: Flow) -> None:
    """Offer to wait for more of it."""
    if not flow.grows:
        return
    draw_following(layout, context, session().flow_following, FollowFlow)


class FlowPicturesPanel(InTab, bpy.types.Panel):
    """Take pictures away."""

    bl_idname = "WEIGHTWALK_PT_flow_pictures"
    bl_label = "Save Pictures"
    bl_parent_id = FlowPanel.bl_idname
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With a probe."""
        return bool(context.scene.weightwalk.flow.names)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        weights, layout = context.scene.weightwalk, self.layout
        layout.row(align=True).prop(weights.flow, "formats")
        _named(layout, weights.flow, "palette")
        layout.prop(weights, "export_folder", text="", placeholder="a folder for the files")
        job = session().job
        if job is not None and job.title == SaveFlow.title:
            draw_job(layout)
        else:
            layout.operator(SaveFlow.bl_idname, icon="IMAGE_DATA")


class ProbePanel(InTab, bpy.types.Panel):
    """Make a probe file, or say how it is made."""

    bl_idname = "WEIGHTWALK_PT_probe"
    bl_label = "Make a Probe File"
    bl_parent_id = FlowPanel.bl_idname
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        weights, layout = context.scene.weightwalk, self.layout
        if missing():
            write(layout.column(align=True), context, OUTSIDE)
            box = layout.box().column(align=True)
            for command in COMMANDS:
                box.label(text=command)
            layout.operator(CopyCommand.bl_idname, icon="COPYDOWN")
            return
        column = layout.column(align=True)
        column.prop(weights.flow, "model", text="", placeholder="a model's folder or GGUF file")
        column.prop(weights.flow, "text", text="", placeholder="a prompt; empty: 16 sentences")
        column.row(align=True).prop(weights.flow, "keep", expand=True)
        layout.prop(weights, "export_folder", text="", placeholder="a folder for the file")
        job = session().job
        if job is not None and job.title == RunProbe.title:
            draw_job(layout)
        else:
            layout.operator(RunProbe.bl_idname, icon="PLAY")
