"""Measure what a series costs: time against its steps one by one, memory against its meshes.

Arguments: MODEL FOLDER. Runs where weightwalk and bpy are installed; prints JSON.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

STEPS = 10
OPTIONS = ["--faces", "5000", "--export", "glb,blend"]
# Runs a command of Weightwalk and prints its seconds and the most memory that no file backs.
CHILD = """
import json, sys, threading, time
from weightwalk.batch.cli import main
peak, over = [0], threading.Event()
def watch():
    while not over.wait(0.005):
        lines = dict(l.split(":", 1) for l in open("/proc/self/status"))
        peak[0] = max(peak[0], 1024 * int(lines["RssAnon"].split()[0]))
threading.Thread(target=watch, daemon=True).start()
begin = time.perf_counter()
status = main(sys.argv[1:])
seconds = time.perf_counter() - begin
over.set()
print(json.dumps({"seconds": seconds, "peak": peak[0], "status": status}))
"""


def measure(*arguments: str | Path) -> dict[str, float]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-c", CHILD, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if found["status"] not in {0, 3}:
        sys.exit(done.stderr[-2000:])
    return found


def write_run(model: Path, folder: Path) -> None:
    """Write a run whose steps differ throughout and have about as many faces each.

    The rows of every matrix wander around.
    """
    shutil.rmtree(folder, ignore_errors=True)
    weights = {n: w for n, w in load_file(model / "model.safetensors").items() if w.ndim == 2}
    for k in range(STEPS):
        path = folder / f"checkpoint-{100 * (k + 1)}"
        path.mkdir(parents=True)
        moved = {n: np.ascontiguousarray(np.roll(w, 7 * k, axis=0)) for n, w in weights.items()}
        save_file(moved, path / "model.safetensors")


def mesh_bytes(report: Path) -> int:
    """Return the bytes of an animation's meshes in Blender, each once."""
    steps = json.loads(report.read_text(encoding="utf-8"))["steps"]
    meshes = {s["mesh"]: s for step in steps for s in step["surfaces"]}.values()
    # A vertex has a position, a colour of four floats, cell and value, an edge two vertices, a
    # face three corners of a vertex and an edge, and an offset; 3 edges go with 2 faces.
    vertex, face = 12 + 16 + 4 + 4, 1.5 * 8 + 3 * 8 + 4
    return int(sum(vertex * m["vertices"] + face * m["faces"] for m in meshes))


def main() -> None:
    """Print what was measured."""
    model, folder = Path(sys.argv[1]), Path(sys.argv[2])
    write_run(model, folder / "run")
    paths = sorted((folder / "run").iterdir(), key=lambda p: int(p.name.partition("-")[2]))
    out = folder / "out"
    measure("mesh", paths[0], "--out", out, *OPTIONS)  # to warm up
    begin = time.perf_counter()
    ones = [measure("mesh", path, "--out", out, *OPTIONS) for path in paths]
    one_by_one = time.perf_counter() - begin
    series = {}
    for count in (STEPS // 2, STEPS):
        chosen = paths[:: STEPS // count]
        series[count] = measure("animate", *chosen, "--out", out, *OPTIONS)
        series[count]["meshes"] = mesh_bytes(out / "report.json")
    half, whole = series[STEPS // 2], series[STEPS]
    print(json.dumps({
        "steps": STEPS,
        "seconds": whole["seconds"],
        "one by one": sum(one["seconds"] for one in ones),
        "with processes": one_by_one,
        "ratio": whole["seconds"] / sum(one["seconds"] for one in ones),
        "peak": whole["peak"],
        "added memory": whole["peak"] - half["peak"],
        "added meshes": whole["meshes"] - half["meshes"],
    }))  # fmt: skip


main()
