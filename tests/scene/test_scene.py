"""The scene in Blender: what stands where, what it carries, and what is left after a failure."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk import pipeline
from weightwalk.core.color import NONFINITE, color_map, decode_srgb
from weightwalk.core.model import steps
from weightwalk.core.settings import (
    FieldSettings,
    OutputSettings,
    RenderSettings,
    Selection,
    Settings,
    SurfaceSettings,
)

pytestmark = pytest.mark.bpy


@pytest.fixture(scope="module", params=["rms", "absmax"])
def model(request, checkpoint):
    settings = Settings(checkpoint, field=FieldSettings(pool=request.param))
    return pipeline.drain(steps(settings))


def inventory(bpy):
    """Return the names of all data in Blender's file, and what the scene uses."""
    kinds = [p.identifier for p in bpy.data.bl_rna.properties if p.type == "COLLECTION"]
    scene = bpy.context.scene
    held = {kind: sorted(item.name for item in getattr(bpy.data, kind)) for kind in kinds}
    linked = [item.name for item in (*scene.collection.children, *scene.collection.objects)]
    return held, scene.camera, scene.world, linked


def get(data, key, width, dtype=np.float32):
    flat = np.empty(len(data) * width, dtype)
    data.foreach_get(key, flat)
    return flat.reshape(-1, width) if width > 1 else flat


def test_each_surface_is_an_object_with_its_mesh_values_and_provenance(bpy, model):
    pipeline.show_in(bpy.context.scene, model)
    for exhibit in model.exhibits:
        part, made = exhibit.part, bpy.data.objects[exhibit.part.name]
        mesh = made.data
        np.testing.assert_array_equal(get(mesh.vertices, "co", 3), part.vertices)
        indices = get(mesh.loop_triangles, "vertices", 3, np.int32)
        np.testing.assert_array_equal(np.sort(indices), np.sort(part.faces))
        assert tuple(made.location) == pytest.approx(part.translation)
        assert {c.name for c in made.users_collection} == {part.group}
        values = get(mesh.attributes["value"].data, "value", 1)
        np.testing.assert_array_equal(values, exhibit.surface.values)
        cells = get(mesh.attributes["cell"].data, "value", 1, np.int32)
        np.testing.assert_array_equal(cells, exhibit.surface.cells)
        colors = get(mesh.color_attributes.active_color.data, "color", 4)
        np.testing.assert_allclose(colors, decode_srgb(part.colors / 255.0), atol=1e-6)
        assert (np.isnan(values) == (part.colors == NONFINITE).all(axis=1)).all()
        for key, value in part.extras.items():
            held = made[key]
            assert (list(held) if hasattr(held, "to_list") else held) == value
        assert made["tensor"] in exhibit.surface.name
        # Last, and not of these, for it makes zeros of NaN.
        assert np.isnan(values).any() or not mesh.validate(), "a broken mesh"


def test_roles_stand_in_columns_and_layers_follow_each_other(bpy, model):
    pipeline.show_in(bpy.context.scene, model)
    at = {}
    for exhibit in model.exhibits:
        made = bpy.data.objects[exhibit.part.name]
        at.setdefault(made["role"], {})[made["layer"]] = tuple(made.location)
    for by_layer in at.values():
        x, y, _ = zip(*(by_layer[layer] for layer in sorted(by_layer)), strict=True)
        assert len(set(x)) == 1
        assert all(a < b for a, b in itertools.pairwise(y))
    assert at["q"][0][0] != at["up"][0][0]
    assert at["embed"][-1][1] < at["q"][0][1]


@pytest.mark.parametrize("aspect", [16 / 9, 1.0, 0.5])
@pytest.mark.parametrize("kind", ["slab", "depth"])
def test_the_camera_sees_every_surface_and_the_legend(bpy, checkpoint, kind, aspect):
    from bpy_extras.object_utils import world_to_camera_view
    from mathutils import Vector

    scene = bpy.context.scene
    scene.render.resolution_x, scene.render.resolution_y = int(900 * aspect), 900
    model = pipeline.drain(steps(Settings(checkpoint, field=FieldSettings(kind))))
    root = pipeline.show_in(scene, model, aspect)
    bpy.context.view_layer.update()
    seen = [o for o in root.all_objects if o.type in {"MESH", "FONT"} and o.name != "Floor"]
    assert len(seen) > len(model.exhibits)
    for one in seen:
        for corner in one.bound_box:
            point = one.matrix_world @ Vector(corner)
            x, y, depth = world_to_camera_view(scene, scene.camera, point)
            assert -0.001 <= x <= 1.001, one.name
            assert -0.001 <= y <= 1.001, one.name
            assert scene.camera.data.clip_start < depth < scene.camera.data.clip_end


@pytest.mark.parametrize("step", ["signs", "overview", "new_world"])
def test_a_scene_that_cannot_be_finished_is_taken_back(bpy, checkpoint, monkeypatch, step):
    from weightwalk.scene import build

    model = pipeline.drain(steps(Settings(checkpoint)))
    bpy.data.objects.new("mine", bpy.data.meshes.new("mine"))
    bpy.context.scene.world = bpy.data.worlds.new("mine") if step != "new_world" else None
    before = inventory(bpy)

    def fail(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, step, fail)
    with pytest.raises(KeyboardInterrupt):
        pipeline.show_in(bpy.context.scene, model)
    assert inventory(bpy) == before


@pytest.mark.parametrize(("engine", "width"), [("workbench", 640), ("cycles", 320)])
def test_a_picture_without_a_display_shows_the_colours_of_the_scale(
    *, bpy, checkpoint, tmp_path, monkeypatch, capfd, engine, width
):
    from PIL import Image

    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    render = RenderSettings(engine, width, width * 9 // 16, samples=4)
    output = OutputSettings(tmp_path, ("png", "blend"), "a.b", render=render)
    selection = Selection(("*q_proj*", "*up_proj*"), max_layers=2)
    settings = Settings(checkpoint, selection, surface=SurfaceSettings(faces=4000))
    model = pipeline.run(settings, output).model
    assert capfd.readouterr().out == "", "Blender's own words"
    with Image.open(tmp_path / "a.b.png") as picture:
        assert picture.size == (width, width * 9 // 16)
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(np.int64)
    # The legend is not lit: where nothing dims it the map's colours are there as they are.
    wanted = color_map(False)[32:224:16, :3].astype(np.int64)
    nearest = np.abs(pixels[:, None, :] - wanted[None]).max(axis=2).min(axis=0)
    assert (nearest <= 12).mean() > 0.7, nearest
    _check_blend(bpy, tmp_path / "a.b.blend", model)


def _check_blend(bpy, path, model):
    """Open a .blend, as anyone without the extension would, and look for the surfaces."""
    bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=True)
    for exhibit in model.exhibits:
        made = bpy.data.objects[exhibit.part.name]
        assert len(made.data.polygons) == len(exhibit.part.faces)
        colors = get(made.data.color_attributes["Color"].data, "color", 4)
        np.testing.assert_allclose(colors, decode_srgb(exhibit.part.colors / 255.0), atol=1e-6)
        assert made["tensor"] == exhibit.part.extras["tensor"]
        assert made["level"] == exhibit.surface.level
    assert bpy.context.scene.camera is not None
    # It opens with all in sight, in its colours.
    areas = [area for screen in bpy.data.screens for area in screen.areas]
    spaces = [area.spaces.active for area in areas if area.type == "VIEW_3D"]
    views = [space for space in spaces if space.shading.type == "SOLID"]
    assert {(v.region_3d.view_perspective, v.shading.color_type) for v in views} == {
        ("CAMERA", "VERTEX")
    }


def test_plates_tell_the_level_or_that_there_is_nothing_but_holes(bpy, tmp_path):
    weights = np.random.default_rng(2).standard_normal((128, 128)).astype(np.float32)
    holes = weights.copy()
    holes[::2, ::2] = np.nan  # one under each of the 64 × 64 cells
    save_file({"some": weights, "holes": holes}, tmp_path / "model.safetensors")
    model = pipeline.drain(steps(Settings(tmp_path)))
    pipeline.show_in(bpy.context.scene, model)
    said = {curve.body for curve in bpy.data.curves if " · " in curve.body}
    level = next(e.surface.level for e in model.exhibits if e.part.name == "some")
    assert said == {
        f"other · some · 128 × 128 · above {level:.2f} σ",
        "other · holes · 128 × 128 · NaN or infinity only",
    }
