"""Heads: the axis is labelled with (role, head) as the model's own code would reshape it."""

from __future__ import annotations

import pytest
from weightwalk.core.naming import parse

GQA = {"hidden_size": 24, "num_attention_heads": 6, "num_key_value_heads": 2}
GPT2 = {"model_type": "gpt2", "n_embd": 24, "n_head": 6}
NEOX = {"model_type": "gpt_neox", "hidden_size": 24, "num_attention_heads": 6}
FALCON = {**NEOX, "model_type": "falcon", "new_decoder_architecture": True, "num_kv_heads": 2}
FALCON_7B = {**NEOX, "model_type": "falcon", "multi_query": True}
MLA = {
    **GQA,
    "num_key_value_heads": 6,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 2,
    "v_head_dim": 5,
}
T5 = {"d_model": 24, "num_heads": 6, "d_kv": 3}
NESTED = {"text_config": GQA, "vision_config": {"hidden_size": 24, "num_attention_heads": 3}}


def blocks(*parts: tuple[str, int], dim: int) -> list[tuple[str, int]]:
    """Label an axis: for each part its heads, one after the other."""
    return [(role, head) for role, count in parts for head in range(count) for _ in range(dim)]


def interleaved(heads: int, kv: int, dim: int) -> list[tuple[str, int]]:
    """Label as ``view(kv, heads // kv + 2, dim)`` reads it: per group its q heads, then k, v."""
    each = heads // kv
    return [
        label
        for g in range(kv)
        for label in [*(("q", g * each + j) for j in range(each)), ("k", g), ("v", g)]
        for _ in range(dim)
    ]


@pytest.mark.parametrize(
    ("name", "shape", "config", "axis", "labels"),
    [
        ("layers.0.self_attn.q_proj.weight", (24, 24), GQA, 0, blocks(("q", 6), dim=4)),
        ("layers.0.self_attn.k_proj.weight", (8, 24), GQA, 0, blocks(("k", 2), dim=4)),
        ("layers.0.self_attn.v_proj.bias", (8,), GQA, 0, blocks(("v", 2), dim=4)),
        ("layers.0.self_attn.o_proj.weight", (24, 24), GQA, 1, blocks(("o", 6), dim=4)),
        (
            "layers.0.self_attn.qkv_proj.weight",
            (40, 24),
            GQA,
            0,
            blocks(("q", 6), ("k", 2), ("v", 2), dim=4),
        ),
        (
            "layers.0.self_attn.q_proj.weight",
            (60, 24),
            {**GQA, "head_dim": 10},
            0,
            blocks(("q", 6), dim=10),
        ),
        (
            "h.0.attn.c_attn.weight",
            (24, 72),
            GPT2,
            1,
            blocks(("q", 6), ("k", 6), ("v", 6), dim=4),
        ),
        ("h.0.attn.c_attn.bias", (72,), GPT2, 0, blocks(("q", 6), ("k", 6), ("v", 6), dim=4)),
        ("h.0.attn.c_proj.weight", (24, 24), GPT2, 0, blocks(("o", 6), dim=4)),
        ("layers.0.attention.query_key_value.weight", (72, 24), NEOX, 0, interleaved(6, 6, 4)),
        ("h.0.self_attention.query_key_value.weight", (40, 24), FALCON, 0, interleaved(6, 2, 4)),
        ("h.0.self_attention.query_key_value.weight", (32, 24), FALCON_7B, 0, interleaved(6, 1, 4)),
        ("layers.0.self_attn.q_b_proj.weight", (36, 9), MLA, 0, blocks(("q_b", 6), dim=6)),
        ("layers.0.self_attn.kv_b_proj.weight", (54, 9), MLA, 0, blocks(("kv_b", 6), dim=9)),
        ("layers.0.self_attn.o_proj.weight", (24, 30), MLA, 1, blocks(("o", 6), dim=5)),
        (
            "decoder.block.0.layer.1.EncDecAttention.k.weight",
            (18, 24),
            T5,
            0,
            blocks(("cross_k", 6), dim=3),
        ),
        (
            "vision_model.layers.0.self_attn.q_proj.weight",
            (24, 24),
            NESTED,
            0,
            blocks(("q", 3), dim=8),
        ),
        (
            "language_model.layers.0.self_attn.k_proj.weight",
            (8, 24),
            NESTED,
            0,
            blocks(("k", 2), dim=4),
        ),
    ],
)
def test_heads_lie_where_the_model_reads_them(
    name: str, shape: tuple[int, ...], config: dict, axis: int, labels: list[tuple[str, int]]
) -> None:
    heads = parse(name, shape, config).heads
    assert heads is not None
    assert heads.axis == axis
    found: list[tuple[str, int] | None] = [None] * shape[axis]
    for role, starts in heads.starts.items():
        for head, start in enumerate(starts):
            found[start : start + heads.head_dim] = [(role, head)] * heads.head_dim
    assert found == labels


@pytest.mark.parametrize(
    ("name", "shape", "config"),
    [
        ("layers.0.self_attn.q_proj.weight", (24, 24), {}),
        ("layers.0.self_attn.q_proj.weight", (23, 24), GQA),
        ("layers.0.self_attn.q_proj.weight", (24, 24), {**GQA, "num_attention_heads": "6"}),
        ("layers.0.self_attn.q_proj.weight", (24, 24), {**GQA, "num_attention_heads": 0}),
        ("layers.0.self_attn.q_proj.weight", (24, 24), {**GQA, "num_attention_heads": True}),
        ("layers.0.self_attn.q_proj.weight_scale_inv", (24, 24), GQA),
        ("layers.0.self_attn.o_proj.bias", (24,), GQA),
        ("layers.0.mlp.up_proj.weight", (24, 24), GQA),
        ("h.0.attn.c_attn.weight", (72, 24), GPT2),
    ],
)
def test_no_heads_where_shape_and_config_disagree(
    name: str, shape: tuple[int, ...], config: dict
) -> None:
    assert parse(name, shape, config).heads is None
