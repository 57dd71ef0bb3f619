"""Runs inside the Blender of a window test: does what the test asks, in the main thread.

Its last argument is where the test listens: a port, or the path of a socket. A request is a line of
JSON with a number and some Python; the answer is one with the same number and its value, or its
traceback.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import select
import socket
import sys
import traceback
from typing import Any

import bpy

CONNECTION = socket.socket(socket.AF_UNIX if "/" in sys.argv[-1] else socket.AF_INET)
CONNECTION.settimeout(10)
CONNECTION.connect(sys.argv[-1] if "/" in sys.argv[-1] else ("127.0.0.1", int(sys.argv[-1])))
SECONDS = 0.0
received = b""
watched: set[str] = set()
drawn: set[str] = set()


class TEST_OT_pointer(bpy.types.Operator):  # noqa: N801
    bl_idname = "test.pointer"
    bl_label = "Tell where the mouse is, which Blender does for operators only"
    bl_options = {"INTERNAL"}  # noqa: RUF012
    position: list[int] = []  # noqa: RUF012

    def invoke(self, _context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        self.position[:] = event.mouse_x, event.mouse_y
        return {"FINISHED"}


def view(area_type: str = "VIEW_3D", region_type: str = "WINDOW") -> dict[str, Any]:
    """Return what `temp_override` needs for a region of the largest area of a type."""
    window = bpy.context.window_manager.windows[0]
    areas = [area for area in window.screen.areas if area.type == area_type]
    area = max(areas, key=lambda area: area.width * area.height)
    region = next(region for region in area.regions if region.type == region_type)
    return {"window": window, "screen": window.screen, "area": area, "region": region}


def shown() -> list[str]:
    """Return the types of the areas in the window."""
    return [area.type for area in bpy.context.window_manager.windows[0].screen.areas]


def pointer() -> list[int]:
    """Return where Blender has seen the mouse, in pixels from the window's lower left corner."""
    with bpy.context.temp_override(window=bpy.context.window_manager.windows[0]):
        bpy.ops.test.pointer("INVOKE_DEFAULT")
    return TEST_OT_pointer.position


def hovered(area_type: str, region_type: str, lines: bool) -> dict[str, Any]:
    """Return what the button does that the mouse is over: a property, or an operator's call.

    Of a menu it is the line of Python that draws it, which takes time and is found for `lines`.
    """
    ui = bpy.ops.ui
    with bpy.context.temp_override(**view(area_type, region_type)):
        if bpy.context.property:
            _, path, index = bpy.context.property
            return {"property": path.rpartition(".")[2], "index": index}
        if ui.copy_python_command_button.poll():
            ui.copy_python_command_button()
            return {"operator": bpy.context.window_manager.clipboard}
        texts = set(bpy.data.texts)
        if lines:
            # An error where there is no button.
            with contextlib.suppress(RuntimeError):
                ui.editsource()
        for text in set(bpy.data.texts) - texts:
            line = text.current_line.body.strip()
            bpy.data.texts.remove(text)
            return {"line": line}
    return {}


def watch(panel: str) -> None:
    """Have `drawn` tell whether a panel is drawn from now on: one that is closed is not."""
    drawn.discard(panel)
    if panel not in watched:
        watched.add(panel)
        getattr(bpy.types, panel).append(lambda _panel, _context: drawn.add(panel))
    view("VIEW_3D", "UI")["region"].tag_redraw()


def run(source: str) -> object:
    """Return the value of an expression, or what a longer source leaves in `result`."""
    names = {"bpy": bpy} | {f.__name__: f for f in (view, shown, pointer, hovered, watch)}
    names["drawn"] = drawn
    tree = ast.parse(source)
    if len(tree.body) == 1 and isinstance(tree.body[0], ast.Expr):
        return eval(source, names)
    exec(compile(tree, "<test>", "exec"), names)
    return names.get("result")


def answer(line: bytes) -> bytes:
    number, source = json.loads(line)
    try:
        text = json.dumps([number, run(source), None], default=as_json)
    except Exception:
        text = json.dumps([number, None, traceback.format_exc()])
    return text.encode() + b"\n"


def as_json(value: Any) -> object:
    """Make lists of vectors and sets, and text of what JSON cannot hold at all."""
    if isinstance(value, bytes):
        return os.fsdecode(value)
    try:
        return list(value)
    except TypeError:
        return repr(value)


def poll() -> float | None:
    """Answer one request at most: Blender handles the mouse's events between two of them."""
    global received  # noqa: PLW0603
    if b"\n" not in received and select.select([CONNECTION], [], [], 0)[0]:
        chunk = CONNECTION.recv(1 << 16)
        if not chunk:  # The test is over, or was killed.
            bpy.ops.wm.quit_blender()
            return None
        received += chunk
    if b"\n" in received:
        line, received = received.split(b"\n", 1)
        CONNECTION.sendall(answer(line))
    return SECONDS


sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
bpy.utils.register_class(TEST_OT_pointer)
preferences = bpy.context.preferences
preferences.use_preferences_save = False
preferences.view.show_splash = False
# There is no window manager, and a window of its own could lie partly off the screen.
preferences.view.filebrowser_display_type = "SCREEN"
bpy.app.timers.register(poll, persistent=True)
