"""What several tests of the core share."""

from __future__ import annotations

import numpy as np
import pytest
import weightwalk
from safetensors.numpy import save_file
from weightwalk.core.fields import build
from weightwalk.core.plans import make_plans
from weightwalk.core.settings import FieldSettings


@pytest.fixture
def field_of(tmp_path):
    """Return a function that makes a field of given cells."""

    def make(cells, **options):
        """Make a slab (2-D) or depth field (3-D) whose cells are the entries, through a file."""
        cells = np.asarray(cells)
        names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(len(cells))]
        slab = cells.ndim == 2
        tensors = {"w": cells} if slab else dict(zip(names, cells, strict=True))
        save_file(tensors, tmp_path / "model.safetensors")
        chosen = FieldSettings(kind="slab" if slab else "depth", rows=4096, cols=4096, **options)
        with weightwalk.open(tmp_path) as checkpoint:
            (plan,), _ = make_plans(list(checkpoint.values()), chosen)
            return build(plan, chosen)

    return make
