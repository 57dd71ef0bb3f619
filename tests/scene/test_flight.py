"""The camera that flies: where it is, how it looks, and what of it reaches files."""

from __future__ import annotations

from math import pi

import numpy as np
import pytest
from weightwalk.core.errors import SettingsError
from weightwalk.core.flight import fly, track
from weightwalk.core.layout import Layout, Placement, Stop
from weightwalk.core.settings import FlightSettings, TimelineSettings
from weightwalk.core.timeline import Timeline

from .runs import animate, settings_of, write_run
from .test_timeline import show

STOPS = tuple(Stop(f"layer {i}", 10.0 * i, 0.7) for i in range(6))
LAYOUT = Layout(
    {
        f"{i} {x}": Placement((x, 10.0 * i, 2.5), (0.1, 0.1, 0.1), (4.0, 0.7, 4.0), s.label, False)
        for i, s in enumerate(STOPS)
        for x in (-4.5, 4.5, 9.7)
    },
    {},
    STOPS,
    (-6.5, 0.0, 0.4),
    (11.7, 50.7, 4.8),
)


def line(steps=8, frames=12, fps=24):
    return Timeline(steps, TimelineSettings(frames, 3, fps))


def frames_of(timeline):
    return np.arange(timeline.start, timeline.end + 1, dtype=float)


@pytest.mark.parametrize("timeline", [line(), line(20, 5, 30), line(2, 1), line(1, 1)], ids=str)
@pytest.mark.parametrize(
    "settings",
    [
        FlightSettings(),
        FlightSettings("layer 1", "layer 4"),
        FlightSettings("layer 4", "layer 1"),
        FlightSettings(speed=4.0),
        FlightSettings(speed=400.0),
        FlightSettings(look_at="layer 3"),
        FlightSettings("layer 2", "layer 2"),
    ],
    ids=str,
)
def test_it_flies_down_the_aisle_without_a_jerk(timeline, settings):
    flight = fly(LAYOUT, timeline, settings)
    frames = frames_of(timeline)
    places, turns = flight.places.at(frames), flight.turns.at(frames)
    assert np.isfinite(places).all()
    assert not places[:, 0].any()
    assert (places[:, 2] > 1.6).all()
    y = places[:, 1]
    back = settings.start > settings.end != ""
    assert (np.diff(-y if back else y) >= -1e-9).all()
    if len(frames) < 24:
        return
    pace = np.abs(np.diff(y)) * timeline.settings.fps
    # Soft at both ends, even between.
    assert max(pace[0], pace[-1]) <= 0.2 * pace.max() + 1e-9
    jerk = np.abs(np.diff(y, 2)) * timeline.settings.fps**2
    assert jerk.max() <= 4.0 * pace.max() + 1e-9
    if settings.speed:
        assert pace.max() <= settings.speed + 1e-6
    spin = np.abs(np.diff(turns, axis=0)) * timeline.settings.fps
    assert spin.max() < pi, "more than half a turn in a second"


def test_without_a_speed_it_arrives_with_the_last_frame():
    timeline = line()
    y = fly(LAYOUT, timeline, FlightSettings("layer 1", "layer 4")).places.at(frames_of(timeline))
    assert y[0, 1] < 10.0
    assert 20.0 < y[-1, 1] < 40.0
    slow = fly(LAYOUT, timeline, FlightSettings(speed=2.0)).places.at(frames_of(timeline))
    whole = (timeline.end - timeline.start) / timeline.settings.fps
    assert 0.5 * 2.0 * whole < slow[-1, 1] - slow[0, 1] < 2.0 * whole
    fast = fly(LAYOUT, timeline, FlightSettings(speed=400.0)).places
    assert fast.frames[-1] < timeline.end


def test_it_looks_ahead_or_at_a_stop():
    timeline = line(40)
    frames = frames_of(timeline)
    ahead = fly(LAYOUT, timeline, FlightSettings()).turns.at(frames)
    assert (ahead[:, 0] < pi / 2).all()
    assert (ahead[:, 0] > pi / 2 - 0.2).all()
    assert not ahead[:, 1].any()
    flight = fly(LAYOUT, timeline, FlightSettings(look_at="layer 3"))
    eyes, turns = flight.places.at(frames), flight.turns.at(frames)
    view = np.stack([-np.sin(turns[:, 1]), np.cos(turns[:, 1])], 1)
    away = np.array([4.5, 30.0]) - eyes[:, :2]
    far = np.abs(away[:, 1]) > 8.0
    cosine = (view * away / np.hypot(*away.T)[:, None]).sum(1)
    assert (cosine[far] > 0.98).all()
    assert (cosine > 0.8).all()


def test_a_stop_that_is_not_there_is_named():
    for settings in (FlightSettings("layer 9"), FlightSettings(look_at="x")):
        with pytest.raises(SettingsError, match=r"no stop '(layer 9|x)'; there are layer 0, layer"):
            fly(LAYOUT, line(), settings)


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def flown(bpy, run, tmp_path):
    settings = settings_of(run, frames=12, flight=FlightSettings(look_at="layer 1"))
    animation = animate(tmp_path, settings)
    show(bpy, animation)
    return animation


@pytest.mark.bpy
def test_the_scenes_camera_has_keys_that_a_person_can_take(bpy, flown):
    from weightwalk.scene.keys import curves_of

    camera, timeline = bpy.context.scene.camera, flown.timeline
    assert camera.name == "Flight"
    assert bpy.data.objects["Overview"].type == "CAMERA"
    curves = curves_of(camera)
    assert set(curves) == {
        *(("location", i) for i in range(3)),
        *(("rotation_euler", i) for i in (0, 2)),
    }
    assert {k.interpolation for c in curves.values() for k in c.keyframe_points} == {"BEZIER"}
    assert max(len(c.keyframe_points) for c in curves.values()) < 20
    flight = fly(flown.layout, timeline, flown.settings.timeline.flight)
    frames = frames_of(timeline)
    places, turns = flight.places.at(frames), flight.turns.at(frames)
    for frame, place, turn in zip(frames, places, turns, strict=True):
        bpy.context.scene.frame_set(int(frame))
        np.testing.assert_allclose(camera.location, place, atol=1e-3)
        np.testing.assert_allclose(
            (camera.rotation_euler.x, camera.rotation_euler.z), turn, atol=1e-3
        )


@pytest.mark.bpy
def test_files_have_the_way_of_the_camera(bpy, flown):
    from weightwalk.scene.flight import track as track_of

    scene, timeline = bpy.context.scene, flown.timeline
    flight = fly(flown.layout, timeline, flown.settings.timeline.flight)
    plain = track(flight, timeline, 16 / 9, 100.0)
    scene.frame_set(7)
    found = track_of(scene, timeline, 16 / 9)
    assert scene.frame_current == 7
    for one in (plain, found):
        assert one.name == "Flight"
        assert (one.seconds[0], one.seconds[-1]) == (0.0, pytest.approx(timeline.seconds))
        assert (np.diff(one.seconds) > 0).all()
        np.testing.assert_allclose(np.linalg.norm(one.rotations, axis=1), 1.0, atol=1e-6)
        assert (np.einsum("ij,ij->i", one.rotations[1:], one.rotations[:-1]) > 0).all()
    np.testing.assert_allclose(found.locations, plain.locations, atol=1e-3)
    alike = np.abs(np.einsum("ij,ij->i", found.rotations, plain.rotations))
    np.testing.assert_allclose(alike, 1.0, atol=1e-5)
    assert found.yfov == pytest.approx(plain.yfov)
    camera = scene.camera
    for i, frame in enumerate(frames_of(timeline)):
        scene.frame_set(int(frame))
        place, turn, _ = camera.matrix_world.decompose()
        np.testing.assert_allclose(found.locations[i], place, atol=1e-4)
        assert abs(np.dot(found.rotations[i], turn)) == pytest.approx(1.0, abs=1e-5)
    still = track_of(scene, timeline, 1.0, "Overview")
    assert len(still.seconds) == 2
    assert (still.locations[0] == still.locations[1]).all()
    # Another thing moves it: Blender itself says where it is.
    mount = bpy.data.objects.new("mount", None)
    scene.collection.objects.link(mount)
    mount.location.x = 3.0
    camera.parent = mount
    moved = track_of(scene, timeline, 16 / 9)
    np.testing.assert_allclose(moved.locations, found.locations + np.array([3.0, 0, 0]), atol=1e-4)


@pytest.mark.bpy
@pytest.mark.parametrize("aspect", [16 / 9, 1.0, 0.6])
def test_the_steps_name_is_in_the_picture(bpy, run, tmp_path, aspect):
    from bpy_extras.object_utils import world_to_camera_view
    from mathutils import Vector
    from weightwalk import pipeline
    from weightwalk.scene.series import build_series_steps

    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = int(900 * aspect), 900
    for flight in (None, FlightSettings()):
        animation = animate(tmp_path, settings_of(run, flight=flight))
        pipeline.drain(build_series_steps(scene, animation, aspect))
        for k, step in enumerate(animation.steps):
            scene.frame_set(animation.timeline.first(k) + 2)
            shown = 0
            for label in scene.objects:
                if label.type == "FONT" and label.data.body == step.label and not label.hide_render:
                    points = [label.matrix_world @ Vector(c) for c in label.bound_box]
                    at = np.array([world_to_camera_view(scene, scene.camera, p) for p in points])
                    inside = (at[:, :2] > 0).all() and (at[:, :2] < 1).all()
                    size = at[:, 1].max() - at[:, 1].min()
                    shown += bool(inside and (at[:, 2] > 0).all() and size > 0.025)
            assert shown == 1, (flight, step.label)


@pytest.mark.bpy
def test_a_flight_that_a_person_has_changed_stays(bpy, flown):
    from weightwalk.scene.keys import curves_of

    scene = bpy.context.scene
    way = curves_of(scene.camera)["location", 2]
    way.keyframe_points[0].co.y = 9.0
    way.update()
    scene.camera = bpy.data.objects["Overview"]
    show(bpy, flown)
    (flight,) = [o for o in scene.objects if o.name.startswith("Flight")]
    assert curves_of(flight)["location", 2].keyframe_points[0].co.y == 9.0
    assert scene.camera.name == "Overview", "a person's choice"
    assert {o.parent for o in scene.objects if o.parent and o.parent.type == "CAMERA"} == {flight}
