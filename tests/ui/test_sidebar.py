"""The sidebar from the file to the scene, as far as a Blender without windows has it."""

from __future__ import annotations

import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from .operators import arrays, chosen, load, said_by, sparse, surfaces

pytestmark = pytest.mark.bpy


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
