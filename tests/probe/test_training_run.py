"""A real training run, from the Trainer's folder to what plays in Blender and in a browser."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import load_file
from weightwalk.animate import animate
from weightwalk.core.produce import animation_steps
from weightwalk.core.series import find_series
from weightwalk.core.settings import (
    AnimationOutput,
    AnimationSettings,
    FieldSettings,
    Selection,
    Settings,
    SurfaceSettings,
    TimelineSettings,
)
from weightwalk.core.stages import finish
from weightwalk.pipeline import drain

from ..core.gltf import assert_valid, node
from ..programs import chromium

pytestmark = [pytest.mark.probe, pytest.mark.bpy]

V = "model.layers.0.self_attn.v_proj.weight"
LINE = TimelineSettings(frames=6, start=3, fps=24)


def settings_of(run, view, delta):
    pool = "rms" if delta == "none" else "mean"
    fields = FieldSettings("slab", 64, 64, pool)
    build = Settings(run, Selection(("*proj.weight",)), fields, SurfaceSettings(faces=3000))
    return AnimationSettings((str(run),), build, view, delta, LINE)


ISO, RELIEF = ("iso", "none"), ("relief", "first")


@pytest.fixture
def shown(request, training_run, tmp_path):
    """The run as an animation, and as a scene."""
    import bpy
    from weightwalk.scene.build import clear
    from weightwalk.scene.series import build_series_steps

    view, delta = request.param
    series = find_series([str(training_run)])
    animation = finish(animation_steps(series, settings_of(training_run, view, delta), tmp_path))
    scene = bpy.context.scene
    clear(scene)
    scene.timeline_markers.clear()
    drain(build_series_steps(scene, animation, 16 / 9))
    files = [step.path / "model.safetensors" for step in series.steps]
    yield SimpleNamespace(animation=animation, scene=scene, files=files)
    clear(scene)


def test_the_folder_is_a_series_whose_last_step_is_the_final_model(training_run):
    names = [step.name for step in find_series([str(training_run)]).steps]
    numbers = [int(name) for name in names[:-1]]
    assert names[-1] == "final"
    assert numbers == sorted(numbers)
    assert len(numbers) >= 3


@pytest.mark.parametrize("shown", [ISO, RELIEF], ids=lambda p: p[0], indirect=True)
def test_frames_markers_and_what_is_seen_when(shown):
    scene, animation = shown.scene, shown.animation
    count = len(animation.steps)
    assert (scene.frame_start, scene.frame_end) == (3, 2 + 6 * count)
    assert scene.render.fps == 24
    assert [(m.name, m.frame) for m in sorted(scene.timeline_markers, key=lambda m: m.frame)] == [
        (step.name, 3 + 6 * k + 3 * bool(animation.reliefs))
        for k, step in enumerate(animation.steps)
    ]
    things = {thing.name: thing for thing in scene.objects}
    for frame in range(scene.frame_start, scene.frame_end + 1):
        scene.frame_set(frame)
        step = (frame - 3) // 6
        for actor in animation.actors:
            hidden = not actor.shown[step]
            assert things[actor.name].hide_viewport is hidden, (frame, actor.name)
            assert things[actor.name].hide_render is hidden


@pytest.mark.parametrize("shown", [RELIEF], ids=lambda p: p[0], indirect=True)
def test_the_terrain_is_the_change_that_numpy_finds_at_the_middle_of_each_step(shown):
    import bpy

    values = [load_file(file)[V].astype(np.float64) for file in shown.files]
    (relief,) = (r for r in shown.animation.reliefs if r.plan.name == V)
    thing = next(o for o in shown.scene.objects if o.get("plan") == V and o.type == "MESH")
    keys = thing.data.shape_keys.key_blocks
    for k, weights in enumerate(values):
        shown.scene.frame_set(3 + 6 * k + 3)
        assert [round(key.value, 6) for key in keys[1:]] == [
            float(i == k) for i in range(len(values))
        ]
        evaluated = thing.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        found = np.empty(3 * len(evaluated.vertices), np.float32)
        evaluated.attributes["position"].data.foreach_get("vector", found)
        change = (weights - values[0]) / values[0].std()
        np.testing.assert_allclose(
            -found.reshape(-1, 3)[:, 1] / relief.height, change.ravel(), atol=1e-5
        )


@pytest.mark.node
@pytest.mark.browser
@pytest.mark.parametrize(("view", "delta"), [("iso", "none"), ("relief", "previous")])
def test_the_browser_plays_the_same(training_run, tmp_path, view, delta):
    out = AnimationOutput(tmp_path / "out", ("glb",), "learning")
    made = animate(settings_of(training_run, view, delta), out)
    path = tmp_path / "out" / "learning.glb"
    assert path in made.files
    assert_valid(path)
    steps, seconds = made.animation.steps, made.animation.timeline.seconds
    middles = [(k + 0.5) * seconds / len(steps) for k in range(len(steps))]
    played = node("play.mjs", chromium(), path, json.dumps(middles))["seen"][str(path)]["three"]
    assert played["duration"] == pytest.approx(seconds)
    for k, frame in enumerate(played["frames"]):
        names = {a.name for a in made.animation.actors if a.shown[k]}
        names |= {r.part.name for r in made.animation.reliefs if r.shown[k]}
        assert set(frame["shown"]) == names
