"""The text by which a stopped export knows that its frames are still those of the scene."""

from __future__ import annotations

import json
from time import perf_counter

import pytest
from weightwalk import animate as exporting
from weightwalk import pipeline
from weightwalk.core.errors import CheckpointError, WeightwalkError
from weightwalk.core.record import Record
from weightwalk.core.settings import AnimationOutput, FlightSettings, RenderSettings
from weightwalk.core.stages import finish

from .runs import STEPS, animate, settings_of, write_run

pytestmark = pytest.mark.bpy

SMALL = RenderSettings(width=64, height=36)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return write_run(folder)


@pytest.fixture
def show(bpy, run, tmp_path):
    """Return what builds a view of the run in the scene."""
    from weightwalk.scene.series import build_series_steps

    def build(view="iso", **options):
        (tmp_path / view).mkdir()
        animation = animate(tmp_path / view, settings_of(run, view, **options))
        pipeline.drain(build_series_steps(bpy.context.scene, animation, 16 / 9))
        return animation

    return build


def read(bpy):
    from weightwalk.scene.fingerprint import fingerprint_steps
    from weightwalk.scene.render import choices

    scene = bpy.context.scene
    return finish(fingerprint_steps(scene, scene.camera.name, choices(SMALL)))


def surface(bpy):
    return next(o for o in bpy.context.scene.objects if o.get("training_step") == 1)


@pytest.mark.parametrize("view", ["iso", "relief", "time"])
def test_time_selection_and_a_saved_file_do_not_matter(bpy, show, tmp_path, view):
    animation = show(view, flight=FlightSettings())
    scene, line = bpy.context.scene, animation.timeline
    # A driver and a constraint, whose values are those of the frame as well.
    block = bpy.data.objects.new("block", None)
    scene.collection.objects.link(block)
    block.constraints.new("TRACK_TO").target = scene.camera
    driver = block.driver_add("location", 1).driver
    driver.expression = "frame / 10"
    before = read(bpy)
    assert len(before) >= 32
    for frame in (line.middle(0)[0], line.first(2) + 1, line.end, line.start):
        scene.frame_set(frame)
        for thing in scene.objects:
            thing.select_set(frame % 2 == 0)
        bpy.context.view_layer.objects.active = surface(bpy) if view == "iso" else block
        assert read(bpy) == before, frame
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "run.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "run.blend"), load_ui=False)
    assert read(bpy) == before


def change_key(bpy):
    from weightwalk.scene.keys import curves_of

    curve = next(iter(curves_of(surface(bpy)).values()))
    curve.keyframe_points[-1].co.x += 1


def change_material(bpy):
    tree = surface(bpy).material_slots[0].material.node_tree
    shader = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    shader.inputs["Roughness"].default_value = 0.2


def change_background(bpy):
    tree = bpy.context.scene.world.node_tree
    mix = next(n for n in tree.nodes if n.type == "MIX")
    next(s for s in mix.inputs if s.type == "RGBA").default_value = (1.0, 0.0, 0.0, 1.0)


def change_link(bpy):
    tree = bpy.context.scene.world.node_tree
    tree.links.remove(tree.links[0])


def add_modifier(bpy):
    surface(bpy).modifiers.new("thin", "DECIMATE").ratio = 0.5


def change_mesh(bpy):
    surface(bpy).data.vertices[3].co.z += 0.01


def change_color(bpy):
    surface(bpy).data.color_attributes["Color"].data[3].color = (0.0, 1.0, 0.0, 1.0)


def set_on(path, value):
    def change(bpy):
        from weightwalk.scene.render_child import assign

        assign(bpy.context.scene, [(path, value)])

    return change


CHANGES = {
    "place": lambda bpy: setattr(surface(bpy).location, "x", 9.0),
    "key": change_key,
    "material": change_material,
    "background": change_background,
    "link": change_link,
    "modifier": add_modifier,
    "vertex": change_mesh,
    "colour": change_color,
    "lens": lambda bpy: setattr(bpy.context.scene.camera.data, "lens", 50.0),
    "camera's way": lambda bpy: setattr(
        next(c for c in _curves(bpy.context.scene.camera)).keyframe_points[2].handle_left, "y", 9.0
    ),
    "light": lambda bpy: setattr(bpy.data.lights[0], "energy", 1.0),
    "text": lambda bpy: setattr(
        next(o for o in bpy.data.objects if o.type == "FONT").data, "body", "mine"
    ),
    "collection": lambda bpy: setattr(surface(bpy).users_collection[0], "hide_render", True),
    "frames": set_on("frame_end", 20),
    "view": set_on("view_settings.exposure", 0.5),
    "object": lambda bpy: bpy.context.scene.collection.objects.link(
        bpy.data.objects.new("mine", bpy.data.meshes.new("mine"))
    ),
}


def _curves(thing):
    from weightwalk.scene.keys import curves_of

    return curves_of(thing).values()


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_seen_matters(bpy, show, what):
    show(flight=FlightSettings())
    before = read(bpy)
    CHANGES[what](bpy)
    assert read(bpy) != before


def test_a_mesh_that_is_being_edited_is_taken_for_another_one(bpy, show):
    show()
    before = read(bpy)
    bpy.context.view_layer.objects.active = thing = surface(bpy)
    bpy.context.scene.frame_set(12)
    assert thing.visible_get()
    bpy.ops.object.mode_set(mode="EDIT")
    assert len({before, read(bpy), read(bpy)}) == 3
    bpy.ops.object.mode_set(mode="OBJECT")
    assert read(bpy) == before


@pytest.mark.parametrize("what", ["shape", "step", "colour"])
def test_what_is_seen_of_a_relief_matters(bpy, show, what):
    show("relief")
    thing = next(o for o in bpy.context.scene.objects if o.type == "MESH" and o.data.shape_keys)
    before = read(bpy)
    if what == "shape":
        thing.data.shape_keys.key_blocks[2].points[5].co.y += 1
    elif what == "step":
        thing.data.shape_keys.key_blocks[2].mute = True
    else:
        ramps = [n for n in thing.modifiers[0].node_group.nodes if n.type == "VALTORGB"]
        ramps[0].color_ramp.elements[4].color = (1.0, 0.0, 0.0, 1.0)
    assert read(bpy) != before


# --- what it is for: exports of a scene -------------------------------------------------------


def export(bpy, folder, *formats, **options):
    """Return the steps of an export of small pictures, and the folder of its frames."""
    from weightwalk.scene.ours import find_root

    scene = bpy.context.scene
    record = Record.from_json(find_root(scene)["weightwalk"])
    output = AnimationOutput(folder / "out", formats, "film", render=SMALL, **options)
    return exporting.export_run_steps(scene, record, output, cache=folder / "cache")


def frames_in(folder):
    paths = (folder / "out" / "film-frames").glob("*.png")
    return {path.name: path.stat().st_mtime_ns for path in paths}


def test_a_stopped_export_goes_on_and_a_changed_scene_is_rendered_anew(bpy, show, tmp_path):
    animation = show(frames=4)
    work = export(bpy, tmp_path, "frames")
    while (now := next(work)).stage != "frames" or now.done < 2:
        pass
    work.close()
    kept = frames_in(tmp_path)
    assert 2 <= len(kept) < animation.timeline.end
    # A while later, at another frame, and with something selected.
    bpy.context.scene.frame_set(17)
    surface(bpy).select_set(True)
    seen = [now for now in export(bpy, tmp_path, "frames") if now.stage == "frames"]
    assert seen[0].done == len(kept)
    there = frames_in(tmp_path)
    assert len(there) == 16
    assert {name: there[name] for name in kept} == kept
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["timeline"] == {"start": 5, "end": 20, "fps": 24, "seconds": 16 / 24}
    surface(bpy).location.z += 1.0
    work = export(bpy, tmp_path, "frames")
    assert next(now for now in work if now.stage == "frames").done == 0
    work.close()


def test_a_film_needs_no_checkpoint_and_has_the_scenes_own_time(bpy, run, show, tmp_path):
    animation = show()
    lost = animation.steps[2]
    lost.path.unlink()
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 8, 10
    scene.render.fps, scene.render.fps_base = 30, 1.001
    pipeline.drain(export(bpy, tmp_path, "frames", "gif"))
    assert sorted(frames_in(tmp_path)) == ["0008.png", "0009.png", "0010.png"]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["timeline"] == {"start": 8, "end": 10, "fps": 30, "seconds": 0.1}
    assert [step["name"] for step in report["steps"]] == [step.name for step in animation.steps]
    assert report["captions"] == list(animation.captions)
    assert report["lock"]["over"] == list(animation.lock.over)
    assert any("the scene as it stood" in note for note in report["notes"])
    # What is made from the checkpoints says at once which one is missing.
    for formats, dataset in ((("glb", "frames"), None), (("frames",), tmp_path / "set")):
        work = export(bpy, tmp_path / "again", *formats, dataset=dataset)
        with pytest.raises(CheckpointError, match="step 1500: there is no such file"):
            assert {now.stage for now in work} <= {"open"}
    assert not (tmp_path / "again").exists()


def test_a_solid_through_time_is_rendered_once(bpy, run, tmp_path):
    """It stands still, and so does the camera: all frames are one file."""
    settings = settings_of(run, "time", frames=2)
    output = AnimationOutput(tmp_path / "out", ("frames",), "film", render=SMALL)
    exporting.animate(settings, output)
    first, *others = sorted((tmp_path / "out" / "film-frames").glob("*.png"))
    assert len(others) == 2 * STEPS - 1
    assert all(first.samefile(other) for other in others)


def test_a_scene_without_a_camera_is_refused(bpy, show, tmp_path):
    show()
    bpy.context.scene.camera = None
    with pytest.raises(WeightwalkError, match="no camera"):
        pipeline.drain(export(bpy, tmp_path, "gif"))


def test_a_thousand_markers_are_set_and_forgotten_in_a_blink(bpy):
    from weightwalk.scene.markers import forget_markers, set_marker, set_markers

    scene, root = bpy.context.scene, bpy.data.collections.new("root")
    marks = [(str(i), 12 * i) for i in range(1000)]
    begin = perf_counter()
    set_markers(scene, root, marks)
    between = perf_counter()
    set_marker(scene, root, "final", 12000)
    mine = scene.timeline_markers.new("7", frame=500)
    scene.timeline_markers["8"].name = "theirs"
    assert len(scene.timeline_markers) == 1002
    again = perf_counter()
    forget_markers(scene, root)
    assert sorted(m.name for m in scene.timeline_markers) == ["7", "theirs"]
    assert scene.timeline_markers["7"] == mine
    assert max(between - begin, perf_counter() - again) < 0.05
