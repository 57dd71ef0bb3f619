"""The panel "Training Run": from a folder to an animation, and out into files."""

from __future__ import annotations

import bpy

from .draw import InTab, draw_following, draw_job, write
from .load_url import LoadUrl
from .run_export import ExportRun
from .run_load import LoadRun
from .run_properties import TrainingRun
from .session import session
from .training_run import BuildRun, Follow, Relock, unlocked


class RunPanel(InTab, bpy.types.Panel):
    """Load a training run, choose how it is seen, and build it."""

    bl_idname = "WEIGHTWALK_PT_run"
    bl_label = "Training Run"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        run, layout = context.scene.weightwalk.run, self.layout
        row = layout.row()
        row.scale_y = 1.5
        row.operator(LoadRun.bl_idname, icon="FILE_FOLDER")
        if run.loaded:
            _found(layout, context, run)
            _look(layout, context, run)
            _time(layout, run)
            _build(layout, context, run)
        else:
            column = layout.column(align=True)
            column.active = False
            write(column, context, "The folder of a training, with checkpoint-500 and so on.")
            layout.prop(run, "folder", text="", placeholder="or type it here")
            job = session().job
            if job and job.title != LoadUrl.title and not context.scene.weightwalk.path:
                draw_job(layout)
        _follow(layout, context)
        _shown(layout, context)


def _found(layout: bpy.types.UILayout, context: bpy.types.Context, run: TrainingRun) -> None:
    """Name the steps, and what was left out and why."""
    column = layout.column(align=True)
    column.prop(run, "folder", text="")
    names, left_out = run.names, run.left_out.splitlines()
    if not names:
        write(column, context, "No checkpoint is complete yet: press Follow to wait for them.")
    elif len(names) == 1:
        write(column, context, f"Only {names[0]} so far: press Follow to wait for more.")
    else:
        last = names[-1].removeprefix("step ")
        write(column, context, f"{len(names)} checkpoints: {names[0]} to {last}")
    for line in left_out[:3]:
        write(column, context, f"Left out: {line}")
    if len(left_out) > 3:
        column.label(text=f"and {len(left_out) - 3} more")


def _look(layout: bpy.types.UILayout, context: bpy.types.Context, run: TrainingRun) -> None:
    """Ask what is seen."""
    column = layout.column(align=True)
    column.row(align=True).prop(run, "view", expand=True)
    row = column.row(align=True)
    row.use_property_split, row.use_property_decorate = True, False
    row.prop(run, "delta")
    if run.sign_given:
        faint = column.column(align=True)
        faint.active = False
        write(faint, context, run.sign_given)


def _time(layout: bpy.types.UILayout, run: TrainingRun) -> None:
    """Ask how long it takes, and whether the camera flies."""
    if run.view != "time" or run.fly:
        column = layout.column(align=True)
        for name in ("frames", "fps", "start"):
            column.prop(run, name)
    layout.prop(run, "fly")
    if run.fly:
        flight = layout.column(align=True)
        flight.use_property_split, flight.use_property_decorate = True, False
        for name, otherwise in (
            ("fly_from", "the first layer"),
            ("fly_to", "the last layer"),
            ("look_at", "straight on"),
        ):
            flight.prop(run, name, placeholder=otherwise)
        flight.prop(run, "speed")


def _build(layout: bpy.types.UILayout, context: bpy.types.Context, run: TrainingRun) -> None:
    """Say what it costs, and offer to do it; or tell how far it is."""
    if session().job is not None:
        draw_job(layout)
        return
    if len(run.names) > 1:
        write(layout.column(align=True), context, run.cost)
        row = layout.row()
        row.scale_y = 1.5
        row.operator(BuildRun.bl_idname, icon="RENDER_ANIMATION")


def _follow(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    if not Follow.poll(context):
        return
    draw_following(layout, context, session().following, Follow)


def _shown(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Tell how it plays, and offer Relock where some steps have come later."""
    record = session().record(context.scene)
    if record is None or record.series is None:
        return
    if record.series.settings.view != "time":
        hint = layout.column(align=True)
        hint.active = False
        write(hint, context, "Space plays, arrow keys step.")
        flies = record.series.settings.timeline.flight is not None
        if flies:
            write(hint, context, "Numpad 0: through the camera.")
    late = unlocked(context.scene)
    if late:
        box = layout.box().column(align=True)
        known = len(record.series.steps) - late
        first = f"{known} step{'s' * (known != 1)}"
        write(box, context, f"Unit, level and colours were found over the first {first}; "
              f"{late} came later and may be clipped.")  # fmt: skip
        box.operator(Relock.bl_idname, text=f"Relock over All {known + late}", icon="LOCKED")


class RunExportPanel(InTab, bpy.types.Panel):
    """Take the animation away."""

    bl_idname = "WEIGHTWALK_PT_run_export"
    bl_label = "Export Animation"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With an animation."""
        record = session().record(context.scene)
        return record is not None and record.series is not None

    def draw(self, context: bpy.types.Context) -> None:
        """Draw it."""
        weights, layout = context.scene.weightwalk, self.layout
        run = weights.run
        layout.grid_flow(columns=3, align=True, even_columns=True).prop(run, "formats")
        camera = layout.row()
        camera.enabled = bool(run.formats & {"gif", "mp4", "frames"})
        camera.prop(run, "camera", text="")
        layout.prop(weights, "export_folder", text="")
        job = session().job
        if job is not None and job.title == ExportRun.title:
            draw_job(layout)
        else:
            layout.operator(ExportRun.bl_idname, icon="EXPORT")
