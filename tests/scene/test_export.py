"""Surfaces of a scene as files: those of a run while nobody has touched them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from weightwalk import pipeline
from weightwalk.core.errors import WeightwalkError
from weightwalk.core.model import steps
from weightwalk.core.record import Record
from weightwalk.core.settings import (
    FieldSettings,
    OutputSettings,
    RenderSettings,
    Settings,
    SurfaceSettings,
)
from weightwalk.scene.export import in_order, parts

from .test_scene import inventory

pytestmark = pytest.mark.bpy


@pytest.fixture(params=["rms", "absmax"])
def settings(request, checkpoint):
    field = FieldSettings(pool=request.param)
    return Settings(checkpoint, field=field, surface=SurfaceSettings(faces=3000))


@pytest.fixture
def scene(bpy, settings):
    pipeline.show_in(bpy.context.scene, pipeline.drain(steps(settings)))
    bpy.context.view_layer.update()
    return bpy.context.scene


def surfaces(scene):
    return [o for o in scene.objects if "plan" in o]


def record(scene):
    from weightwalk.scene.build import find_root

    return Record.from_json(find_root(scene)["weightwalk"])


def export(scene, chosen, output, tmp_path):
    cache = tmp_path / "cache"
    return pipeline.drain(pipeline.export_steps(scene, chosen, record(scene), output, cache=cache))


@pytest.mark.parametrize("compression", ["draco", "none"])
def test_an_untouched_scene_gives_the_files_of_the_run(scene, settings, tmp_path, compression):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    files = export(scene, surfaces(scene), OutputSettings(ours, compression=compression), tmp_path)
    made = pipeline.run(settings, OutputSettings(theirs, compression=compression)).files
    assert [f.name for f in files] == [f.name for f in made]
    for one, other in zip(files[:-1], made[:-1], strict=True):
        assert one.read_bytes() == other.read_bytes()
    one, other = (json.loads(path.read_text()) for path in (files[-1], made[-1]))
    for key in set(one) - {"stages", "settings", "versions"}:
        assert one[key] == other[key]
    assert not (tmp_path / "cache").exists()


def test_parts_come_back_to_the_last_bit(scene, settings):
    model = pipeline.drain(steps(settings))
    again = list(parts(in_order(surfaces(scene))))
    assert len(again) == len(model.exhibits)
    for part, exhibit in zip(again, model.exhibits, strict=True):
        for key in ("vertices", "normals", "faces", "colors"):
            np.testing.assert_array_equal(getattr(part, key), getattr(exhibit.part, key))
        assert (part.name, part.group) == (exhibit.part.name, exhibit.part.group)
        assert part.translation == exhibit.part.translation
        assert part.extras == exhibit.part.extras


def test_what_a_person_did_is_in_the_file(bpy, scene):
    one, two, three = surfaces(scene)[:3]
    before = {p.name: p for p in parts([one, two, three])}
    one.location.x += 2.5
    two.rotation_euler.z = np.pi / 2
    two.scale = (2, 2, -2)
    colors = three.data.attributes["Color"]
    three.data.attributes.remove(colors)
    bpy.context.view_layer.update()
    after = {p.name: p for p in parts([one, two, three])}
    moved = np.subtract(after[one.name].translation, before[one.name].translation)
    np.testing.assert_allclose(moved, (2.5, 0, 0), atol=1e-6)
    np.testing.assert_array_equal(after[one.name].vertices, before[one.name].vertices)
    turned = before[two.name].vertices[:, [1, 0, 2]] * np.float32([-2, 2, -2])
    np.testing.assert_allclose(after[two.name].vertices, turned, atol=1e-5)
    part = after[two.name]
    corners = part.vertices[part.faces].astype(np.float64)
    volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
    assert volume > 0, "a mirrored surface is turned inside out"
    assert (after[three.name].colors == 255).all()


def test_one_surface_alone_has_a_report_of_its_own(scene, tmp_path):
    one = surfaces(scene)[1]
    *_, report = export(scene, [one], OutputSettings(tmp_path / "out", ("stl",), "one"), tmp_path)
    said = json.loads(report.read_text())
    assert [s["tensor"] for s in said["surfaces"]] == [one["tensor"]]
    assert said["surfaces"][0] == json.loads(one["report"])
    stl = (tmp_path / "out" / "one.stl").read_bytes()
    assert int.from_bytes(stl[80:84], "little") == len(one.data.polygons)
    assert said["scale"]["vertices"] == len(one.data.vertices)


def test_the_picture_shows_the_chosen_and_changes_nothing(bpy, scene, tmp_path):
    from PIL import Image

    scene.render.resolution_x, scene.cycles.samples = 123, 7
    before = inventory(bpy), {o.name: o.hide_render for o in scene.objects}
    pictures = []
    for name, chosen in (("all", surfaces(scene)), ("one", surfaces(scene)[:1])):
        render = RenderSettings("workbench", 320, 180, samples=2)
        output = OutputSettings(tmp_path / "out", ("png",), name, render=render)
        export(scene, chosen, output, tmp_path)
        with Image.open(tmp_path / "out" / f"{name}.png") as picture:
            assert picture.size == (320, 180)
            pictures.append(np.asarray(picture.convert("RGB")).astype(int))
    changed = np.abs(pictures[0] - pictures[1]).max(axis=2) > 8
    assert 0.01 < changed.mean() < 0.9
    assert (inventory(bpy), {o.name: o.hide_render for o in scene.objects}) == before
    assert (scene.render.resolution_x, scene.cycles.samples) == (123, 7)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "all.png", "one.png", "report.json",
    ]  # fmt: skip
    assert not list((tmp_path / "cache").iterdir())


def test_cancelled_while_the_picture_is_made_nothing_is_left(scene, tmp_path):
    import time

    render = RenderSettings("cycles", 640, 360, samples=4000)
    output = OutputSettings(tmp_path / "out", ("stl", "png"), render=render)
    cache = tmp_path / "cache"
    work = pipeline.export_steps(scene, surfaces(scene), record(scene), output, cache=cache)
    begin = None
    for progress in work:
        if progress.what.endswith(".png"):
            begin = begin or time.perf_counter()
            if time.perf_counter() - begin > 1.0:
                break
    begin = time.perf_counter()
    work.close()
    assert time.perf_counter() - begin < 0.5
    assert not list(tmp_path.iterdir())


def test_a_disk_that_cannot_be_written_and_a_missing_camera_get_a_sentence(scene, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightwalkError, match="file"):
        export(scene, surfaces(scene), OutputSettings(tmp_path / "file" / "x"), tmp_path)
    scene.camera = None
    with pytest.raises(WeightwalkError, match="no camera"):
        export(scene, surfaces(scene), OutputSettings(tmp_path / "out", ("png",)), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("formats", [("stl",), ("stl", "png")])
def test_a_surface_or_scene_that_goes_meanwhile_gets_a_sentence(bpy, scene, tmp_path, formats):
    render = RenderSettings("workbench", 64, 64, samples=1)
    output = OutputSettings(tmp_path / "out", formats, render=render)
    chosen = surfaces(scene)
    gone = in_order(chosen)[-1].name
    held, cache = record(scene), tmp_path / "cache"
    work = pipeline.export_steps(scene, chosen, held, output, cache=cache)
    if "png" in formats:
        while next(work).stage == "surfaces":
            pass
    bpy.data.objects.remove(bpy.data.objects[gone])
    with pytest.raises(WeightwalkError, match=f"{gone} was removed while it was exported"):
        pipeline.drain(work)
    assert not list(tmp_path.iterdir())


def test_a_surface_in_edit_mode_is_exported_as_it_is_being_edited(bpy, scene):
    import bmesh

    one, other = surfaces(scene)[:2]
    (before,) = parts([one])
    meshes = set(bpy.data.meshes)
    for thing in (one, other):
        thing.select_set(True)
    bpy.context.view_layer.objects.active = one
    bpy.ops.object.mode_set(mode="EDIT")
    (same,) = parts([one])
    np.testing.assert_array_equal(same.vertices, before.vertices)
    np.testing.assert_array_equal(same.colors, before.colors)
    edited = bmesh.from_edit_mesh(one.data)
    edited.verts.ensure_lookup_table()
    edited.verts[0].co.x += 2.0
    bmesh.update_edit_mesh(one.data)
    (after,) = parts([one])
    assert after.vertices[0, 0] == before.vertices[0, 0] + np.float32(2.0)
    np.testing.assert_array_equal(after.vertices[1:], before.vertices[1:])
    assert one.mode == "EDIT"
    assert set(bpy.data.meshes) == meshes
    bpy.ops.object.mode_set(mode="OBJECT")


def test_the_entry_and_the_mesh_are_of_one_moment(bpy, scene, tmp_path):
    output = OutputSettings(tmp_path / "out", ("stl",))
    chosen = in_order(surfaces(scene))
    entries = [json.loads(one["report"]) for one in chosen]
    names = [one.name for one in chosen]
    work = pipeline.export_steps(scene, chosen, record(scene), output, cache=tmp_path / "cache")
    while next(work).stage == "surfaces":
        pass
    for name in names:
        bpy.data.objects[name]["report"] = "{}"
    *_, report = pipeline.drain(work)
    assert json.loads(report.read_text())["surfaces"] == entries
