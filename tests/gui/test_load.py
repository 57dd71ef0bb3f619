"""From an empty file to weights in the scene, by mouse and keyboard."""

from __future__ import annotations

import pytest

TAB = "view('VIEW_3D', 'UI')['region'].active_panel_category"
SURFACES = "[o.name for o in bpy.context.scene.objects if o.type == 'MESH' and o.data.polygons]"


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_model_is_loaded_with_mouse_and_keyboard(window, checkpoint, what):
    window.screenshot("new-file")
    window.open_tab("Weights")
    window.screenshot("tab")
    assert window.ask(TAB) == "Weights"
    place = window.find("weightwalk.load_model")
    before = len(window.ask(SURFACES))
    window.click(*place)
    window.wait_for("shown() == ['FILE_BROWSER']")
    window.screenshot("file-browser")
    window.type_path(checkpoint if what == "file" else checkpoint.parent)
    assert "VIEW_3D" in window.ask("shown()")
    window.wait_for(f"len({SURFACES}) >= {before} + 6", seconds=60)
    window.screenshot("built")
    assert not [text for kind, text in window.reports() if kind == "ERROR"]
