"""The tab "Weights" in the 3D view's sidebar."""

from __future__ import annotations

import bpy

from .operators import LoadModel


class WeightsPanel(bpy.types.Panel):
    """Load a model."""

    bl_idname = "WEIGHTWALK_PT_weights"
    bl_label = "Weightwalk"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Weights"

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the button."""
        row = self.layout.row()
        row.scale_y = 1.4
        row.operator(LoadModel.bl_idname, icon="FILE_FOLDER")
