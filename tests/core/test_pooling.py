"""Pooling keeps its digits whatever the numbers, the shape, the grid and the dtype in the file."""

from __future__ import annotations

import json
import math
import struct
from fractions import Fraction

import numpy as np
import pytest
import weightwalk
from hypothesis import given, settings
from hypothesis import strategies as st
from weightwalk.core import pooling
from weightwalk.core.pooling import cell_edges, matrix_shape, measure, pool
from weightwalk.core.readers import values
from weightwalk.core.stages import finish

MODES = ("rms", "absmax", "mean")


class Source:
    """An array that is read as a tensor is, and must not be written to."""

    def __init__(self, array):
        self.array = np.asarray(array, np.float64)
        self.array.flags.writeable = False
        self.shape = self.array.shape

    def flat(self, start, stop, dtype=np.float64):
        return self.array.reshape(-1)[start:stop].view(dtype)


def pooled(array, rows, cols, mode="rms"):
    r, c = matrix_shape(np.shape(array))
    return pool(Source(array), cell_edges(r, rows), cell_edges(c, cols), mode)


def exact_sigma(array):
    """Return σ by the definition, in whole numbers."""
    numbers = [Fraction(float(x)) for x in np.ravel(array)]
    mean = sum(numbers) / len(numbers)
    return math.sqrt(sum((x - mean) ** 2 for x in numbers) / len(numbers))


def exact(block, mode):
    """Return the value of a cell by the definition, in whole numbers."""
    numbers = [Fraction(float(x)) for x in np.ravel(block) if math.isfinite(x)]
    if not numbers:
        return 0.0
    if mode == "absmax":
        return float(max(numbers, key=lambda x: (abs(x), x)))
    if mode == "mean":
        return float(sum(numbers) / len(numbers))
    return math.sqrt(sum(x * x for x in numbers) / len(numbers))


@pytest.mark.parametrize("block", [97, 1 << 12, pooling.BLOCK])
@pytest.mark.parametrize("offset", [0, 0.3, 0.999, 1.001, 3, 1e3, -1e6])
def test_sigma_keeps_its_digits_wherever_the_mean_is(monkeypatch, offset, block):
    monkeypatch.setattr(pooling, "BLOCK", block)
    array = np.random.default_rng(6).normal(offset, 1.0, size=(31, 300))
    truth = exact_sigma(array)
    assert pooled(array, 5, 7).moments.sigma == pytest.approx(truth, rel=1e-12)
    assert finish(measure(Source(array))).sigma == pytest.approx(truth, rel=1e-12)


def test_sigma_is_the_tensors_not_the_grids_to_the_bit():
    array = np.random.default_rng(7).standard_t(3, size=(700, 900))
    array[5, 5], array[600, 3], array[600, 4] = np.nan, np.inf, -np.inf
    truth = finish(measure(Source(array)))
    for mode in MODES:
        for rows, cols in ((1, 1), (64, 64), (700, 3), (256, 900)):
            assert pooled(array, rows, cols, mode).moments == truth


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_every_shape_and_grid_is_the_definition(data):
    """Wide and narrow, one row a cell and many, blocks that cut cells, and holes."""
    rows = data.draw(st.integers(1, 40))
    cols = data.draw(st.sampled_from([1, 2, 5, 63, 64, 65, 130]))
    grid = data.draw(st.integers(1, 41)), data.draw(st.integers(1, 131))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    array = rng.normal(data.draw(st.sampled_from([0, 5])), 1, size=(rows, cols))
    if data.draw(st.booleans()):
        array[rng.random(array.shape) < 0.2] = data.draw(st.sampled_from([np.nan, np.inf]))
    matrix = array.reshape(matrix_shape(array.shape))
    r, c = cell_edges(matrix.shape[0], grid[0]), cell_edges(matrix.shape[1], grid[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "BLOCK", data.draw(st.sampled_from([50, 777, pooling.BLOCK])))
        found = {mode: pooled(array, *grid, mode) for mode in MODES}
    i = data.draw(st.integers(0, len(r) - 2))
    j = data.draw(st.integers(0, len(c) - 2))
    block = matrix[r[i] : r[i + 1], c[j] : c[j + 1]]
    for mode, one in found.items():
        assert one.values[i, j] == pytest.approx(exact(block, mode), rel=1e-13, abs=1e-14)
        assert one.nonfinite[i, j] == (not np.isfinite(block).all())
        assert one.nan + one.inf + one.moments.count == array.size


def test_extremes_are_what_doubles_make_of_them():
    tie = np.array([[-2.0, 2.0], [-1.0, -1.0]])
    assert pooled(tie, 1, 1, "absmax").values == 2.0
    assert pooled(tie[1:], 1, 1, "absmax").values == -1.0
    tiny = np.full((3, 70), 5e-324)
    assert pooled(tiny, 1, 1, "absmax").values == pooled(tiny, 1, 1, "mean").values == 5e-324
    assert (pooled(tiny, 1, 1).low, pooled(tiny, 1, 1).high) == (5e-324, 5e-324)
    denormal = np.linspace(1, 2, 140).reshape(2, 70) * 2.0**-149  # all F32 has, and exact here
    assert pooled(denormal, 1, 1).values == pytest.approx(exact(denormal, "rms"), rel=1e-13)
    assert pooled(denormal, 1, 1).moments.sigma == pytest.approx(exact_sigma(denormal), rel=1e-13)
    huge = np.array([[3e38, -3e38], [1e38, 2e38]])  # F32's largest
    assert pooled(huge, 1, 1).moments.sigma == pytest.approx(exact_sigma(huge), rel=1e-13)
    beyond = np.array([[1e200, -1e200], [1e200, 1e200]])  # whose squares are not doubles
    assert pooled(beyond, 1, 1).moments.sigma == math.inf
    assert pooled(beyond, 1, 1, "mean").values == 5e199


# --- out of files -----------------------------------------------------------------------------


def save(path, dtype, codes):
    """Write one tensor of raw numbers."""
    entry = {"dtype": dtype, "shape": list(codes.shape), "data_offsets": [0, codes.nbytes]}
    text = json.dumps({"w": entry}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + codes.tobytes())
    return path


def test_f16_is_numpys_to_the_last_code(tmp_path):
    codes = np.arange(1 << 16, dtype="<u2").reshape(256, 256)
    with np.errstate(invalid="ignore"):  # signalling NaN
        truth = codes.view("<f2").astype(np.float64)
    with weightwalk.open(save(tmp_path / "a.safetensors", "F16", codes)) as checkpoint:
        tensor = checkpoint["w"]
        for dtype in (np.float64, np.float32):
            np.testing.assert_array_equal(tensor.rows(0, 256, dtype), truth)
        native = tensor.flat(0, tensor.size, tensor.values.native)
        assert native.dtype == np.float16
        np.testing.assert_array_equal(native.view("<u2").reshape(codes.shape), codes)
        found = pool(tensor, cell_edges(256, 16), cell_edges(256, 16), "rms")
    finite = truth[np.isfinite(truth)]
    assert (found.nan, found.inf) == (np.isnan(truth).sum(), np.isinf(truth).sum())
    assert (found.low, found.high) == (finite.min(), finite.max())
    assert found.moments.sigma == pytest.approx(finite.std(), rel=1e-12)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64", "F8_E4M3"])
def test_a_file_gives_what_its_array_gives(tmp_path, monkeypatch, dtype):
    """Read in many small pieces, and far from zero."""
    numbers = np.random.default_rng(8).normal(3.0, 1.0, size=(200, 333))
    codes = {
        "BF16": lambda: (numbers.astype("<f4").view("<u4") >> 16).astype("<u2"),
        "F16": lambda: numbers.astype("<f2"),
        "F32": lambda: numbers.astype("<f4"),
        "F64": lambda: numbers.astype("<f8"),
        "F8_E4M3": lambda: (numbers * 16).astype("u1") % 0x7F,
    }[dtype]()
    path = save(tmp_path / "a.safetensors", dtype, codes)
    monkeypatch.setattr(values, "_CHUNK", 1000)
    monkeypatch.setattr(pooling, "BLOCK", 4321)
    with weightwalk.open(path) as checkpoint:
        tensor = checkpoint["w"]
        array = np.asarray(tensor, np.float64)
        found = pool(tensor, cell_edges(200, 9), cell_edges(333, 10), "rms")
    truth = pooled(array, 9, 10)
    np.testing.assert_array_equal(found.values, truth.values)
    assert found.moments == truth.moments
    assert found.moments.sigma == pytest.approx(exact_sigma(array), rel=1e-13)
