"""What is said before a build against what the build then makes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import weightwalk
from safetensors.numpy import save_file
from weightwalk import pipeline
from weightwalk.core import estimate as estimating
from weightwalk.core.estimate import Estimate, available_memory, estimate
from weightwalk.core.model import steps
from weightwalk.core.plans import make_plans, select
from weightwalk.core.settings import FieldSettings, Settings, SurfaceSettings

CHOICES = [
    (kind, pool, surface)
    for kind in ("slab", "depth")
    for pool in ("rms", "absmax", "mean")
    for surface in (
        SurfaceSettings(),
        SurfaceSettings(faces=2000),
        SurfaceSettings(faces=10_000_000),
        SurfaceSettings(quantile=0.5),
        SurfaceSettings(quantile=0.95),
    )
]


def estimated(settings):
    with weightwalk.open(settings.model) as checkpoint:
        tensors, _ = select(checkpoint, settings.selection)
        plans, _ = make_plans(tensors, settings.field)
        return estimate(plans, settings)


def built(settings):
    model = pipeline.drain(steps(settings))
    return sum(len(exhibit.part.faces) for exhibit in model.exhibits), model


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Matrices and vectors of independent entries."""
    rng = np.random.default_rng(4)
    tensors = {}
    for i in range(4):
        name = f"model.layers.{i}.self_attn.q_proj"
        tensors[f"{name}.weight"] = rng.normal(size=(120, 170)).astype(np.float32)
        tensors[f"{name}.bias"] = rng.normal(size=120).astype(np.float32)
    path = tmp_path_factory.mktemp("noise") / "model.safetensors"
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("grid", [32, 4096])
@pytest.mark.parametrize(("kind", "pool", "surface"), CHOICES)
def test_faces_are_those_of_noise_within_a_factor_of_two(noise, kind, pool, surface, grid):
    settings = Settings(noise, field=FieldSettings(kind, grid, grid, pool), surface=surface)
    said, (faces, model) = estimated(settings), built(settings)
    assert faces / 2 < said.faces < 2 * faces
    budget = surface.budget(kind)
    if budget is not None:
        assert said.faces <= said.fields * budget
        assert said.faces > 0.9 * faces  # at most that many, about
    assert said.bytes_read == model.stages.by_name["fields"].bytes
    assert said.fields == len({e.surface.field.plan.name for e in model.exhibits})


@pytest.mark.parametrize("pool", ["rms", "absmax", "mean"])
def test_a_higher_level_has_fewer_faces(noise, pool):
    levels = (1.0, 1.5, 3.0, 6.0, 9.0)
    field = FieldSettings(pool=pool)
    faces = [
        estimated(Settings(noise, field=field, surface=SurfaceSettings(level=v))).faces
        for v in levels
    ]
    assert faces == sorted(faces, reverse=True)
    surface = SurfaceSettings(level=2.0 if pool == "absmax" else 0.2)
    settings = Settings(noise, field=field, surface=surface)
    assert built(settings)[0] / 2 < estimated(settings).faces < 3 * built(settings)[0]


def test_one_sigma_for_all_reads_twice_and_more_costs_more(noise):
    settings = Settings(noise)
    once = estimated(settings)
    both = estimated(replace(settings, field=FieldSettings(sigma="all")))
    assert both.bytes_read == 2 * once.bytes_read
    assert both.seconds > once.seconds
    finer = estimated(replace(settings, field=FieldSettings(rows=120, cols=120)))
    assert finer.seconds > once.seconds
    assert finer.memory > once.memory


@pytest.mark.model
@pytest.mark.parametrize("field", [FieldSettings(), FieldSettings("depth"), FieldSettings("heads")])
def test_faces_of_a_real_model(model_folder, field):
    settings = Settings(model_folder, field=field)
    faces, _ = built(settings)
    assert 0.95 * faces < estimated(settings).faces < 1.2 * faces


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((102, 102, 1_190_000, 2.2, 0, 400_000_000),
         "102 tensors → 1.2 M faces · about 2 s · 400 MB"),
        ((1, 1, 19_987, 0.2, 0, 900), "1 tensor → 20,000 faces · about 1 s · 900 B"),
        ((6, 10_000, 95_000, 89.9, 0, 94_000_000),
         "10,000 tensors in 6 fields → 0.1 M faces · about 90 s · 94 MB"),
        ((1, 12, 3e9, 600, 0, 4e11), "12 tensors in 1 field → 3.0 billion faces"
         " · about 10 min · 400.0 GB"),
        ((1, 1, 3e9, 36_000, 0, 2.6e12), "1 tensor → 3.0 billion faces"
         " · about 10 hours · 2.6 TB"),
    ],
)  # fmt: skip
def test_a_line_for_the_panel(numbers, said):
    assert Estimate(*numbers).sentence() == said


def test_nothing_costs_next_to_nothing(noise):
    nothing = estimate([], Settings(noise))
    assert (nothing.fields, nothing.faces, nothing.bytes_read, nothing.memory) == (0, 0, 0, 0)


# --- memory ------------------------------------------------------------------------------------


def test_there_is_some_memory_here():
    free = available_memory()
    assert free is None or 1 << 20 < free < 1 << 50


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's own files")
@pytest.mark.parametrize(
    ("limit", "free"), [(None, 8000 << 10), ("max", 8000 << 10), ("5000000", 3_500_000),
                        ("99000000000", 8000 << 10), ("100", 0)],
)  # fmt: skip
def test_a_container_may_have_less(tmp_path, monkeypatch, limit, free):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 500000\n")
    monkeypatch.setattr(estimating, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(estimating, "_CGROUP", tmp_path)
    assert available_memory() == free


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's own files")
@pytest.mark.parametrize("content", [None, "", "MemAvailable: many\n"])
def test_unknown_memory_is_none(tmp_path, monkeypatch, content):
    if content is not None:
        (tmp_path / "meminfo").write_text(content)
    monkeypatch.setattr(estimating, "_MEMINFO", Path(tmp_path / "meminfo"))
    assert available_memory() is None
