"""What the tests of the sidebar share: Blender as a module, with the extension switched on."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from .little_run import folder, run, training
from .operators import load

__all__ = ["folder", "run", "training"]  # fixtures


@pytest.fixture(scope="session")
def tensors():
    """Return a model of three layers with an expert, an integer, and a few huge weights."""
    rng = np.random.default_rng(11)
    shapes = {
        "self_attn.q_proj.weight": (40, 48),
        "mlp.up_proj.weight": (130, 48),
        "input_layernorm.weight": (48,),
    }
    made = {"model.embed_tokens.weight": rng.standard_normal((90, 48))}
    for layer in range(3):
        for name, shape in shapes.items():
            made[f"model.layers.{layer}.{name}"] = rng.standard_normal(shape)
    made["model.layers.1.mlp.up_proj.weight"][77, 33] = -9.5
    made = {name: tensor.astype(np.float32) for name, tensor in made.items()}
    return made | {"model.rotary.steps": np.arange(6)}


@pytest.fixture
def checkpoint(tmp_path, tensors):
    """Return the path of a file of its own for each test."""
    path = tmp_path / "model" / "little.safetensors"
    path.parent.mkdir()
    save_file(tensors, path)
    return path


@pytest.fixture
def bpy(tmp_path, monkeypatch):
    """Blender with an empty file and the extension; for tests marked `bpy`."""
    import bpy
    import weightwalk

    bpy.ops.wm.read_factory_settings(use_empty=True)
    weightwalk.register()
    yield bpy
    weightwalk.unregister()
    bpy.ops.wm.read_factory_settings(use_empty=True)


@pytest.fixture
def weights(bpy, checkpoint):
    """Return the scene's properties, with the model loaded and nothing built."""
    assert load(bpy, checkpoint) == {"FINISHED"}
    return bpy.context.scene.weightwalk
