"""A training run under a person's hands: the timeline is dragged, and the picture follows."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from .extension import UI

STEPS, LAYERS, FACES = 20, 10, 5000
ROLES = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")

BUILD = f"""
import importlib, pathlib
ours = {UI}.__name__.rpartition(".")[0]
def of(name): return importlib.import_module(f"{{ours}}.{{name}}")
settings, scene = of("core.settings"), bpy.context.scene
build = settings.Settings(pathlib.Path(FOLDER), surface=settings.SurfaceSettings(faces=FACES))
run = settings.AnimationSettings((FOLDER,), build)
cache = pathlib.Path(FOLDER) / "cache"
of("pipeline").drain(of("animate").series_in_scene_steps(scene, run, cache))
things = [o for o in scene.objects if "plan" in o]
result = len(things), sum(len(o.data.polygons) for o in things) / len(things)
"""
LOOK = """
place = view()
space, scene = place["area"].spaces.active, bpy.context.scene
space.shading.light, space.shading.studio_light = "STUDIO", "paint.sl"
space.shading.color_type = "VERTEX"
space.overlay.show_overlays = False
scene.camera = bpy.data.objects["Overview"]
with bpy.context.temp_override(**place):
    bpy.ops.view3d.view_camera()
    bpy.ops.view3d.view_center_camera()
"""
# What Blender's main thread does for a new frame: evaluate it, and draw all of the 3D view.
SCRUB = """
import time
frames, drawings = [], []
for i in range(40):
    begin = time.perf_counter()
    bpy.context.scene.frame_set(1 + (i * 7 % 20) * 12 + 5)
    evaluated = time.perf_counter()
    with bpy.context.temp_override(**view()):
        bpy.ops.wm.redraw_timer(type="DRAW", iterations=1)
    frames.append(evaluated - begin)
    drawings.append(time.perf_counter() - evaluated)
result = sorted(frames)[20], sorted(drawings)[20]
"""
SHOWN = "[o.name for o in bpy.context.scene.objects if 'plan' in o and not o.hide_viewport]"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a series in which each step has about as many faces as any other."""
    folder, rng = tmp_path_factory.mktemp("scrub"), np.random.default_rng(3)
    names = [f"model.layers.{layer}.{role}.weight" for layer in range(LAYERS) for role in ROLES]
    begin, end = ({n: rng.standard_normal((128, 128)) for n in names} for _ in range(2))
    for i in range(STEPS):
        a, b = np.cos(i / STEPS), np.sin(i / STEPS)
        tensors = {n: (a * begin[n] + b * end[n]).astype(np.float32) for n in names}
        save_file(tensors, folder / f"step-{100 * (i + 1)}.safetensors")
    return folder


def test_of_800_surfaces_a_frame_costs_what_the_40_that_are_seen_cost(window, run):
    source = BUILD.replace("FOLDER", repr(str(run))).replace("FACES", str(FACES))
    count, faces = window.ask(source, seconds=240)
    assert count == STEPS * LAYERS * len(ROLES)
    assert 0.8 * FACES < faces <= FACES
    window.ask(LOOK)
    window.settle()
    smoothing = "bpy.context.preferences.system.viewport_aa"
    medians = {}
    # Where the processor draws, to smooth edges takes Blender as long as all else together.
    for kind in ("8", "OFF"):
        window.ask(f"setattr(bpy.context.preferences.system, 'viewport_aa', {kind!r})")
        window.ask(SCRUB)
        medians[kind] = min(map(tuple, (window.ask(SCRUB) for _ in range(4))), key=sum)
    window.ask("setattr(bpy.context.preferences.system, 'viewport_aa', '8')")
    assert window.ask(smoothing) == "8"
    told = {kind: f"{1000 * f:.0f} + {1000 * d:.0f} ms" for kind, (f, d) in medians.items()}
    print("a frame and its drawing, by the view's anti-aliasing:", told)
    # To show other surfaces is nothing beside drawing them.
    assert all(frame < 0.25 * drawing for frame, drawing in medians.values()), told
    _drag(window)


def _drag(window):
    """Drag the timeline from its begin to its end: each frame shows its own step alone."""
    window.ask("bpy.context.scene.frame_set(1)")
    with_view = "with bpy.context.temp_override(**view('DOPESHEET_EDITOR')):"
    window.ask(f"{with_view}\n    bpy.ops.action.view_all()")
    window.settle()
    box = window.region("DOPESHEET_EDITOR")
    y = box.top + 12
    for share in (0.2, 0.5, 0.8):
        window.click(round(box.left + share * (box.right - box.left)), y)
        window.settle()
        frame, shown = window.ask("bpy.context.scene.frame_current"), window.ask(SHOWN)
        step = 100 * ((frame - 1) // 12 + 1)
        assert len(shown) == LAYERS * len(ROLES)
        assert {name.rpartition(" @ ")[2] for name in shown} == {str(step)}
        window.screenshot(f"step-{step}")
