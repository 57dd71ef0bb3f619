"""The street as a whole: what the legend, the report and the scale say of real files."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk.core.color import scale_for
from weightwalk.core.errors import SettingsError
from weightwalk.core.legend import captions
from weightwalk.core.model import steps
from weightwalk.core.report import make_report
from weightwalk.core.settings import (
    FieldSettings,
    OutputSettings,
    Settings,
    SurfaceSettings,
)
from weightwalk.pipeline import drain


def model_of(folder, tensors, *, surface=None, **options):
    save_file(tensors, folder / "model.safetensors")
    chosen = Settings(
        folder, field=FieldSettings(**options), surface=surface or SurfaceSettings(faces=2000)
    )
    return drain(steps(chosen))


def report_of(model, folder):
    return json.loads(json.dumps(make_report(model, OutputSettings(folder), [], {})))


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def tensors(rng):
    scales = (0.5, 2.0, 7.0)
    made = {
        f"model.layers.{i}.self_attn.q_proj.weight": scale * rng.standard_t(4, size=(50, 60))
        for i, scale in enumerate(scales)
    }
    norm = 1 + 0.01 * rng.normal(size=60)
    return made | {
        "model.layers.0.input_layernorm.weight": norm,
        "model.layers.0.input_layernorm.bias": -norm,
    }


@pytest.mark.parametrize("pool", ["rms", "absmax"])
def test_the_legend_tells_the_levels_of_matrices_and_vectors(tmp_path, tensors, pool):
    model = model_of(tmp_path, tensors, pool=pool, smooth=0.5)
    said = " ".join(captions(model))
    surfaces = report_of(model, tmp_path)["surfaces"]
    for ndim in (2, 1):
        levels = [s["level"] for s in surfaces if len(s["shape"]) == ndim]
        low, high = f"{min(levels):.2f}", f"{max(levels):.2f}"
        assert (f"{low} to {high} σ" if low != high else f"{low} σ") in said
    assert ("±" in said) == (pool == "absmax")
    assert "0.5 cells" in said


def test_the_legend_names_what_is_not_shown(tmp_path, tensors):
    model = model_of(tmp_path, tensors | {"dead.weight": np.zeros((5, 5))})
    assert re.search(r"not shown: dead\.weight is all zero$", captions(model)[-1])


def test_one_sigma_for_all_keeps_their_proportions(tmp_path, tensors):
    level = SurfaceSettings(quantile=0.5)
    model = model_of(tmp_path, tensors, sigma="all", surface=level)
    every = np.concatenate([t.ravel() for t in tensors.values()])
    sigmas = {s for e in model.exhibits for s in e.surface.field.sigmas}
    assert list(sigmas) == [pytest.approx(every.std())]
    levels = [e.surface.level for e in model.exhibits if not e.placement.strip]
    np.testing.assert_allclose(np.array(levels) / levels[0], [1, 4, 14], rtol=0.15)


def test_one_sigma_that_cannot_be_held_is_refused(tmp_path, rng):
    huge = {"a": rng.normal(size=(9, 9)), "b": 1e200 * rng.normal(size=(9, 9))}
    with pytest.raises(SettingsError, match="beyond double precision"):
        model_of(tmp_path, huge, sigma="all")


@pytest.mark.parametrize("pool", ["rms", "absmax"])
def test_clipped_vertices_are_counted_and_vectors_have_no_say(tmp_path, tensors, pool):
    model = model_of(tmp_path, tensors, pool=pool)
    matrices = [e.surface.values for e in model.exhibits if not e.placement.strip]
    assert model.scale == scale_for(np.concatenate(matrices), diverging=pool == "absmax")
    values = np.concatenate([e.surface.values for e in model.exhibits])
    scale = report_of(model, tmp_path)["scale"]
    below, above = values < scale["low"], values > scale["high"]
    assert above.any()
    assert below.any() or pool == "rms"
    assert scale["clipped"] == below.sum() + above.sum()
    assert not np.isnan(values).any()


def test_a_diverging_scale_holds_the_larger_side(rng):
    values = np.concatenate([-10 * rng.random(1000), rng.random(1000)])
    scale = scale_for(values, diverging=True)
    assert (scale.low, scale.high) == (-10, 10)


def test_holes_change_neither_quantiles_nor_what_chance_gives(tmp_path, rng):
    noise = rng.normal(size=(64, 64))
    holes = noise.copy()
    holes[:, :32] = np.nan
    level = SurfaceSettings(quantile=0.5)
    made = model_of(tmp_path, {"w": holes}, surface=level)
    surface = made.exhibits[0].surface
    assert surface.level == pytest.approx(
        np.quantile(np.abs(holes[:, 32:]) / holes[:, 32:].std(), 0.5)
    )
    assert surface.quantile == pytest.approx(0.5, abs=0.01)
    # Noise is as scattered as the same noise in another order, holes or not.
    assert surface.permuted.count == pytest.approx(surface.components.count, rel=0.2)
    assert any("NaN" in note and "2048 of 4096 cells" in note for note in made.notes)


def test_smoothing_does_not_reach_into_holes_nor_out_of_them(tmp_path, rng):
    level = 5 + 0.1 * rng.normal(size=(50, 50))
    level[20:24, 20:24] = np.nan
    (surface, marker) = (
        e.surface
        for e in model_of(
            tmp_path, {"w": level}, smooth=2.0, surface=SurfaceSettings(level=1.0)
        ).exhibits
    )
    finite = level[np.isfinite(level)] / np.nanstd(level)
    assert marker.sign == 0
    assert np.nanmin(surface.values) >= finite.min()
    assert np.nanmax(surface.values) <= finite.max()


def test_chance_is_smoothed_as_the_field_is(tmp_path, rng):
    """Noise that is blurred has far fewer pieces; so has its permutation."""
    noise = {"w": rng.normal(size=(64, 64))}
    level = SurfaceSettings(quantile=0.7)
    rough, smooth = (
        model_of(tmp_path, noise, smooth=s, surface=level).exhibits[0].surface for s in (0.0, 2.0)
    )
    assert smooth.permuted.count < 0.3 * rough.permuted.count
    assert smooth.permuted.count == pytest.approx(smooth.components.count, abs=15)
