"""The 3D view: colours of the vertices, and the whole corridor in sight."""

from __future__ import annotations

import bpy


def show_overview(context: bpy.types.Context, root: bpy.types.Collection) -> None:
    """Let the 3D view look as the overview camera does; nothing happens outside of a 3D view."""
    space = context.space_data
    if space is None or space.type != "VIEW_3D":
        return
    camera = next(o for o in root.all_objects if o.type == "CAMERA")
    # Its matrix is not evaluated before the next redraw.
    matrix, far = camera.matrix_basis, camera.data.clip_end / 4.0
    space.shading.light, space.shading.studio_light = "STUDIO", "paint.sl"
    space.shading.color_type = "VERTEX"
    space.clip_end = max(space.clip_end, camera.data.clip_end)
    view = space.region_3d
    view.view_perspective = "PERSP"
    view.view_rotation = matrix.to_quaternion()
    view.view_distance = far / 2.0
    # A viewport sees twice as wide as a camera of the same lens, so it stands nearer.
    eye = matrix.translation - matrix.col[2].xyz * (0.22 * far)
    view.view_location = eye - matrix.col[2].xyz * view.view_distance
