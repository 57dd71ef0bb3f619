"""A training run in the window: load, build, scrub, play, walk, follow."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from .extension import SESSION, WALKING, WEIGHTS, finish, put, sentences

FRAME = "bpy.context.scene.frame_current"
PLAYING = "bpy.context.window_manager.windows[0].screen.is_animation_playing"
EYE = "list(view()['area'].spaces.active.region_3d.view_matrix.inverted().translation)"
STEPS = f"[s.name for s in {SESSION}.record(bpy.context.scene).series.steps]"
# The steps of the surfaces in view; and of each text of a step in view, where it is on the screen.
SHOWN = """
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Vector
v = view()
region, seen = v["region"], v["area"].spaces.active.region_3d
held = [o for o in bpy.context.scene.objects if "training_step" in o and o.visible_get()]
texts = []
for o in held:
    if o.type == "FONT":
        corners = [o.matrix_world @ Vector(c) for c in o.bound_box]
        at = [location_3d_to_region_2d(region, seen, c) for c in corners]
        x, y = [region.x + p.x for p in at], [899 - region.y - p.y for p in at]
        texts.append([o.data.body, [min(x), min(y), max(x), max(y)]])
result = [sorted({o["training_step"] for o in held if "plan" in o}), texts]
"""


@pytest.fixture
def training():
    """Return the weights of two layers at four steps."""
    rng = np.random.default_rng(8)
    shapes = {"self_attn.q_proj": (64, 64), "mlp.up_proj": (96, 64)}
    now = {
        f"model.layers.{i}.{name}.weight": rng.standard_normal(shape)
        for i in range(2)
        for name, shape in shapes.items()
    }
    steps = []
    for _ in range(4):
        now = {name: w + 0.5 * rng.standard_normal(w.shape) for name, w in now.items()}
        steps.append({name: w.astype(np.float32) for name, w in now.items()})
    return steps


def write(folder, number, tensors):
    path = folder / f"checkpoint-{number}"
    path.mkdir(parents=True)
    save_file(tensors, path / "model.safetensors")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": number}))


@pytest.fixture
def folder(tmp_path, training):
    folder = tmp_path / "little-run"
    for i, tensors in enumerate(training[:3]):
        write(folder, 500 * (i + 1), tensors)
    return folder


def load(window, folder):
    """Load a run by the panel's button and the file browser."""
    window.open_tab("Weights")
    window.open_panel("WEIGHTWALK_PT_run")
    window.screenshot("empty")
    window.press("weightwalk.load_run")
    window.type_path(folder)
    finish(window)
    window.wait_for(f"{WEIGHTS}.run.loaded")
    window.screenshot("loaded")
    put(window, rows=32, cols=32)


def test_a_run_is_built_scrubbed_played_and_walked_through(window, folder):
    load(window, folder)
    window.press("weightwalk.build_run")
    finish(window)
    window.settle()
    window.screenshot("built")
    assert window.ask(STEPS) == ["500", "1000", "1500"]
    # Scrub: the mouse goes along the timeline.
    box = window.region("DOPESHEET_EDITOR", "WINDOW")
    pictures = {}
    for i, label in enumerate(("step 500", "step 1000", "step 1500")):
        frame = 12 * i + 6
        to = "view('DOPESHEET_EDITOR')['region'].view2d.view_to_region({}, 0, clip=False)[0]"
        window.click(box.left + int(window.ask(to.format(frame))), box.top + 10)
        assert abs(window.ask(FRAME) - frame) <= 1
        shown, texts = window.ask(SHOWN)
        assert shown == [i]
        assert [text for text, _ in texts] == [label]
        pictures[i] = np.asarray(Image.open(window.screenshot(f"at-{i}")).convert("L")).astype(int)
        left, top, right, bottom = map(round, texts[0][1])
        there = pictures[i][top:bottom, left:right]
        assert there.size and there.max() > 120, "the step's name can be read"
        assert SESSION and window.ask(f"{SESSION}.built(bpy.context.scene).step") == label
    assert (np.abs(pictures[0] - pictures[2]) > 30).mean() > 0.01
    # Play, and walk meanwhile.
    window.move(*window.region().centre)
    window.key("space")
    assert window.ask(PLAYING)
    window.key("ctrl+shift+w")
    window.wait_for(WALKING)
    start, frames = window.ask(EYE), set()
    with window.held("w"):
        for _ in range(6):
            time.sleep(0.2)
            frames.add(window.ask(FRAME))
        window.screenshot("plays-and-walks")
    assert len(frames) > 2
    assert window.ask(EYE)[1] > start[1] + 3
    window.key("Return")
    assert not window.ask(WALKING)
    window.key("space")
    assert not window.ask(PLAYING)
    window.key("Next")
    window.screenshot("layer")
    window.key("shift+Home")
    window.screenshot("overview")
    assert not sentences(window)


def test_a_training_is_followed_while_it_goes_on(window, folder, training):
    load(window, folder)
    window.press("weightwalk.follow")
    window.wait_for(f"{SESSION}.record(bpy.context.scene) is not None", 60)
    window.wait_for(f"'waits for the next' in {SESSION}.following.said", 60)
    window.screenshot("follows")
    assert window.ask(STEPS) == ["500", "1000", "1500"]
    # It grows while it plays.
    window.move(*window.region().centre)
    window.key("space")
    write(folder, 2000, training[3])
    window.wait_for(f"len({STEPS}) == 4", 60)
    window.wait_for(f"'4 steps so far' in {SESSION}.following.said", 60)
    window.screenshot("grown")
    assert window.ask("bpy.context.scene.frame_end") == 48
    assert window.ask(PLAYING)
    window.move(*window.region().centre)
    window.key("space")
    # An undo takes the step away (after the playback, which is a step of its own); it comes anew.
    for _ in range(3):
        window.key("ctrl+z")
        if window.ask(f"len({STEPS})") == 3:
            break
    assert window.ask(f"len({STEPS})") == 3
    window.wait_for(f"len({STEPS}) == 4", 60)
    finish(window)
    window.press("weightwalk.relock")
    finish(window)
    assert window.ask(f"len({SESSION}.record(bpy.context.scene).series.lock.over)") == 4
    window.screenshot("relocked")
    window.press("weightwalk.follow")
    assert not window.ask(f"{SESSION}.following.active")
    assert not sentences(window)
