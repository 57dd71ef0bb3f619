"""A gallery of little models whose names mean no good, as the browser tests visit it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk.batch.cli import main
from weightwalk.batch.gallery import Entry, Part, write_site
from weightwalk.core.flow.probe import Probe, ProbeInfo, Prompt, write_probe

SCRIPT = '"><script>alert(1)</script>'
CLOSING = "</script><script>alert(2)</script>"
REVERSED = "safe\u202egnp.exe"
LONG = "long." * 100
FILE = "a b#c&d%20é'"  # of files that are asked for by URL


def tensors(rng: np.random.Generator, moved: float) -> dict[str, np.ndarray]:
    """Return two layers and tensors with bad names; `moved` scales the matrices."""
    normal = rng.standard_normal
    layers = {
        f"model.layers.{i}.{name}.weight": normal(shape) * moved
        for i in range(2)
        for name, shape in (
            ("self_attn.q_proj", (40, 40)),
            ("mlp.up_proj", (60, 40)),
            ("input_layernorm", (40,)),
        )
    }
    bad = {
        name: normal((24, 24)) for name in (SCRIPT, CLOSING, REVERSED, LONG, "all 'zero' & more")
    }
    bad["all 'zero' & more"] *= 0
    return {name: np.float32(values) for name, values in (layers | bad).items()}


def part(site: Path, kind: str, folder: str, label: str, *arguments: str) -> Part:
    """Run a command into a folder of the site and return what it made."""
    status = main([kind, *arguments, "--out", str(site / folder)])
    assert status in (0, 3), (kind, status)
    return Part(kind, folder, label, json.loads((site / folder / "report.json").read_text()))


def probe(path: Path, step: int, rng: np.random.Generator) -> str:
    """Write what three layers put out at a step, for a prompt that means no good."""
    prompt = Prompt(SCRIPT, "", ("a", CLOSING), (1,))
    layers = tuple(rng.standard_normal((1, 20)).astype(np.float32) for _ in range(3))
    names = tuple(f"layers.{i}" for i in range(3))
    info = ProbeInfo(
        SCRIPT, "", "llama", "LlamaModel", "float32", "cpu", names, (prompt,), step, "run", {}
    )  # fmt: skip
    write_probe(path, Probe(info, {(0, "hidden"): layers}))
    return str(path)


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Entry]]:
    """Return a site's folder and its entries: of a model, a run, a probing, and one that failed."""
    base, rng = tmp_path_factory.mktemp("gallery"), np.random.default_rng(0)
    site = base / "the site"
    checkpoints = [base / "run" / f"checkpoint-{step}" for step in (10, 20, 30)]
    for folder, moved in zip(checkpoints, (1.0, 0.7, 0.4), strict=True):
        folder.mkdir(parents=True)
        save_file(tensors(np.random.default_rng(1), moved), folder / "model.safetensors")
        (folder / "trainer_state.json").write_text("{}")
    glb = ("--export", "glb,stl", "--glb-compression", "quantize", "--name", FILE)
    sizes = ((400, "bad/faces-400"), (2000, "bad/faces-2000"))
    meshes = tuple(
        part(site, "mesh", folder, f"{n:,} faces", str(checkpoints[0]), "--faces", str(n), *glb)
        for n, folder in sizes
    )
    series = (str(base / "run"), "--export", "glb", "--glb-compression", "quantize")
    run = part(site, "animate", "run/iso", "surfaces", *series, "--faces", "300")
    sheets = part(site, "animate", "run/sea", "terrain", *series, "--view", "relief")
    probes = [probe(base / f"step-{k}.safetensors", k, rng) for k in (0, 1)]
    flow = part(site, "flow", "flow/flow", SCRIPT, *probes)
    entries = [
        Entry("bad", SCRIPT, f"{CLOSING} \u202e", "javascript:alert(3)", meshes, (SCRIPT,)),
        Entry("run", "a run", "", "https://example.org/a?b=<c>&d", (run, sheets)),
        Entry("flow", "probed", "", "", (flow,)),
        Entry("none", LONG, "", "", (), ("faces-20000: model.safetensors is cut off",)),
    ]
    write_site(site, CLOSING, entries)
    return site, entries
