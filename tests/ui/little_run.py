"""A little training run in the sidebar."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

Q, UP = "model.layers.{}.self_attn.q_proj.weight", "model.layers.{}.mlp.up_proj.weight"
GRID = 8


@pytest.fixture
def training():
    """Return weights of two layers at four steps; layer 1 stands still from the second on."""
    rng = np.random.default_rng(4)
    shapes = {Q: (24, 32), UP: (40, 32)}
    steps = []
    now = {n.format(i): rng.standard_normal(s) for i in range(2) for n, s in shapes.items()}
    for step in range(4):
        now = {
            n: w if step > 1 and ".1." in n else w + 0.3 * rng.standard_normal(w.shape)
            for n, w in now.items()
        }
        steps.append({n: w.astype(np.float32) for n, w in now.items()})
    return steps


def write(folder, number, tensors):
    """Write a checkpoint as Trainer does: its state comes last."""
    path = folder / f"checkpoint-{number}"
    path.mkdir(parents=True)
    save_file(tensors, path / "model.safetensors")
    (path / "trainer_state.json").write_text(json.dumps({"global_step": number}))


def finish_training(folder, number, tensors):
    save_file(tensors, folder / "model.safetensors")
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": number}))


@pytest.fixture
def folder(tmp_path, training):
    """Return the folder of a training run of four checkpoints."""
    folder = tmp_path / "run"
    for i, tensors in enumerate(training):
        write(folder, 100 * (i + 1), tensors)
    return folder


def load_run(bpy, folder, **values):
    assert bpy.ops.weightwalk.load_run(directory=str(folder)) == {"FINISHED"}
    weights = bpy.context.scene.weightwalk
    weights.rows = weights.cols = GRID
    for name, value in values.items():
        setattr(weights.run if hasattr(weights.run, name) else weights, name, value)
    return weights


@pytest.fixture
def run(bpy, folder):
    """Return the scene's properties, with the run loaded and nothing built."""
    return load_run(bpy, folder).run


def record(bpy):
    from weightwalk.ui.session import session

    session().forget()
    return session().record(bpy.context.scene)


def steps_of(bpy):
    return [step.name for step in record(bpy).series.steps]


def markers(bpy):
    return {m.name: m.frame for m in bpy.context.scene.timeline_markers}


def read(bpy, surface, cell):
    assert bpy.ops.weightwalk.inspect(surface=surface.name, cell=cell) == {"FINISHED"}
    return bpy.context.scene.weightwalk.reading.replace("−", "-")
