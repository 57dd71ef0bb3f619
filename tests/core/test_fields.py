"""Pooled grids and fields against plain numpy, through real files."""

from __future__ import annotations

import json
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import weightwalk
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from weightwalk.core import fields as built
from weightwalk.core import pooling
from weightwalk.core.errors import EmptyFieldError
from weightwalk.core.fields import build
from weightwalk.core.plans import make_plans, select
from weightwalk.core.pooling import cell_edges, matrix_shape, measure, pool
from weightwalk.core.settings import FieldSettings, Selection
from weightwalk.core.sigma import shared_sigma
from weightwalk.core.stages import finish

MODES = ("rms", "absmax", "mean")
SHAPES = [(1, 1), (1, 9), (9, 1), (2, 2), (7, 13), (97, 3), (3, 97), (64, 65), (130, 61), (5, 300)]


class Source:
    """An array that is read as a tensor is, and remembers the largest piece asked for."""

    def __init__(self, array):
        self.array, self.largest = array, 0

    @property
    def shape(self):
        return self.array.shape

    def flat(self, start, stop, dtype=np.float32):
        self.largest = max(self.largest, stop - start)
        return self.array.ravel()[start:stop].astype(dtype)


def grid_of(array, rows, cols):
    r, c = matrix_shape(array.shape)
    return cell_edges(r, rows), cell_edges(c, cols)


def plainly(block, mode):
    """One cell by the definition: over finite entries."""
    x = np.asarray(block, np.float64)
    x = x[np.isfinite(x)]
    if not x.size:
        return 0.0
    if mode == "absmax":
        return max(x.min(), x.max(), key=lambda v: (abs(v), v))
    return math.sqrt(math.fsum(x * x) / x.size) if mode == "rms" else math.fsum(x) / x.size


def assert_pooled(array, rows, cols, mode):
    matrix = array.reshape(matrix_shape(array.shape))
    r, c = grid_of(array, rows, cols)
    pooled = pool(Source(array), r, c, mode)
    for i in range(len(r) - 1):
        for j in range(len(c) - 1):
            block = matrix[r[i] : r[i + 1], c[j] : c[j + 1]]
            scale = np.abs(block[np.isfinite(block)]).max(initial=1e-300)
            error = abs(pooled.values[i, j] - plainly(block, mode))
            assert error <= 1e-12 * scale
            assert pooled.nonfinite[i, j] == (not np.isfinite(block).all())
    finite = array[np.isfinite(array)]
    assert pooled.nan == np.isnan(array).sum()
    assert pooled.inf == np.isinf(array).sum()
    assert pooled.moments.count == finite.size
    if finite.size:
        assert (pooled.low, pooled.high) == (finite.min(), finite.max())
        assert pooled.moments.sigma == pytest.approx(finite.std(dtype=np.float64), rel=1e-9)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("block", [7, pooling.BLOCK])
def test_a_grid_is_plain_numpy_on_odd_shapes_and_with_holes(monkeypatch, mode, block):
    monkeypatch.setattr(pooling, "BLOCK", block)  # at 7, cells cross blocks in both directions
    rng = np.random.default_rng(1)
    for shape in SHAPES:
        array = rng.standard_t(2, size=shape)
        assert_pooled(array, 16, 11, mode)
        holes = rng.random(shape)
        array[holes < 0.1], array[holes > 0.95], array[holes > 0.98] = np.nan, np.inf, -np.inf
        assert_pooled(array, 16, 11, mode)


@pytest.mark.parametrize("mode", MODES)
@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 40), max_size=3).map(tuple),
    grid=st.tuples(st.integers(2, 20), st.integers(2, 20)),
    block=st.integers(1, 200),
)
def test_every_entry_counts_once_in_one_cell(mode, shape, grid, block):
    array = np.arange(1.0, math.prod(shape) + 1).reshape(shape)
    r, c = grid_of(array, *grid)
    assert r[0] == c[0] == 0
    assert (r[-1], c[-1]) == matrix_shape(shape)
    for edges, cells in ((r, grid[0]), (c, grid[1])):
        assert len(edges) - 1 == min(edges[-1], cells)
        assert np.diff(edges).min() >= 1
        assert np.ptp(np.diff(edges)) <= 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "BLOCK", block)
        source = Source(array)
        pooled = pool(source, r, c, mode)
    assert source.largest <= block
    counts = np.outer(np.diff(r), np.diff(c))
    if mode == "absmax":
        corners = array.reshape(matrix_shape(shape))[np.ix_(r[1:] - 1, c[1:] - 1)]
        np.testing.assert_array_equal(pooled.values, corners)
    else:
        power = 1 if mode == "mean" else 2
        total = float((array**power).sum())
        assert (pooled.values**power * counts).sum() == pytest.approx(total, rel=1e-12)


def test_sigma_survives_an_offset_and_extremes_give_no_warning():
    rng = np.random.default_rng(2)
    array = 1e6 + 1e-3 * rng.normal(size=(300, 700))
    assert finish(measure(Source(array))).sigma == pytest.approx(array.std(), rel=1e-9)
    whole = pool(Source(array), *grid_of(array, 8, 8), "rms").moments
    assert whole.sigma == pytest.approx(array.std(), rel=1e-9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size in (1e-308, 1e-200, 1e-100, 1e100, 1e200, 1.7e308):
            for mode in MODES:
                signs = rng.choice([-1.0, 1.0], size=(40, 40))
                pool(Source(size * signs), *grid_of(signs, 3, 3), mode)
            plain = finish(measure(Source(1e100 * signs))).sigma
            assert plain == pytest.approx((1e100 * signs).std())


# --- fields out of files -----------------------------------------------------------------------


def fields(folder, tensors, config=None, patterns=(), **options):
    """Write a checkpoint, open it and build all its fields."""
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config or {}))
    chosen = FieldSettings(**options)
    with weightwalk.open(folder) as checkpoint:
        tensors, _ = select(checkpoint, Selection(patterns))
        plans, _ = make_plans(tensors, chosen)
        return {plan.name: build(plan, chosen) for plan in plans}


def assert_cells(field):
    """Read back the entries under each cell and pool them again."""
    for (p, r, c), value in np.ndenumerate(field.unsmoothed):
        tensor, r0, r1, c0, c1 = field.info.plan.cell(p, r, c)
        width = field.info.plan.parts[0].col_edges[-1]
        matrix = np.asarray(tensor, np.float64).reshape(-1, width)
        expected = plainly(matrix[r0:r1, c0:c1], field.info.settings.pool) / field.info.sigmas[p]
        assert value == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(20, 33), (3, 5), (50,), (6, 4, 3, 3)])
def test_a_slab_is_the_matrix_over_sigma(tmp_path, rng, mode, shape):
    array = rng.normal(3.0, 1.0, size=shape).astype(np.float32)
    save_file({"w": array}, tmp_path / "model.safetensors")
    chosen = FieldSettings(pool=mode, rows=8, cols=9)
    with weightwalk.open(tmp_path) as checkpoint:
        (plan,), _ = make_plans(list(checkpoint.values()), chosen)
        field = build(plan, chosen)
        assert_cells(field)
    rows, cols = matrix_shape(shape)
    assert field.cells.shape == (1, min(rows, 8), min(cols, 9))
    assert field.info.sigmas == (pytest.approx(array.std(dtype=np.float64)),)
    np.testing.assert_array_equal(field.volume()[4, 1:-1, 1:-1], field.cells[0])
    assert not field.volume()[[0, -1]].any()


@pytest.mark.parametrize("kind", ["depth", "experts"])
def test_planes_are_layers_or_experts(tmp_path, rng, kind):
    depth = kind == "depth"
    name = (
        "model.layers.{}.self_attn.q_proj.weight"
        if depth
        else ("model.layers.0.block_sparse_moe.experts.{}.w1.weight")
    )
    arrays = [rng.normal(size=(5, 7)).astype(np.float32) for _ in range(12)]
    tensors = {name.format(i): a for i, a in enumerate(arrays)}
    (field,) = fields(tmp_path, tensors, kind=kind, pool="absmax").values()
    np.testing.assert_allclose(field.cells, [a / a.std() for a in arrays], rtol=1e-4)
    word = "layer" if depth else "expert"
    assert field.info.plan.planes == tuple(f"{word} {i}" for i in range(12))


def test_fused_experts_of_unknown_layout_are_cut_along_the_first_axis(tmp_path, rng):
    array = rng.normal(size=(4, 6, 10)).astype(np.float32)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    (field,) = fields(tmp_path, {name: array}, kind="experts", pool="mean", rows=3, cols=5).values()
    each = array.std(axis=(1, 2), keepdims=True)
    expected = array.reshape(4, 3, 2, 5, 2).mean(axis=(2, 4)) / each
    np.testing.assert_allclose(field.cells, expected, rtol=1e-3, atol=1e-5)


HIDDEN, DIM = 12, 4  # three heads


def heads_case(case, rng):
    """Config, name, array, and for each role the heads as (head, row, column) by hand."""
    config = {"hidden_size": HIDDEN, "num_attention_heads": 3}
    layer = "model.layers.0.self_attn"
    if case == "grouped":
        config |= {"num_key_value_heads": 1}
        a = rng.normal(size=(DIM, HIDDEN))
        return config, f"{layer}.k_proj.weight", a, {"": a.reshape(1, DIM, HIDDEN)}
    if case == "o":
        a = rng.normal(size=(HIDDEN, HIDDEN))
        expected = {"": a.reshape(HIDDEN, 3, DIM).transpose(1, 0, 2)}
        return config, f"{layer}.o_proj.weight", a, expected
    a = rng.normal(size=(HIDDEN, 3 * HIDDEN))
    if case == "gpt2":
        config = {"model_type": "gpt2", "n_embd": HIDDEN, "n_head": 3}
        split = a.reshape(HIDDEN, 3, 3, DIM).transpose(1, 2, 0, 3)
        return config, "h.0.attn.c_attn.weight", a, dict(zip("qkv", split, strict=True))
    a = np.ascontiguousarray(a.T)
    split = a.reshape(3, 3, DIM, HIDDEN).transpose(1, 0, 2, 3)
    config |= {"model_type": "gpt_neox"}
    name = "gpt_neox.layers.0.attention.query_key_value.weight"
    return config, name, a, dict(zip("qkv", split, strict=True))


@pytest.mark.parametrize("case", ["grouped", "o", "gpt2", "neox"])
def test_heads_are_cut_where_they_are(tmp_path, rng, case):
    config, name, array, expected = heads_case(case, rng)
    array = array.astype(np.float32)
    made = fields(tmp_path, {name: array}, config, kind="heads", pool="absmax")
    assert set(made) == {f"heads {name} {role}".strip() for role in expected}
    for role, heads in expected.items():
        cells = made[f"heads {name} {role}".strip()].cells
        np.testing.assert_allclose(cells, heads / array.std(), rtol=1e-4)


def test_a_cell_of_any_kind_knows_its_rectangle(tmp_path, rng):
    for kind, case in (("heads", "gpt2"), ("heads", "neox"), ("heads", "o")):
        config, name, array, _ = heads_case(case, rng)
        folder = tmp_path / case
        options = FieldSettings(kind=kind, rows=3, cols=3)
        fields(folder, {name: array.astype(np.float32)}, config, kind=kind)
        with weightwalk.open(folder) as checkpoint:
            for plan in make_plans(list(checkpoint.values()), options)[0]:
                assert_cells(build(plan, options))
    name = "model.layers.0.mlp.experts.down_proj"
    fields(tmp_path / "fused", {name: rng.normal(size=(3, 7, 5))}, kind="experts")
    options = FieldSettings(kind="experts", rows=4, cols=2, pool="mean")
    with weightwalk.open(tmp_path / "fused") as checkpoint:
        (plan,), _ = make_plans(list(checkpoint.values()), options)
        assert_cells(build(plan, options))


def test_smoothing_keeps_planes_apart_and_permuting_keeps_the_values(tmp_path, rng):
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(3)]
    tensors = {name: rng.normal(size=(8, 9)) for name in names}
    tensors[names[1]][3, 3] = np.nan
    (sharp,) = fields(tmp_path, tensors, kind="depth").values()
    assert np.array_equal(np.sort(sharp.permuted(), axis=None), np.sort(sharp.cells, axis=None))
    assert not np.array_equal(sharp.permuted(), sharp.cells)
    (soft,) = fields(tmp_path, tensors, kind="depth", smooth=1.5).values()
    tensors[names[0]] = rng.normal(size=(8, 9))
    (other,) = fields(tmp_path, tensors, kind="depth", smooth=1.5).values()
    np.testing.assert_array_equal(soft.cells[1:], other.cells[1:])
    assert soft.cells[soft.nonfinite].tolist() == [0.0]
    assert (np.ptp(soft.cells, axis=(1, 2)) < np.ptp(sharp.cells, axis=(1, 2))).all()


EMPTY = {
    "all zero": np.zeros((4, 4)),
    "constant": np.full((4, 4), -2.5),
    "no finite entry": np.array([[np.nan, np.inf], [-np.inf, np.nan]]),
    "is constant": np.array(3.0),
    "double precision cannot hold": np.array([[1e-300, 2e-300], [0, 0]]),
}


@pytest.mark.parametrize("reason", EMPTY)
def test_what_gives_no_field_says_why(tmp_path, reason):
    with pytest.raises(EmptyFieldError, match=reason):
        fields(tmp_path, {"w": EMPTY[reason]})


def test_an_empty_plane_is_noted_and_the_rest_goes_on(tmp_path, rng):
    name = "model.layers.{}.self_attn.q_proj.weight"
    tensors = {name.format(i): rng.normal(size=(4, 5)) for i in range(3)}
    tensors[name.format(1)][:] = 0.0
    (field,) = fields(tmp_path, tensors, kind="depth").values()
    assert field.info.notes == (f"{name.format(1)}: is all zero; its plane is empty",)
    assert field.cells.any(axis=(1, 2)).tolist() == [True, False, True]


def test_one_sigma_for_all_is_that_of_all_entries():
    arrays = [np.random.default_rng(i).normal(i, 1 + i, size=(9, 30)) for i in range(4)]
    tensors = [SimpleNamespace(name=str(i), sources=()) for i in range(4)]
    for tensor, array in zip(tensors, arrays, strict=True):
        source = Source(array)
        tensor.shape, tensor.flat = source.shape, source.flat
    plans = [SimpleNamespace(parts=[SimpleNamespace(tensor=t)]) for t in tensors]
    assert finish(shared_sigma([*plans, plans[0]])) == pytest.approx(np.concatenate(arrays).std())


def test_a_wide_row_is_read_in_bounded_pieces():
    array = np.random.default_rng(4).normal(size=(3, pooling.BLOCK + 5))
    source = Source(array)
    pooled = pool(source, *grid_of(array, 64, 64), "mean")
    assert source.largest == pooling.BLOCK
    assert pooled.values.shape == (3, 64)


@pytest.mark.model
def test_a_real_matrix_is_plain_numpy(model_folder):
    name = "encoder.layer.3.attention.self.query.weight"
    chosen = FieldSettings(rows=24, cols=48)
    with weightwalk.open(model_folder) as checkpoint:
        (plan,), _ = make_plans([checkpoint[name]], chosen)
        array = np.asarray(checkpoint[name], np.float64)
        field = build(plan, chosen)
    expected = np.sqrt((array**2).reshape(24, 16, 48, 8).mean(axis=(1, 3))) / array.std()
    np.testing.assert_allclose(field.cells[0], expected, rtol=1e-5)


def test_many_values_are_permuted_in_hands(monkeypatch):
    rng = np.random.default_rng(4)
    values = rng.normal(size=50_000).astype(np.float32)
    monkeypatch.setattr(built, "DEALT", 7000)
    permuted = finish(built._permuted(values))
    np.testing.assert_array_equal(np.sort(permuted), np.sort(values))
    assert abs(np.corrcoef(permuted, values)[0, 1]) < 0.02
