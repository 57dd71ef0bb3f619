"""A training run in the scene: what is seen at which frame, and what a person can do to it."""

from __future__ import annotations

import numpy as np
import pytest
from weightwalk import pipeline
from weightwalk.core.errors import WeightwalkError
from weightwalk.core.model import steps
from weightwalk.core.record import Record
from weightwalk.core.settings import FlightSettings, Settings

from .runs import DOWN, NORM, Q, animate, settings_of, write_run
from .test_scene import inventory

pytestmark = pytest.mark.bpy


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def animation(run, tmp_path):
    return animate(tmp_path, settings_of(run))


def show(bpy, animation):
    from weightwalk.scene.series import build_series_steps

    root = pipeline.drain(build_series_steps(bpy.context.scene, animation, 16 / 9))
    bpy.context.view_layer.update()
    return root


def visible(bpy, frame):
    """Return the names of what is seen at a frame, in the viewport and in pictures alike."""
    scene = bpy.context.scene
    scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    drawn = {i.object.original.name for i in graph.object_instances if not i.is_instance}
    rendered = {thing.name for thing in scene.objects if not thing.hide_render}
    things = {thing.name for thing in scene.objects if thing.type in {"MESH", "FONT"}}
    assert drawn & things == rendered & things
    return drawn & things


def markers(scene):
    return sorted((marker.frame, marker.name) for marker in scene.timeline_markers)


def test_each_frame_shows_the_surfaces_of_its_step_alone(bpy, animation):
    show(bpy, animation)
    line = animation.timeline
    names = {actor.name for actor in animation.actors}
    labels = {step.label for step in animation.steps}
    for frame in range(line.start - 1, line.end + 2):
        k, seen = line.step_at(frame), visible(bpy, frame)
        assert seen & names == {actor.name for actor in animation.actors if actor.shown[k]}
        said = {bpy.data.objects[n].data.body for n in seen if n.startswith("Label")}
        assert said & labels == {animation.steps[k].label}
    of = {(actor.shell.field.plan.name, actor.step) for actor in animation.actors}
    assert {k for name, k in of if name == DOWN} == {1, 2, 3}
    assert {k for name, k in of if name == NORM} == {0, 1, 2}


def test_steps_are_marked_and_the_scene_has_the_range_and_speed(bpy, animation):
    scene = bpy.context.scene
    scene.render.fps_base = 1.5
    show(bpy, animation)
    line = animation.timeline
    # Where a relief is a step's own.
    frames = [line.middle(k)[0] if animation.reliefs else line.first(k) for k in range(line.steps)]
    assert markers(scene) == list(zip(frames, (s.name for s in animation.steps), strict=True))
    assert (scene.frame_start, scene.frame_end) == (line.start, line.end) == (5, 28)
    assert (scene.render.fps, scene.render.fps_base) == (24, 1.0)
    assert scene.frame_current == line.start


def test_what_did_not_change_shares_one_mesh(bpy, animation):
    show(bpy, animation)
    meshes = {a.mesh: bpy.data.objects[a.name].data for a in animation.actors}
    for actor in animation.actors:
        made = bpy.data.objects[actor.name]
        assert made.data == meshes[actor.mesh]
        exhibit = animation.exhibit(actor)
        assert len(made.data.vertices) == len(exhibit.part.vertices)
        assert tuple(made.location) == pytest.approx(exhibit.part.translation)
        assert (made["training_step"], made["plan"]) == (actor.step, exhibit.part.extras["tensor"])
        assert {c.name for c in made.users_collection} == {exhibit.part.group}
    assert len({mesh.name for mesh in meshes.values()}) == len(meshes) < len(animation.actors)
    shared = [a for a in animation.actors if a.shell.field.plan.name == Q and a.step in (0, 1)]
    assert len(shared) == 4
    assert len({a.mesh for a in shared}) == 2


def test_one_action_moves_all_that_is_shown_at_a_step(bpy, animation):
    from weightwalk.scene.keys import curves_of

    show(bpy, animation)
    for k, step in enumerate(animation.steps):
        things = [bpy.data.objects[a.name] for a in animation.actors if a.step == k]
        things += [o for o in bpy.data.objects if o.type == "FONT" and o.data.body == step.label]
        (action,) = {thing.animation_data.action for thing in things}
        assert action.name == f"Weightwalk {step.label}"
        curves = curves_of(things[0])
        assert set(curves) == {("hide_viewport", 0), ("hide_render", 0)}
        for curve in curves.values():
            assert {key.interpolation for key in curve.keyframe_points} == {"CONSTANT"}
    # A person takes hold of a key: the boundary moves for all of it.
    first, ours = animation.timeline.first(1), {a.name for a in animation.actors if a.step == 0}
    for curve in curves_of(bpy.data.objects[animation.actors[0].name]).values():
        curve.keyframe_points[-1].co.x += 3
        curve.update()
    assert visible(bpy, first + 2) >= ours
    assert not visible(bpy, first + 3) & ours


@pytest.mark.parametrize("view", ["iso", "relief", "time"])
def test_stopped_anywhere_nothing_is_left(bpy, run, tmp_path, view):
    from weightwalk.scene.series import build_series_steps

    animation = animate(tmp_path, settings_of(run, view, flight=FlightSettings()))
    scene = bpy.context.scene
    for again in (False, True):
        if again:
            show(bpy, animation)
        before = inventory(bpy), markers(scene), scene.frame_end
        total = sum(1 for _ in build_series_steps(scene, animation, 1.5))
        if not again:
            bpy.ops.wm.read_factory_settings(use_empty=True)
            scene = bpy.context.scene
        else:
            before = inventory(bpy), markers(scene), scene.frame_end
        for stop in [*range(1, total, 9), total]:
            work = build_series_steps(scene, animation, 1.5)
            for _ in range(stop):
                next(work)
            work.close()
            assert (inventory(bpy), markers(scene), scene.frame_end) == before, stop


@pytest.mark.parametrize("view", ["iso", "relief"])
def test_built_again_nothing_piles_up_and_a_persons_things_stay(bpy, run, tmp_path, view):
    animation = animate(tmp_path, settings_of(run, view, flight=FlightSettings()))
    scene = bpy.context.scene
    show(bpy, animation)
    before = inventory(bpy), markers(scene)
    show(bpy, animation)
    assert (inventory(bpy), markers(scene)) == before
    scene.timeline_markers.new("mine", frame=11)
    scene.timeline_markers["500"].name = "the begin"
    scene.timeline_markers["1500"].frame += 2
    own = bpy.data.objects.new("mine", None)
    scene.collection.objects.link(own)
    held = next(o for o in scene.objects if o.animation_data and o.type == "MESH")
    own.animation_data_create().action = held.animation_data.action
    kept = held.animation_data.action
    show(bpy, animation)
    assert markers(scene) == sorted([*before[1], (11, "mine"), (animation.mark(0), "the begin")])
    assert own.animation_data.action == kept, "a person uses it"
    bpy.data.objects.remove(own)


def test_a_still_model_takes_its_place(bpy, run, tmp_path):
    animation = animate(tmp_path, settings_of(run, "relief", flight=FlightSettings()))
    scene = bpy.context.scene
    show(bpy, animation)
    pipeline.show_in(scene, pipeline.drain(steps(Settings(run / "step-500.safetensors"))))
    assert not bpy.data.actions
    assert not bpy.data.node_groups
    assert not bpy.data.shape_keys
    assert not scene.timeline_markers
    assert scene.camera.name == "Overview"


def test_saved_and_opened_it_plays_without_us(bpy, animation, tmp_path):
    from weightwalk.scene.files import save

    show(bpy, animation)
    frames = [animation.timeline.first(k) for k in range(4)]
    seen = [visible(bpy, frame) for frame in frames]
    save(tmp_path / "run.blend")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "run.blend"), load_ui=False)
    assert [visible(bpy, frame) for frame in frames] == seen
    root = next(c for c in bpy.data.collections if "weightwalk" in c and c.children)
    record = Record.from_json(root["weightwalk"])
    assert [step.name for step in record.series.steps] == [step.name for step in animation.steps]


def test_a_still_surface_of_all_steps_has_no_keys(bpy, run, tmp_path):
    animation = animate(tmp_path, settings_of(run, "time"))
    show(bpy, animation)
    assert animation.actors
    for actor in animation.actors:
        made = bpy.data.objects[actor.name]
        assert made.animation_data is None
        assert made["training_step"] == -1
    assert visible(bpy, animation.timeline.start) == visible(bpy, animation.timeline.end)


def test_nothing_to_show_is_said(bpy, animation):
    from dataclasses import replace

    with pytest.raises(WeightwalkError, match="nothing to show"):
        show(bpy, replace(animation, actors=()))
    assert not np.array(bpy.data.collections).size
