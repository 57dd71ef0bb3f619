"""A training run as GLB that plays, read back by pygltflib, the Khronos validator and three.js."""

import dataclasses
import gc
import json
import os
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp
from weightwalk.core.errors import OutputError, SettingsError
from weightwalk.core.stages import finish
from weightwalk.core.writers import COMPRESSIONS, MeshPart, document
from weightwalk.core.writers.animated import CameraTrack, write_animated_glb

from ..programs import chromium
from .gltf import assert_valid, mesh_nodes, node, values_of, y_up
from .playing import DOWN, NAMES, UP, Q, animation_of, tensors_of_run

TURNS = Rotation.from_euler("XYZ", [[90, 0, 0], [85, 0, 30], [95, 10, 170], [90, 0, 350]], True)


def track(seconds):
    """A camera that turns around; a quaternion's sign says nothing, so that it may jump."""
    quaternions = TURNS.as_quat()[:, [3, 0, 1, 2]] * np.array([[1], [-1], [-1], [1]])
    places = np.array([[0, -6, 2], [0, 0, 2], [1, 4, 3], [2, 9, 1]], float)
    return CameraTrack("Flight", seconds, places, quaternions, 0.7, 16 / 9, 0.1, 500.0)


def write(tmp_path, animation, compression="draco", camera=None):
    path = tmp_path / "run.glb"
    finish(write_animated_glb(path, animation, camera, compression))
    return path


def play(path, times):
    result = node("play.mjs", chromium(), path, json.dumps(list(map(float, times))))
    assert result["strangers"] == []
    seen = result["seen"][str(path)]
    assert seen["modelViewer"]["names"] == ["Training"]
    assert seen["modelViewer"]["duration"] == pytest.approx(seen["three"]["duration"])
    return seen["three"]


def times_of(animation):
    """Middles of the steps, and just before and after each change; with the step at each."""
    line, steps = animation.timeline, range(len(animation.steps))
    width = line.seconds / len(steps)
    times = [((k + 0.5) * width, k) for k in steps]
    times += [(k * width + 1e-4, k) for k in steps] + [((k + 1) * width - 1e-4, k) for k in steps]
    return times


def names_at(animation, step):
    return {actor.name for actor in animation.actors if actor.shown[step]}


@pytest.mark.parametrize(
    ("view", "compression"), [("iso", "draco"), ("iso", "quantize"), ("time", "draco")]
)
@pytest.mark.node
@pytest.mark.browser
def test_exactly_the_surfaces_of_a_step_have_an_extent(tmp_path, view, compression):
    animation = animation_of(tmp_path, view=view)
    path = write(tmp_path, animation, compression)
    assert_valid(path)
    times = times_of(animation)
    seen = play(path, [time for time, _ in times])
    assert (seen["name"], seen["others"]) == ("Training", 0)
    assert seen["duration"] == pytest.approx(animation.timeline.seconds)
    assert seen["geometries"] == len({actor.mesh for actor in animation.actors})
    for (_, step), frame in zip(times, seen["frames"], strict=True):
        assert set(frame["shown"]) == names_at(animation, step)
        if view == "iso":
            assert {s["step"] for s in frame["shown"].values()} == {NAMES[step]}
    if view == "iso":
        assert not any(DOWN in name for name in names_at(animation, 3))
        assert [any("non-finite" in n for n in names_at(animation, k)) for k in range(5)] == [
            False, False, False, True, True,
        ]  # fmt: skip


@pytest.mark.parametrize("timeline", [(12, 1, 24), (5, 10, 30), (1, 0, 3)], ids=str)
@pytest.mark.node
@pytest.mark.browser
def test_a_relief_lies_where_the_tensor_says(tmp_path, timeline):
    animation = animation_of(tmp_path, view="relief", timeline=timeline)
    path = write(tmp_path, animation, "draco")
    assert_valid(path)
    line, frames, fps = animation.timeline, timeline[0], timeline[2]
    # How much of each step is seen: all of one in its middle, and half of both at a boundary.
    times = [((k + 0.5) * frames / fps, {k: 1.0}) for k in range(5)]
    times.append((frames / fps, {0: 0.5, 1: 0.5}))
    if frames > 1:
        times += [(line.at(frame), {k: 1.0}) for k in range(5) for frame in line.middle(k)]
    seen = play(path, [time for time, _ in times])
    assert seen["duration"] == pytest.approx(line.seconds)
    sigma = {unit.name: unit.sigma for unit in animation.lock.units}
    tensors = tensors_of_run()
    for (_, steps), frame in zip(times, seen["frames"], strict=True):
        if len(steps) == 1:
            [step] = steps
            there = {r.part.name for r in animation.reliefs if r.shown[step]}
            assert set(frame["shown"]) == there | names_at(animation, step)
        for relief in animation.reliefs:
            if not all(relief.shown[k] for k in steps):
                continue
            name, (x, y, z) = relief.part.name, relief.placement.origin
            morphed = frame["morphed"][name]
            assert set(morphed["targets"]) == set(NAMES)
            assert sum(morphed["influences"]) == pytest.approx(1)
            values = sum(w * np.nan_to_num(tensors[k][name]) for k, w in steps.items())
            height = animation.lock.height * values / sigma[name]
            places = np.array(morphed["places"]).reshape(*_grid(relief), 3)
            np.testing.assert_allclose(
                places[..., 2], np.broadcast_to(height - y, places.shape[:2]), atol=2e-4
            )
            rows, cols = places.shape[:2]
            width, _, tall = relief.placement.step
            across = x + (np.arange(cols) - (cols - 1) / 2) * width
            down = z - (np.arange(rows) - (rows - 1) / 2) * tall
            np.testing.assert_allclose(places[..., 0], np.tile(across, (rows, 1)), atol=2e-4)
            np.testing.assert_allclose(places[..., 1].T, np.tile(down, (cols, 1)), atol=2e-4)


def _grid(relief):
    """Rows and columns of vertices: a vector's strip has two rows."""
    rows, cols = relief.plan.shape[1:]
    return max(rows, 2), max(cols, 2)


@pytest.mark.node
@pytest.mark.browser
def test_the_colours_of_a_relief_follow_its_heights(tmp_path):
    animation = animation_of(tmp_path, view="relief")
    relief = animation.reliefs[0]
    scale = animation.lock.scale
    # Each step has one value all over, so that the picture's middle can be judged.
    heights = np.linspace(scale.low, scale.high, 5, dtype=np.float32)
    flat = np.repeat(heights[:, None], relief.values.shape[1], axis=1)
    relief = dataclasses.replace(relief, values=flat, shown=(True,) * 5)
    path = write(tmp_path, dataclasses.replace(animation, reliefs=(relief,), actors=()))
    assert_valid(path)
    middles = [(k + 0.5) * animation.timeline.seconds / 5 for k in range(5)]
    expected = scale.colors(heights)
    for color, frame in zip(expected, play(path, middles)["frames"], strict=True):
        np.testing.assert_allclose(frame["pixel"], color, atol=1)
    # What knows no colours in morph targets, or does not play, shows the last step's.
    gltf, [sheet] = mesh_nodes(path)
    mesh = gltf.meshes[sheet.mesh]
    assert mesh.weights == [0, 0, 0, 0, 1]
    plain = values_of(gltf, mesh.primitives[0].attributes.COLOR_0)[:, :3]
    light = np.where(plain <= 0.0031308, plain * 12.92, 1.055 * plain ** (1 / 2.4) - 0.055)
    np.testing.assert_array_equal(np.rint(light * 255), np.tile(expected[-1, :3], (len(plain), 1)))


@pytest.mark.node
@pytest.mark.browser
def test_the_camera_is_where_its_track_says(tmp_path):
    animation = animation_of(tmp_path)
    end = animation.timeline.seconds
    seconds = np.array([0, 0.2, 0.5, 1.0]) * end
    camera = track(seconds)
    path = write(tmp_path, animation, camera=camera)
    assert_valid(path)
    times = np.array([0, 0.1, 0.2, 0.3, 0.5, 0.9]) * end
    turned = Slerp(seconds, TURNS)(times)
    place = np.array([np.interp(times, seconds, column) for column in camera.locations.T]).T
    for i, frame in enumerate(play(path, times)["frames"]):
        seen = frame["cameras"]["Flight"]
        np.testing.assert_allclose(seen["at"], y_up(place)[i], atol=1e-5)
        for said, axis in (("toward", (0, 0, -1)), ("up", (0, 1, 0))):
            np.testing.assert_allclose(seen[said], y_up(turned.apply(axis))[i], atol=1e-5)
        assert np.radians(seen["fov"]) == pytest.approx(0.7)
        assert seen["aspect"] == pytest.approx(16 / 9)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_mesh_is_written_once_and_every_node_says_where_it_is_from(tmp_path, compression):
    animation = animation_of(tmp_path)
    gltf, nodes = mesh_nodes(write(tmp_path, animation, compression, track(np.arange(4.0) / 10)))
    by_name = {node.name: node for node in nodes}
    resting = [
        node for node in nodes if node.name.startswith("model.layers.0") and " + " in node.name
    ]
    uses = Counter(node.mesh for node in nodes)
    assert len(gltf.meshes) == len(uses) == len({actor.mesh for actor in animation.actors})
    assert sorted(uses.values())[-2:] == [2, 2]  # Q has two sides and rests once
    assert len(resting) == 5
    groups = {n.name: [gltf.nodes[c].name for c in n.children] for n in gltf.nodes if n.children}
    assert set(groups) == {"layer 0", "layer 1"}
    for actor in animation.actors:
        node, shell = by_name[actor.name], actor.shell
        assert node.extras["tensor"] == shell.field.plan.name
        assert node.extras["training_step"] == NAMES[actor.step]
        assert actor.name in groups[f"layer {shell.field.plan.layer}"]
        # What does not play shows the last step.
        assert any(node.scale) is actor.shown[-1]
    steps = gltf.asset.extras["steps"]
    assert [step["name"] for step in steps] == list(NAMES)
    assert [step["number"] for step in steps] == [100, 200, None, 400, None]
    assert [step["end"] for step in steps] == pytest.approx([(k + 1) * 5 / 24 for k in range(5)])
    assert gltf.asset.extras["seconds"] == pytest.approx(25 / 24)
    assert gltf.asset.extras["captions"] == list(animation.captions)
    [animated] = gltf.animations
    patterns = len({actor.shown for actor in animation.actors})
    if compression == "draco":
        assert len(animated.samplers) == patterns + 2
    assert len(animated.channels) == len(animation.actors) + 2


def test_few_surfaces_are_in_memory_at_a_time(tmp_path):
    rng = np.random.default_rng(0)
    names = [str(k) for k in range(40)]
    steps = [{Q: rng.standard_normal((12, 10)).astype(np.float32)} for _ in names]
    animation = animation_of(tmp_path, steps, names=names)
    assert len({actor.mesh for actor in animation.actors}) > 60

    def parts():
        return sum(type(thing) is MeshPart for thing in gc.get_objects())

    gc.collect()
    before = parts()  # of other tests
    for compression, most in (("none", 1), ("draco", min(os.cpu_count(), 8))):
        alive = []
        for _ in write_animated_glb(tmp_path / "a.glb", animation, None, compression):
            gc.collect(0)
            alive.append(parts() - before)
        assert max(alive) <= most


def test_a_stopped_writer_has_closed_its_file_and_threads(tmp_path):
    animation = animation_of(tmp_path)
    before = threading.active_count()
    writing = write_animated_glb(tmp_path / "a.glb", animation)
    total = next(writing).total
    assert total == len({actor.mesh for actor in animation.actors})
    next(writing)
    writing.close()
    (tmp_path / "a.glb").unlink()
    assert threading.active_count() == before


@pytest.mark.node
def test_hostile_names(tmp_path):
    long = "model.layers.3." + "x" * 5000
    rng = np.random.default_rng(0)
    steps = [
        {name: rng.standard_normal((6, 5)).astype(np.float32) for name in (long, "a/b [0]:é", "")}
        for _ in range(2)
    ]
    for view in ("iso", "relief"):
        (tmp_path / view).mkdir()
        animation = animation_of(tmp_path / view, steps, view, names=("../1", "☃\n\ud800"))
        path = write(tmp_path / view, animation, "quantize")
        assert_valid(path)
        gltf, _ = mesh_nodes(path)
        assert [step["name"] for step in gltf.asset.extras["steps"]] == ["../1", "☃\n?"]


def test_what_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    animation = animation_of(tmp_path)
    with pytest.raises(SettingsError, match="'zip': choose among draco, quantize, none"):
        write(tmp_path, animation, "zip")
    with pytest.raises(OutputError, match=r"run\.glb: there is no surface to write"):
        write(tmp_path, dataclasses.replace(animation, actors=()), camera=track(np.arange(4.0)))
    full = Path("/dev/full")
    if full.exists():
        with pytest.raises(OutputError, match="cannot write /dev/full: No space left on device"):
            finish(write_animated_glb(full, animation))
    monkeypatch.setattr(document, "MAX_BYTES", 10_000)
    with pytest.raises(OutputError, match="holds at most 10000 bytes"):
        write(tmp_path, animation)


@pytest.mark.bpy
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_blender_plays_it(tmp_path):
    import bpy

    for view in ("iso", "relief"):
        (tmp_path / view).mkdir()
        animation = animation_of(tmp_path / view, view=view, timeline=(6, 0, 24))
        path = write(tmp_path / view, animation, "quantize", track(np.arange(4.0) / 10))
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.context.scene.render.fps = 24
        bpy.ops.import_scene.gltf(filepath=str(path))
        # The importer counts frames from 0, or from 1 as Blender does.
        keys = {k.co.x for a in bpy.data.actions for c in _curves(a) for k in c.keyframe_points}
        first = min(keys)
        for k in range(5):
            bpy.context.scene.frame_set(round(first) + 6 * k + 3)
            things = [o for o in bpy.data.objects if o.type == "MESH"]
            shown = {o.name for o in things if any(o.scale)}
            expected = names_at(animation, k)
            expected |= {r.part.name for r in animation.reliefs if r.shown[k]}
            assert {name[:50] for name in shown} == {name[:50] for name in expected}
            for thing in things:
                if thing.data.shape_keys:
                    blocks = thing.data.shape_keys.key_blocks[1:]
                    assert [round(b.value, 3) for b in blocks] == [float(i == k) for i in range(5)]


def _curves(action):
    if hasattr(action, "fcurves"):
        return action.fcurves
    return [c for la in action.layers for s in la.strips for b in s.channelbags for c in b.fcurves]


def test_up_breaks_at_the_fourth_step(tmp_path):
    """The relief is flat where the tensor is not finite, and a marker stands there."""
    animation = animation_of(tmp_path, view="relief")
    [relief] = [r for r in animation.reliefs if r.part.name == UP]
    gltf, nodes = mesh_nodes(write(tmp_path, animation))
    [sheet] = [node for node in nodes if node.name == UP]
    targets = gltf.meshes[sheet.mesh].primitives[0].targets
    moved = values_of(gltf, targets[4]["POSITION"]).reshape(14, 8, 3) * sheet.scale[0]
    assert not moved[3:5, 2].any()
    assert moved[5, 2].any()
    assert {n.name for n in nodes} - {r.part.name for r in animation.reliefs} == {
        f"{UP} non-finite @ {name}" for name in NAMES[3:]
    }
    assert relief.shown == (True,) * 5
