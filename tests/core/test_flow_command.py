"""`weightwalk flow`: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from weightwalk.core.color import NONFINITE
from weightwalk.core.flow.legend import ABOVE
from weightwalk.core.flow.probe import Probe, write_probe

from .flowing import probe_of, random_probe, write

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "flow.schema.json").read_text(encoding="utf-8")
)


@pytest.fixture
def series(tmp_path):
    """A run of three steps whose last two layers drift away in one direction."""
    rng = np.random.default_rng(0)
    first = random_probe(rng, 0)
    drift = rng.standard_normal(20)
    probes = [first]
    for step, much in ((10, 2.0), (20, 8.0)):
        values = {
            key: tuple(np.float32(h + (i > 1) * much * drift) for i, h in enumerate(layers))
            for key, layers in first.values.items()
        }
        probes.append(Probe(random_probe(rng, step).info, values))
    write(tmp_path / "run", *probes)
    return tmp_path / "run"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def report_in(folder):
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, SCHEMA)
    for file in report["files"]:
        data = (folder / file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    return report


def test_a_series_is_drawn_compared_and_told(run, series, tmp_path):
    status, said, _ = run("flow", series, "--out", tmp_path / "out")
    assert status == 0
    names = {"flow.png", "flow.gif", "flow-difference.png", "flow-difference.gif", "flow-curve.png"}
    assert set(contents(tmp_path / "out")) == names | {"report.json"}
    with Image.open(tmp_path / "out" / "flow-difference.gif") as gif:
        assert gif.n_frames == 2
    report = report_in(tmp_path / "out")
    assert "3 steps, 4 layers, 12 prompts" in said
    assert "step 20 against step 0: departs at layer 2" in said
    assert [each["departs"] for each in report["comparisons"]][-1] == 2
    assert [step["label"] for step in report["steps"]] == ["step 0", "step 10", "step 20"]
    assert report["units"]["of"] == "step 0"
    assert report["difference"]["label"] == "step 20 − step 0"
    curve = report["comparisons"][-1]["relative"]
    assert curve["median"][0] == 0.0 < curve["median"][3]


def test_a_gif_has_every_step_in_one_scale_and_holds_the_last(run, series, tmp_path):
    assert run("flow", series, "--out", tmp_path / "out", "--seconds", "0.2")[0] == 0
    with (
        Image.open(tmp_path / "out" / "flow.gif") as gif,
        Image.open(tmp_path / "out" / "flow.png") as png,
    ):
        assert (gif.n_frames, gif.size) == (3, png.size)
        times = []
        for i in range(3):
            gif.seek(i)
            times.append(gif.info["duration"])
        last = np.asarray(gif.convert("RGB")).astype(int)
        still = np.asarray(png)
    assert times == [200, 200, 1000]
    # A palette of 255 has not all of the map, but the reserved colours as they are.
    assert np.abs(last - still).max() <= 12
    above = (still == ABOVE).all(axis=-1)
    assert above.any()
    assert (last[above] == ABOVE).all()


def test_one_file_gives_one_picture(run, tmp_path):
    write_probe(tmp_path / "a.safetensors", probe_of([np.ones((2, 5)), np.eye(2, 5)]))
    status, _, told = run("flow", tmp_path / "a.safetensors", "--out", tmp_path / "out")
    assert status == 0
    assert set(contents(tmp_path / "out")) == {"flow.png", "report.json"}
    assert "layer 0 have no σ" in told  # all ones
    report = report_in(tmp_path / "out")
    assert report["comparisons"] == []
    assert report["difference"] is None


def test_against_is_the_reference(run, series, tmp_path):
    base = series / "step-0.safetensors"
    last = series / "step-20.safetensors"
    status, said, _ = run("flow", last, "--against", base, "--out", tmp_path / "out")
    assert status == 0
    assert "step 20 against step 0: departs at layer 2" in said
    assert set(contents(tmp_path / "out")) == {
        "flow.png", "flow-difference.png", "flow-curve.png", "report.json",
    }  # fmt: skip
    assert report_in(tmp_path / "out")["difference"]["units"]["of"] == "step 0"


def test_sigma_is_that_of_the_reference(run, series, tmp_path):
    base, last = series / "step-0.safetensors", series / "step-20.safetensors"
    sigmas = {}
    for which, of in (("first", "step 0"), ("run", "step 20"), (base, "step 0")):
        more = ("--against", base, "--reference", which)
        assert run("flow", last, "--out", tmp_path / "out", *more)[0] == 0
        report = report_in(tmp_path / "out")
        assert report["units"]["of"] == of
        sigmas[which] = report["units"]["sigmas"]
        assert report["difference"]["units"]["sigmas"] == sigmas["first"]
    assert sigmas["first"] == sigmas[base] != sigmas["run"]


def test_a_difference_is_the_same_however_it_is_asked_for(run, series, tmp_path):
    base, last = series / "step-0.safetensors", series / "step-20.safetensors"
    assert run("flow", base, last, "--out", tmp_path / "two")[0] == 0
    assert run("flow", last, "--against", base, "--out", tmp_path / "one")[0] == 0
    two, one = contents(tmp_path / "two"), contents(tmp_path / "one")
    assert two["flow-difference.png"] == one["flow-difference.png"] != one["flow.png"]


def test_each_option_changes_the_picture(run, series, tmp_path):
    options = ((), ("--sigma", "all"), ("--layout", "layers"), ("--prompt", 2), ("--scale", 2))
    pictures = set()
    for more in options:
        out = tmp_path / "out"
        assert run("flow", series, "--out", out, "--width", 7, "--export", "png", *more)[0] == 0
        pictures.add((out / "flow.png").read_bytes())
        drawn = report_in(out)["settings"]
        for name, value in (more[i : i + 2] for i in range(0, len(more), 2)):
            key = {"--scale": "limit"}.get(name, name[2:])
            assert drawn[key] == (value - 1 if key == "prompt" else value)
    assert len(pictures) == len(options)


def test_massive_activations_are_those_of_the_last_step(run, tmp_path):
    calm = np.random.default_rng(0).standard_normal((2, 1, 20))
    wild = calm.copy()
    wild[1, 0, 5] = 1e4
    for step, layers in ((0, calm), (1, wild)):
        write_probe(tmp_path / f"step-{step}.safetensors", probe_of(list(layers)))
    assert run("flow", tmp_path, "--out", tmp_path / "out")[0] == 0
    (found,) = report_in(tmp_path / "out")["massive"]
    assert (found["layer"], found["feature"], found["value"]) == (1, 5, 1e4)


def test_the_classic_picture_is_bare(run, series, tmp_path):
    probe = probe_of([np.random.default_rng(0).standard_normal((1, 4096))] * 32)
    write_probe(tmp_path / "a.safetensors", probe)
    chosen = ("--palette", "classic", "--out", tmp_path / "out")
    assert run("flow", tmp_path / "a.safetensors", *chosen)[0] == 0
    with Image.open(tmp_path / "out" / "flow.png") as image:
        assert image.size == (512, 256)
    assert report_in(tmp_path / "out")["scale"] is None
    assert run("flow", series, *chosen, "--zoom", 3, "--width", 8)[0] == 0
    with Image.open(tmp_path / "out" / "flow.gif") as image:
        assert (image.size, image.n_frames) == ((24, 36), 3)


def test_layers_of_other_sizes_nan_and_a_broken_step(run, tmp_path):
    rng = np.random.default_rng(0)
    steps = []
    for number in range(3):
        layers = [rng.standard_normal((4, 6)), rng.standard_normal((2, 12))]
        layers[1][-1, 3] = np.nan if number else 0.0
        steps.append(probe_of(layers, number))
    paths = write(tmp_path / "run", *steps)
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    status, _, told = run("flow", tmp_path / "run", "--out", tmp_path / "out")
    assert status == 3
    assert "skipped step-1.safetensors" in told
    assert "NaN in layers.1" in told
    report = report_in(tmp_path / "out")
    assert report["steps"][1]["nonfinite"] == 1
    for name in ("flow.png", "flow-difference.png"):
        with Image.open(tmp_path / "out" / name) as image:
            assert (np.asarray(image) == NONFINITE[:3]).all(axis=-1).any()


def test_the_same_request_gives_the_same_bytes(run, series, tmp_path):
    for out in ("a", "b"):
        assert run("flow", series, "--out", tmp_path / out, "--layout", "layers")[0] == 0
    one, other = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert all(one[name] == other[name] for name in one if name != "report.json")


@pytest.mark.bpy
def test_a_movie_lasts_as_long_as_the_gif(run, series, tmp_path):
    import bpy

    chosen = ("--export", "mp4", "--seconds", "0.25", "--out", tmp_path)
    assert run("flow", series, *chosen)[0] == 0
    movie = bpy.data.movieclips.load(str(tmp_path / "flow.mp4"))
    assert movie.frame_duration == round(24 * 7 * 0.25)
    bpy.data.movieclips.remove(movie)


@pytest.mark.bpy
def test_a_movie_of_a_few_values_is_large_enough_for_blender(run, series, tmp_path):
    chosen = ("--palette", "classic", "--export", "mp4,png", "--out", tmp_path)
    assert run("flow", series, *chosen)[0] == 0
    with Image.open(tmp_path / "flow.png") as still:
        assert min(still.size) >= 32


def test_a_first_step_that_is_a_poor_unit_is_told(run, tmp_path):
    rng = np.random.default_rng(0)
    write(tmp_path / "in", random_probe(rng, 0, scale=0.01), random_probe(rng, 9))
    said = run("flow", tmp_path / "in", "--out", tmp_path / "a")[2]
    assert "of the values lie beyond the scale at step 9; --reference run" in said
    asked = ("--reference", "run", "--out", tmp_path / "b")
    assert "beyond the scale" not in run("flow", tmp_path / "in", *asked)[2]


def test_neither_torch_nor_blender_is_needed(series, tmp_path):
    code = (
        "import sys; sys.modules['torch'] = sys.modules['bpy'] = None;"
        "import weightwalk.batch.cli as c;"
        "bad = {'PIL', 'scipy', 'skimage'} & set(sys.modules); assert not bad, bad;"
        "sys.exit(c.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "flow", str(series), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_movie_without_blender_is_refused_before_any_work(run, series, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bpy", None)
    status, _, said = run("flow", series, "--out", tmp_path / "out", "--export", "mp4")
    assert (status, len(said.splitlines())) == (2, 1)
    assert "takes Blender" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--prompt", 13), "prompt 13"),
        (("--prompt", 0), "from 1"),
        (("--token", 1), "no token 1"),
        (("--output", "mlp"), "no mlp"),
        (("--width", 0), "width"),
        (("--zoom", 65), "zoom"),
        (("--scale", 0), "scale"),
        (("--export", "bmp"), "bmp"),
        (("--export", ""), "no format"),
        (("--name", "a/b"), "name"),
        (("--name", "x" * 250), "name"),
        (("--reference", "nothing.safetensors"), "nothing.safetensors"),
        (("--against", "nothing.safetensors"), "nothing.safetensors"),
    ],
)
def test_bad_requests_end_with_2_one_sentence_and_no_file(
    run, series, tmp_path, arguments, words
):
    status, said, told = run("flow", series, "--out", tmp_path / "out", *arguments)
    lines = [line for line in told.splitlines() if line.startswith("weightwalk: ")]
    assert (status, said, len(lines)) == (2, "", 1)
    assert words in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["gif", "mp4"])
def test_one_step_does_not_move(run, series, tmp_path, kind):
    file = series / "step-0.safetensors"
    status, _, told = run("flow", file, "--out", tmp_path / "out", "--export", kind)
    assert (status, len(told.splitlines())) == (2, 1)
    assert "one step" in told
    assert not (tmp_path / "out").exists()


def test_probes_of_other_models_weights_and_folders_that_cannot_be(run, series, tmp_path):
    out = tmp_path / "out"
    other = tmp_path / "other.safetensors"
    write_probe(other, probe_of([np.ones((1, 3))]))
    weights = tmp_path / "model.safetensors"
    save_file({"w": np.ones((3, 3), np.float32)}, weights)
    file = tmp_path / "file"
    file.touch()
    first = series / "step-0.safetensors"
    for arguments, words in (
        ((first, other), "other.safetensors"),
        ((first, "--against", other), "cannot be compared"),
        ((first, "--reference", weights), "no probe file"),
        ((weights,), "no probe file"),
        ((first, "--out", file), "cannot write"),
    ):
        status, _, told = run("flow", "--out", out, *arguments)
        assert (status, len(told.splitlines())) == (2, 1)
        assert words in told
        assert not out.exists()


def test_what_shows_weights_sends_probes_here(run, series, tmp_path):
    for name, target in (("mesh", series / "step-0.safetensors"), ("animate", series),
                         ("animate", series / "step-0.safetensors")):  # fmt: skip
        status, _, told = run(name, target, "--export", "glb", "--out", tmp_path / "out")
        assert (status, len(told.splitlines())) == (2, 1)
        assert "`weightwalk flow`" in told
        assert not (tmp_path / "out").exists()
    status, said, _ = run("inspect", series / "step-0.safetensors")
    assert (status, "prompt/0/hidden" in said) == (0, True)


def test_the_schema_describes_every_key():
    def objects(schema):
        if isinstance(schema, dict):
            if "properties" in schema and "type" in schema:
                yield schema
            for value in schema.values():
                yield from objects(value)

    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for found in objects(SCHEMA):
        assert found["additionalProperties"] is False
        assert set(found["required"]) == set(found["properties"])
        assert all("description" in value for value in found["properties"].values())
