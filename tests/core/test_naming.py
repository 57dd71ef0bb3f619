"""Names as published checkpoints have them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weightwalk.core.naming import TensorName, parse, role_class, role_order

# A layer's block of lines: name → role; `#` stands for the layer, `@` for the expert.
FAMILIES: dict[str, tuple[str, str]] = {
    "Llama, Mistral, Qwen2, Qwen3, Gemma": (
        "",
        """
        model.embed_tokens.weight embed
        model.layers.#.input_layernorm.weight attn_norm
        model.layers.#.self_attn.q_proj.weight q
        model.layers.#.self_attn.q_proj.bias q.bias
        model.layers.#.self_attn.k_proj.weight k
        model.layers.#.self_attn.v_proj.weight v
        model.layers.#.self_attn.o_proj.weight o
        model.layers.#.self_attn.q_norm.weight q_norm
        model.layers.#.self_attn.k_norm.weight k_norm
        model.layers.#.self_attn.rotary_emb.inv_freq rotary
        model.layers.#.post_attention_layernorm.weight mlp_norm
        model.layers.#.pre_feedforward_layernorm.weight mlp_pre_norm
        model.layers.#.mlp.gate_proj.weight gate
        model.layers.#.mlp.up_proj.weight up
        model.layers.#.mlp.down_proj.weight down
        model.layers.#.mlp.down_proj.weight_scale_inv down.scale
        model.layers.#.post_feedforward_layernorm.weight mlp_post_norm
        model.norm.weight final_norm
        lm_head.weight lm_head
        """,
    ),
    "Mixtral": (
        "",
        """
        model.layers.#.block_sparse_moe.gate.weight router
        model.layers.#.block_sparse_moe.experts.@.w1.weight gate
        model.layers.#.block_sparse_moe.experts.@.w2.weight down
        model.layers.#.block_sparse_moe.experts.@.w3.weight up
        """,
    ),
    "Qwen2-MoE, Qwen3-MoE": (
        "",
        """
        model.layers.#.mlp.gate.weight router
        model.layers.#.mlp.experts.@.gate_proj.weight gate
        model.layers.#.mlp.experts.@.up_proj.weight up
        model.layers.#.mlp.experts.@.down_proj.weight down
        model.layers.#.mlp.shared_expert.gate_proj.weight shared_gate
        model.layers.#.mlp.shared_expert.up_proj.weight shared_up
        model.layers.#.mlp.shared_expert.down_proj.weight shared_down
        model.layers.#.mlp.shared_expert_gate.weight shared_router
        """,
    ),
    "OLMoE, Jamba, Llama 4, Grok, Hunyuan, Nemotron-H, Granite, JetMoE, Gemma 4": (
        "",
        """
        model.layers.#.mlp.experts.@.up_proj.weight up
        model.layers.#.feed_forward.router.weight router
        model.layers.#.feed_forward.experts.@.gate_proj.weight gate
        model.layers.#.pre_ff_layernorm.weight mlp_norm
        model.layers.#.feed_forward.experts.down_proj down
        model.layers.#.feed_forward.shared_expert.up_proj.weight shared_up
        model.layers.#.moe_block.gate.weight router
        model.layers.#.moe_block.experts.@.linear_v.weight up
        model.layers.#.moe_block.experts.@.linear_1.weight down
        model.layers.#.mlp.gate.wg.weight router
        model.layers.#.mlp.shared_mlp.gate_proj.weight shared_gate
        backbone.layers.#.mixer.experts.@.up_proj.weight up
        backbone.layers.#.mixer.shared_experts.down_proj.weight shared_down
        model.layers.#.block_sparse_moe.router.layer.weight router
        model.layers.#.block_sparse_moe.input_linear.weight gate_up
        model.layers.#.shared_mlp.input_linear.weight shared_gate_up
        model.layers.#.mlp.output_linear.weight down
        model.layers.#.router.proj.weight router
        model.layers.#.experts.gate_up_proj gate_up
        """,
    ),
    "Switch": (
        "encoder",
        """
        encoder.block.#.layer.1.mlp.router.classifier.weight router
        encoder.block.#.layer.1.mlp.experts.expert_@.wi.weight up
        encoder.block.#.layer.1.mlp.experts.expert_@.wo.weight down
        """,
    ),
    "DBRX, gpt-oss": (
        "",
        """
        transformer.blocks.#.norm_attn_norm.norm_1.weight attn_norm
        transformer.blocks.#.norm_attn_norm.attn.Wqkv.weight qkv
        transformer.blocks.#.norm_attn_norm.norm_2.weight mlp_norm
        transformer.blocks.#.ffn.router.layer.weight router
        transformer.blocks.#.ffn.experts.mlp.w1 gate
        transformer.blocks.#.ffn.experts.mlp.v1 up
        transformer.blocks.#.ffn.experts.mlp.w2 down
        model.layers.#.mlp.router.bias router.bias
        model.layers.#.mlp.experts.gate_up_proj_bias gate_up.bias
        block.#.mlp.mlp1_weight gate_up
        """,
    ),
    "DeepSeek V2, V3": (
        "",
        """
        model.layers.#.self_attn.q_a_proj.weight q_a
        model.layers.#.self_attn.q_a_layernorm.weight q_a_norm
        model.layers.#.self_attn.q_b_proj.weight q_b
        model.layers.#.self_attn.kv_a_proj_with_mqa.weight kv_a
        model.layers.#.self_attn.kv_a_layernorm.weight kv_a_norm
        model.layers.#.self_attn.kv_b_proj.weight kv_b
        model.layers.#.self_attn.kv_b_proj.weight_scale_inv kv_b.scale
        model.layers.#.mlp.gate.weight router
        model.layers.#.mlp.gate.e_score_correction_bias router.correction_bias
        model.layers.#.mlp.experts.@.down_proj.weight down
        model.layers.#.mlp.shared_experts.gate_proj.weight shared_gate
        """,
    ),
    "Phi-3": (
        "",
        """
        model.layers.#.self_attn.qkv_proj.weight qkv
        model.layers.#.mlp.gate_up_proj.weight gate_up
        """,
    ),
    "GPT-2": (
        "",
        """
        wte.weight embed
        transformer.wpe.weight position
        h.#.ln_1.weight attn_norm
        h.#.attn.bias mask
        h.#.attn.c_attn.weight qkv
        transformer.h.#.attn.c_attn.bias qkv.bias
        h.#.attn.c_proj.weight o
        h.#.ln_2.bias mlp_norm.bias
        h.#.mlp.c_fc.weight up
        h.#.mlp.c_proj.weight down
        ln_f.weight final_norm
        """,
    ),
    "GPT-NeoX, Pythia": (
        "",
        """
        gpt_neox.embed_in.weight embed
        gpt_neox.layers.#.input_layernorm.weight attn_norm
        gpt_neox.layers.#.attention.query_key_value.weight qkv
        gpt_neox.layers.#.attention.dense.weight o
        gpt_neox.layers.#.attention.masked_bias mask.value
        gpt_neox.layers.#.attention.rotary_emb.inv_freq rotary
        gpt_neox.layers.#.post_attention_layernorm.weight mlp_norm
        gpt_neox.layers.#.mlp.dense_h_to_4h.weight up
        gpt_neox.layers.#.mlp.dense_4h_to_h.bias down.bias
        gpt_neox.final_layer_norm.weight final_norm
        embed_out.weight lm_head
        """,
    ),
    "Falcon": (
        "",
        """
        transformer.word_embeddings.weight embed
        transformer.h.#.self_attention.query_key_value.weight qkv
        transformer.h.#.self_attention.dense.weight o
        transformer.h.#.ln_attn.weight attn_norm
        transformer.h.#.ln_mlp.weight mlp_norm
        """,
    ),
    "BERT, RoBERTa": (
        "",
        """
        bert.embeddings.word_embeddings.weight embed
        roberta.embeddings.position_embeddings.weight position
        embeddings.position_ids position.ids
        embeddings.token_type_embeddings.weight token_type
        bert.embeddings.LayerNorm.gamma embed_norm
        embeddings.LayerNorm.beta embed_norm.bias
        encoder.layer.#.attention.self.query.weight q
        bert.encoder.layer.#.attention.self.key.bias k.bias
        roberta.encoder.layer.#.attention.self.value.weight v
        encoder.layer.#.attention.output.dense.weight o
        encoder.layer.#.attention.output.LayerNorm.weight attn_norm
        encoder.layer.#.intermediate.dense.weight up
        encoder.layer.#.output.dense.weight down
        encoder.layer.#.output.LayerNorm.bias mlp_norm.bias
        encoder.layer.#.crossattention.self.query.weight cross_q
        encoder.layer.#.crossattention.output.dense.weight cross_o
        pooler.dense.weight pooler
        cls.predictions.transform.dense.weight lm_head.dense
        cls.predictions.bias lm_head.out.bias
        cls.predictions.decoder.weight lm_head
        """,
    ),
    "T5, shared": ("", "shared.weight embed"),
    "T5, encoder": (
        "encoder",
        """
        encoder.block.#.layer.0.SelfAttention.q.weight q
        encoder.block.#.layer.0.SelfAttention.relative_attention_bias.weight position_bias
        encoder.block.#.layer.0.layer_norm.weight attn_norm
        encoder.block.#.layer.1.DenseReluDense.wi_0.weight gate
        encoder.block.#.layer.1.DenseReluDense.wi_1.weight up
        encoder.block.#.layer.1.DenseReluDense.wo.weight down
        encoder.block.#.layer.1.layer_norm.weight mlp_norm
        encoder.final_layer_norm.weight final_norm
        """,
    ),
    "T5, decoder": (
        "decoder",
        """
        decoder.block.#.layer.0.SelfAttention.o.weight o
        decoder.block.#.layer.1.EncDecAttention.q.weight cross_q
        decoder.block.#.layer.1.EncDecAttention.o.weight cross_o
        decoder.block.#.layer.1.layer_norm.weight cross_norm
        decoder.block.#.layer.2.DenseReluDense.wi.weight up
        decoder.block.#.layer.2.layer_norm.weight mlp_norm
        decoder.final_layer_norm.weight final_norm
        """,
    ),
    "Whisper, BART": (
        "decoder",
        """
        model.decoder.embed_positions.weight position
        model.decoder.layers.#.encoder_attn.k_proj.weight cross_k
        model.decoder.layers.#.encoder_attn_layer_norm.weight cross_norm
        model.decoder.layers.#.fc1.weight up
        model.decoder.layers.#.final_layer_norm.weight mlp_norm
        """,
    ),
    "ViT, also timm's": (
        "",
        """
        vit.embeddings.cls_token cls_token
        vit.embeddings.patch_embeddings.projection.weight patch_embed
        patch_embed.proj.weight patch_embed
        pos_embed position
        vit.encoder.layer.#.attention.attention.query.weight q
        vit.encoder.layer.#.attention.output.dense.weight o
        vit.encoder.layer.#.layernorm_before.weight attn_norm
        vit.encoder.layer.#.layernorm_after.weight mlp_norm
        blocks.#.norm1.weight attn_norm
        blocks.#.attn.qkv.weight qkv
        blocks.#.attn.proj.weight o
        blocks.#.mlp.fc1.weight up
        blocks.#.ls1.gamma layer_scale.attn
        vit.layernorm.weight final_norm
        classifier.weight head
        """,
    ),
    "Gemma 3, CLIP: the eye": (
        "vision",
        """
        vision_tower.vision_model.embeddings.patch_embedding.weight patch_embed
        vision_tower.vision_model.encoder.layers.#.self_attn.q_proj.weight q
        vision_model.encoder.layers.#.self_attn.out_proj.weight o
        vision_model.encoder.layers.#.layer_norm1.weight attn_norm
        visual.blocks.#.attn.qkv.bias qkv.bias
        model.visual.transformer.resblocks.#.attn.in_proj_weight qkv
        vision_model.post_layernorm.weight final_norm
        """,
    ),
    "Gemma 3: the language model in it": (
        "",
        """
        language_model.model.layers.#.self_attn.q_proj.weight q
        model.language_model.layers.#.mlp.up_proj.weight up
        language_model.lm_head.weight lm_head
        """,
    ),
    "GGUF": (
        "",
        """
        token_embd.weight embed
        blk.#.attn_q.weight q
        blk.#.attn_output.weight o
        blk.#.ffn_gate.weight gate
        blk.#.ffn_norm.weight mlp_norm
        output_norm.weight final_norm
        output.weight lm_head
        """,
    ),
    "Mamba": (
        "",
        """
        backbone.embeddings.weight embed
        backbone.layers.#.norm.weight norm
        backbone.layers.#.mixer.A_log mixer.A_log
        backbone.layers.#.mixer.in_proj.weight mixer.in_proj
        backbone.layers.#.mixer.conv1d.bias mixer.conv1d.bias
        backbone.norm_f.weight final_norm
        """,
    ),
    "LoRA": (
        "",
        """
        base_model.model.model.layers.#.self_attn.q_proj.lora_A.weight q.lora_a
        base_model.model.model.layers.#.mlp.up_proj.lora_B.default.weight up.lora_b
        base_model.model.model.embed_tokens.lora_embedding_A embed.lora_a
        base_model.model.model.layers.#.self_attn.v_proj.lora_magnitude_vector v.lora_magnitude
        base_model.model.model.layers.#.self_attn.v_proj.lora_B.bias v.lora_b.bias
        base_model.model.lm_head.modules_to_save.default.weight lm_head
        base_model.model.model.layers.#.self_attn.q_proj.base_layer.weight q
        model.layers.#.mlp.experts.@.gate_proj.delta_weight gate
        """,
    ),
}
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
        ("model.layers.0.mlp.down_proj.weight", (8, 16), "down", False),
    ],
)
def test_fused_experts(name: str, shape: tuple[int, ...], role: str, fused: bool) -> None:
    named = parse(name, shape)
    assert (named.role, named.fused_experts) == (role, fused)
    assert named.role_class == ("experts" if "experts" in name else "mlp")


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
