"""Little training runs for the tests of scenes that play."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from weightwalk import pipeline
from weightwalk.core.animation import Animation, Growing
from weightwalk.core.produce import animation_steps, grown_steps
from weightwalk.core.series import find_series
from weightwalk.core.settings import (
    AnimationSettings,
    Delta,
    FieldSettings,
    FlightSettings,
    Settings,
    SurfaceSettings,
    TimelineSettings,
    View,
)

Q = "model.layers.0.self_attn.q_proj.weight"
UP = "model.layers.1.mlp.up_proj.weight"
DOWN = "model.layers.1.mlp.down_proj.weight"
NORM = "model.layers.1.input_layernorm.weight"
SHAPES = {Q: (40, 40), UP: (60, 40), DOWN: (40, 60), NORM: (40,)}
STEPS = 4


def write_run(folder: Path) -> Path:
    """Write checkpoints: Q stays once, UP gets a NaN, DOWN comes late and NORM goes."""
    rng = np.random.default_rng(5)
    start, goal = ({n: rng.standard_normal(s) for n, s in SHAPES.items()} for _ in range(2))
    for i in range(STEPS):
        share = i / STEPS
        tensors = {n: (1 - share) * start[n] + share * goal[n] for n in SHAPES}
        if i == 1:
            tensors[Q] = start[Q]
        if i == 2:
            tensors[UP][3, 4] = np.nan
        if i in (0, STEPS - 1):
            del tensors[DOWN if i == 0 else NORM]
        path = folder / f"step-{500 * (i + 1)}.safetensors"
        save_file({n: t.astype(np.float32) for n, t in tensors.items()}, path)
    return folder


def settings_of(
    run: Path,
    view: View = "iso",
    *,
    pool: str = "absmax",
    delta: Delta = "none",
    frames: int = 6,
    flight: FlightSettings | None = None,
) -> AnimationSettings:
    field = FieldSettings("time" if view == "time" else "slab", pool=pool)
    build = Settings(run, field=field, surface=SurfaceSettings(faces=2000))
    line = TimelineSettings(frames, 5, 24, flight)
    return AnimationSettings((str(run),), build, view, delta, line)


def animate(folder: Path, settings: AnimationSettings, count: int | None = None) -> Animation:
    """Build the animation of the first steps of a run."""
    series = find_series(settings.targets)
    series = replace(series, steps=series.steps[:count])
    return pipeline.drain(animation_steps(series, settings, folder))


def grow(folder: Path, animation: Animation, settings: AnimationSettings) -> Animation:
    """Build the step after those of an animation."""
    step = find_series(settings.targets).steps[len(animation.steps)]
    return pipeline.drain(grown_steps(Growing.of(animation), step, folder))
