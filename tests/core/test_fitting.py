"""`--max-stl-mb`: fewer faces until the STL fits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk import pipeline
from weightwalk.core.errors import SettingsError
from weightwalk.core.settings import FieldSettings, OutputSettings, Settings, SurfaceSettings


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of large matrices, and of small ones that cannot spend their budget."""
    rng = np.random.default_rng(5)
    shapes = {"q_proj": (200, 160), "k_proj": (12, 160), "input_layernorm": (96,)}
    names = {f"model.layers.{i}.{name}.weight": s for i in range(4) for name, s in shapes.items()}
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_file({n: rng.standard_normal(s).astype(np.float32) for n, s in names.items()}, path)
    return path


@pytest.fixture
def mesh(model, tmp_path):
    """Return a function that writes an STL within a limit: its size in MB, and the report."""

    def mesh(limit, formats=("stl",), field=FieldSettings(), **surface):  # noqa: B008 (frozen)
        settings = Settings(model, field=field, surface=SurfaceSettings(**surface))
        made = pipeline.run(settings, OutputSettings(tmp_path, formats, max_stl_mb=limit))
        return made.files[0].stat().st_size / 1e6, json.loads(made.files[-1].read_text())

    return mesh


@pytest.mark.parametrize(
    ("field", "share"),
    [
        (FieldSettings(), 0.75),
        (FieldSettings(), 0.3),
        (FieldSettings(), 0.03),
        (FieldSettings(pool="absmax"), 0.2),
        (FieldSettings("depth"), 0.4),
    ],
)
def test_it_fits_and_not_much_is_given_away(mesh, field, share):
    whole, report = mesh(None, field=field)
    asked = report["settings"]["surface"]["faces"]
    size, report = mesh(share * whole, field=field)
    assert 0.9 * share * whole <= size <= share * whole
    used = report["settings"]["surface"]["faces"]
    assert used < asked
    assert report["settings"]["output"]["max_stl_mb"] == share * whole
    (note,) = (note for note in report["notes"] if note.startswith("faces: "))
    assert f"lowered from {asked:,} to {used:,}" in note
    # All builds have taken their time, and read their bytes.
    assert report["stages"]["fields"]["bytes"] >= 2 * 4 * 200 * 160 * 4


def test_what_fits_is_as_it_was_asked_for(mesh):
    size, report = mesh(None, faces=300)
    assert mesh(size, faces=300)[1]["settings"]["surface"]["faces"] == 300
    assert not report["notes"]
    # No STL, no limit.
    assert mesh(0.001, ("glb",), faces=300)[1]["settings"]["surface"]["faces"] == 300


@pytest.mark.parametrize("surface", [{"level": 0.9}, {"quantile": 0.5}])
def test_a_level_cannot_be_lowered(mesh, tmp_path, surface):
    (name,) = surface
    with pytest.raises(SettingsError, match=f"with --{name} there is no budget"):
        mesh(0.1, **surface)
    assert not list(tmp_path.iterdir())
    assert mesh(1000, **surface)[1]["settings"]["surface"][name] == surface[name]


def test_what_no_budget_can_reach_is_said(mesh):
    with pytest.raises(SettingsError, match=r"at most 0\.001 MB: there are 12 fields"):
        mesh(0.001)
    with pytest.raises(SettingsError, match="not a positive number"):
        mesh(float("nan"))
