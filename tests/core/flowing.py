"""Probe files for the tests of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from weightwalk.core.flow.probe import Probe, ProbeInfo, Prompt, write_probe


def probe_of(layers, step=None, *, model="little", run="", tokens=None, texts=1):
    """Return a probe of arrays of shape (tokens, features), the same for each prompt."""
    layers = [np.asarray(layer, np.float32) for layer in layers]
    count = len(layers[0])
    named = tuple(tokens or (f"t{i}" for i in range(count)))
    kept = tuple(range(len(named)))[-count:]
    prompts = tuple(Prompt(f"prompt {i}", "", named, kept) for i in range(texts))
    names = tuple(f"layers.{i}" for i in range(len(layers)))
    info = ProbeInfo(
        model, "", "llama", "LlamaModel", "float32", "cpu", names, prompts, step, run,
        {"torch": "2.13.0"},
    )  # fmt: skip
    return Probe(info, {(i, "hidden"): tuple(layers) for i in range(texts)})


def random_probe(rng, step=None, *, layers=4, features=20, prompts=12, scale=1.0, **chosen):
    """Return a probe of normal noise, other noise for each prompt."""
    shapes = [(1, features)] * layers
    whole = probe_of([rng.standard_normal(s) for s in shapes], step, texts=prompts, **chosen)
    values = {
        (i, "hidden"): tuple(np.float32(scale * rng.standard_normal(s)) for s in shapes)
        for i in range(prompts)
    }
    return Probe(whole.info, values)


def write(folder: Path, *probes):
    """Write probes as steps of a run, in a folder; return their paths."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"step-{probe.info.step}.safetensors" for probe in probes]
    for path, probe in zip(paths, probes, strict=True):
        write_probe(path, probe)
    return paths
