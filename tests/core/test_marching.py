"""A volume cut in bands: the surface of the whole, whatever the values along the seams."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial import cKDTree
from weightwalk.core import marching
from weightwalk.core.marching import banded, marching_cubes, row_bands
from weightwalk.core.stages import finish

from .test_surfaces import assert_closed


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Make bands of a few rows."""
    monkeypatch.setattr(marching, "CUBES", 12)
    monkeypatch.setattr(marching, "VOXELS", 400)


def assert_same(volume, level):
    """Compare the triangles by their corners, whichever comes first; return whether it was cut."""
    whole, parts = marching_cubes(volume, level), finish(banded(volume, level))
    assert len(parts.faces) == len(whole.faces)
    assert len(parts.vertices) == len(whole.vertices)
    assert_closed(parts.faces)
    if not len(whole.faces):
        return False
    assert len(np.unique(parts.faces)) == len(parts.vertices)
    corners = whole.vertices[whole.faces]
    turned = np.concatenate([np.roll(corners, k, axis=1).reshape(-1, 9) for k in range(3)])
    away, which = cKDTree(turned).query(parts.vertices[parts.faces].reshape(-1, 9))
    assert away.max() < 1e-4
    if len(np.unique(turned.round(3), axis=0)) == len(turned):
        assert len(np.unique(which % len(corners))) == len(corners)
    return not np.array_equal(parts.faces, whole.faces)


def off(volume, level):
    level = float(np.float32(level))
    while (volume == level).any():
        level = float(np.nextafter(np.float32(level), np.float32(0)))
    return level


@pytest.mark.parametrize("shape", [(3, 40, 7), (9, 30, 20), (1, 60, 50)])
@pytest.mark.parametrize("temper", ["normal", "smooth", "heavy", "steps"])
def test_bands_make_the_surface_of_the_whole(shape, temper):
    rng = np.random.default_rng(0)
    cells = {
        "normal": rng.normal(size=shape),
        "smooth": 2 * np.sin(np.arange(np.prod(shape)).reshape(shape) / 3.0),
        "heavy": rng.standard_t(2, size=shape),
        "steps": np.round(2 * rng.normal(size=shape)) / 2,
    }[temper]
    volume = np.pad(cells.astype(np.float32), 1)
    for level in (0.3, 0.8, 1.3):
        assert assert_same(volume, off(volume, level))


def test_bands_of_a_volume_that_is_cut_open_end_at_the_same_edges():
    """The half of a slab has its surface open at the first plane."""
    cells = np.abs(np.random.default_rng(1).normal(size=(4, 40, 30))).astype(np.float32)
    volume = np.pad(cells, ((0, 1), (1, 1), (1, 1)))
    whole, parts = marching_cubes(volume, 0.9), finish(banded(volume, 0.9))
    assert len(whole.faces) == len(parts.faces)
    for axis in range(3):
        np.testing.assert_allclose(
            np.sort(whole.vertices[:, axis]), np.sort(parts.vertices[:, axis]), atol=1e-5
        )


@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(6, 14), st.integers(1, 5)),
        elements=st.integers(-2, 3).map(float)
        | st.floats(-3, 3, width=32)
        | st.sampled_from([1.0, 1.0 + 2**-23, 1.0 - 2**-24, 2.0**20, -(2.0**20), 2.0**99]),
    ),
    st.sampled_from([0.5, 1.0, 1.0 + 2**-23]) | st.floats(0.05, 2.0),
)
def test_bands_of_any_volume_make_the_surface_of_the_whole(cells, level):
    volume = np.pad(cells, 1)
    assert_same(volume, off(volume, level))


def test_where_no_seam_can_be_told_apart_the_volume_stays_whole():
    """All vertices are rounded onto the voxels, several onto each."""
    rng = np.random.default_rng(2)
    volume = np.pad((rng.random((5, 40, 30)) < 0.3).astype(np.float32), 1)
    assert not assert_same(volume, off(volume, 1.0))


def test_bands_share_a_row_and_cover_all():
    for shape in ((1, 2, 1), (3, 50, 7), (5, 9, 100)):
        bands = row_bands(shape, 60)
        assert bands[0].start == 0
        assert bands[-1].stop == shape[1]
        for before, after in itertools.pairwise(bands):
            assert after.start == before.stop - 1
