"""A small training run on disk, as an animation."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import save_file
from weightwalk.core.produce import animation_steps
from weightwalk.core.series import Series, Step
from weightwalk.core.settings import (
    AnimationSettings,
    FieldSettings,
    Settings,
    SurfaceSettings,
    TimelineSettings,
)
from weightwalk.core.stages import finish

Q = "model.layers.0.self_attn.q_proj.weight"
UP = "model.layers.1.mlp.up_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"
NORM = "model.layers.1.input_layernorm.weight"
NAMES = ("100", "200", "warm/up é", "400", "final")


def tensors_of_run():
    """Five steps: Q rests from the second to the third, DOWN is absent at the fourth, UP breaks."""
    rng = np.random.default_rng(7)
    steps = []
    for k in range(5):
        step = {
            Q: rng.standard_normal((12, 10)),
            UP: (1 + k) * rng.standard_normal((14, 8)),
            DOWN: rng.standard_normal((8, 14)),
            NORM: rng.random(8) + 0.5,
        }
        steps.append({name: values.astype(np.float32) for name, values in step.items()})
    steps[2][Q] = steps[1][Q]
    del steps[3][DOWN]
    for k in (3, 4):
        steps[k][UP][3:5, 2] = np.nan
    return steps


def animation_of(folder, steps=None, view="iso", *, names=NAMES, timeline=(5, 10, 24), **field):
    """Make an animation whose fields have a cell for each entry, in `folder`."""
    run, kept = folder / "run", folder / "kept"
    run.mkdir()
    kept.mkdir()
    made = []
    for k, tensors in enumerate(tensors_of_run() if steps is None else steps):
        path = run / f"checkpoint-{k}.safetensors"
        save_file(tensors, path)
        number = int(names[k]) if names[k].isdigit() else None
        made.append(Step(names[k], number, path))
    kind = "time" if view == "time" else "slab"
    fields = FieldSettings(**{"kind": kind, "pool": "mean", "rows": 64, "cols": 64} | field)
    build = Settings(run, field=fields, surface=SurfaceSettings(faces=600))
    settings = AnimationSettings((str(run),), build, view, timeline=TimelineSettings(*timeline))
    series = Series("tiny run", run, tuple(made), ())
    return finish(animation_steps(series, settings, kept))
