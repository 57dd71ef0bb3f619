"""The 3D view: where the viewer stands, what the clipping is, and that colours are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import hypot, pi

import bpy
import numpy as np
from mathutils import Matrix, Quaternion, Vector

from ..core.record import Record
from ..scene.build import corners_of, find_root, toward
from ..scene.camera import fit
from ..scene.detail import KIND
from ..scene.flow import TOWARD
from ..scene.ours import FLOW, GROUP, objects_in
from ..scene.views import suit
from .course import Course
from .session import session

EYE = 1.7  # metres above the floor
HEAD_UP = 84  # pixels at a scale of one, for the line at the lower edge
AHEAD = Quaternion((1.0, 0.0, 0.0), pi / 2)  # looks along +Y


@dataclass(frozen=True)
class Place:
    """A 3D view of the window: its area, its main region, its space."""

    area: bpy.types.Area
    region: bpy.types.Region
    space: bpy.types.SpaceView3D

    @property
    def eye(self) -> Vector:
        """Where the viewer is, in metres."""
        return self.space.region_3d.view_matrix.inverted().translation

    @property
    def window(self) -> tuple[np.ndarray, np.ndarray]:
        """Corners of what no other region covers, as tangents of angles; see `camera.fit`."""
        width, height = self.region.width, self.region.height
        covered = dict.fromkeys(("TOOLS", "UI", "HEADER", "TOOL_HEADER"), 0)
        if bpy.context.preferences.system.use_region_overlap:
            for region in self.area.regions:
                if region.type in covered:
                    across = region.type in {"TOOLS", "UI"}
                    covered[region.type] = region.width if across else region.height
        left, right = (min(covered[kind], 0.3 * width) for kind in ("TOOLS", "UI"))
        top = min(covered["HEADER"] + covered["TOOL_HEADER"], 0.3 * height)
        bottom = HEAD_UP * bpy.context.preferences.system.ui_scale
        # A viewport's lens is for a sensor of 72 mm along its longer side.
        scale = 2.0 * 36.0 / (self.space.lens * max(width, height))
        low = np.array([left - width / 2, min(bottom, 0.3 * height) - height / 2])
        high = np.array([width / 2 - right, height / 2 - top])
        return 0.96 * scale * low, 0.96 * scale * high

    def stand(self, eye: Vector, turn: Quaternion) -> None:
        """Put the viewer somewhere, looking somewhere."""
        view = self.space.region_3d
        if view.view_perspective != "PERSP":
            view.view_perspective = "PERSP"
        view.view_rotation = turn
        view.view_location = eye + turn @ Vector((0.0, 0.0, -view.view_distance))
        # The matrix is brought up to date with the next redraw; who asks for it before, shall know.
        view.update()

    def suit(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Show colours, and clip nothing of what lies between two corners."""
        suit(self.space, 6.0 * hypot(*np.subtract(high, low)))


def place_of(context: bpy.types.Context) -> Place | None:
    """Return the 3D view that an operator is called from, or the largest of the window."""
    if bpy.app.background:  # it has views, but none that can be looked at
        return None
    areas = [context.area] if context.area and context.area.type == "VIEW_3D" else []
    if not areas and context.window is not None:
        views = (a for a in context.window.screen.areas if a.type == "VIEW_3D")
        areas = sorted(views, key=lambda a: -a.width * a.height)
    for area in areas:
        region = next(r for r in area.regions if r.type == "WINDOW")
        return Place(area, region, area.spaces.active)
    return None


def hide_startup_cube(context: bpy.types.Context) -> None:
    """Hide the cube that every new file of Blender has, unless a person has done something to it.

    It would stand in the middle of the corridor.
    """
    cube = context.scene.objects.get("Cube")
    if cube is None or cube.type != "MESH" or cube.mode != "OBJECT" or cube.modifiers:
        return
    corners = {tuple(round(x, 3) for x in v.co) for v in cube.data.vertices}
    if cube.matrix_basis.is_identity and corners == set(product((-1.0, 1.0), repeat=3)):
        cube.hide_set(True)
        cube.hide_render = True


def show_overview(context: bpy.types.Context) -> None:
    """Let the 3D view see the whole corridor; nothing happens without one."""
    place, record = place_of(context), session().record(context.scene)
    if place is None or record is None:
        return
    place.suit(record.low, record.high)
    fields = {o["plan"] for o in objects_in(find_root(context.scene)) if "plan" in o}
    look = toward(record.settings.field.kind, len(fields))
    shot = fit(_points(context.scene, record), np.array(look), place.window)
    matrix = Matrix(shot.matrix.tolist())
    place.space.region_3d.view_distance = shot.far / 2.0
    place.stand(matrix.translation, matrix.to_quaternion())


def _points(scene: bpy.types.Scene, record: Record) -> np.ndarray:
    """Return the corners of what should be seen: all fields, and the legend."""
    labels = [o for o in objects_in(find_root(scene)) if o.type == "FONT" and KIND not in o]
    box = np.array(list(product(*zip(record.low, record.high, strict=True))))
    return np.concatenate([box, *map(corners_of, labels)])


def show_whole(
    context: bpy.types.Context, things: Sequence[bpy.types.Object], look: Sequence[float]
) -> None:
    """Let the 3D view see all of some things along a direction; nothing happens without one.

    Blender's own grid is hidden: it would cut through what lies on both sides of the floor.
    """
    place = place_of(context)
    if place is None:
        return
    context.view_layer.update()
    seen = [thing for thing in things if thing.type in {"MESH", "FONT"}]
    points = np.array([o.matrix_world @ Vector(corner) for o in seen for corner in o.bound_box])
    place.suit(points.min(axis=0), points.max(axis=0))
    overlay = place.space.overlay
    overlay.show_floor = overlay.show_axis_x = overlay.show_axis_y = False
    shot = fit(points, np.array(look), place.window)
    matrix = Matrix(shot.matrix.tolist())
    place.space.region_3d.view_distance = shot.far / 2.0
    place.stand(matrix.translation, matrix.to_quaternion())


def show_flow(context: bpy.types.Context) -> None:
    """Let the 3D view see a whole flow; nothing happens without one."""
    flow = session().flow(context.scene)
    if flow is not None:
        # Not its floor, which has no end.
        groups = [g for g in find_root(context.scene, FLOW).children if g.get(GROUP) != "Stage"]
        things = [thing for group in groups for thing in group.objects]
        show_whole(context, things, TOWARD[flow.shape.view])


def show_detail(context: bpy.types.Context, things: Sequence[bpy.types.Object]) -> None:
    """Face a detail, with its outline below it; nothing happens without a view."""
    place = place_of(context)
    if place is None:
        return
    context.view_layer.update()
    corners = [o.matrix_world @ Vector(corner) for o in things for corner in o.bound_box]
    shot = fit(np.array(corners), np.array((0.0, 1.0, -0.08)), place.window)
    matrix = Matrix(shot.matrix.tolist())
    place.space.region_3d.view_distance = shot.far
    place.stand(matrix.translation, matrix.to_quaternion())


def stand_before(place: Place, course: Course, stop: int | None) -> None:
    """Stand at eye height before a stop, or before the first of all (None)."""
    place.suit(course.low, course.high)
    place.space.region_3d.view_distance = 3.0
    place.stand(course.before(stop) + Vector((0.0, 0.0, EYE)), AHEAD)
