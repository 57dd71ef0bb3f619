"""Run by the desktop's Blender as it starts: opens the tab Weights, and begins at the models."""

from __future__ import annotations

import os

import addon_utils
import bpy

EXTENSION = "bl_ext.user_default.weightwalk"
MODELS = "/models"
TAB = "Weights"
TRIES = 100  # in ten seconds


class VIEW3D_PT_weightwalk_first(bpy.types.Panel):  # noqa: N801
    """Makes its tab the first one, which a new sidebar begins with; Python cannot choose a tab."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = TAB
    bl_label = ""
    bl_order = -1
    bl_options = {"HIDE_HEADER"}  # noqa: RUF012

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw nothing."""


class Opening:
    """Waits until all open sidebars were drawn with the tab first; then it stays without help."""

    def __init__(self) -> None:
        self.tries = 0
        bpy.utils.register_class(VIEW3D_PT_weightwalk_first)
        bpy.app.timers.register(self.step, first_interval=0.1, persistent=True)

    def step(self) -> float | None:
        """Look again, in a tenth of a second."""
        self.tries += 1
        if self.tries < TRIES and any(bar.active_panel_category != TAB for bar in sidebars()):
            return 0.1
        bpy.utils.unregister_class(VIEW3D_PT_weightwalk_first)
        return None


def views() -> list[bpy.types.Area]:
    """Return the 3D views of all windows."""
    areas = [area for w in bpy.context.window_manager.windows for area in w.screen.areas]
    return [area for area in areas if area.type == "VIEW_3D"]


def sidebars() -> list[bpy.types.Region]:
    """Return the sidebars that are open in 3D views."""
    open_ones = [view for view in views() if view.spaces.active.show_region_ui]
    return [region for view in open_ones for region in view.regions if region.type == "UI"]


@bpy.app.handlers.persistent
def open_tab(*_: object) -> None:
    """Open the sidebars; those that nobody has used yet begin with the tab."""
    for view in views():
        view.spaces.active.show_region_ui = True
    if not hasattr(bpy.types, VIEW3D_PT_weightwalk_first.__name__):
        Opening()


def begin() -> None:
    """Open the tab and say that the desktop is ready, once there is a window."""
    open_tab()
    page, user = (os.environ.get(name, "") for name in ("WEIGHTWALK_PAGE", "CUSTOM_USER"))
    print(f"weightwalk: ready: {page or 'port 3001'}, user {user or 'abc'}", flush=True)


preferences = bpy.context.preferences
preferences.view.show_splash = False
# The mouse comes over the network: it cannot be put to the other edge of the window.
preferences.inputs.use_mouse_continuous = False
if EXTENSION not in preferences.addons:  # as after a reset of the preferences
    addon_utils.enable(EXTENSION, default_set=True)
if EXTENSION in preferences.addons and not preferences.addons[EXTENSION].preferences.models:
    preferences.addons[EXTENSION].preferences.models = MODELS
bpy.app.handlers.load_post.append(open_tab)
bpy.app.timers.register(begin, first_interval=0.1)
