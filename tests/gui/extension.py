"""The extension inside the window: what it holds, and short ways to what other tests click."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .window import Window

UI = "__import__('sys').modules['bl_ext.user_default.weightwalk.ui']"
SESSION = f"{UI}.session.session()"
WEIGHTS = "bpy.context.scene.weightwalk"
SURFACES = "[o.name for o in bpy.context.scene.objects if 'plan' in o]"
WALKING = (
    "any(o.bl_idname == 'VIEW3D_OT_walk'"
    " for o in bpy.context.window_manager.windows[0].modal_operators)"
)
# Names of all data in the file but for what the window itself opens and closes, what the scene
# uses, and where and how large everything in it is.
INVENTORY = """
kinds = [p.identifier for p in bpy.data.bl_rna.properties if p.type == "COLLECTION"]
kinds = set(kinds) - {"screens", "workspaces", "window_managers", "brushes", "libraries"}
scene = bpy.context.scene
result = {kind: sorted(item.name for item in getattr(bpy.data, kind)) for kind in sorted(kinds)}
result["linked"] = [c.name for c in (*scene.collection.children, *scene.collection.objects)]
result["uses"] = [scene.camera and scene.camera.name, scene.world and scene.world.name]
result["things"] = sorted(
    [o.name, o.data.name if o.data else "", *(x for row in o.matrix_world for x in row)]
    for o in scene.objects
)
"""


AT_ONCE = 0.5  # seconds from the key or the click to the end of the work

# Notes when the work under way has ended; Blender's clock is the test's.
WATCH = f"""
import time
from bpy.app import driver_namespace as names
def look():
    names["seen"] = names.get("seen", 0) + 1
    if {SESSION}.job is not None:
        return 0.0
    names["ended"] = time.monotonic()
names["ended"] = names["seen"] = 0
bpy.app.timers.register(look, persistent=True)
"""
ENDED = "bpy.app.driver_namespace['ended']"


def call(window: Window, operator: str, **values: Any) -> None:
    """Call an operator as the 3D view does."""
    given = "".join(f", {name}={value!r}" for name, value in values.items())
    with_view = "with bpy.context.temp_override(**view()):"
    window.ask(f"{with_view}\n    bpy.ops.{operator}('INVOKE_DEFAULT'{given})")
    window.settle()


def put(window: Window, **values: Any) -> None:
    """Set properties of the panel."""
    for name, value in values.items():
        window.ask(f"setattr({WEIGHTS}, {name!r}, {value!r})")


def load(window: Window, path: Path, **values: Any) -> None:
    """Load a model, with settings, and build nothing; an undo comes back to there."""
    call(window, "weightwalk.load_model", filepath=str(path), build=False)
    put(window, **values)
    window.ask("bpy.ops.ed.undo_push(message='loaded')")


@contextmanager
def unhurried(window: Window) -> Iterator[None]:
    """Give work a little time only between two events, so that it lasts until it is cancelled."""
    job = f"{UI}.session.Job"
    window.ask(f"setattr({job}, 'quick', {job}.advance)")
    window.ask(f"setattr({job}, 'advance', lambda self: self.quick(0.003))")
    yield
    window.ask(f"setattr({job}, 'advance', {job}.quick)")


def finish(window: Window, seconds: float = 90) -> None:
    """Wait until no work is under way."""
    window.wait_for(f"{SESSION}.job is None", seconds)
    window.settle()


def build(window: Window, path: Path, **values: Any) -> None:
    """Load a model and build it."""
    load(window, path, **values)
    call(window, "weightwalk.build")
    finish(window)
    assert window.ask(SURFACES), window.reports()


def sentences(window: Window, kind: str = "ERROR") -> list[str]:
    """Return what the person was told of a kind, such as ERROR or WARNING."""
    return [text for told, text in window.reports() if told == kind]


def seconds_to_the_end(window: Window, act: Callable[[], None]) -> float:
    """Return how long after the begin of an act the work under way has ended."""
    window.ask(WATCH)
    begin = time.monotonic()
    act()
    ended: float = window.wait_for(ENDED)
    return ended - begin
