"""Probe files in the window: load, build, scrub, play, cancel, follow; and without torch."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from .extension import INVENTORY, SESSION, UI, WALKING, WEIGHTS, finish, put, sentences, unhurried

FLOW = f"{WEIGHTS}.flow"
FRAME = "bpy.context.scene.frame_current"
EYE = "list(view()['area'].spaces.active.region_3d.view_matrix.inverted().translation)"
TOLD = f"""
import numpy as np
viewer = np.array(view()['area'].spaces.active.region_3d.view_matrix.inverted())
result = {UI}.head_up.tell(bpy.context, viewer[:3, 3], -viewer[:3, 2]).layer
"""
PLAYING = "bpy.context.window_manager.windows[0].screen.is_animation_playing"
RECORD = f"{UI}.flow_follow.flow_record(bpy.context.scene)"
LABELS = f"({RECORD} and {RECORD}.labels)"
TEXTS = ("The sky is", "Two and two make")

PROBED = f"""
from pathlib import Path
held = {UI}.flow_probe
asked = held.ProbeSettings(Path({{!r}}))
try:
    list(held.probe_apart_steps(asked, Path({{!r}})))
    result = ""
except held.WeightwalkError as error:
    result = str(error)
"""


def write(folder, step, features=96):
    """Write a probe of 12 layers: from layer 6 on it drifts away with the training."""
    from weightwalk.core.flow.probe import Probe, ProbeInfo, Prompt, write_probe

    rng = np.random.default_rng(3)
    drift = rng.standard_normal((12, 1, features)) * (np.arange(12) >= 6)[:, None, None]
    prompts, values = [], {}
    for i, text in enumerate(TEXTS):
        tokens = tuple(text.split())
        prompts.append(Prompt(text, "", tokens, tuple(range(len(tokens)))))
        grown = rng.standard_normal((12, len(tokens), features)) + 0.02 * step * drift
        values[i, "hidden"] = tuple(grown.astype(np.float32))
    layers = tuple(f"model.layers.{i}" for i in range(12))
    info = ProbeInfo(
        "drifting", "", "llama", "LlamaForCausalLM", "float32", "cpu", layers, tuple(prompts), step
    )
    beside = folder / f"step-{step}.part"
    write_probe(beside, Probe(info, values))
    beside.replace(folder / f"step-{step}.safetensors")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "flow"
    folder.mkdir()
    for step in (0, 50, 100):
        write(folder, step)
    return folder


def load(window, path, steps):
    """Load probe files by the panel's button and the file browser."""
    window.open_tab("Weights")
    window.open_panel("WEIGHTWALK_PT_flow")
    window.screenshot("empty")
    window.press("weightwalk.load_flow")
    window.type_path(path)
    finish(window)
    window.wait_for(f"len({FLOW}.names) == {steps}")
    window.screenshot("loaded")


def picture(window, name):
    return np.asarray(Image.open(window.screenshot(name)).convert("RGB")).astype(int)


def test_a_flow_is_built_scrubbed_and_played(window, folder):
    load(window, folder, 3)
    before = picture(window, "before")
    window.press("weightwalk.build_flow")
    finish(window)
    window.wait_for(f"len({LABELS} or ()) == 3", 60)
    window.move(*window.region().centre)
    window.settle()
    box = window.region()
    built = picture(window, "built")
    inside = np.s_[box.top + 60 : box.bottom, box.left : box.left + (box.right - box.left) * 3 // 4]
    assert (np.abs(built[inside] - before[inside]).max(axis=-1) > 30).mean() > 0.1
    # What is seen changes from step to step, and plays.
    window.ask(f"bpy.context.scene.frame_set({2 * 12 + 6})")
    window.settle()
    last = picture(window, "last")
    assert (np.abs(last[inside] - built[inside]).max(axis=-1) > 30).mean() > 0.005
    window.key("space")
    assert window.ask(PLAYING)
    frames = set()
    for _ in range(5):
        time.sleep(0.2)
        frames.add(window.ask(FRAME))
    window.key("space")
    assert len(frames) > 2
    # An undo takes it back, and a redo brings it again.
    for _ in range(3):
        window.key("ctrl+z")
        if not window.ask(LABELS):
            break
    assert not window.ask(LABELS)
    window.key("ctrl+shift+z")
    assert len(window.ask(LABELS)) == 3
    assert not sentences(window)


def test_a_flow_is_walked_from_layer_to_layer(window, folder):
    load(window, folder, 3)
    window.ask(f"setattr({FLOW}, 'values', 'changes')")
    window.press("weightwalk.build_flow")
    finish(window)
    window.ask("bpy.context.scene.frame_set(30)")
    stops = window.ask(f"[s.y for s in {RECORD}.stops]")
    whole = window.ask(EYE)
    window.move(*window.region().centre)
    for i in (0, 1, 2):
        window.key("Next")
        np.testing.assert_allclose(window.ask(EYE), (0.0, stops[i] - 4.0, 1.7), atol=0.01)
        assert ["INFO", f"layer {i}"] in window.reports()
        assert window.ask(TOLD) == f"layer {i}   ·   step 100 − step 0"
    window.screenshot("layer-2")
    window.key("Prior")
    assert abs(window.ask(EYE)[1] - (stops[1] - 4.0)) < 0.01
    window.key("shift+Home")
    np.testing.assert_allclose(window.ask(EYE), whole, atol=0.01)
    window.key("ctrl+shift+w")
    window.wait_for(WALKING)
    start = window.ask(EYE)
    np.testing.assert_allclose(start, (0.0, stops[0] - 4.0, 1.7), atol=0.01)
    with window.held("w"):
        time.sleep(1.0)
    window.screenshot("walks")
    window.key("Return")
    assert 1.0 < window.ask(EYE)[1] - start[1] < 20.0
    assert not sentences(window)


def test_tokens_go_by_and_a_volume_stands(window, folder):
    load(window, folder / "step-100.safetensors", 1)
    assert window.ask(f"{FLOW}.over") == "tokens"
    window.press("weightwalk.build_flow")
    finish(window)
    assert len(window.ask(LABELS)) == 3
    window.screenshot("tokens")
    box = window.extent("view")
    window.click(box.right - (box.right - box.left) // 4, box.centre[1])
    assert window.ask(f"{FLOW}.view") == "volume"
    window.press("weightwalk.build_flow")
    finish(window)
    assert window.ask(f"{RECORD}.shape.view") == "volume"
    window.move(*window.region().centre)
    window.settle()
    window.screenshot("volume")
    assert not sentences(window)


def test_escape_leaves_the_scene_as_it_was(window, folder):
    for step in (*range(0, 100, 50), *range(100, 140)):  # long enough to be cancelled
        write(folder, step, features=2048)
    load(window, folder, 42)
    window.ask("bpy.ops.ed.undo_push(message='loaded')")
    before = window.ask(INVENTORY)
    with unhurried(window):
        window.press("weightwalk.build_flow")
        window.wait_for(f"{SESSION}.job is not None")
        window.screenshot("building")
        window.key("Escape")
    finish(window)
    assert not window.ask(LABELS)
    assert window.ask(INVENTORY) == before
    assert any("cancelled" in text for text in sentences(window, "INFO"))


def test_a_training_is_followed_while_it_goes_on(window, folder):
    load(window, folder, 3)
    window.press("weightwalk.follow_flow")
    window.wait_for(f"len({LABELS} or ()) == 3", 60)
    window.wait_for(f"'waits for the next' in {SESSION}.flow_following.said", 60)
    write(folder, 150)
    window.wait_for(f"len({LABELS} or ()) == 4", 60)
    finish(window)
    window.screenshot("grown")
    assert window.ask("bpy.context.scene.frame_end") == 48
    window.press("weightwalk.follow_flow")
    assert not window.ask(f"{SESSION}.flow_following.active")
    assert not sentences(window)


def test_a_probe_file_that_is_dropped_is_built(window, folder):
    window.open_tab("Weights")
    window.open_panel("WEIGHTWALK_PT_flow")
    path = str(folder / "step-50.safetensors")
    window.ask(
        "with bpy.context.temp_override(**view()):\n"
        f"    bpy.ops.weightwalk.load_model('INVOKE_DEFAULT', filepath={path!r})"
    )
    window.wait_for(f"bool({LABELS})", 60)
    finish(window)
    assert window.ask(f"{FLOW}.names") == ["step 50"]
    assert not window.ask(f"{WEIGHTS}.path")
    assert not sentences(window)


def test_without_torch_the_panel_says_how_the_file_is_made(window, folder, tmp_path):
    assert window.ask(f"bool({UI}.flow_probe.missing())"), "this Blender has torch"
    load(window, folder, 3)
    put(window, export_folder=str(tmp_path / "out"))
    # The headers of the two panels within this one follow its last button.
    last = window.extent("weightwalk.follow_flow")
    for y in range(last.bottom + 12, last.bottom + 100, 10):
        window.click(last.centre[0], y)
        if window._draws("WEIGHTWALK_PT_probe"):
            break
        window.click(last.centre[0], y)
    window.screenshot("without-torch")
    window.press("weightwalk.copy_command")
    copied = window.ask("bpy.context.window_manager.clipboard")
    assert copied.splitlines()[-1] == "weightwalk probe MODEL --out DIR"
    # The other process finds the extension, whatever its name, and says what is wrong.
    assert "nowhere" in window.ask(PROBED.format(str(tmp_path / "nowhere"), str(tmp_path / "a")))
    window.ask("bpy.ops.weightwalk.save_flow('INVOKE_DEFAULT')")
    finish(window)
    assert {"flow.png", "flow.gif"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert not sentences(window)
