"""Inspect, refine, export and save, as far as a Blender without windows has them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from .operators import load, said_by, surfaces

pytestmark = pytest.mark.bpy


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
    own = experts.std(axis=(1, 2), dtype=np.float64, keepdims=True)
    own[0] = 1.0  # of no use: that one is all zero
    shown = np.abs(experts) / (own if sigma == "tensor" else experts.std(dtype=np.float64))
    index = [int(i) for i in np.unravel_index(shown.argmax(), shown.shape)]
    assert f"down_proj{index} = " in weights.copy_text
    assert value[at] == pytest.approx(shown.max(), rel=1e-5)
    assert f"{value[at]:.2f} σ" in weights.reading
    assert (tuple(weights.refine_from), tuple(weights.refine_to)) == ((0, 0), (30, 20))
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
