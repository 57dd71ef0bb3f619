"""The panel of a training run, as far as a Blender without windows has it."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from safetensors.numpy import save

from .little_run import GRID, UP, Q, load_run, markers, read, steps_of, write
from .operators import said_by, surfaces

pytestmark = pytest.mark.bpy

# --- load -------------------------------------------------------------------------------------


def test_the_folder_is_listed_with_what_is_left_out_and_why(bpy, folder, training):
    whole = folder / "checkpoint-300" / "model.safetensors"
    whole.write_bytes(whole.read_bytes()[:-100])
    weights = load_run(bpy, folder)
    assert weights.run.names == ["step 100", "step 200", "step 400"]
    assert weights.run.left_out.startswith("step 300: ")
    assert len(weights.run.left_out.splitlines()) == 1
    assert {item.name for item in weights.tensors} == set(training[0])
    assert weights.run.cost.startswith("1.5 s, at most")


def test_a_folder_may_be_typed_and_a_wrong_one_changes_nothing(bpy, folder, tmp_path):
    run = bpy.context.scene.weightwalk.run
    run.folder = str(folder)
    assert len(run.names) == 4
    run.folder = str(tmp_path / "nowhere")
    assert run.folder == run.loaded == str(folder)
    assert len(run.names) == 4
    run.folder = str(folder / "checkpoint-[12]00")
    assert run.names == ["step 100", "step 200"]
    assert bpy.ops.weightwalk.build_run() == {"FINISHED"}
    assert steps_of(bpy) == ["100", "200"]


def test_a_single_model_takes_the_place_of_a_run(run, bpy, folder):
    bpy.ops.weightwalk.load_model(filepath=str(folder / "checkpoint-200"), build=False)
    assert not run.loaded
    assert "load a training run first" in said_by(bpy.ops.weightwalk.build_run)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"notes.json": b"{}"}, "no checkpoint of a training run"),
        ({"step-1.safetensors": b"\xff" * 64}, "none of the 1 checkpoints can be used"),
        (
            {
                "checkpoint-1/model.safetensors": save({"a": np.ones((2, 2), np.float32)}),
                "checkpoint-2/model.safetensors": save({"b": np.ones((2, 2), np.float32)}),
            },
            "only the second has b",
        ),
    ],
)
def test_a_folder_that_is_no_run_gets_a_sentence(bpy, tmp_path, files, sentence):
    for name, content in files.items():
        (tmp_path / "odd" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "odd" / name).write_bytes(content)
    assert sentence in said_by(bpy.ops.weightwalk.load_run, directory=str(tmp_path / "odd"))
    assert not bpy.context.scene.weightwalk.run.loaded


def test_every_setting_has_a_tooltip(run):
    hidden = {"loaded", "found", "left_out", "cost", "rna_type", "name"}
    for name, field in run.bl_rna.properties.items():
        assert field.description or name in hidden, name
        if field.type == "ENUM":
            assert all(item.description for item in field.enum_items), name


# --- build ------------------------------------------------------------------------------------


def test_the_button_makes_an_animation_of_what_is_chosen(run, bpy):
    run.frames, run.start, run.fps = 10, 5, 30
    bpy.ops.weightwalk.choose(what="mlp")
    assert bpy.ops.weightwalk.build_run() == {"FINISHED"}
    scene = bpy.context.scene
    assert markers(bpy) == {"100": 5, "200": 15, "300": 25, "400": 35}
    assert (scene.frame_start, scene.frame_end, scene.render.fps) == (5, 44, 30)
    assert {o["plan"] for o in surfaces(bpy).values()} == {UP.format(0), UP.format(1)}
    for frame, step in ((5, 0), (14, 0), (15, 1), (39, 3)):
        scene.frame_set(frame)
        shown = {o["training_step"] for o in surfaces(bpy).values() if o.visible_get()}
        assert shown == {step}


def test_the_panel_and_the_command_line_ask_for_the_same(run, bpy, folder):
    import argparse

    from weightwalk.batch import animate

    parser = argparse.ArgumentParser()
    animate.add_arguments(parser)
    weights = bpy.context.scene.weightwalk
    for view in ("iso", "relief", "time"):
        for delta in ("none", "first", "previous"):
            run.view, run.delta = view, delta
            grid = ["--rows", str(weights.rows), "--cols", str(weights.cols)]
            cut = ["--faces", str(weights.faces)] * (view != "relief")
            asked = [str(folder), "--out", "x", "--view", view, "--delta", delta, *grid, *cut]
            wanted, _ = animate.settings_of(parser.parse_args(asked))
            assert run.settings() == wanted
    run.view, run.delta = "iso", "none"
    run.view = "time"
    assert run.delta == "first", "as on the command line"


def test_the_line_in_the_view_knows_only_the_step_at_hand(run, bpy):
    from weightwalk.ui.session import session

    bpy.ops.weightwalk.build_run()
    scene = bpy.context.scene
    for frame, step, label in ((1, 0, "step 100"), (13, 1, "step 200"), (40, 3, "step 400")):
        scene.frame_set(frame)
        built = session().built(scene)
        shown = [o for o in surfaces(bpy).values() if o["training_step"] == step]
        assert built.step == label
        assert len(built.seen) == len(shown) == 4


def test_a_relief_is_named_in_the_line_too(bpy, folder):
    from weightwalk.ui.session import session

    load_run(bpy, folder, view="relief")
    bpy.ops.weightwalk.build_run()
    seen = session().built(bpy.context.scene).seen
    assert {one.plan for one in seen} == {n.format(i) for n in (Q, UP) for i in range(2)}
    assert {one.level for one in seen} == {None}


def test_a_run_beyond_memory_is_refused_with_the_figure(run, bpy):
    weights = bpy.context.scene.weightwalk
    weights.rows = weights.cols = 4096
    weights.faces = 100_000_000
    weights.run.found = json.dumps([f"step {i}" for i in range(100_000)])
    said = said_by(bpy.ops.weightwalk.build_run)
    assert re.search(r"needs about \S+ .B of memory, and \S+ .B are free", said)
    assert not surfaces(bpy)


# --- inspect ----------------------------------------------------------------------------------

NUMBER = r"(-?[\d.]+)"


def under(tensor, cell):
    """Return the entries under a cell of a grid of `GRID` rows and columns."""
    (rows, cols), (r, c) = tensor.shape, divmod(cell % GRID**2, GRID)
    r0, r1 = (round(rows * i / GRID) for i in (r, r + 1))
    c0, c1 = (round(cols * i / GRID) for i in (c, c + 1))
    return tensor[r0:r1, c0:c1]


@pytest.mark.parametrize(
    ("view", "delta"),
    [
        ("iso", "none"), ("iso", "first"), ("iso", "previous"), ("relief", "none"),
        ("relief", "previous"), ("time", "first"),
    ],
)  # fmt: skip
def test_inspect_reads_the_steps_own_file_and_what_it_changed_from(
    bpy, folder, training, view, delta
):
    """The third step; the unit is the one that is locked."""
    before = {"none": None, "first": 0, "previous": 1}[delta]
    weights = load_run(bpy, folder, view=view, delta=delta, pool="mean", rows=GRID, cols=GRID)
    bpy.ops.weightwalk.build_run()
    bpy.context.scene.frame_set(30)
    name = Q.format(0)
    surface = next(
        o for o in surfaces(bpy).values()
        if o["plan"].endswith(name) and o["training_step"] in {2, -1}
    )  # fmt: skip
    steps = [w[name].astype(np.float64) for w in training]
    w = steps[2] if before is None else steps[2] - steps[before]
    sigma = np.std(np.stack(steps)) if before is None else steps[0].std()
    cell = 13
    text = read(bpy, surface, cell + (2 * GRID**2 if view == "time" else 0))
    entries = under(w, cell)
    pooled, sigmas = map(float, re.search(f"mean {NUMBER} = {NUMBER} σ", text).groups())
    mean = entries.mean()
    np.testing.assert_allclose((pooled, sigmas), (mean, mean / sigma), rtol=6e-3)
    row, col, value, _ = map(
        float, re.search(rf"largest: \[(\d+), (\d+)\] = {NUMBER} = {NUMBER} σ", text).groups()
    )
    at = int(row), int(col)
    assert abs(w[at]) == np.abs(entries).max()
    assert value == pytest.approx(w[at], rel=6e-3)
    assert "step 300" in text
    if before is not None:
        for step in (2, before):
            number = 100 * (step + 1)
            (told,) = re.findall(rf"at step {number}: {NUMBER} \(checkpoint-{number}\)", text)
            assert float(told) == pytest.approx(steps[step][at], rel=2e-3)
    assert f"{name}[{at[0]}, {at[1]}] = " in weights.copy_text
    assert "single model" in said_by(bpy.ops.weightwalk.refine)


def test_inspect_says_when_a_steps_file_has_changed(run, bpy, folder, training):
    bpy.ops.weightwalk.build_run()
    late = next(o for o in surfaces(bpy).values() if o["training_step"] == 3)
    shutil.rmtree(folder / "checkpoint-400")
    write(folder, 400, {name: 2 * w[:, :16] for name, w in training[3].items()})
    said = said_by(bpy.ops.weightwalk.inspect, surface=late.name, cell=0)
    assert "changed" in said and "checkpoint-400" in said


# --- files ------------------------------------------------------------------------------------


def test_the_animation_is_exported_with_the_data_set(run, bpy, tmp_path):
    assert "build a model first" in said_by(bpy.ops.weightwalk.export_run)
    bpy.ops.weightwalk.build_run()
    run.formats = {"glb", "dataset"}
    assert "choose a folder" in said_by(bpy.ops.weightwalk.export_run)
    bpy.context.scene.weightwalk.export_folder = str(tmp_path / "out")
    assert bpy.ops.weightwalk.export_run() == {"FINISHED"}
    assert (tmp_path / "out" / "run.glb").stat().st_size > 1000
    # What stands at a frame can be had alone, by the other panel.
    bpy.context.scene.frame_set(20)
    bpy.context.scene.weightwalk.export_formats = {"stl", "glb"}
    assert bpy.ops.weightwalk.export() == {"FINISHED"}
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(report["surfaces"]) == 4
    index = json.loads((tmp_path / "out" / "dataset" / "index.json").read_text())
    assert [step["name"] for step in index["steps"]] == ["100", "200", "300", "400"]
