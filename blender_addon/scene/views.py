"""The 3D views of a file: that colours are seen in them, and nothing is cut off."""

from __future__ import annotations

import bpy

from .build import BACKGROUND


def suit(space: bpy.types.SpaceView3D, far: float) -> None:
    """Show colours of vertices, and clip neither at the feet nor at the corridor's end.

    Parameters
    ----------
    space : bpy.types.SpaceView3D
    far : float
        How far one has to see at least, in metres.
    """
    shading = space.shading
    if shading.type == "SOLID":  # the other kinds have no studio lights of this name
        shading.light, shading.studio_light = "STUDIO", "paint.sl"
        shading.color_type = "VERTEX"
        shading.background_type, shading.background_color = "VIEWPORT", BACKGROUND
    # Dashes from the legend and the marks to what they are parts of.
    space.overlay.show_relationship_lines = False
    space.clip_start = 0.05
    space.clip_end = max(1000.0, far)


def look_through_camera(scene: bpy.types.Scene) -> None:
    """Have all 3D views of a file that was made for itself begin with what its camera sees."""
    far = scene.camera.data.clip_end if scene.camera else 0.0
    for area in (area for screen in bpy.data.screens for area in screen.areas):
        if area.type == "VIEW_3D":
            space = area.spaces.active
            suit(space, far)
            space.region_3d.view_perspective = "CAMERA"
