"""`weightwalk catalog` with Blender: pictures and .blend files, and from inside one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from ..programs import BLENDERS, by_driver


@pytest.fixture(params=[pytest.param("installed", marks=pytest.mark.bpy), *BLENDERS])
def command(request):
    """The start of a command line: as it is installed, by the driver, and in a real Blender."""
    return (
        [sys.executable, "-m", "weightwalk"] if request.param == "installed" else by_driver(request)
    )


def test_models_and_series_have_all_files(command, tmp_path):
    rng = np.random.default_rng(0)
    for step in (1, 2):
        folder = tmp_path / "a run" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        tensor = (step * rng.standard_normal((24, 24))).astype(np.float32)
        save_file({"model.layers.0.self_attn.q_proj.weight": tensor}, folder / "model.safetensors")
    jobs = tmp_path / "jobs.toml"
    jobs.write_text(
        '[[model]]\npath = "a run/checkpoint-1"\nname = "still"\nfaces = [100, 200]\n'
        'width = 160\nheight = 90\n[[series]]\npath = "a run"\nname = "moving"\nfaces = 100\n'
        "frames = 2\nwidth = 160\nheight = 90\n"
    )
    out = tmp_path / "out"
    for said in ("3 parts: 3 done", "3 parts: 3 up to date"):
        done = subprocess.run(
            [*command, "catalog", str(jobs), "--out", str(out), "--jobs", "2"],
            capture_output=True, text=True, timeout=200, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert said in done.stdout
    for part, endings in (
        ("still/faces-100", {".glb", ".stl", ".png", ".blend"}),
        ("still/faces-200", {".glb", ".stl", ".png", ".blend"}),
        ("moving/run", {".glb", ".gif"}),
    ):
        assert {p.suffix for p in (out / part).iterdir()} - {".json", ".js"} == endings
    assert not [path for path in out.rglob(".*") if path.name.startswith(".weightwalk")]
