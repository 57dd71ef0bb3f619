"""The window itself: what its mouse finds and clicks, and what is said when Blender is gone."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

import pytest

from .running import WindowError
from .window import Window


# First, while no other Blender runs for this file.
def test_a_blender_that_is_silent_or_dies_is_told_from_one_that_works(blender, tmp_path):
    (tmp_path / "profile").mkdir()
    with Window(blender, tmp_path / "profile", tmp_path) as window:
        with pytest.raises(WindowError, match=r"not answered for 0.5 s"):
            window.ask("__import__('time').sleep(1.5)", seconds=0.5)
        assert window.ask("1 + 1") == 2
        with pytest.raises(WindowError, match="ZeroDivisionError"):
            window.ask("1 / 0")
        with pytest.raises(WindowError, match=r"no weightwalk.nothing .*; see .*error.png"):
            window.find("weightwalk.nothing", region="TOOL_HEADER")
        with pytest.raises(WindowError, match=r"not so within 0.2 s"):
            window.wait_for("False", seconds=0.2)
        process = window.ask("__import__('os').getpid()")
        os.kill(process, signal.SIGKILL)
        with pytest.raises(WindowError, match="Blender died"):
            window.ask("1 + 1")
        display = window.environment["DISPLAY"].removeprefix(":")
    assert not Path(f"/proc/{process}").exists()
    assert not Path(f"/tmp/.X11-unix/X{display}").exists()


def test_buttons_are_found_where_blender_says_they_are(window):
    window.open_tab("Item")
    boxes = [window.extent("location", index=i) for i in range(3)]
    sidebar = window.region("VIEW_3D", "UI")
    for box, below in itertools.pairwise(boxes):
        assert sidebar.left < box.left < box.right < sidebar.right
        assert sidebar.top < box.top < box.bottom <= below.top < sidebar.bottom
        assert 15 < box.bottom - box.top < 25
    window.click(*boxes[1].centre)
    window.click(*boxes[1].centre)
    window.key("ctrl+a")
    window.type("2.5")
    window.screenshot("typed")
    window.key("Return")
    assert window.ask("bpy.context.scene.objects['Cube'].location") == [0, 2.5, 0]
    window.key("ctrl+z")
    assert window.ask("bpy.context.scene.objects['Cube'].location") == [0, 0, 0]


def test_a_property_out_of_sight_is_scrolled_to(window):
    window.open_tab("View")
    window.ask("setattr(bpy.context.preferences.view, 'ui_scale', 1.8)")
    try:
        window.settle()
        sidebar = window.region("VIEW_3D", "UI")
        window.screenshot("large")
        _, y = window.find("rotation_mode")
        window.screenshot("scrolled")
        assert sidebar.top < y < sidebar.bottom
        _, y = window.find("lens")
        assert sidebar.top < y < sidebar.bottom
    finally:
        window.ask("setattr(bpy.context.preferences.view, 'ui_scale', 1.0)")


def test_operators_are_found_by_what_they_are_given_and_menus_by_their_line(window):
    window.press('menu("VIEW3D_MT_view")', region="HEADER")
    window.screenshot("menu")
    window.key("Escape")
    tool = "bpy.context.workspace.tools.from_space_view3d_mode('OBJECT').idname"
    for name in ("builtin.rotate", "builtin.move"):
        window.press("wm.tool_set_by_id", region="TOOLS", name=name)
        assert window.ask(tool) == name
