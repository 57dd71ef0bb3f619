"""The command `weightwalk animate`: what it says, what it leaves behind, and how it follows."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk import animate as pipeline
from weightwalk.batch.cli import main

Q, K = (f"model.layers.0.self_attn.{role}_proj.weight" for role in "qk")


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def write_step(folder, number, tensors, *, state=True):
    path = folder / f"checkpoint-{number}" if number else folder
    path.mkdir(parents=True, exist_ok=True)
    save_file({n: np.float32(v) for n, v in tensors.items()}, path / "model.safetensors")
    if state and number:
        (path / "trainer_state.json").write_text(json.dumps({"global_step": number}))


@pytest.fixture
def run(tmp_path, rng):
    folder = tmp_path / "run"
    for k in (1, 2, 3):
        write_step(folder, 100 * k, {Q: k * rng.standard_normal((8, 8)), K: np.eye(8)})
    return folder


def animate(folder, out, *arguments):
    return main(["animate", str(folder), "--out", str(out), "--export", "glb", *arguments])


def test_a_folder_becomes_a_glb_a_data_set_and_a_report(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert animate(run, out, "--dataset", str(out / "shapes")) == 0
    assert {p.name for p in out.iterdir()} == {"run.glb", "report.json", "shapes"}
    report = json.loads((out / "report.json").read_text())
    assert [step["number"] for step in report["steps"]] == [100, 200, 300]
    said = capsys.readouterr()
    assert "run: 3 steps, 1.5 s" in said.out
    names = {p.name for p in (out / "shapes").iterdir()}
    assert names == {"index.json", *(f"step-{n}.safetensors" for n in (100, 200, 300))}


def test_a_broken_checkpoint_is_skipped_named_and_told_by_the_status(run, tmp_path, capsys):
    broken = run / "checkpoint-200" / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-7])
    assert animate(run, tmp_path / "out") == 3
    assert "skipped step 200: " in capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [step["name"] for step in report["steps"]] == ["100", "300"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--delta", "first", "--pool", "rms"], "change has a sign"),
        (["--view", "relief", "--field", "depth"], "relief shows one matrix"),
        (["--view", "time", "--field", "heads"], "fields of its own"),
        (["--frames", "0"], "frames: 0 is not between 1 and 10000"),
        (["--fps", "1000"], "fps: 1000"),
        (["--export", "avi"], "'avi' is not one of glb, gif, mp4, frames, blend"),
        (["--export", "none"], "no format is given, and no data set"),
        (["--fly-speed", "0"], "speed: 0.0 is not between"),
        (["--fly-to", "layer 7"], "layer 7"),
        (["--tensors", "nope"], "no tensor matches 'nope'"),
        (["--name", "a/b"], "cannot be a file name"),
    ],
)
def test_bad_requests_end_with_2_one_sentence_and_no_file(run, tmp_path, capsys, arguments, words):
    assert animate(run, tmp_path / "out", *arguments) == 2
    # Before it, progress; what contradicts itself is told at once.
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("weightwalk: ")
    assert words in line
    assert not (tmp_path / "out").exists()


def test_no_series_ends_with_2_and_one_sentence(run, tmp_path, capsys, rng):
    write_step(tmp_path / "one", 10, {Q: np.eye(4)})
    write_step(tmp_path / "two", 10, {Q: np.eye(4)})
    write_step(tmp_path / "two", 20, {"other": rng.standard_normal((4, 4))})
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("empty", "no checkpoint"),
        ("one", "one checkpoint"),
        ("two", "not of one training run"),
        ("nowhere", "no such file"),
    ):
        assert animate(tmp_path / name, tmp_path / "out") == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert words in line
    assert not (tmp_path / "out").exists()


@pytest.mark.bpy
def test_what_would_not_fit_into_memory_is_refused(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "available_memory", lambda: 1000)
    status = main(["animate", str(run), "--out", str(tmp_path / "out"), "--export", "blend"])
    assert status == 1
    assert "choose fewer tensors, faces or steps" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_following_appends_what_the_training_writes_until_it_is_over(tmp_path, rng):
    folder, out = tmp_path / "run", tmp_path / "out"
    start = rng.standard_normal((8, 8))
    write_step(folder, 10, {Q: start})
    command = [sys.executable, "-m", "weightwalk", "animate", str(folder), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--export", "glb", "--follow"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert wait_for_steps(out) == ["10"]
        # Without its trainer_state.json a checkpoint is not complete yet.
        write_step(folder, 20, {Q: 2 * start}, state=False)
        (folder / "checkpoint-20" / "trainer_state.json").write_text('{"global_step": 20}')
        assert wait_for_steps(out, 2) == ["10", "20"]
        write_step(folder, 0, {Q: 3 * start})
        said, complained = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, complained
    report = json.loads((out / "report.json").read_text())
    assert [step["name"] for step in report["steps"]] == ["10", "20", "final"]
    # Locked at the first step: later ones are compared with it.
    assert report["lock"]["over"] == ["10"]
    (sigma,) = {s["sigma"][0] for step in report["steps"] for s in step["surfaces"]}
    assert sigma == pytest.approx(np.float32(start).astype(float).std())
    assert "3 steps" in said
    assert {p.name for p in out.iterdir()} == {"run.glb", "report.json"}


def test_following_names_what_it_leaves_out(run, tmp_path, capsys, rng):
    broken = run / "checkpoint-200" / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-7])
    write_step(run, 0, {Q: rng.standard_normal((8, 8)), K: np.eye(8)})
    assert animate(run, tmp_path / "out", "--follow") == 3
    assert "skipped step 200: " in capsys.readouterr().err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [step["name"] for step in report["steps"]] == ["100", "300", "final"]
    assert [skip["name"] for skip in report["skipped"]] == ["step 200"]


def wait_for_steps(out, count=1):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            steps = json.loads((out / "report.json").read_text())["steps"]
            if len(steps) >= count:
                return [step["name"] for step in steps]
        except (OSError, ValueError):
            pass
        time.sleep(0.1)
    raise AssertionError(f"no {count} steps in {out}")
