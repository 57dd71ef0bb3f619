"""A picture of what layers put out: every cell, its ticks and its reserved colours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from weightwalk.core.color import NONFINITE, ColorScale, color_map, decode_srgb
from weightwalk.core.flow.legend import ABOVE, BELOW, Counts, scale_palette
from weightwalk.core.flow.page import (
    BACKGROUND,
    FAINT,
    new_page,
    save_png,
    shorten,
    text,
    text_width,
    wrap,
)
from weightwalk.core.flow.picture import Words, draw_picture, plot_of
from weightwalk.core.flow.settings import FlowSettings
from weightwalk.core.flow.units import units_of

from .flowing import probe_of

SCALE = ColorScale(-3.0, 3.0, diverging=True)
ODD = ("汉字", "\n", "Où", " ", "x" * 10_000, "🙂", "\u202eabc", "", "мир", "\udce9", "\0", "σ×−")


def words(tokens=("a", "b"), shown=1):
    return Words("little", "step 5", "2 layers", tokens, shown, ("a cell is", "σ is"))


def color_of(value):
    """Return the colour that a value has to have, by the map alone."""
    if not np.isfinite(value):
        return NONFINITE[:3]
    if abs(value) > 3.0:
        return ABOVE if value > 0 else BELOW
    index = (np.float32(value) + np.float32(3.0)) * np.float32(255 / 6) + np.float32(0.5)
    return tuple(int(c) for c in color_map(True)[int(index)][:3])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=7),
    st.integers(1, 33),
    st.sampled_from([None, 1, 2, 5]),
    st.sampled_from(["bands", "layers"]),
    st.integers(0, 2**32 - 1),
)
def test_every_cell_has_the_colour_of_its_value(sizes, width, zoom, layout, seed):
    rng = np.random.default_rng(seed)
    layers = [np.float32(2.5 * rng.standard_normal(n)) for n in sizes]
    for layer in layers:
        layer[rng.random(len(layer)) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, 3.0, -3.0])
    plot = plot_of(sizes, FlowSettings(width=width, zoom=zoom, layout=layout))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.png"
        save_png(path, draw_picture(layers, plot, SCALE, words(), marked=True))
        with Image.open(path) as image:
            pixels = np.asarray(image)
    wide, high = plot.cell
    if zoom is not None:
        assert plot.cell == (zoom, zoom)
    columns = min(width, max(sizes))
    chunks = -(-max(sizes) // columns)
    together = len(sizes) if layout == "bands" else chunks
    for number, layer in enumerate(layers):
        for feature in range(chunks * columns):
            chunk, column = divmod(feature, columns)
            row = chunk * len(sizes) + number if layout == "bands" else number * chunks + chunk
            y = plot.corner[1] + row * high + row // together * plot.gap
            x = plot.corner[0] + column * wide
            cell = pixels[y : y + high, x : x + wide].reshape(-1, 3)
            there = feature < len(layer)
            if there or layout == "layers":  # in bands, words may stand where there is no cell
                expected = color_of(layer[feature]) if there else BACKGROUND
                assert (cell == expected).all()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 200), st.integers(1, 64), st.sampled_from([None, 1, 3]),
    st.sampled_from(["bands", "layers"]),
)  # fmt: skip
def test_ticks_stand_at_their_layers_and_far_enough_apart(count, features, zoom, layout):
    plot = plot_of([features] * count, FlowSettings(width=16, zoom=zoom, layout=layout))
    layers = [np.zeros(features, np.float32)] * count
    pixels = np.asarray(draw_picture(layers, plot, SCALE, words()))
    top, high = plot.corner[1], plot.size[1]
    ticks = np.flatnonzero((pixels[top : top + high, plot.corner[0] - 4] == FAINT).all(axis=-1))
    rows = plot.arranged.rows
    bands = [[rows(n)[c]] for c in range(plot.arranged.chunks) for n in range(count)]
    spans = bands if layout == "bands" else [rows(n) for n in range(count)]
    found = []
    for tick in ticks + top:
        inside = [
            i for i, span in enumerate(spans)
            if plot.top(span[0]) <= tick < plot.top(span[-1]) + plot.cell[1]
        ]  # fmt: skip
        assert len(inside) == 1
        found.append(inside[0] % count)
    each = sorted(set(found))
    assert each == list(range(0, count, each[1] if len(each) > 1 else count))
    in_a_band = ticks[: len(each)]
    assert len(in_a_band) == 1 or np.diff(in_a_band).min() >= 12


@pytest.mark.parametrize("layout", ["bands", "layers"])
def test_the_layer_of_the_finding_is_pointed_at_and_pages_of_a_run_are_alike(layout):
    plot = plot_of([40] * 30, FlowSettings(width=16, layout=layout))
    layers = [np.zeros(40, np.float32)] * 30
    long = "departs at layer 7 " * 20
    plain = replace(words(), longest=long)
    told = replace(plain, finding=long, mark=7)
    page, other = (np.asarray(draw_picture(layers, plot, SCALE, w)) for w in (told, plain))
    assert page.shape == other.shape
    column = plot.corner[0] - 8
    at = np.flatnonzero((page[:, column] != other[:, column]).any(axis=-1))
    bands = range(3 if layout == "bands" else 1)
    found = {int(y) for y in at if y < plot.corner[1] + plot.size[1]}
    assert {round(plot.middle(7, chunk)) for chunk in bands} <= found
    assert len(found) <= 10 * len(bands)


def test_reserved_colours_are_told_apart_by_everybody():
    seen = [np.eye(3), _DEUTAN, _PROTAN]
    reserved = [np.array([c]) for c in (ABOVE, BELOW, NONFINITE[:3])]
    others = [color_map(True)[:, :3], np.array([BACKGROUND])]
    for how in seen:
        for i, color in enumerate(reserved):
            for other in [*others, *reserved[i + 1 :]]:
                apart = np.linalg.norm(oklab(color, how) - oklab(other, how), axis=1)
                assert apart.min() > 0.06  # the least that is noticed is about 0.02


def test_the_palette_of_movies_has_the_reserved_colours():
    palette = {tuple(int(c) for c in color) for color in scale_palette()}
    assert len(palette) <= 255
    assert {ABOVE, BELOW, NONFINITE[:3], BACKGROUND} <= palette


def test_counts_are_of_what_is_drawn():
    layers = [np.float32([-9, -3, 0, np.nan]), np.float32([3, 3.5, 4, np.inf])]
    assert Counts.of(layers, SCALE) == Counts(below=1, above=2, nonfinite=2)


@pytest.mark.parametrize("shown", range(len(ODD)))
def test_any_token_is_drawn(shown):
    plot = plot_of([8, 8], FlowSettings())
    page = draw_picture([np.zeros(8, np.float32)] * 2, plot, SCALE, words(ODD, shown))
    assert page.size[0] < 2000
    many = words(("token",) * 50_000, 25_000)
    assert draw_picture([np.zeros(8, np.float32)] * 2, plot, SCALE, many).size == page.size


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300), st.integers(20, 500))
def test_lines_fit(line, width):
    assert text_width(shorten(line, 13, width)) <= width
    assert all(text_width(part) <= width for part in wrap(line, 13, width))
    end = text(new_page(40, 40), (3, 3), line)
    assert end == pytest.approx(3 + text_width(line))


def test_units_leave_massive_activations_out_and_say_so():
    rng = np.random.default_rng(0)
    layers = [rng.standard_normal((50, 40)) * 5, np.ones((50, 40))]
    clean = units_of([probe_of(layers)], "hidden", "layer", "step 0")
    np.testing.assert_allclose(clean.sigmas, [layers[0].std(), 0.0], rtol=1e-6)
    # A token with a massive activation is unlike the others in its other features, too.
    layers[0][3, 4], layers[0][3, 5] = 1e5, 300.0
    layers[0][5, 6] = np.nan
    massive = units_of([probe_of(layers)], "hidden", "layer", "step 0")
    assert massive.massive == 1
    assert massive.sigmas[0] == pytest.approx(clean.sigmas[0], rel=0.01)
    shared = units_of([probe_of(layers)], "hidden", "all", "step 0").sigmas
    every = np.concatenate([np.delete(layers[0], 3, axis=0).ravel(), layers[1].ravel()])
    assert shared[0] == shared[1] == pytest.approx(np.nanstd(every), rel=1e-5)
    layers[0][:, 4] = 1e5
    all_tokens = units_of([probe_of(layers)], "hidden", "layer", "step 0")
    assert all_tokens.massive == 50
    rest = np.delete(layers[0], 4, axis=1)
    assert all_tokens.sigmas[0] == pytest.approx(np.nanstd(rest), rel=1e-5)
    scaled = massive.scaled([np.float32([5, np.nan, np.inf]), np.float32([7, np.nan, -np.inf])])
    assert scaled[0][0] == pytest.approx(5 / massive.sigmas[0])
    assert scaled[1][0] == 0.0
    assert np.isnan([scaled[0][1], scaled[1][1]]).all()
    assert np.isinf([scaled[0][2], scaled[1][2]]).all()


# Machado and others, 2009, at full severity, for linear sRGB.
_DEUTAN = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
     [-0.011820, 0.042940, 0.968881]]
)  # fmt: skip
_PROTAN = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
     [-0.003882, -0.048116, 1.051998]]
)  # fmt: skip
# Ottosson, 2020.
_LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
_LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip


def oklab(colors, seen):
    linear = np.clip(decode_srgb(colors / 255.0) @ seen.T, 0.0, 1.0)
    return np.cbrt(linear @ _LMS.T) @ _LAB.T
