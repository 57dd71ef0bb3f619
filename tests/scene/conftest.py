"""What the tests inside Blender share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file


@pytest.fixture
def bpy():
    """Blender with an empty file; for tests marked `bpy`."""
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Return the path of a model with two layers, a vector in each, and an embedding."""
    rng = np.random.default_rng(5)
    shapes = {"self_attn.q_proj": (40, 40), "mlp.up_proj": (60, 40), "input_layernorm": (40,)}
    tensors = {"model.embed_tokens.weight": rng.standard_normal((90, 40))}
    for layer in range(3):
        for name, shape in shapes.items():
            tensors[f"model.layers.{layer}.{name}.weight"] = rng.standard_normal(shape)
    tensors["model.layers.1.mlp.up_proj.weight"][:6, :5] = np.nan
    path: Path = tmp_path_factory.mktemp("scene") / "little.safetensors"
    save_file({name: t.astype(np.float32) for name, t in tensors.items()}, path)
    return path
