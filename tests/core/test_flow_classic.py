"""The classic colours: worked by hand, and by torch straight from the formula."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weightwalk.core.flow.classic import classic
from weightwalk.core.flow.grid import arrange

BLACK, GREEN = (0, 0, 0), (0, 255, 90)


@pytest.mark.parametrize(
    ("values", "colors"),
    [
        # m = 0, v = 50/3: t = 1/2 and 0.53, so 6t = 3 and 3.18; q = 1 and 0.82.
        ([-1.0, 0.0, 1.0, 0.0], [(0, 209, 255), (0, 255, 255), (0, 209, 255), (0, 255, 255)]),
        # m = 11, v = 100: 6t = 2.97 and 3.09; q = 0.97 and 0.91.
        ([10.0, 10.0, 10.0, 14.0], [(0, 255, 247)] * 3 + [(0, 232, 255)]),
        # m = 1/400, v = 1/1600: t = -3/2 and 13/2, far beyond both ends.
        ([0.0, 0.0, 0.0, 0.01], [BLACK] * 4),
        # m = 4/75, v = 22/375: 6t = 3/11, 48/11, 51/22 and 141/22; q = 3/11, 4/11 and 7/22.
        (
            [0.0, 0.08, 0.0, 0.08, 0.04, 0.12],
            [(255, 69, 0), (92, 0, 255)] * 2 + [(0, 255, 81), BLACK],
        ),
        # m = 2/75, v = 11/750: 6t = -27/11, 63/11, 18/11 and 108/11; q = 3/11 and 4/11.
        (
            [0.0, 0.04, 0.0, 0.04, 0.02, 0.06],
            [BLACK, (255, 0, 69)] * 2 + [(92, 255, 0), BLACK],
        ),
        # No variance: 0/0.
        ([2.0, 2.0, 2.0, 2.0], [BLACK] * 4),
    ],
)
def test_colours_worked_by_hand(values, colors):
    picture = classic(np.array(values).reshape(1, 1, -1), len(values), "bands")
    assert picture.tolist() == [[[list(color) for color in colors]]]


def test_a_short_chunk_is_padded_and_the_rows_stand_as_the_layout_says():
    values = np.arange(10.0).reshape(1, 2, 5)
    bands, layers = (classic(values, 3, layout)[0] for layout in ("bands", "layers"))
    assert bands.shape == layers.shape == (4, 3, 3)
    # Row = chunk · layers + layer, and layer · chunks + chunk.
    np.testing.assert_array_equal(bands[[0, 2, 1, 3]], layers)
    # m + v is once around the wheel: where that is black.
    assert bands[2:, 2].tolist() == [[0, 0, 0]] * 2
    cells, there = arrange(list(values[0]), 3, "bands")
    np.testing.assert_array_equal(cells, [[0, 1, 2], [5, 6, 7], [3, 4, 0], [8, 9, 0]])
    assert there.sum() == 10


def test_mistral_is_512_by_256():
    assert classic(np.zeros((1, 32, 4096), np.float32), 512, "bands").shape == (1, 256, 512, 3)


def test_what_is_not_finite_is_marked_and_changes_nothing_else():
    values = np.random.default_rng(0).standard_normal((1, 3, 8))
    bad = np.concatenate([values, values], axis=0)
    bad[1] = np.nan
    bad[0, 1, 2] = np.inf
    picture = classic(bad, 8, "bands")
    assert (picture[1] == GREEN).all()
    rest = np.delete(values.ravel(), 10)
    alone = classic(rest.reshape(1, 1, -1), 23, "bands")
    np.testing.assert_array_equal(np.delete(picture[0].reshape(-1, 3), 10, axis=0), alone[0, 0])


@pytest.mark.probe
@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 40)),
    st.integers(1, 17),
    st.tuples(st.floats(-4, 3), st.floats(-2, 2)),
    st.tuples(st.sampled_from(["float32", "float64"]), st.sampled_from(["bands", "layers"])),
    st.integers(0, 2**32 - 1),
)
def test_torch_gives_the_same_to_the_last_bit(shape, width, noise, how, seed):
    rng = np.random.default_rng(seed)
    (scale, shift), (dtype, layout) = noise, how
    values = (10.0**scale * (rng.standard_normal(shape) + shift)).astype(dtype)
    ours, theirs = classic(values, width, layout), by_torch(values, width, layout)
    if dtype == "float64":
        # Padding has t = 1, the edge from red to black: sums that differ in the last bit decide.
        there = arrange(list(values[0]), width, layout)[1]
        assert {tuple(color) for color in ours[:, ~there].reshape(-1, 3)} <= {BLACK, (255, 0, 0)}
        ours, theirs = ours[:, there], theirs[:, there]
    np.testing.assert_array_equal(ours, theirs)
    same = np.full(shape, 0.75, dtype)  # sums are exact, so that there is no variance in either
    np.testing.assert_array_equal(classic(same, width, layout), by_torch(same, width, layout))


@pytest.mark.probe
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_gives_the_same_with_its_own_sums(dtype):
    values = np.random.default_rng(5).standard_normal((2, 32, 4096)).astype(dtype)
    expected = by_torch(values, 512, "bands", own=True)
    np.testing.assert_array_equal(classic(values, 512, "bands"), expected)


def by_torch(values, width, layout, *, own=False):
    """Colour a run straight from the formula; sums in float64, or as torch makes them itself."""
    import torch

    x = torch.from_numpy(values)
    wide = x if own else x.double()
    m = wide.mean().to(x.dtype)
    unbiased = wide.var(unbiased=True) if x.numel() > 1 else torch.tensor(torch.nan)
    v = 25 * unbiased.to(x.dtype)
    steps, layers, features = x.shape
    chunks = -(-features // width)
    padded = torch.full((steps, layers, chunks * width), float(m + v), dtype=x.dtype)
    padded[:, :, :features] = x
    cells = padded.reshape(steps, layers, chunks, width)
    cells = cells.transpose(1, 2) if layout == "bands" else cells
    t = (cells.abs() - (m - v)) / (2 * v)
    i = torch.trunc(6 * t)
    q = 1 - (torch.remainder(6 * t, 2) - 1).abs()
    zero, one = torch.zeros_like(q), torch.ones_like(q)

    def channel(full, slope):
        at = [(i == n) for n in (*full, *slope)]
        return torch.where(at[0] | at[1], one, torch.where(at[2] | at[3], q, zero))

    parts = [channel((0, 5), (1, 4)), channel((1, 2), (0, 3)), channel((3, 4), (2, 5))]
    colors = torch.trunc(255 * torch.stack(parts, dim=-1)).to(torch.uint8)
    return colors.reshape(steps, chunks * layers, width, 3).numpy()
