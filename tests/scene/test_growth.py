"""A step that is appended: as if all had been built at once, but for what a person has done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from weightwalk import pipeline
from weightwalk.core.errors import WeightwalkError
from weightwalk.core.produce import joined
from weightwalk.core.record import Record
from weightwalk.core.settings import FlightSettings

from .runs import STEPS, animate, grow, settings_of, write_run
from .test_scene import get, inventory
from .test_timeline import markers, show, visible

pytestmark = pytest.mark.bpy


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


def extend(bpy, grown):
    from weightwalk.scene.series import extend_series_steps

    pipeline.drain(extend_series_steps(bpy.context.scene, grown))
    bpy.context.view_layer.update()


def played(bpy, animation):
    """Return what the scene shows at every frame, and how high its sheets are."""
    frames = []
    for frame in range(animation.timeline.start, animation.timeline.end + 1):
        # By what they say: a second label of the same words has another name.
        things = [bpy.data.objects[name] for name in visible(bpy, frame)]
        seen = {t.data.body if t.type == "FONT" else t.name for t in things}
        graph = bpy.context.evaluated_depsgraph_get()
        sheets = {
            name: get(bpy.data.objects[name].evaluated_get(graph).data.vertices, "co", 3)
            for name in seen
            if name in bpy.data.objects and getattr(bpy.data.objects[name].data, "shape_keys", None)
        }
        camera = bpy.context.scene.camera.matrix_world.copy()
        frames.append((seen, sheets, np.array(camera)))
    return frames


@pytest.mark.parametrize("view", ["iso", "relief"])
@pytest.mark.parametrize("begin", [1, 2])
def test_step_by_step_it_is_what_it_would_be_at_once(bpy, run, tmp_path, view, begin):
    settings = settings_of(run, view, flight=FlightSettings())
    animation = animate(tmp_path, settings, begin)
    show(bpy, animation)
    while len(animation.steps) < STEPS:
        grown = grow(tmp_path, animation, settings)
        animation = joined(animation, grown)
        extend(bpy, grown)
    one_by_one = played(bpy, animation), markers(bpy.context.scene), names(bpy)
    record = Record.from_json(root_of(bpy)["weightwalk"])
    bpy.ops.wm.read_factory_settings(use_empty=True)
    show(bpy, animation)
    at_once = played(bpy, animation), markers(bpy.context.scene), names(bpy)
    assert one_by_one[1:] == at_once[1:]
    for (seen, sheets, camera), (seen_2, sheets_2, camera_2) in zip(
        one_by_one[0], at_once[0], strict=True
    ):
        assert seen == seen_2
        for name, vertices in sheets.items():
            np.testing.assert_array_equal(vertices, sheets_2[name])
        np.testing.assert_allclose(camera, camera_2, atol=1e-5)
    assert replace(record, notes=()) == replace(
        Record.from_json(root_of(bpy)["weightwalk"]), notes=()
    )


def root_of(bpy):
    from weightwalk.scene.ours import find_root

    return find_root(bpy.context.scene)


def names(bpy):
    held, *_ = inventory(bpy)
    kinds = ("objects", "meshes", "actions", "materials", "collections", "node_groups", "cameras")
    labels = {o.name for o in bpy.data.objects if o.type == "FONT"}
    things = {kind: set(held[kind]) - labels for kind in kinds}
    said = sorted(
        o.data.body for o in bpy.data.objects if "training_step" in o and o.type == "FONT"
    )
    return things, said, bpy.context.scene.frame_end


def test_what_a_person_did_stays(bpy, run, tmp_path):
    from weightwalk.scene.keys import curves_of
    from weightwalk.scene.ours import run_of

    settings = settings_of(run, flight=FlightSettings())
    animation = animate(tmp_path, settings, 2)
    show(bpy, animation)
    scene = bpy.context.scene
    legend, line = bpy.data.objects["Legend"], animation.timeline
    legend.location.x -= 7
    desk = legend.matrix_basis.copy()
    first = next(bpy.data.objects[a.name] for a in animation.actors if a.step == 0)
    height = first.location.z
    first.location.z += 3
    for curve in curves_of(first).values():
        curve.keyframe_points[-1].co.x += 2
        curve.update()
    bpy.data.objects.remove(bpy.data.objects[animation.actors[-1].name])
    flight = bpy.data.objects["Flight"]
    for curve in curves_of(flight).values():
        curve.keyframe_points[-1].co.y += 1
    scene.frame_end = 12
    extend(bpy, grow(tmp_path, animation, settings))
    assert bpy.data.objects["Legend"].matrix_basis == desk
    assert first.location.z == pytest.approx(height + 3)
    assert first.name in visible(bpy, line.first(1) + 1)
    assert first.name not in visible(bpy, line.first(1) + 2)
    assert animation.actors[-1].name not in bpy.data.objects
    assert scene.frame_end == 12
    way = curves_of(flight)["location", 1].keyframe_points
    assert way[-1].co.x == line.end, "a flight that a person has changed"
    runs = {o["run"] for o in scene.objects if "run" in o}
    assert runs == {run_of(root_of(bpy))}


@pytest.mark.parametrize("begin", [1, 2])
@pytest.mark.parametrize("view", ["iso", "relief"])
def test_stopped_anywhere_or_failing_the_scene_is_as_it_was(
    *, bpy, run, tmp_path, monkeypatch, view, begin
):
    from weightwalk.scene import growth
    from weightwalk.scene.series import extend_series_steps

    settings = settings_of(run, view, flight=FlightSettings())
    animation = animate(tmp_path, settings, begin)
    show(bpy, animation)
    grown, scene = grow(tmp_path, animation, settings), bpy.context.scene

    def state():
        root = root_of(bpy)
        blocks = [len(k.key_blocks) for k in bpy.data.shape_keys]
        return inventory(bpy), markers(scene), scene.frame_end, root["weightwalk"], blocks

    total = sum(1 for _ in extend_series_steps(scene, grown))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    show(bpy, animation)
    before = state()
    for stop in range(1, total + 1):
        work = extend_series_steps(scene, grown)
        for _ in range(stop):
            next(work)
        work.close()
        assert state() == before, stop

    def fail(*_arguments):
        raise MemoryError

    monkeypatch.setattr(growth, "flow_on", fail)
    monkeypatch.setattr(growth.Stand, "_end", fail)
    with pytest.raises(MemoryError):
        extend(bpy, grown)
    assert state() == before


def test_it_can_be_built_anew_afterwards(bpy, run, tmp_path):
    settings = settings_of(run, "relief")
    animation = animate(tmp_path, settings, 2)
    show(bpy, animation)
    extend(bpy, grow(tmp_path, animation, settings))
    whole = animate(tmp_path, settings)
    show(bpy, whole)
    counts = {k: len(v) for k, v in inventory(bpy)[0].items()}
    bpy.ops.wm.read_factory_settings(use_empty=True)
    show(bpy, whole)
    assert {k: len(v) for k, v in inventory(bpy)[0].items()} == counts


def test_a_scene_of_another_run_gets_a_sentence(bpy, run, tmp_path):
    settings = settings_of(run)
    animation = animate(tmp_path, settings, 2)
    grown = grow(tmp_path, animation, settings)
    with pytest.raises(WeightwalkError, match="no training run"):
        extend(bpy, grown)
    show(bpy, animate(tmp_path, settings))
    with pytest.raises(WeightwalkError, match="another one now"):
        extend(bpy, grown)
