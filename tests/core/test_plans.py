"""Which tensors are meant, and which fields they make."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import weightwalk
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from weightwalk.core.errors import SelectionError
from weightwalk.core.plans import make_plans, select
from weightwalk.core.settings import FieldSettings, Selection

Q = "model.layers.{}.self_attn.q_proj.weight"
UP = "model.layers.{}.mlp.up_proj.weight"


@pytest.fixture
def model(tmp_path):
    """A model of five layers, with integers, an odd layer and what cannot be decoded."""
    tensors = {"model.embed_tokens.weight": np.ones((9, 4), np.float32)}
    for i in range(5):
        tensors[Q.format(i)] = np.ones((4, 4), np.float32)
        tensors[UP.format(i)] = np.ones((8, 4) if i % 2 else (6, 4), np.float32)
        tensors[f"model.layers.{i}.input_layernorm.weight"] = np.ones(4, np.float32)
    tensors["model.ids"] = np.arange(6).reshape(2, 3)
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), file.read()
    header["z.scales"] = {
        "dtype": "F8_E8M0", "shape": [4], "data_offsets": [len(data), len(data) + 4]
    }  # fmt: skip
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data + b"1234")
    with weightwalk.open(path) as checkpoint:
        yield checkpoint


def names(checkpoint, *patterns, **options):
    return [t.name for t in select(checkpoint, Selection(patterns, **options))[0]]


def test_every_float_tensor_is_meant_and_the_undecodable_say_why(model):
    tensors, skips = select(model, Selection())
    assert [t.name for t in tensors] == [n for n in model if n not in {"model.ids", "z.scales"}]
    ((name, reason),) = [(s.name, s.reason) for s in skips]
    assert name == "z.scales"
    assert "F8_E8M0" in reason


def test_patterns_layers_and_exact_names(model):
    assert names(model, "*q_proj*", "*embed*") == [
        n for n in model if "q_proj" in n or "embed" in n
    ]
    assert names(model, "*q_proj*", layers=(1, 2)) == [Q.format(1), Q.format(2)]
    assert names(model, "*q_proj*", layers=(3, 99)) == [Q.format(3), Q.format(4)]
    assert names(model, "*q_proj*", max_layers=2) == [Q.format(0), Q.format(1)]
    assert names(model, "*q_proj*", layers=(2, 4), max_layers=1) == [Q.format(2)]
    assert "model.embed_tokens.weight" in names(model, max_layers=1)
    assert "model.embed_tokens.weight" not in names(model, layers=(0, 9))
    assert names(model, "model.ids") == ["model.ids"]
    assert names(model, "model.i*", "model.ids", "*embed*") == [
        n for n in model if "embed" in n or n == "model.ids"
    ]


def test_names_mean_themselves_and_add_to_the_patterns(model):
    assert names(model, names=("model.ids", Q.format(2))) == [
        n for n in model if n in {"model.ids", Q.format(2)}
    ]
    assert names(model, "*embed*", names=(Q.format(1), Q.format(1))) == [
        n for n in model if "embed" in n or n == Q.format(1)
    ]
    assert names(model, names=(Q.format(0), Q.format(3)), max_layers=1) == [Q.format(0)]


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        (Selection(("*w_proj*",)), "q_proj"),
        (Selection(("*q_proj*", "nothing")), "'nothing'"),
        (Selection(("model.i*s",)), "model.ids"),
        (Selection(layers=(7, 9)), "layers 0 to 4"),
        (Selection(("*embed*",), layers=(0, 1)), "no layers"),
        (Selection(("z.scales",)), "F8_E8M0"),
        (Selection(names=("z.scales",)), "F8_E8M0"),
        (Selection(names=("*q_proj*",)), "no tensor is called *q_proj*; there are "),
        (Selection(("*q_proj*",), names=(Q.format(0), "a\nb")), "no tensor is called a\\nb"),
        (Selection(names=(Q.format(0),), layers=(1, 2)), "layers 0 to 0"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(model, selection, said):
    with pytest.raises(SelectionError) as caught:
        select(model, selection)
    assert said in str(caught.value)
    assert str(model.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_name_with_brackets_can_be_given_exactly(tmp_path):
    save_file({"a[0]": np.ones((2, 2)), "a0": np.ones((2, 2))}, tmp_path / "m.safetensors")
    with weightwalk.open(tmp_path / "m.safetensors") as checkpoint:
        assert set(names(checkpoint, "a[0]")) == {"a[0]", "a0"}


def test_layers_stack_by_role_and_shape(model):
    tensors, _ = select(model, Selection())
    plans, skips = make_plans(tensors, FieldSettings(kind="depth"))
    assert {p.name: p.planes for p in plans} == {
        "depth q": tuple(f"layer {i}" for i in range(5)),
        "depth up 6x4": ("layer 0", "layer 2", "layer 4"),
        "depth up 8x4": ("layer 1", "layer 3"),
    }
    assert not skips
    few, _ = select(model, Selection(("*up_proj*",), layers=(0, 2)))
    plans, skips = make_plans(few, FieldSettings(kind="depth"))
    assert [p.shape for p in plans] == [(2, 6, 4)]
    assert [s.name for s in skips] == [UP.format(1)]


@pytest.mark.parametrize("kind", ["heads", "experts"])
def test_no_such_field_is_said(model, kind):
    tensors, _ = select(model, Selection())
    with pytest.raises(SelectionError, match="head" if kind == "heads" else "expert"):
        make_plans(tensors, FieldSettings(kind=kind))


def test_one_layer_is_no_depth_even_if_two_names_say_it(tmp_path):
    tensors = {
        "model.layers.0.self_attn.q_proj.weight": np.ones((4, 4)),
        "model.layers.0.attention.wq.weight": np.ones((4, 4)),
    }
    save_file(tensors, tmp_path / "m.safetensors")
    with weightwalk.open(tmp_path / "m.safetensors") as checkpoint:
        assert {t.role for t in checkpoint.values()} == {"q"}
        with pytest.raises(SelectionError, match="two or more layers"):
            make_plans(list(checkpoint.values()), FieldSettings(kind="depth"))


WORDS = ["q_proj", "wq", "query", "w1", "gate_proj", "w2", "c_attn"]
PLACES = ["self_attn", "attention", "mlp", "mlp.experts.0", "mlp.experts.1", "moe.experts.1", "x y"]


@settings(max_examples=60, deadline=None)
@given(
    names=st.sets(
        st.tuples(
            st.sampled_from(["model.layers", "h", "encoder.layer", "a b.layers"]),
            st.integers(0, 2),
            st.sampled_from(PLACES),
            st.sampled_from(WORDS),
        ),
        min_size=1,
        max_size=14,
    ),
    kind=st.sampled_from(["slab", "depth", "heads", "experts"]),
    sizes=st.randoms(use_true_random=False),
)
def test_names_of_fields_are_never_shared(tmp_path_factory, names, kind, sizes):
    path = tmp_path_factory.mktemp("m") / "model.safetensors"
    tensors = {
        f"{a}.{b}.{c}.{d}.weight": np.ones((sizes.choice([4, 8]), 4), np.float32)
        for a, b, c, d in sorted(names)
    }
    save_file(tensors, path)
    path.with_name("config.json").write_text('{"num_attention_heads": 2, "hidden_size": 4}')
    with weightwalk.open(path.parent) as checkpoint:
        try:
            plans, skips = make_plans(list(checkpoint.values()), FieldSettings(kind=kind))
        except SelectionError:
            return
    assert len({p.name for p in plans}) == len(plans)
    for plan in plans:
        assert plan.shape[0] == len(plan.planes) == sum(len(p.windows) for p in plan.parts)
        assert kind == "slab" or len(plan.planes) == len(set(plan.planes)) or kind == "depth"
    placed = [part.tensor.name for plan in plans for part in plan.parts]
    assert kind == "heads" or len(placed) == len(set(placed))
    assert not {s.name for s in skips} & set(placed)
