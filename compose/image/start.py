"""Run by the desktop's Blender as it starts: opens the tab Weights, and begins at the models."""

from __future__ import annotations

import addon_utils
import bpy

EXTENSION = "bl_ext.user_default.weightwalk"
MODELS = "/models"
TAB = "Weights"
TRIES = 100


class VIEW3D_PT_weightwalk_first(bpy.types.Panel):  # noqa: N801
    """Makes its tab the first one, which a sidebar opens with; Python cannot choose a tab."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = TAB
    bl_label = ""
    bl_order = -1
    bl_options = {"HIDE_HEADER"}  # noqa: RUF012

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw nothing."""


def enable() -> None:
    """Enable Weightwalk, also where the preferences were reset."""
    preferences = bpy.context.preferences
    if EXTENSION not in preferences.addons:
        addon_utils.enable(EXTENSION, default_set=True)
    addon = preferences.addons.get(EXTENSION)
    if addon is not None and not addon.preferences.models:
        addon.preferences.models = MODELS


def open_tab() -> float | None:
    """Open the sidebar of every 3D view; once all are drawn, the tab stays without help."""
    global tries  # noqa: PLW0603
    tries += 1
    closed = False
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                area.spaces.active.show_region_ui = True
                (sidebar,) = (region for region in area.regions if region.type == "UI")
                closed |= sidebar.active_panel_category != TAB
    if closed and tries < TRIES:
        return 0.1
    bpy.utils.unregister_class(VIEW3D_PT_weightwalk_first)
    return None


tries = 0
preferences = bpy.context.preferences
preferences.view.show_splash = False
# The mouse comes over the network: it cannot be put to the other edge of the window.
preferences.inputs.use_mouse_continuous = False
enable()
bpy.utils.register_class(VIEW3D_PT_weightwalk_first)
bpy.app.timers.register(open_tab, first_interval=0.1)
