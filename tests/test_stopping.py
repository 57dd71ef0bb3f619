"""The command line, interrupted: it ends soon, says so, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

COMMAND = [sys.executable, "-m", "weightwalk", "mesh"]


@pytest.fixture(scope="module")
def slow_model(tmp_path_factory):
    """A model that takes a minute at the settings that the tests of interruption use."""
    path = tmp_path_factory.mktemp("slow") / "model.safetensors"
    tensor = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    save_file({f"layers.{i}.q_proj.weight": tensor for i in range(100)}, path)
    return path


def children(pid):
    """Return the processes below one, on Linux."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    below = [int(word) for word in listed.read_text().split()] if listed.exists() else []
    return [*below, *itertools.chain.from_iterable(map(children, below))]


@pytest.mark.bpy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_blender_starts_it_ends_without_a_crash(slow_model, tmp_path, number):
    command = [*COMMAND, str(slow_model), "--out", str(tmp_path / "new"), "--export", "blend"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    maps = Path(f"/proc/{process.pid}/maps")
    while "/bpy/" not in maps.read_text():  # its library is not loaded yet
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said.split()) == (130, ["weightwalk:", "interrupted"])
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("arguments", "line", "delay"),
    [
        ("--export stl", "surfaces: 10 %", 0.0),
        ("--export glb --tensors *layers.1*", "little.glb", 0.1),
        pytest.param(
            "--export png --engine cycles --samples 60000 --tensors layers.1.*",
            "little.png",
            2.0,
            marks=pytest.mark.bpy,
        ),
    ],
)
def test_interrupted_it_ends_soon_and_leaves_nothing(
    *, slow_model, tmp_path, number, arguments, line, delay
):
    out = tmp_path / "new" / "out"
    grid = ["--rows", "512", "--cols", "512", "--faces", "400000", "--name", "little"]
    process = subprocess.Popen(
        [*COMMAND, str(slow_model), "--out", str(out), *grid, *arguments.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        seen = list(itertools.takewhile(lambda said: line not in said, process.stderr))
        time.sleep(delay)
        assert process.poll() is None, seen
        below = children(process.pid)
        process.send_signal(number)
        # Pressed again by an impatient person.
        with contextlib.suppress(ProcessLookupError):
            time.sleep(0.05)
            process.send_signal(number)
        said = process.communicate(timeout=10)[1]
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not (tmp_path / "new").exists()
    assert bool(below) == ("png" in arguments)
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]
