"""What several panels have in common."""

from __future__ import annotations

from textwrap import wrap

import bpy

from ..core.estimate import size_text
from ..core.readers import printable
from .follow import Following
from .job import Cancel
from .session import session


def write(layout: bpy.types.UILayout, context: bpy.types.Context, text: str) -> None:
    """Write text in as many lines as the sidebar's width asks for."""
    letters = max(int(context.region.width / context.preferences.system.ui_scale / 6.6) - 5, 12)
    name = " " not in text
    # A tensor's name may be broken at its dots.
    for line in wrap(text.replace(".", ". ") if name else text, letters, break_on_hyphens=False):
        layout.label(text=line.replace(". ", ".") if name else line)


class InTab:
    """Where all panels stand."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Weights"


def draw_job(layout: bpy.types.UILayout) -> None:
    """Show how far the work under way is, with a button that stops it."""
    job = session().job
    layout.progress(factor=job.fraction, text=f"{100 * job.fraction:.0f} %  {job.remaining}")
    now = job.progress
    fetched = f", {size_text(now.done)} of {size_text(now.total)}" if now.stage == "fetch" else ""
    layout.label(text=f"{job.title}: {now.stage}{fetched}")
    layout.label(text=printable(job.progress.what, 60))
    row = layout.row()
    row.scale_y = 1.5
    row.operator(Cancel.bl_idname, icon="CANCEL")


def draw_following(
    layout: bpy.types.UILayout,
    context: bpy.types.Context,
    following: Following | None,
    operator: type[bpy.types.Operator],
) -> None:
    """Offer to follow a training, or to stop, and tell how far it is."""
    ours = following is not None and following.is_of(context.scene)
    active = ours and following.active
    column = layout.column(align=True)
    text = "Stop Following" if active else "Follow the Training"
    column.operator(operator.bl_idname, text=text, icon="FILE_REFRESH", depress=active)
    if ours and following.said:
        write(column, context, printable(following.said, 400))
