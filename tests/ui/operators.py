"""Calls of the sidebar's operators, and what they leave in Blender."""

from __future__ import annotations

import json

import numpy as np
import pytest


def load(bpy, path, build=False):
    return bpy.ops.weightwalk.load_model(filepath=str(path), build=build)


def chosen(weights):
    return {item.name for item in weights.tensors if item.chosen}


def sparse(path, count, shape):
    """Make a checkpoint of matrices that take no room on the disk: all zero."""
    size = 4 * shape[0] * shape[1]
    header = {
        f"model.layers.{i}.mlp.up_proj.weight": {
            "dtype": "F32", "shape": shape, "data_offsets": [i * size, (i + 1) * size]}
        for i in range(count)
    }  # fmt: skip
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + count * size)
    return path


def said_by(operator, **arguments):
    """Return the sentence with which an operator refuses."""
    with pytest.raises(RuntimeError) as caught:
        operator(**arguments)
    said = str(caught.value)
    assert "Traceback" not in said
    return said


def surfaces(bpy):
    return {o.name: o for o in bpy.context.scene.objects if "plan" in o}


def arrays(thing):
    mesh = thing.data
    vertices = np.empty(3 * len(mesh.vertices), np.float32)
    mesh.vertices.foreach_get("co", vertices)
    return vertices
