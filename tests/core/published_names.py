"""Names as published checkpoints have them, and what they mean."""

from __future__ import annotations

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
    "Step3, Hunyuan, ERNIE, MiniMax": (
        "",
        """
        model.layers.#.moe.gate.weight router
        model.layers.#.share_expert.gate_proj.weight shared_gate
        model.layers.#.share_expert.down_proj.weight shared_down
        model.layers.#.mlp.experts.@.gate_and_up_proj.weight gate_up
        model.layers.#.mlp.shared_mlp.gate_and_up_proj.weight shared_gate_up
        model.layers.#.mlp.moe_statics.e_score_correction_bias router.correction_bias
        model.layers.#.block_sparse_moe.e_score_correction_bias router.correction_bias
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
    "a small model of one's own": (
        "",
        """
        layers.#.q_proj.weight q
        model.layers.#.down_proj.weight down
        """,
    ),
}
