"""The corridor: nothing overlaps, layers in walking order, roles in their columns."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import pytest
import weightwalk
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from weightwalk.core.errors import WeightwalkError
from weightwalk.core.fields import SLAB_PLANES
from weightwalk.core.layout import corridor, to_scene
from weightwalk.core.model import Model, steps
from weightwalk.core.plans import make_plans, select
from weightwalk.core.settings import FieldSettings, Selection, Settings, SurfaceSettings
from weightwalk.core.surfaces import Mesh


def drain(settings):
    """Run all steps and return the model."""
    work = steps(settings)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def boxes(layout):
    for p in layout.placements.values():
        origin, size = np.array(p.origin), np.array(p.size)
        yield origin - size / 2, origin + size / 2


def assert_apart(layout):
    for (a, b), (c, d) in combinations(boxes(layout), 2):
        assert ((b <= c + 1e-6) | (d <= a + 1e-6)).any()
    lows, highs = zip(*boxes(layout), strict=True)
    np.testing.assert_allclose(np.min(lows, axis=0), layout.low, atol=1e-6)
    np.testing.assert_allclose(np.max(highs, axis=0), layout.high, atol=1e-6)
    assert layout.low[2] > 0


@pytest.mark.model
@pytest.mark.parametrize("kind", ["slab", "depth", "heads"])
def test_a_real_model_stands_in_order(model_folder, kind):
    chosen = FieldSettings(kind=kind)
    with weightwalk.open(model_folder) as checkpoint:
        plans, _ = make_plans(select(checkpoint, Selection())[0], chosen)
    layout = corridor(plans)
    assert set(layout.placements) == {p.name for p in plans}
    assert_apart(layout)
    assert [s.y for s in layout.stops] == sorted(s.y for s in layout.stops)
    if kind == "slab":
        labels = [s.label for s in layout.stops]
        assert labels == ["embeddings", *(f"layer {i}" for i in range(6)), "output"]
    for plan in plans:
        placement = layout.placements[plan.name]
        if plan.role in layout.columns and plan.layer is not None:
            assert placement.origin[0] == layout.columns[plan.role]
        (stop,) = [s for s in layout.stops if s.label == placement.collection]
        assert stop.y - 1e-6 <= placement.origin[1] - placement.size[1] / 2
        assert placement.origin[1] + placement.size[1] / 2 <= stop.y + stop.depth + 1e-6


def test_columns_run_right_planes_back_and_rows_down(tmp_path):
    save_file({"w": np.eye(5, 9)}, tmp_path / "m.safetensors")
    with weightwalk.open(tmp_path / "m.safetensors") as checkpoint:
        (plan,), _ = make_plans(list(checkpoint.values()), FieldSettings())
    placement = corridor([plan]).placements["w"]
    corners = np.array([[-1, -1, -1], [SLAB_PLANES, 5, 9], [3, 2, 4]], np.float32)
    vertices = to_scene(Mesh(corners, np.zeros((0, 3), np.int32)), plan, placement)
    x, y, z = np.array(placement.size) / 2
    np.testing.assert_allclose(vertices, [[-x, -y, z], [x, y, -z], [0, 0, 0]], atol=1e-6)


NAMES = [
    *(f"model.layers.{i}.self_attn.{r}_proj.weight" for i in range(3) for r in "qkvo"),
    *(f"model.layers.0.mlp.experts.{i}.w1.weight" for i in range(3)),
    "model.layers.1.mlp.experts.gate_up_proj",
    "model.layers.0.self_attn.q_proj.bias",
    "model.layers.0.input_layernorm.weight",
    "model.embed_tokens.weight",
    "encoder.layer.1.attention.self.query.weight",
    "h.0.attn.c_attn.weight",
    "strange name/with:all\nkinds\x1b[1m",
    "w",
    "w +",
]
ODD = [(), (0,), (0, 3), (1,), (5,), (24, 8), (8, 24), (3, 4), (3, 6, 5), (2, 3, 2, 2)]
# What is usual comes often, so that most models have something to show.
SHAPES = st.just((8, 8)) | st.just((8, 8)) | st.sampled_from(ODD)
DTYPES = st.just("f4") | st.sampled_from(["f2", "f8", "i4", "?"])
SCALES = st.just(1.0) | st.sampled_from([0.0, 1e-30, 1e4, 1e30])
HOLES = st.just(0.0) | st.just(0.0) | st.sampled_from([0.05, 1.0])


@st.composite
def arrays(draw):
    shape, dtype = draw(SHAPES), draw(DTYPES)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    values = rng.normal(size=shape) * draw(SCALES)
    holes = rng.random(shape) < draw(HOLES)
    with np.errstate(all="ignore"):
        values = np.where(holes, rng.choice([np.nan, np.inf, -np.inf]), values)
        values = np.nan_to_num(values) if dtype in {"i4", "?"} else values
        return np.asarray(values.astype(dtype))


@settings(max_examples=150, deadline=None)
@given(
    tensors=st.dictionaries(st.sampled_from(NAMES), arrays(), min_size=6, max_size=14),
    field=st.builds(
        FieldSettings,
        kind=st.sampled_from(["slab", "depth", "heads", "experts"]),
        rows=st.none() | st.integers(2, 9),
        cols=st.none() | st.integers(2, 9),
        pool=st.sampled_from(["rms", "absmax", "mean"]),
        smooth=st.sampled_from([0.0, 0.7]),
        sigma=st.sampled_from(["tensor", "all"]),
    ),
    surface=st.builds(SurfaceSettings, faces=st.none() | st.integers(16, 3000))
    | st.builds(SurfaceSettings, level=st.sampled_from([1e-60, 0.1, 1.0, 1e30]))
    | st.builds(SurfaceSettings, quantile=st.sampled_from([0.001, 0.5, 0.99])),
    patterns=st.just(()) | st.sampled_from([(), ("*weight",), ("w", "*"), ("nothing",)]),
)
def test_any_checkpoint_gives_a_model_or_one_sentence(
    tmp_path_factory, tensors, field, surface, patterns
):
    folder = tmp_path_factory.mktemp("any")
    save_file(tensors, folder / "model.safetensors")
    config = {"num_attention_heads": 2, "hidden_size": 8, "n_head": 2, "n_embd": 8}
    (folder / "config.json").write_text(json.dumps(config))
    wanted = Settings(folder, Selection(patterns), field, surface)
    try:
        model = drain(wanted)
    except WeightwalkError as error:
        assert str(error).isprintable(), str(error)
        assert len(str(error)) < 1500
        return
    assert_sound(model, tensors)


def assert_sound(model: Model, tensors):
    assert model.exhibits
    assert_apart(model.layout)
    spent: dict[str, int] = {}
    for exhibit in model.exhibits:
        surface, part = exhibit.surface, exhibit.part
        plan = surface.field.plan
        assert part.faces.min() == 0
        assert part.faces.max() == len(part.vertices) - 1
        assert len(part.vertices) == len(part.normals) == len(part.colors)
        assert np.isfinite(part.vertices).all()
        # A surface ends between the centre of the outermost cell and one cell further.
        half = (np.array(exhibit.placement.size) + exhibit.placement.step) / 2
        assert (np.abs(part.vertices) <= half * (1 + 1e-4)).all()
        np.testing.assert_allclose(np.linalg.norm(part.normals, axis=1), 1, atol=1e-3)
        assert np.isfinite(surface.level)
        assert 0 <= surface.quantile <= 1
        json.dumps(part.extras, allow_nan=False)
        assert {p.tensor.held_by[0] for p in plan.parts} <= set(tensors)
        spent[plan.name] = spent.get(plan.name, 0) + len(part.faces)
    budget = model.settings.surface.budget(model.settings.field.kind)
    assert budget is None or max(spent.values()) <= budget
    assert not set(spent) & {s.name for s in model.skips}
