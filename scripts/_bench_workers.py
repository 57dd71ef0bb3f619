"""Measure two workers against one process, from the file to the surfaces.

Arguments: FOLDER REPEAT. Runs where weightwalk is installed, on two cores or more; prints JSON. The
model is written first: BF16 matrices of a Llama's shapes, 5.8 GB, which are read from the page
cache. What is timed are the stages up to the surfaces, the start of the workers included.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

LAYERS, HIDDEN, INNER = 64, 2048, 5632
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN // 4, HIDDEN),
    "self_attn.v_proj": (HIDDEN // 4, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
OPTIONS = ["--rows", "512", "--cols", "512", "--export", "stl"]
# Stages that the surfaces are made in.
MAKING = ("open", "imports", "measure", "fields", "surfaces", "workers")
# Numbers that are made at a time.
BLOCK = 1 << 22


def write_model(path: Path) -> None:
    """Write random weights, each tensor of another scale from row to row."""
    shapes = {f"model.layers.{i}.{n}.weight": s for i in range(LAYERS) for n, s in SHAPES.items()}
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for rows, cols in shapes.values():
            step = BLOCK // cols
            for first in range(0, rows, step):
                count = min(step, rows - first)
                block = rng.standard_normal((count, cols), np.float32)
                block *= 0.5 + rng.random((count, 1), np.float32)
                file.write((block.view(np.uint32) >> 16).astype("<u2").tobytes())


def seconds(model: Path, out: Path, *options: str) -> tuple[float, float]:
    """Return seconds from the file to the surfaces, and of all stages."""
    command = [sys.executable, "-m", "weightwalk", "mesh", str(model), "--out", str(out)]
    done = subprocess.run([*command, *OPTIONS, *options], capture_output=True, check=False)
    if done.returncode:
        sys.exit(done.stderr.decode()[-2000:])
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    stages = {name: stage["seconds"] for name, stage in report["stages"].items()}
    return sum(stages.get(name, 0.0) for name in MAKING), sum(stages.values())


def main() -> None:
    """Measure in turn, so that a slow minute of the machine hits both."""
    folder, repeat = Path(sys.argv[1]), int(sys.argv[2])
    model = folder / "model" / "model.safetensors"
    write_model(model)
    try:
        seconds(model, folder / "one")  # to warm up
        runs = [
            (seconds(model, folder / "one"), seconds(model, folder / "two", "--workers", "2"))
            for _ in range(repeat)
        ]
    finally:
        model.unlink()
    one, two = ([run[i] for run in runs] for i in (0, 1))
    print(
        json.dumps(
            {
                "one": [r[0] for r in one],
                "two": [r[0] for r in two],
                "ratio": statistics.median(a[0] / b[0] for a, b in runs),
                "whole ratio": statistics.median(a[1] / b[1] for a, b in runs),
            }
        )
    )


main()
