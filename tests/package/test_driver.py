"""batch/driver.py: the same command, inside a Blender."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from ..programs import BLENDERS, DRIVER, by_driver


@pytest.fixture(params=BLENDERS)
def driver(request):
    """The start of a command line, in Blender as a module and in a real one."""
    return by_driver(request)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    rng = np.random.default_rng(7)
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(40)]
    save_file({name: rng.normal(size=(256, 256)).astype(np.float32) for name in names}, path)
    return path


def run(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_mesh_makes_the_files_and_reports_them(driver, checkpoint, tmp_path):
    out = ["--out", str(tmp_path), "--name", "small", "--export", "stl,glb,blend"]
    which = ["--max-layers", "2", "--glb-compression", "quantize"]
    done = run([*driver, "mesh", str(checkpoint), *out, *which])
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert len({surface["tensor"] for surface in report["surfaces"]}) == 2
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"small.stl", "small.glb", "small.blend", "report.json"}


def test_bad_input_is_one_line_and_status_2(driver, tmp_path):
    done = run([*driver, "inspect", str(tmp_path / "nowhere")])
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "weightwalk" in line]
    assert "nowhere" in line
    assert "Traceback" not in done.stderr


def test_interrupted_it_ends_and_leaves_nothing(driver, checkpoint, tmp_path):
    out = tmp_path / "out"
    grid = ["--rows", "256", "--cols", "256", "--faces", "400000", "--export", "stl"]
    command = [*driver, "mesh", str(checkpoint), "--out", str(out), *grid]
    # In a session of its own, as a terminal has it: Ctrl-C reaches the whole group.
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    lines = list(itertools.takewhile(lambda line: "surfaces" not in line, process.stderr))
    assert process.poll() is None, lines
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not out.exists() or not any(out.iterdir())


def test_without_its_packages_it_says_how_to_get_them(checkpoint):
    # -S: a Python without site-packages.
    done = run([sys.executable, "-I", "-S", str(DRIVER), "--", "inspect", str(checkpoint)])
    assert done.returncode == 2
    assert "scikit-image" in done.stderr
    assert "extension" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_workers_are_blenders_of_their_own(driver, checkpoint, tmp_path):
    """They make what one makes, open no window, and run nothing that their parent was told to."""
    which = ["--max-layers", "3", "--export", "stl", "--name", "small"]
    for name, workers in (("one", []), ("two", ["--workers", "2"])):
        out = ["--out", str(tmp_path / name)]
        done = run([*driver, "mesh", str(checkpoint), *out, *which, *workers])
        assert done.returncode == 0, done.stdout + done.stderr
        assert {path.name for path in (tmp_path / name).iterdir()} == {"report.json", "small.stl"}
    one, two = ((tmp_path / name / "small.stl").read_bytes() for name in ("one", "two"))
    assert one == two
    report = json.loads((tmp_path / "two" / "report.json").read_text())
    assert "workers" in report["stages"]
