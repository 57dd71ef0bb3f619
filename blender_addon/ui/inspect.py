"""A click on a surface → the numbers under it, read from the file at that moment."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar

import bpy
import numpy as np
from bpy_extras import view3d_utils
from mathutils import Vector

from ..core.errors import WeightwalkError
from ..core.fields import Plan
from ..core.inspect import find_plan, read_cell, rectangle_around
from ..core.layout import SLAB_DEPTH
from ..core.model import Progress
from ..core.origin import StepReading, read_step_steps
from ..core.readers import printable
from ..core.reading import Reading
from ..core.record import Record
from ..refine import Rectangle, refine_steps, shared_sigma
from ..scene.detail import KIND, mark_entry
from ..scene.keys import give
from ..scene.mesh import CELL, STEP
from ..scene.ours import find_root, run_of
from .job import WorkingOnSurfaces, fail
from .session import is_field, session, step_of, visible_surfaces
from .view import show_detail

FARTHEST = 64  # surfaces of others that a ray may pass


@dataclass(frozen=True)
class Hit:
    """Where a ray met a surface of ours: the object, and the cell under it (see `scene.mesh`)."""

    surface: bpy.types.Object
    cell: int


class Inspect(WorkingOnSurfaces, bpy.types.Operator):
    """Click a surface and read the weights under it, out of the file"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.inspect"
    bl_label = "Inspect"
    bl_options = {"UNDO"}  # noqa: RUF012
    title = "Reading"
    shares: ClassVar = {"entries": 0.0, "rank": 1.0}

    _picking = False

    surface: bpy.props.StringProperty(
        name="Surface", description="For scripts: the object", options={"SKIP_SAVE"}
    )
    cell: bpy.props.IntProperty(
        name="Cell", description="For scripts: flat index of the cell", options={"SKIP_SAVE"}
    )

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Wait for a click."""
        if bpy.app.background or context.window is None:
            self.report({"ERROR"}, "this needs a window to click in")
            return {"CANCELLED"}
        self._picking = True
        context.window.cursor_modal_set("EYEDROPPER")
        context.workspace.status_text_set("Click a surface to read its weights; Esc ends")
        context.window_manager.modal_handler_add(self)
        return {"RUNNING_MODAL"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Take the click, then read."""
        if not self._picking:
            return super().modal(context, event)
        if event.type in {"ESC", "RIGHTMOUSE"}:
            self._end_picking(context)
            return {"CANCELLED"}
        if event.type != "LEFTMOUSE" or event.value != "PRESS":
            moves = {"MOUSEMOVE", "WHEELUPMOUSE", "WHEELDOWNMOUSE", "MIDDLEMOUSE"}
            return {"PASS_THROUGH" if event.type in moves else "RUNNING_MODAL"}
        try:
            region = _view_under(context, event)
            hit = _cast(context, region, event) if region else None
        except Exception as error:
            self._end_picking(context)
            return fail(self, error)
        if hit is None:
            self.report({"WARNING"}, "there is no surface of a tensor: click one, or press Esc")
            return {"RUNNING_MODAL"}
        self._end_picking(context)
        self.surface, self.cell = hit.surface.name, hit.cell
        # With `begin` the operator would have two handlers, and Blender would free it twice.
        return self.start(context)

    def cancel(self, context: bpy.types.Context) -> None:
        """Tidy up, also where nothing has been clicked yet."""
        if self._picking:
            self._end_picking(context)
        super().cancel(context)

    def _end_picking(self, context: bpy.types.Context) -> None:
        self._picking = False
        if context.window is not None:
            context.window.cursor_modal_restore()
        for workspace in bpy.data.workspaces:
            workspace.status_text_set(None)

    def work(self, context: bpy.types.Context) -> Generator[Progress, None, Any]:
        """Return the steps that read the cell."""
        surface = context.scene.objects.get(self.surface)
        if surface is None or not is_field(surface):
            raise WeightwalkError(f"{self.surface!r} is not the surface of a tensor")
        if surface.get("run") != run_of(find_root(context.scene)):
            raise WeightwalkError(
                f"{printable(surface.name)}: this surface is of an earlier build; build it again"
            )
        record = session().record(context.scene)
        if record.series is not None:
            step = int(surface.get(STEP, -1))
            if step < 0:  # a relief, which shows one after the other
                step = step_of(context.scene, record) or 0
            return read_step_steps(record.series, surface["plan"], step, self.cell)
        return _read(record, surface["plan"], self.cell, shared_sigma(surface, record))

    def done(self, context: bpy.types.Context, result: tuple[Plan, Reading | StepReading]) -> None:
        """Show what was read, mark the largest entry, and offer the rectangle around it."""
        plan, told = result
        reading = told.reading if isinstance(told, StepReading) else told
        surface = context.scene.objects.get(self.surface)
        if surface is None:
            raise WeightwalkError(f"{printable(self.surface)} is gone")
        weights = context.scene.weightwalk
        lines = told.lines()
        weights.reading = "\n".join(lines)
        weights.copy_text = told.copy_text
        weights.refine_plan = plan.name
        weights.refine_plane = int(self.cell // np.prod(plan.shape[1:]))
        entry = reading.largest
        row, col = (entry.row, entry.col) if entry else (reading.rows[0], reading.cols[0])
        rows, cols = _around(plan, weights.refine_plane, row, col)
        weights.refine_from, weights.refine_to = (rows[0], cols[0]), (rows[1], cols[1])
        mark_entry(surface, plan.shape, self.cell, reading)
        record = session().record(context.scene)
        if record is not None and record.series is not None:
            _let_mark_follow(surface, reading, record.series.lock.height)
        session().forget()
        # The panel may be out of sight.
        said = ", ".join(reading.lines()[-2:] if entry else lines[-1:])
        self.report({"INFO"}, f"{lines[0]}: {said}")


def _let_mark_follow(surface: bpy.types.Object, reading: Reading, height: float) -> None:
    """Let the mark of an entry be seen when its surface is; of a relief, before what rises there.

    Parameters
    ----------
    surface : bpy.types.Object
    reading : Reading
    height : float
        Metres that one σ stands for in a relief.
    """
    moved = surface.animation_data
    for mark in (thing for thing in surface.children if thing.get(KIND) == "entry"):
        if moved is not None and moved.action is not None:
            give(mark, moved.action)
        if surface.data.shape_keys is not None and np.isfinite(reading.sigmas):
            mark.location.y += SLAB_DEPTH / 2 - height * reading.sigmas


def _around(plan: Plan, plane: int, row: int, col: int) -> tuple[tuple[int, int], ...]:
    """Return a square around an entry that stays within its plane: a head or an expert, say."""
    _, rows, cols = plan.shape
    first, last = plan.cell(plane, 0, 0), plan.cell(plane, rows - 1, cols - 1)
    (r0, r1), (c0, c1) = (first[1], last[2]), (first[3], last[4])
    inner = rectangle_around((r1 - r0, c1 - c0), row - r0, col - c0)
    return tuple((a + start, b + start) for (a, b), start in zip(inner, (r0, c0), strict=True))


def _read(
    record: Record, name: str, cell: int, shared: float | None
) -> Generator[Progress, None, tuple[Plan, Reading]]:
    plan = yield from _plan_steps(record, name)
    return plan, (yield from read_cell(plan, record.settings.field, cell, shared))


def _plan_steps(record: Record, name: str) -> Generator[Progress, None, Plan]:
    """Return a field's plan out of the headers of the file that it was built from."""
    checkpoint = yield from session().open_steps(record.path, record.stamp)
    return find_plan(checkpoint, record.settings, name)


def _refine(
    scene: str, record: Record, name: str, plane: int, rectangle: Rectangle
) -> Generator[Progress, None, list[bpy.types.Object]]:
    plan = yield from _plan_steps(record, name)
    surfaces = _surfaces_of(bpy.data.scenes.get(scene), name)
    return (yield from refine_steps(surfaces, record, plan, plane, rectangle))


def _surfaces_of(scene: bpy.types.Scene | None, name: str) -> list[bpy.types.Object]:
    surfaces = (
        [thing for thing in visible_surfaces(scene) if thing["plan"] == name] if scene else []
    )
    if not surfaces:
        raise WeightwalkError(f"{printable(name)}: its surface is hidden or gone")
    return surfaces


def _view_under(
    context: bpy.types.Context, event: bpy.types.Event
) -> tuple[bpy.types.Region, bpy.types.RegionView3D] | None:
    """Return the 3D view under the mouse, if nothing lies over it there."""
    for area in context.window.screen.areas:
        if area.type != "VIEW_3D":
            continue
        here = [r for r in area.regions if r.width > 1 and _contains(r, event)]
        if here and all(region.type == "WINDOW" for region in here):
            return here[0], area.spaces.active.region_3d
    return None


def _contains(region: bpy.types.Region, event: bpy.types.Event) -> bool:
    x, y = event.mouse_x - region.x, event.mouse_y - region.y
    return 0 <= x < region.width and 0 <= y < region.height


def _cast(
    context: bpy.types.Context,
    view: tuple[bpy.types.Region, bpy.types.RegionView3D],
    event: bpy.types.Event,
) -> Hit | None:
    region, seen = view
    at = event.mouse_x - region.x, event.mouse_y - region.y
    origin = view3d_utils.region_2d_to_origin_3d(region, seen, at)
    return cast(context, origin, view3d_utils.region_2d_to_vector_3d(region, seen, at))


def cast(context: bpy.types.Context, origin: Vector, toward: Vector) -> Hit | None:
    """Return what of ours a ray meets first; labels, the floor and others' objects let it pass."""
    depsgraph = context.evaluated_depsgraph_get()
    for _ in range(FARTHEST):
        found, place, _normal, face, thing, _matrix = context.scene.ray_cast(
            depsgraph, origin, toward
        )
        if not found:
            return None
        if is_field(thing):
            shown = thing.original.evaluated_get(depsgraph)
            return Hit(thing.original, _cell_at(shown, face, place))
        origin = place + toward * 1e-4
    return None


def _cell_at(surface: bpy.types.Object, face: int, place: Vector) -> int:
    """Return the cell of the corner that is nearest to a place, of a face of what is shown."""
    mesh = surface.data
    name = printable(surface.name)
    if surface.original.mode == "EDIT":
        raise WeightwalkError(f"{name} is being edited: leave Edit Mode to inspect it")
    if len(mesh.polygons) != len(surface.original.data.polygons):
        raise WeightwalkError(f"{name}: its modifiers change what is shown; remove them first")
    local = surface.matrix_world.inverted() @ place
    corners = mesh.polygons[face].vertices
    nearest = min(corners, key=lambda v: (mesh.vertices[v].co - local).length_squared)
    return int(mesh.attributes[CELL].data[nearest].value)


class CopyEntry(bpy.types.Operator):
    """Copy the largest entry under the cell: tensor, index and value"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.copy_entry"
    bl_label = "Copy"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With something that was read."""
        return bool(context.scene.weightwalk.copy_text)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy it."""
        context.window_manager.clipboard = context.scene.weightwalk.copy_text
        self.report({"INFO"}, f"copied: {context.scene.weightwalk.copy_text}")
        return {"FINISHED"}


class Refine(WorkingOnSurfaces, bpy.types.Operator):
    """Build this rectangle again with a cell an entry, above the coarse surface"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.refine"
    bl_label = "Refine here"
    bl_options = {"UNDO"}  # noqa: RUF012
    title = "Refining"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """After a cell was looked at."""
        record = session().record(context.scene)
        if record is not None and record.series is not None:
            cls.poll_message_set("this works on a single model: load one checkpoint, and build it")
            return False
        if not context.scene.weightwalk.refine_plan:
            cls.poll_message_set("inspect a cell first")
            return False
        return super().poll(context)

    def work(self, context: bpy.types.Context) -> Generator[Progress, None, Any]:
        """Return the steps from the file to the scene."""
        weights = context.scene.weightwalk
        record, name = session().record(context.scene), weights.refine_plan
        _surfaces_of(context.scene, name)
        first, end = weights.refine_from, weights.refine_to
        rectangle = (first[0], end[0]), (first[1], end[1])
        return _refine(context.scene.name, record, name, weights.refine_plane, rectangle)

    def done(self, context: bpy.types.Context, result: list[bpy.types.Object]) -> None:
        """Show the new surface; not selected, for the outline would hide its colours."""
        session().forget()
        show_detail(context, result)
        for thing in context.selected_objects:
            thing.select_set(False)
        detail = context.view_layer.objects.active = result[0]
        self.report({"INFO"}, f"{detail.name}: {len(detail.data.polygons):,} faces")
