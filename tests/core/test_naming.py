"""Names as published checkpoints have them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weightwalk.core.naming import TensorName, parse, role_class, role_order

from .published_names import FAMILIES

CASES = [
    (name, role, group)
    for group, lines in FAMILIES.values()
    for name, role in (line.split() for line in lines.strip().splitlines())
]


@pytest.mark.parametrize(("spelled", "role", "group"), CASES)
@pytest.mark.parametrize(("layer", "expert"), [(0, 3), (17, 127)])
def test_published_names(spelled: str, role: str, group: str, layer: int, expert: int) -> None:
    name = spelled.replace("#", str(layer)).replace("@", str(expert))
    assert parse(name) == TensorName(
        layer if "#" in spelled else None,
        role,
        expert if "@" in spelled else None,
        group=group,
    )


def test_a_norm_after_the_attention_is_not_the_one_before_the_mlp() -> None:
    name = "model.layers.0.post_attention_layernorm.weight"
    assert parse(name, (8,), {"model_type": "llama"}).role == "mlp_norm"
    assert parse(name, (8,), {"model_type": "gemma2"}).role == "attn_post_norm"
    nested = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}}
    assert parse(name, (8,), nested).role == "attn_post_norm"


@pytest.mark.parametrize(
    ("name", "shape", "role", "fused"),
    [
        ("model.layers.0.mlp.experts.gate_up_proj", (4, 8, 16), "gate_up", True),
        ("model.layers.0.mlp.experts.gate_up_proj_bias", (4, 16), "gate_up.bias", True),
        ("model.layers.0.mlp.experts.down_proj_blocks", (4, 8, 2, 16), "down.blocks", True),
        ("model.layers.0.feed_forward.experts.down_proj", (4, 8, 16), "down", True),
        ("model.layers.0.mlp.experts.1.down_proj.weight", (8, 16), "down", False),
        ("model.layers.0.moe.up_proj.weight", (4, 8, 16), "up", True),
        ("model.layers.0.mlp.down_proj.weight", (8, 16), "down", False),
    ],
)
def test_fused_experts(name: str, shape: tuple[int, ...], role: str, fused: bool) -> None:
    named = parse(name, shape)
    assert (named.role, named.fused_experts) == (role, fused)
    assert named.role_class == ("experts" if "experts" in name or "moe" in name else "mlp")


@pytest.mark.parametrize(
    ("name", "group", "layer", "role"),
    [
        (
            "down_blocks.1.attentions.0.transformer_blocks.2.attn2.to_k.weight",
            "down_blocks/attentions.0.transformer_blocks.2",
            1,
            "cross_k",
        ),
        ("mid_block.resnets.1.conv_shortcut.bias", "mid_block.resnets", 1, "conv_shortcut.bias"),
        ("encoder/layers_3/weird_thing/kernel", "encoder", 3, "weird_thing"),
        ("features.7.weight", "features", 7, "weight"),
        ("0.bias", "", 0, "bias"),
        ("logit_scale", "", None, "logit_scale"),
        ("model.layers.99999999999999999999.q", "", None, "layers.99999999999999999999.q"),
        ("", "", None, "weight"),
    ],
)
def test_names_never_seen(name: str, group: str, layer: int | None, role: str) -> None:
    assert parse(name, (2, 3)) == TensorName(layer, role, group=group)


@given(st.text(st.sampled_from("layersmodexpt.qkv_w0123456789/#:\x00é²"), max_size=60))
def test_every_text_is_a_name(name: str) -> None:
    named = parse(name, (4, 4), {"num_attention_heads": 2, "hidden_size": 4})
    assert named.role
    assert isinstance(role_order(named.role), int)
    assert role_class(named.role)


def test_a_walker_meets_the_roles_in_the_order_of_the_data() -> None:
    walk = "embed attn_norm q q.bias k v o mlp_norm router gate up down mixer.x final_norm lm_head"
    assert sorted(set(walk.split()), key=role_order) == walk.split()
    classes = {role: role_class(role) for role in ("q.bias", "gate", "embed", "q_norm", "router")}
    assert list(classes.values()) == ["attention", "mlp", "embeddings", "norms", "experts"]


def test_no_two_tensors_of_a_layer_share_a_place() -> None:
    names = [
        name.replace("#", str(layer)).replace("@", str(expert))
        for title in ("T5, encoder", "T5, decoder", "Qwen2-MoE, Qwen3-MoE", "T5, shared")
        for name, _ in (line.split() for line in FAMILIES[title][1].strip().splitlines())
        for layer in range(2)
        for expert in range(2)
    ]
    named = [parse(name) for name in dict.fromkeys(names)]
    places = {(n.group, n.layer, n.role, n.expert) for n in named}
    assert len(places) == len(named)
    assert np.unique([n.layer for n in named if n.layer is not None]).tolist() == [0, 1]
