"""A little training run, and how it becomes an animation."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk.core.pooling import cell_edges
from weightwalk.core.produce import animation_steps
from weightwalk.core.series import find_series
from weightwalk.core.settings import (
    AnimationSettings,
    FieldSettings,
    Selection,
    Settings,
    SurfaceSettings,
)
from weightwalk.core.stages import finish

Q = "model.layers.0.self_attn.q_proj.weight"
DOWN = "model.layers.0.mlp.down_proj.weight"
NORM = "model.layers.0.input_layernorm.weight"


@pytest.fixture
def run(tmp_path):
    """Return a function that writes steps, dicts of tensors, as a Trainer's folder."""

    def write(*steps):
        for k, tensors in enumerate(steps, 1):
            folder = tmp_path / "run" / f"checkpoint-{10 * k}"
            folder.mkdir(parents=True, exist_ok=True)
            save_file({n: np.float32(v) for n, v in tensors.items()}, folder / "model.safetensors")
            (folder / "trainer_state.json").write_text("{}")
        return tmp_path / "run"

    return write


@pytest.fixture
def animate(tmp_path):
    """Return a function that makes the animation of a folder."""
    made = []

    def make(folder, view="iso", delta="none", *, surface=None, patterns=(), series=None, **field):
        kept = tmp_path / f"kept{len(made)}"
        kept.mkdir()
        made.append(kept)
        pool = "rms" if delta == "none" else "mean"
        kind = "time" if view == "time" else "slab"
        fields = FieldSettings(**{"kind": kind, "pool": pool, "rows": 8, "cols": 8} | field)
        cut = surface or SurfaceSettings(faces=400)
        build = Settings(folder, Selection(patterns), fields, cut)
        chosen = AnimationSettings((str(folder),), build, view, delta)
        found = series or find_series(chosen.targets)
        return finish(animation_steps(found, chosen, kept))

    return make


def drifting(rng, steps=4, shape=(24, 20)):
    """A matrix whose deviation grows twelvefold, and one that rests."""
    start, still = rng.standard_normal(shape), rng.standard_normal(shape)
    return [
        {Q: start * (1 + 4 * k) + k * rng.standard_normal(shape), DOWN: still} for k in range(steps)
    ]


def pooled(change, grid=8):
    """The mean of a matrix's entries under each cell, by numpy alone."""
    rows, cols = (cell_edges(n, grid)[:-1] for n in change.shape)
    sums = np.add.reduceat(np.add.reduceat(change, rows, axis=0), cols, axis=1)
    counts = np.outer(np.diff([*rows, change.shape[0]]), np.diff([*cols, change.shape[1]]))
    return sums / counts
