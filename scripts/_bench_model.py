"""Write a model of random but smooth weights: FOLDER LAYERS SIZE.

Runs where weightwalk is installed. A `depth` field of it has LAYERS x SIZE x SIZE cells.
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy import ndimage


def main() -> None:
    """Write FOLDER/model.safetensors."""
    folder, layers, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    noise = np.random.default_rng(0).standard_normal((layers, size, size), np.float32)
    field = ndimage.gaussian_filter(noise, 1.0)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"model.layers.{i}.self_attn.q_proj.weight": w for i, w in enumerate(field)}
    save_file(tensors, folder / "model.safetensors")


main()
