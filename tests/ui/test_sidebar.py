"""The sidebar's operators, as far as a Blender without windows has them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

pytestmark = pytest.mark.bpy


@pytest.fixture
def weights(bpy, checkpoint):
    """Return the scene's properties, with the model loaded and nothing built."""
    assert load(bpy, checkpoint) == {"FINISHED"}
    return bpy.context.scene.weightwalk


def load(bpy, path, build=False):
    return bpy.ops.weightwalk.load_model(filepath=str(path), build=build)


def chosen(weights):
    return {item.name for item in weights.tensors if item.chosen}


def sparse(path, count, shape):
    """Make a checkpoint of matrices that take no room on the disk: all zero."""
    size = 4 * shape[0] * shape[1]
    header = {
        f"model.layers.{i}.mlp.up_proj.weight": {
            "dtype": "F32", "shape": shape, "data_offsets": [i * size, (i + 1) * size]}
        for i in range(count)
    }  # fmt: skip
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + count * size)
    return path


def said_by(operator, **arguments):
    """Return the sentence with which an operator refuses."""
    with pytest.raises(RuntimeError) as caught:
        operator(**arguments)
    said = str(caught.value)
    assert "Traceback" not in said
    return said


def surfaces(bpy):
    return {o.name: o for o in bpy.context.scene.objects if "plan" in o}


def arrays(thing):
    mesh = thing.data
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", vertices)
    return vertices


# --- the model --------------------------------------------------------------------------------


def test_the_list_is_the_files_header(weights, tensors, bpy):
    assert {item.name for item in weights.tensors} == set(tensors)
    for item in weights.tensors:
        assert item.shape == " × ".join(map(str, tensors[item.name].shape))
    assert chosen(weights) == set(tensors) - {"model.rotary.steps"}
    assert not surfaces(bpy)


def test_a_model_larger_than_memory_is_listed_at_once(bpy, tmp_path):
    """Only headers are read: 4 TB of holes."""
    path = sparse(tmp_path / "vast.safetensors", 2, (10**6, 500_000))
    assert load(bpy, path) == {"FINISHED"}
    weights = bpy.context.scene.weightwalk
    assert [item.layer for item in weights.tensors] == [0, 1]
    assert "2 tensors" in weights.cost


def test_the_dropped_file_goes_through_the_handlers_operator(bpy, checkpoint, tensors):
    (handler,) = (h for h in bpy.types.FileHandler.__subclasses__() if "WEIGHTWALK" in h.bl_idname)
    assert checkpoint.suffix in handler.bl_file_extensions.split(";")
    module, name = handler.bl_import_operator.split(".")
    operator = getattr(getattr(bpy.ops, module), name)
    assert operator(filepath=str(checkpoint)) == {"FINISHED"}
    assert len(bpy.context.scene.weightwalk.tensors) == len(tensors)
    assert surfaces(bpy)


def test_quick_choices_choose_among_what_is_listed(weights, bpy):
    bpy.ops.weightwalk.choose(what="attention")
    assert chosen(weights) == {f"model.layers.{i}.self_attn.q_proj.weight" for i in range(3)}
    weights.by_layer, weights.first_layer, weights.last_layer = True, 1, 2
    bpy.ops.weightwalk.choose(what="mlp")
    assert chosen(weights) == {f"model.layers.{i}.mlp.up_proj.weight" for i in (1, 2)}
    weights.by_layer, weights.search = False, "*.1.*proj*"
    bpy.ops.weightwalk.choose(what="all")
    assert {name.split(".")[2] for name in chosen(weights)} == {"1"}
    weights.search = "NORM"
    bpy.ops.weightwalk.choose(what="invert")
    assert len(chosen(weights)) == 5
    bpy.ops.weightwalk.choose(what="none")
    assert not chosen(weights)
    assert weights.cost == "no tensor is chosen"


def test_recent_models_are_remembered_the_last_one_first(bpy, checkpoint, tmp_path):
    from weightwalk.ui.preferences import recent_models

    other = tmp_path / "other.safetensors"
    shutil.copy(checkpoint, other)
    for path in (checkpoint, other, checkpoint):
        load(bpy, path)
    assert recent_models(bpy.context)[:2] == [str(checkpoint), str(other)]


def test_every_field_of_the_panel_has_a_tooltip(weights):
    hidden = {"path", "title", "stamp", "tensors", "active", "cost", "reading", "copy_text"}
    hidden |= {"refine_plan", "refine_plane", "rna_type", "name"}
    for name, field in weights.bl_rna.properties.items():
        assert field.description or name in hidden, name
        if field.type == "ENUM":
            assert all(i.description for i in field.enum_items), name


def test_every_quick_choice_has_its_own_tooltip(bpy):
    from weightwalk.ui.load import Choose

    choices = bpy.ops.weightwalk.choose.get_rna_type().properties["what"].enum_items
    told = {Choose.description(bpy.context, SimpleNamespace(what=c.identifier)) for c in choices}
    assert len(told) == len(choices) == 9


# --- building ---------------------------------------------------------------------------------


def test_the_button_builds_what_the_pipeline_builds(weights, bpy, tensors):
    from weightwalk import pipeline
    from weightwalk.core.model import steps

    weights.pool, weights.faces, weights.rows = "absmax", 3000, 32
    bpy.ops.weightwalk.choose(what="mlp")
    assert bpy.ops.weightwalk.build() == {"FINISHED"}
    model = pipeline.drain(steps(weights.settings()))
    made = surfaces(bpy)
    assert set(made) == {e.part.name for e in model.exhibits}
    assert {e.surface.field.plan.name for e in model.exhibits} == chosen(weights)
    for exhibit in model.exhibits:
        np.testing.assert_array_equal(
            arrays(made[exhibit.part.name]), exhibit.part.vertices.ravel()
        )


def test_a_rebuild_replaces_surfaces_and_keeps_what_the_person_made(weights, bpy):
    scene = bpy.context.scene
    bpy.ops.weightwalk.build()
    before = set(surfaces(bpy))
    mine = bpy.data.objects.new("mine", bpy.data.cameras.new("mine"))
    root = next(c for c in scene.collection.children if "weightwalk" in c)
    root.children[0].objects.link(mine)
    scene.camera = mine
    light = next(o for o in scene.objects if o.type == "LIGHT")
    light.location.x, light.data.energy = 12.5, 99.0
    meshes = len(bpy.data.meshes)
    weights.rows = weights.cols = 16
    bpy.ops.weightwalk.build()
    assert set(surfaces(bpy)) == before
    assert all(o["grid"].split("x")[1] in ("16", "1") for o in surfaces(bpy).values())
    assert scene.camera == mine
    assert mine.name in scene.objects
    assert (light.location.x, light.data.energy) == (12.5, 99.0)
    assert len(bpy.data.meshes) == meshes


def test_the_cube_of_a_new_file_is_hidden_and_one_that_was_moved_is_not(bpy, checkpoint):
    for moved in (0.0, 2.5):
        bpy.ops.wm.read_factory_settings()
        bpy.data.objects["Cube"].location.x = moved
        load(bpy, checkpoint, build=True)
        cube = bpy.data.objects["Cube"]
        assert (cube.hide_get(), cube.hide_render) == (not moved, not moved)


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [False, True])
def test_a_broken_file_gets_a_sentence_and_the_model_before_it_stays(weights, bpy, tmp_path, build):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\xff" * 64)
    held = [item.name for item in weights.tensors]
    said = said_by(bpy.ops.weightwalk.load_model, filepath=str(broken), build=build)
    assert "broken.safetensors" in said
    assert [item.name for item in weights.tensors] == held


def test_a_model_that_moved_or_changed_gets_a_sentence(weights, bpy, checkpoint, tensors):
    bpy.ops.weightwalk.build()
    there = set(surfaces(bpy))
    moved = checkpoint.with_name("moved.safetensors")
    checkpoint.rename(moved)
    assert "Load Model Weights" in said_by(bpy.ops.weightwalk.build)
    moved.rename(checkpoint)
    bpy.ops.weightwalk.build()
    save_file({name: 2 * t for name, t in tensors.items()}, checkpoint)
    os.utime(checkpoint, (1, 1))
    for operator, arguments in (
        (bpy.ops.weightwalk.build, {}),
        (bpy.ops.weightwalk.inspect, {"surface": min(there), "cell": 0}),
    ):
        assert "changed" in said_by(operator, **arguments)
    assert set(surfaces(bpy)) == there


def test_an_empty_choice_is_refused(weights, bpy):
    bpy.ops.weightwalk.choose(what="none")
    assert "no tensor is chosen" in said_by(bpy.ops.weightwalk.build)
    assert not surfaces(bpy)


def test_a_choice_beyond_memory_is_refused_with_the_figure(bpy, tmp_path):
    load(bpy, sparse(tmp_path / "vast.safetensors", 200, (4096, 4096)))
    weights = bpy.context.scene.weightwalk
    weights.rows = weights.cols = 4096
    weights.faces = 100_000_000
    assert re.search(r"needs about \d\.\d TB of memory, and \S+ GB are free", said_by(
        bpy.ops.weightwalk.build))  # fmt: skip
    assert not surfaces(bpy)


def test_operators_that_need_a_window_say_so(weights, bpy):
    bpy.ops.weightwalk.build()
    for name in ("walk", "step", "overview", "go_to"):
        assert "window" in said_by(getattr(bpy.ops.weightwalk, name))


# --- a closer look ----------------------------------------------------------------------------


def test_inspect_reads_the_file_under_the_cell(weights, bpy, tensors):
    name = "model.layers.1.mlp.up_proj.weight"
    bpy.ops.weightwalk.build()
    rows = np.arange(65) * 130 // 64
    cell = int(np.searchsorted(rows, 77, side="right") - 1) * 48 + 33
    assert bpy.ops.weightwalk.inspect(surface=name, cell=cell) == {"FINISHED"}
    assert "rank 1 of 6,240" in weights.reading
    assert f"{name}[77, 33]" in weights.copy_text
    assert "-9.5" in weights.copy_text
    sigma = tensors[name].astype(np.float64).std()
    assert f"{9.5 / sigma:.2f}" in weights.reading or f"{9.5 / sigma:.1f}" in weights.reading
    marks = [o for o in bpy.context.scene.objects if "weightwalk_mark" in o]
    assert any(o.type == "FONT" and "−9.5" in o.data.body for o in marks)
    assert all(o.parent == bpy.data.objects[name] for o in marks)
    # A second look moves the mark.
    bpy.ops.weightwalk.inspect(surface=name, cell=0)
    assert len([o for o in bpy.context.scene.objects if "weightwalk_mark" in o]) == len(marks)


def test_refine_shows_a_rectangle_entry_by_entry(weights, bpy, tensors):
    name = "model.layers.1.mlp.up_proj.weight"
    bpy.ops.weightwalk.build()
    bpy.ops.weightwalk.inspect(surface=name, cell=0)
    weights.refine_from, weights.refine_to = (70, 20), (90, 44)
    assert bpy.ops.weightwalk.refine() == {"FINISHED"}
    fine = bpy.context.view_layer.objects.active
    assert fine["grid"] == "1x20x24"
    assert fine.location.z > bpy.data.objects[name].location.z
    values = np.empty(len(fine.data.vertices), np.float32)
    cells = np.empty(len(fine.data.vertices), np.int32)
    fine.data.attributes["value"].data.foreach_get("value", values)
    fine.data.attributes["cell"].data.foreach_get("value", cells)
    entries = tensors[name].astype(np.float64)
    wanted = np.abs(entries[70:90, 20:44] / entries.std()).ravel()[cells]
    np.testing.assert_allclose(values, wanted, rtol=1e-6)
    # The detail can be inspected as any surface, and goes with the next build.
    bpy.ops.weightwalk.inspect(surface=fine.name, cell=7 * 24 + 13)
    assert f"{name}[77, 33]" in weights.copy_text
    bpy.ops.weightwalk.build()
    assert not [o for o in bpy.data.objects if "weightwalk_mark" in o]


@pytest.mark.parametrize("sigma", ["tensor", "all"])
def test_inspect_and_refine_stay_within_a_plane_of_a_volume(bpy, tmp_path, sigma):
    """Of experts in one tensor: the plane is the expert, and its neighbours are not touched."""
    experts = np.random.default_rng(3).standard_normal((5, 30, 20)).astype(np.float32)
    experts[0] = 0.0
    folder = tmp_path / "moe"
    folder.mkdir()
    save_file({"model.layers.0.mlp.experts.down_proj": experts}, folder / "model.safetensors")
    load(bpy, folder)
    weights = bpy.context.scene.weightwalk
    weights.kind, weights.sigma = "experts", sigma
    bpy.ops.weightwalk.build()
    (surface,) = surfaces(bpy).values()
    value = np.empty(len(surface.data.vertices), np.float32)
    cell = np.empty(len(surface.data.vertices), np.int32)
    surface.data.attributes["value"].data.foreach_get("value", value)
    surface.data.attributes["cell"].data.foreach_get("value", cell)
    at = int(value.argmax())
    assert bpy.ops.weightwalk.inspect(surface=surface.name, cell=int(cell[at])) == {"FINISHED"}
    largest = np.abs(experts).max()
    index = [int(i) for i in np.unravel_index(np.abs(experts).argmax(), experts.shape)]
    assert f"{index} = " in weights.copy_text
    assert value[at] == pytest.approx(largest / experts.std(dtype=np.float64), rel=1e-5)
    assert f"{value[at]:.2f} σ" in weights.reading
    (first, _), (end, _) = weights.refine_from, weights.refine_to
    assert (first, end) == (30 * index[0], 30 * index[0] + 30)
    assert bpy.ops.weightwalk.refine() == {"FINISHED"}


def test_a_copy_of_an_earlier_build_is_not_read_as_one_of_this(weights, bpy):
    name = "model.layers.1.mlp.up_proj.weight"
    bpy.ops.weightwalk.build()
    copy = bpy.data.objects[name].copy()
    bpy.context.scene.collection.objects.link(copy)
    assert bpy.ops.weightwalk.inspect(surface=copy.name, cell=9) == {"FINISHED"}
    weights.rows = 16
    bpy.ops.weightwalk.build()
    assert weights.reading == ""
    assert "earlier build" in said_by(bpy.ops.weightwalk.inspect, surface=copy.name, cell=9)


# --- taking it away ---------------------------------------------------------------------------


def test_what_is_exported_is_what_the_command_line_writes(weights, bpy, checkpoint, tmp_path):
    from weightwalk import pipeline
    from weightwalk.core.settings import OutputSettings

    bpy.ops.weightwalk.build()
    weights.export_folder = str(tmp_path / "ours")
    weights.export_formats = {"stl", "glb"}
    assert bpy.ops.weightwalk.export() == {"FINISHED"}
    pipeline.run(weights.settings(), OutputSettings(tmp_path / "theirs", ("stl", "glb")))
    for path in (tmp_path / "theirs").glob("*.[sg]l[lb]"):
        assert (tmp_path / "ours" / path.name).read_bytes() == path.read_bytes()
    report = json.loads((tmp_path / "ours" / "report.json").read_text())
    assert len(report["surfaces"]) == len(surfaces(bpy))
    # One alone.
    for thing in bpy.context.scene.objects:
        thing.select_set(False)
    one = next(iter(surfaces(bpy).values()))
    one.select_set(True)
    weights.export_scope, weights.export_folder = "selected", str(tmp_path / "one")
    bpy.ops.weightwalk.export()
    report = json.loads((tmp_path / "one" / "report.json").read_text())
    assert [s["tensor"] for s in report["surfaces"]] == [one["tensor"]]


def test_a_folder_that_cannot_be_written_gets_a_sentence(weights, bpy, tmp_path):
    bpy.ops.weightwalk.build()
    assert "folder" in said_by(bpy.ops.weightwalk.export)
    file = tmp_path / "file"
    file.write_text("")
    weights.export_folder = str(file / "below")
    assert str(file) in said_by(bpy.ops.weightwalk.export)


READ_BACK = """
import json, sys
import bpy
bpy.ops.wm.open_mainfile(filepath=sys.argv[-1])
assert not hasattr(bpy.types.Scene, "weightwalk")
print("RESULT", json.dumps({
    o.name: [
        len(o.data.polygons), o.data.color_attributes.active_color.name, o["tensor"], o["level"]]
    for o in bpy.context.scene.objects if "plan" in o}))
"""


def test_a_saved_scene_needs_no_extension(weights, bpy, tmp_path):
    bpy.ops.weightwalk.build()
    kept = {
        o.name: [len(o.data.polygons), "Color", o["tensor"], o["level"]]
        for o in surfaces(bpy).values()
    }
    path = tmp_path / "saved.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    script = tmp_path / "read_back.py"
    script.write_text(READ_BACK)
    done = subprocess.run(
        [sys.executable, script, path], capture_output=True, text=True, check=True, timeout=120
    )
    (line,) = (x for x in done.stdout.splitlines() if x.startswith("RESULT"))
    assert json.loads(line.removeprefix("RESULT ")) == kept
    # With the extension everything goes on from there.
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(path))
    again = bpy.context.scene.weightwalk
    assert len(again.tensors) == 11
    assert bpy.ops.weightwalk.inspect(surface=min(kept), cell=0) == {"FINISHED"}
    assert Path(again.path).exists()


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 99}'])
def test_a_record_that_is_no_use_is_as_none_and_the_next_build_replaces_it(weights, bpy, text):
    bpy.ops.weightwalk.build()
    (root,) = (c for c in bpy.context.scene.collection.children if "weightwalk" in c)
    root["weightwalk"] = text
    bpy.ops.wm.save_as_mainfile(filepath=weights.path + ".blend")
    bpy.ops.wm.open_mainfile(filepath=weights.path + ".blend")
    assert "build a model first" in said_by(bpy.ops.weightwalk.export)
    count = len(surfaces(bpy))
    bpy.ops.weightwalk.build()
    assert len(surfaces(bpy)) == count
    assert bpy.ops.weightwalk.inspect(surface=min(surfaces(bpy)), cell=0) == {"FINISHED"}
