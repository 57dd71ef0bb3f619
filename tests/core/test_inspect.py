"""A cell's reading against plain numpy, and a rectangle of a tensor entry by entry."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import weightwalk
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from weightwalk import pipeline
from weightwalk.core import inspect as inspecting
from weightwalk.core import pooling
from weightwalk.core.errors import CheckpointError, SelectionError, SettingsError
from weightwalk.core.experts import find
from weightwalk.core.fields import build
from weightwalk.core.inspect import find_plan, read_cell, rectangle_around, refine_plan
from weightwalk.core.plans import make_plans
from weightwalk.core.readers import Tensor
from weightwalk.core.readers.values import Values
from weightwalk.core.settings import FieldSettings, Selection, Settings, SurfaceSettings
from weightwalk.core.sigma import shared_sigma
from weightwalk.core.stages import finish
from weightwalk.core.surfaces import extract

Q = "model.layers.{}.self_attn.q_proj.weight"
FUSED = "model.layers.0.mlp.experts.gate_up_proj"


@pytest.fixture
def model(tmp_path):
    """Four heads, two layers, fused experts, a vector, a convolution; some entries not finite."""
    rng = np.random.default_rng(5)
    tensors = {Q.format(i): rng.standard_t(3, (40, 40)).astype(np.float32) for i in range(2)}
    tensors[Q.format(1)][7, 9], tensors[Q.format(1)][8, 8] = np.nan, -np.inf
    tensors[FUSED] = rng.normal(size=(3, 40, 14)).astype(np.float16)
    tensors["model.norm.weight"] = rng.normal(1, 0.1, 90)
    tensors["conv.weight"] = rng.normal(size=(6, 4, 3, 3)).astype(np.float32)
    save_file(tensors, tmp_path / "model.safetensors")
    config = {"num_attention_heads": 4, "hidden_size": 40, "model_type": "llama"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with weightwalk.open(tmp_path) as checkpoint:
        yield checkpoint


def read(plan, chosen, cell, shared=None):
    return pipeline.drain(read_cell(plan, chosen, cell, shared))


@pytest.mark.parametrize("pool", ["rms", "absmax", "mean"])
@pytest.mark.parametrize("sigma", ["tensor", "all"])
@pytest.mark.parametrize("kind", ["slab", "depth", "heads", "experts"])
def test_a_reading_is_the_field_and_plain_numpy(model, monkeypatch, kind, pool, sigma):
    monkeypatch.setattr(pooling, "BLOCK", 97)  # blocks that end within cells
    monkeypatch.setattr(inspecting, "BLOCK", 97)
    chosen = FieldSettings(kind, 7, 5, pool, sigma=sigma)
    plans, _ = make_plans(list(model.values()), chosen)
    shared = finish(shared_sigma(plans)) if sigma == "all" else None
    for plan in plans:
        field = build(plan, chosen, shared)
        for cell in range(0, field.cells.size, 3):
            found = read(plan, chosen, cell, shared)
            assert found.plane == plan.planes[cell // (plan.shape[1] * plan.shape[2])]
            tensor = np.asarray(model[found.tensor], np.float64)
            if kind == "experts":  # of this one, (expert, in, out): half of the outputs are gate's
                half = slice(0, 7) if plan.role == "gate" else slice(7, 14)
                matrix = own = tensor[int(found.plane.split()[1]), :, half].T
            else:
                matrix, own = tensor.reshape(found.matrix), tensor
            under = matrix[slice(*found.rows), slice(*found.cols)]
            np.testing.assert_array_equal(found.entries, under)
            kept = under[np.isfinite(under)]
            assert (found.nan, found.inf) == (np.isnan(under).sum(), np.isinf(under).sum())
            value = {"rms": lambda x: math.sqrt((x * x).mean()), "mean": np.mean,
                     "absmax": lambda x: x[np.abs(x).argmax()]}[pool](kept)  # fmt: skip
            assert found.value == pytest.approx(value, rel=1e-12)
            assert found.sigma == field.info.sigmas[cell // (plan.shape[1] * plan.shape[2])]
            if not field.nonfinite.flat[cell]:
                assert np.float32(found.sigmas) == pytest.approx(field.cells.flat[cell], rel=1e-6)
            assert abs(found.largest.value) == np.abs(kept).max()
            assert matrix[found.largest.row, found.largest.col] == found.largest.value
            assert tensor[found.largest.index] == found.largest.value
            assert found.largest.sigmas == found.largest.value / found.sigma
            finite = own[np.isfinite(own)]
            assert found.rank == 1 + (np.abs(finite) > abs(found.largest.value)).sum()
            assert found.count == finite.size


@pytest.mark.parametrize("pool", ["absmax", "mean"])
def test_magnitudes_have_no_sign(model, pool):
    signed, bare = FieldSettings(pool=pool), FieldSettings(pool=pool, magnitude=True)
    (plan,), _ = make_plans([model[Q.format(0)]], signed)
    field = build(plan, bare)
    assert not field.signed
    np.testing.assert_array_equal(field.cells, np.abs(build(plan, signed).cells))
    for cell in range(0, 1600, 97):
        found = read(plan, bare, cell)
        assert found.pool == f"|{pool}|"
        assert np.float32(found.sigmas) == pytest.approx(field.cells.flat[cell], rel=1e-6)


def test_every_vertex_of_a_surface_tells_its_cell(model):
    chosen = FieldSettings("heads", 10, 9)
    plans, _ = make_plans(list(model.values()), chosen)
    (surface, *_) = extract(build(plans[0], chosen), SurfaceSettings(quantile=0.7))
    for cell, value in set(zip(surface.cells.tolist(), surface.values.tolist(), strict=True)):
        assert np.float32(read(plans[0], chosen, cell).sigmas) == pytest.approx(value, rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 30),
    cols=st.integers(1, 300),
    block=st.integers(1, 400),
    data=st.data(),
)
def test_any_shape_and_block_length(rows, cols, block, data):
    array = np.random.default_rng(rows * 1000 + cols).integers(-9, 9, (rows, cols))

    class Held(Values):
        def fill(self, out, start):
            assert len(out) <= block
            out[:] = array.ravel()[start : start + len(out)]

        def spans(self, start, stop):
            yield from ()

    tensor = Tensor("t", array.shape, "F64", array.nbytes, Held(), (), {})
    edges = pooling.cell_edges(rows, 3), pooling.cell_edges(cols, 4)
    window = (slice(0, len(edges[0]) - 1), slice(0, len(edges[1]) - 1))
    part = inspecting.Part(tensor, *edges, (window,))
    plan = inspecting.Plan("t", "slab", "", "", None, (part,), ("",))
    chosen = FieldSettings(pool="absmax")
    cell = data.draw(st.integers(0, math.prod(plan.shape) - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "BLOCK", block)
        patch.setattr(inspecting, "BLOCK", block)
        found = read(plan, chosen, cell)
        grid = pooling.pool(tensor, *edges, "absmax")
    assert found.value == found.largest.value == grid.values.flat[cell]
    assert found.sigma == grid.moments.sigma
    under = array[slice(*found.rows), slice(*found.cols)]
    np.testing.assert_array_equal(found.entries, under)
    assert found.rank == 1 + (np.abs(array) > np.abs(under).max()).sum()


def test_lines_for_a_panel(model):
    chosen = FieldSettings("heads", 8, 8)
    plans, _ = make_plans([model[Q.format(1)]], chosen)
    (plan,) = plans
    found = read(plan, chosen, 1 * plan.shape[1] * plan.shape[2])  # head 1, its first cell
    assert found.lines()[:2] == (Q.format(1), "head 1: row 10, columns 0–4 of 40 × 40")
    weights = np.asarray(model[Q.format(1)])
    at = list(found.largest.index)
    assert found.copy_text == f"{Q.format(1)}{at} = {weights[tuple(at)]!s}"
    assert np.float32(found.largest.text) == weights[tuple(at)]
    vector, _ = make_plans([model["model.norm.weight"]], FieldSettings())
    found = read(vector[0], FieldSettings(), 3)
    assert found.lines()[1:] == (
        "entry 4 of 90",
        f"cell: rms {found.value:#.4g} = {found.sigmas:#.3g} σ",
        f"largest: [4] = {found.value:#.4g} = {found.sigmas:#.3g} σ",
        f"rank {found.rank} of 90",
    )
    negative = replace(found, value=-0.4213, sigmas=-9.71, nan=2)
    assert "cell: rms −0.4213 = −9.71 σ" in negative.lines()
    assert "not finite: 2 NaN, 0 infinite" in negative.lines()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([[1, 2**62 + 1]]), str(2**62 + 1)),
        (np.array([[False, True]]), "True"),
        (np.array([[0.1, 1 / 3]], np.float16), "0.3333"),
        (np.array([[0.1, 1 / 3]], np.float32), "0.33333334"),
        (np.array([[0.1, 1 / 3]], np.float64), "0.3333333333333333"),
    ],
)
def test_an_entry_is_said_with_the_digits_of_its_dtype(tmp_path, array, said):
    save_file({"a": array}, tmp_path / "m.safetensors")
    with weightwalk.open(tmp_path / "m.safetensors") as checkpoint:
        plans, _ = make_plans(list(checkpoint.values()), FieldSettings())
        assert read(plans[0], FieldSettings(), 1).copy_text == f"a[0, 1] = {said}"


def test_cells_without_a_finite_entry_and_large_ones(tmp_path):
    rng = np.random.default_rng(1)
    array = rng.normal(size=(300, 300)).astype(np.float32)
    array[:150, :150] = np.nan
    save_file({"a": array, "flat": np.ones((4, 4))}, tmp_path / "m.safetensors")
    with weightwalk.open(tmp_path / "m.safetensors") as checkpoint:
        chosen = FieldSettings(rows=2, cols=2)
        plan, still = make_plans([checkpoint["a"], checkpoint["flat"]], chosen)[0]
        holes, full, flat = read(plan, chosen, 0), read(plan, chosen, 3), read(still, chosen, 0)
    assert holes.largest is holes.rank is holes.entries is None
    assert math.isnan(holes.value)
    assert holes.lines()[-1] == "not finite: 22,500 NaN, 0 infinite"
    assert holes.copy_text == ""
    assert full.entries is None
    assert full.largest.value == array[150:, 150:].flat[np.abs(array[150:, 150:]).argmax()]
    assert flat.sigma == 0.0
    assert math.isnan(flat.sigmas)
    assert flat.rank == 1


def test_what_is_not_there_is_refused(model):
    chosen = Settings(Path("unused"), Selection(("*q_proj*",)))
    plan = find_plan(model, chosen, Q.format(0))
    assert plan.shape == (1, 40, 40)
    for cell in (-1, 1600):
        with pytest.raises(SelectionError, match=f"has no cell {cell}"):
            read(plan, chosen.field, cell)
    for name in ("nothing", "model.norm.weight", "nothing[0:2, 0:2]", Q.format(0) + "[0:2]"):
        with pytest.raises(SelectionError, match="no field called"):
            find_plan(model, chosen, name)
    with pytest.raises(SettingsError, match="does not lie in the 40 × 40 entries"):
        find_plan(model, chosen, Q.format(0) + "[30:41, 0:2]")
    model.close()
    with pytest.raises(CheckpointError, match="closed"):
        read(plan, chosen.field, 0)


# --- refining ----------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["rms", "absmax", "mean"])
@pytest.mark.parametrize(
    ("name", "rows_cols"),
    [
        (Q.format(0), ((0, 40), (0, 40))),
        (Q.format(0), ((0, 7), (33, 40))),
        (Q.format(0), ((5, 6), (0, 2))),
        (Q.format(0), ((12, 30), (1, 39))),
        ("model.norm.weight", ((0, 1), (3, 50))),
        ("conv.weight", ((2, 5), (8, 30))),
        (FUSED + "[1, :, 7:].T", ((2, 7), (2, 39))),
    ],
)
def test_a_rectangle_is_refined_entry_by_entry(model, name, rows_cols, pool):
    rows, cols = rows_cols
    tensor, chosen = find(model, name), FieldSettings(pool=pool)
    plan = refine_plan(tensor, rows, cols)
    assert plan.name == f"{name}[{rows[0]}:{rows[1]}, {cols[0]}:{cols[1]}]"
    whole = np.asarray(tensor, np.float64).reshape(pooling.matrix_shape(tensor.shape))
    entries = whole[slice(*rows), slice(*cols)] / whole.std()
    field = build(plan, chosen)
    np.testing.assert_allclose(
        field.cells[0], np.abs(entries) if pool == "rms" else entries, rtol=1e-6
    )
    for i, j in ((0, 0), (entries.shape[0] - 1, entries.shape[1] - 1)):
        at = rows[0] + i, cols[0] + j
        assert plan.cell(0, i, j)[1:] == (at[0], at[0] + 1, at[1], at[1] + 1)
        found = read(plan, chosen, i * entries.shape[1] + j)
        assert found.largest.value == whole[at]
    kind = "experts" if FUSED in name else "slab"
    request = Settings(Path("unused"), field=FieldSettings(kind, pool=pool))
    assert find_plan(model, request, plan.name).shape == plan.shape


@pytest.mark.parametrize(
    ("rows", "cols", "said"),
    [
        ((0, 1), (0, 1), "single entry"),
        ((-1, 3), (0, 4), "does not lie"),
        ((3, 3), (0, 4), "does not lie"),
        ((0, 4), (39, 41), "does not lie"),
    ],
)
def test_rectangles_that_cannot_be_refined(model, rows, cols, said):
    with pytest.raises(SettingsError, match=said):
        refine_plan(model[Q.format(0)], rows, cols)


def test_a_large_rectangle_is_not_refined(tmp_path):
    save_file({"a": np.zeros((513, 513), np.float32)}, tmp_path / "m.safetensors")
    with weightwalk.open(tmp_path / "m.safetensors") as checkpoint:
        assert refine_plan(checkpoint["a"], (1, 513), (0, 512)).shape == (1, 512, 512)
        with pytest.raises(SettingsError, match="512 × 512"):
            refine_plan(checkpoint["a"], (0, 513), (0, 4))


@given(
    st.integers(1, 200), st.integers(1, 200), st.floats(0, 0.999), st.floats(0, 0.999),
    st.integers(1, 90),
)  # fmt: skip
def test_a_square_around_an_entry_lies_in_the_matrix(rows, cols, down, across, size):
    row, col = int(down * rows), int(across * cols)
    for (first, end), at, length in zip(
        rectangle_around((rows, cols), row, col, size), (row, col), (rows, cols), strict=True
    ):
        assert 0 <= first <= at < end <= length
        assert end - first == min(size, length)
