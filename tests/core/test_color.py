"""Colour maps by what the eye sees, and scales that outliers cannot take."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weightwalk.core.color import NONFINITE, ColorScale, color_map, decode_srgb, scale_for

# Ottosson's published matrices the other way round: linear sRGB → LMS → OKLab.
TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


MAPS = [(False, "ember"), (False, "ice"), (False, "gray"), (True, "ember")]


def oklab(colors):
    linear = decode_srgb(np.atleast_2d(colors)[:, :3] / 255.0)
    return np.cbrt(linear @ TO_LMS.T) @ TO_LAB.T


def test_white_and_black_are_where_oklab_has_them():
    np.testing.assert_allclose(
        oklab([[255, 255, 255], [0, 0, 0]]), [[1, 0, 0], [0, 0, 0]], atol=1e-4
    )


@pytest.mark.parametrize(("diverging", "name"), MAPS)
def test_equal_steps_of_value_are_equal_steps_of_lightness(diverging, name):
    lightness = oklab(color_map(diverging, name))[:, 0]
    halves = [lightness[127::-1], lightness[128:]] if diverging else [-lightness]
    for half in halves:
        straight = np.linspace(half[0], half[-1], len(half))
        assert np.abs(half - straight).max() < 0.006  # one part in 255 of each channel
        assert (np.diff(half[::4]) < 0).all()
        assert np.ptp(half) > 0.4


@pytest.mark.parametrize(("diverging", "name"), MAPS)
def test_no_map_comes_near_the_colour_of_non_finite_values(diverging, name):
    away = np.linalg.norm(oklab(color_map(diverging, name)) - oklab(NONFINITE), axis=1)
    assert away.min() > 0.15


def test_each_map_has_its_own_colours_and_signed_values_have_blue_and_red():
    values = np.linspace(-3, 3, 50)
    red, _, blue = color_map(False, "ice")[:, :3].astype(int).T
    assert (blue > red).all()
    assert np.ptp(color_map(False, "gray")[:, :3], axis=1).max() == 0
    for name in ("ember", "ice", "gray"):
        scale = scale_for(values, diverging=True, map=name)
        np.testing.assert_array_equal(scale.colors(values), ColorScale(-3, 3, True).colors(values))
        scale = scale_for(np.abs(values), diverging=False, map=name)
        assert scale.map == name
        np.testing.assert_array_equal(scale.colors([scale.high])[0], color_map(False, name)[-1])


def test_a_diverging_map_is_grey_in_the_middle_and_as_light_on_both_sides():
    lab = oklab(color_map(True))
    np.testing.assert_allclose(lab[:, 0], lab[::-1, 0], atol=0.01)
    assert np.hypot(*lab[127:129, 1:].T).max() < 0.02
    scale = scale_for(np.random.default_rng(0).normal(0.5, 1, 10_000), diverging=True)
    assert scale.low == -scale.high
    red, blue = scale.colors([scale.high]).tolist()[0], scale.colors([scale.low]).tolist()[0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]


def test_values_are_clipped_and_non_finite_ones_stand_out():
    scale = ColorScale(1.0, 3.0, False)
    colors = scale.colors([-9, 1, 1 + 2 / 255, 3, 1e30, np.nan, np.inf, -np.inf])
    table = color_map(False)
    np.testing.assert_array_equal(colors[:5], table[[0, 0, 1, 255, 255]])
    assert (colors[5:] == NONFINITE).all()
    assert scale.colors([]).shape == (0, 4)


def test_outliers_do_not_take_the_scale():
    values = np.random.default_rng(1).uniform(1, 4, 10_000)
    values[:20] = 1e30
    values[20:40] = np.nan
    values[40:60] = np.inf
    scale = scale_for(values, diverging=False)
    assert 0.5 <= scale.low <= 1.1
    assert 3.9 <= scale.high <= 5


@given(
    st.lists(st.floats(width=32) | st.floats(0, 20, width=32), max_size=30),
    st.booleans(),
)
def test_a_scale_holds_its_ticks_and_most_values(values, diverging):
    # A rising field may be cut anywhere: values of an unsigned one are positive.
    values = np.array(values, np.float32)
    if not diverging:
        values = np.abs(values)
    values = values[~(np.abs(values) > 1e30)]
    scale = scale_for(values, diverging=diverging)
    assert scale.low < scale.high
    assert scale.low == (-scale.high if diverging else max(scale.low, 0))
    finite = values[np.isfinite(values)]
    assert np.count_nonzero((finite < scale.low) | (finite > scale.high)) <= 0.011 * 30 + 1
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 8
    assert ticks == sorted(set(ticks))
    assert (ticks[0], ticks[-1]) == (scale.low, scale.high)
    assert not diverging or 0.0 in ticks
    steps = np.diff(ticks[1:-1])
    np.testing.assert_allclose(steps, steps[:1].repeat(len(steps)), rtol=1e-6)
    assert not len(steps) or f"{steps[0]:.0e}"[0] in "125"
    assert scale.colors(values).shape == (len(values), 4)
