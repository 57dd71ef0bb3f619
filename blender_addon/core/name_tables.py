"""The words of tensor names in published models, and the roles that they stand for.

Patterns match the end of what is left of a name; `naming` says how it is read.
"""

from __future__ import annotations

# The end of a name → suffix of the role; the first match counts.
PARAMETERS: tuple[tuple[str, str], ...] = (
    (r"\.lora_(?:embedding_)?A(?:\.\w+)??(?:\.weight)?", "lora_a"),
    (r"\.lora_B(?:\.\w+)??\.bias", "lora_b.bias"),
    (r"\.lora_(?:embedding_)?B(?:\.\w+)??(?:\.weight)?", "lora_b"),
    (r"\.lora_magnitude_vector(?:\.\w+)??(?:\.weight)?", "lora_magnitude"),
    (r"\.delta_weight", ""),  # what an adapter adds to a weight: readers/adapters.py
    (r"\.(?:base_layer|modules_to_save(?:\.\w+)??)\.weight", ""),
    (r"\.(?:base_layer|modules_to_save(?:\.\w+)??)\.bias", "bias"),
    (r"\.(?:weight|kernel|qweight|weight_packed)", ""),
    (r"\.(?:attn|attention)\.bias", "mask"),  # GPT-2 and GPT-NeoX store their causal mask
    (r"\.(?:attn|attention)\.masked_bias", "mask.value"),
    (r"\.e_score_correction_bias", "correction_bias"),
    (r"(?<=exp_probs_b)\.bias", "correction_bias"),  # the same in GGUF
    (r"(?<=norm)\.gamma", ""),
    (r"(?<=norm)\.beta", "bias"),
    (r"\.(?:weight_scale_inv|weight_scale|scales|scale)", "scale"),
    (r"\.(?:input_scale|activation_scale)", "input_scale"),
    (r"\.(?:qzeros|weight_zero_point)", "zeros"),
    (r"\.weight_(?:global_scale|scale_2)", "global_scale"),
    (r"\.weight_shape", "shape"),
    (r"\.g_idx", "g_idx"),
    (r"\.(running_mean|running_var|num_batches_tracked)", r"\1"),
    (r"(?<=proj)_weight", ""),
    (r"(?<=mlp[12])_weight", ""),
    (r"(?<=proj)_(?:scales|scale_inv|scale)", "scale"),
    (r"(?<=proj)_(bias|blocks)", r"\1"),
    (r"\.bias", "bias"),
)

# Shorthands of the tables. `attn` and `mlp` are also found right below the layer.
SHORT = {
    "attn": r"(?:self_attn|self_attention|attention\.self|attention\.attention|attention|attn"
    r"|layer\.0\.SelfAttention|norm_attn_norm\.attn|attn1|temporal_attn)",
    "cross": r"(?:encoder_attn|cross_attn|cross_attention|crossattention\.self"
    r"|layer\.1\.EncDecAttention|attn2)",
    "mlp": r"(?:mlp|ffn|feed_forward|layer\.[12]\.(?:DenseReluDense|mlp)|ff)",
    "moe": r"(?:mlp|layer\.[12]\.mlp|ffn|feed_forward|block_sparse_moe|moe|block_sparse_moe\.moe"
    r"|moe_block|mixer)",
    "shared": r"(?:shared?_experts?|shared_mlp)",
    "expert": r"experts(?:\.expert)?(?:\.\#)?",
}

# Inside a layer, matched against the end of "group:words.after.the.layer". The first match counts.
IN_LAYER: tuple[tuple[str, str], ...] = (
    # attention: one matrix for all three
    (r"{attn}\.(?:qkv_proj|query_key_value|c_attn|qkv|Wqkv|in_proj|wqkv|W_pack)|attn_qkv", "qkv"),
    # DeepSeek V2, V3: low-rank pairs
    (r"{attn}\.q_a_proj", "q_a"),
    (r"{attn}\.q_a_layernorm", "q_a_norm"),
    (r"{attn}\.q_b_proj", "q_b"),
    (r"{attn}\.kv_a_proj_with_mqa", "kv_a"),
    (r"{attn}\.kv_a_layernorm", "kv_a_norm"),
    (r"{attn}\.kv_b_proj", "kv_b"),
    # cross-attention before attention: BERT's "crossattention.self" ends alike
    (r"{cross}\.(?:q_proj|query|q|to_q)", "cross_q"),
    (r"{cross}\.(?:k_proj|key|k|to_k)", "cross_k"),
    (r"{cross}\.(?:v_proj|value|v|to_v)", "cross_v"),
    (r"{cross}\.(?:o_proj|out_proj|o|to_out\.0)|crossattention\.output\.dense", "cross_o"),
    (r"(?:encoder_attn|cross_attn)_layer_norm|crossattention\.output\.LayerNorm", "cross_norm"),
    (r"decoder:layer\.1\.layer_norm", "cross_norm"),
    # GGUF's own names; those of `blk.0.attn_q` and the like are among the others
    (r"attn_q_a", "q_a"),
    (r"attn_q_a_norm", "q_a_norm"),
    (r"attn_q_b", "q_b"),
    (r"attn_kv_a_mqa", "kv_a"),
    (r"attn_kv_a_norm", "kv_a_norm"),
    (r"attn_kv_b", "kv_b"),
    (r"attn_k_b", "k_b"),
    (r"attn_v_b", "v_b"),
    (r"cross_attn_q", "cross_q"),
    (r"cross_attn_k", "cross_k"),
    (r"cross_attn_v", "cross_v"),
    (r"cross_attn_o", "cross_o"),
    (r"cross_attn_norm", "cross_norm"),
    (r"attn_out|attn_o", "o"),
    (r"attn_rel_b", "position_bias"),
    (r"attn_sinks", "sinks"),
    (r"attn_output_norm", "attn_post_norm"),
    (r"layer_output_norm", "mlp_post_norm"),
    (r"attn_norm_2", "norm"),
    (r"ffn_gate_inp_shexp", "shared_router"),
    (r"ffn_gate_shexp", "shared_gate"),
    (r"ffn_up_shexp", "shared_up"),
    (r"ffn_down_shexp", "shared_down"),
    (r"exp_probs_b", "router"),
    (r"ffn_gate_up_exps", "gate_up"),
    (r"ffn_gate\.\#", "gate"),  # Mixtral, before the experts of a layer were one tensor
    (r"ffn_up\.\#", "up"),
    (r"ffn_down\.\#", "down"),
    # attention: Llama and its kin, BERT, T5, DistilBERT, GGUF
    (r"{attn}\.(?:q_proj|query|query_proj|q_lin|q|wq|to_q)|attn_q", "q"),
    (r"{attn}\.(?:k_proj|key|key_proj|k_lin|k|wk|to_k)|attn_k", "k"),
    (r"{attn}\.(?:v_proj|value|value_proj|v_lin|v|wv|to_v)|attn_v", "v"),
    (r"attention\.output\.dense|attn_output", "o"),
    (r"{attn}\.(?:o_proj|out_proj|dense|c_proj|out_lin|o|proj|wo|to_out\.0)", "o"),
    (r"{attn}\.(?:q_norm|q_layernorm|query_layernorm)|attn_q_norm", "q_norm"),
    (r"{attn}\.(?:k_norm|k_layernorm|key_layernorm)|attn_k_norm", "k_norm"),
    (r"{attn}\.relative_attention_bias", "position_bias"),
    (r"{attn}\.sinks", "sinks"),
    (r"{attn}\.rotary_emb\.inv_freq", "rotary"),
    # experts: one tensor each, or all fused in one
    (r"(?:{moe}\.)?{shared}\.(?:gate_proj|w1)", "shared_gate"),
    (r"(?:{moe}\.)?{shared}\.(?:up_proj|w3)", "shared_up"),
    (r"(?:{moe}\.)?{shared}\.(?:down_proj|w2|output_linear)", "shared_down"),
    (r"(?:{moe}\.)?{shared}\.(?:gate_(?:and_)?up_proj|input_linear)", "shared_gate_up"),
    (r"{moe}\.shared_expert_gate", "shared_router"),
    (r"{moe}\.(?:gate|gate\.wg|router|router\.layer|router\.classifier)|ffn_gate_inp", "router"),
    (r"router(?:\.proj)?|(?:{moe}\.)?moe_statics|block_sparse_moe", "router"),
    # all experts of a layer in one tensor, under other names: DBRX, Aria, JetMoE, OpenAI's gpt-oss
    (r"{moe}\.experts\.mlp\.w1", "gate"),
    (r"{moe}\.experts\.mlp\.v1", "up"),
    (r"{moe}\.experts\.mlp\.w2", "down"),
    (r"{moe}\.experts\.fc1|{mlp}\.input_linear|mlp\.mlp1", "gate_up"),
    (r"{moe}\.experts\.fc2|{mlp}\.output_linear|mlp\.mlp2", "down"),
    (r"moe\.gate_proj", "gate"),  # Step3
    (r"moe\.up_proj", "up"),
    (r"moe\.down_proj", "down"),
    # Grok
    (r"{moe}\.{expert}\.linear", "gate"),
    (r"{moe}\.{expert}\.linear_v", "up"),
    (r"{moe}\.{expert}\.linear_1", "down"),
    (r"(?:{moe}\.)?{expert}\.(?:gate_proj|w1|wi_0)|ffn_gate_exps", "gate"),
    (r"(?:{moe}\.)?{expert}\.(?:up_proj|w3|wi_1|wi)|ffn_up_exps", "up"),
    (r"(?:{moe}\.)?{expert}\.(?:down_proj|w2|wo)|ffn_down_exps", "down"),
    (r"(?:{moe}\.)?{expert}\.gate_(?:and_)?up_proj|block_sparse_moe\.input_linear", "gate_up"),
    (r"block_sparse_moe\.output_linear", "down"),
    # MLP
    (r"{mlp}\.(?:gate_up_proj|gate_up)", "gate_up"),
    (r"{mlp}\.(?:gate_proj|w1|wi_0)|ffn_gate", "gate"),
    (r"{mlp}\.(?:up_proj|w3|wi_1|wi|c_fc|fc1|dense_h_to_4h|lin1|fc_in)|ffn_up", "up"),
    (r"{mlp}\.(?:down_proj|w2|wo|c_proj|fc2|dense_4h_to_h|lin2|fc_out)|ffn_down", "down"),
    (r"intermediate\.dense|fc1|linear1", "up"),
    (r"output\.dense|fc2|linear2", "down"),
    # right below the layer, as small models of one's own have them
    *((rf"(?<=:){role}_proj", role) for role in ("q", "k", "v", "o", "qkv")),
    *((rf"(?<=:){role}_proj", role) for role in ("gate", "up", "gate_up", "down")),
    # norms; "post_attention_layernorm" stands before the MLP, but see naming._SANDWICH
    (r"input_layernorm|ln_1|ln1|norm1|layer_norm1|layernorm_before|attention_norm", "attn_norm"),
    (r"norm_attn_norm\.norm_1", "attn_norm"),
    (r"norm_attn_norm\.norm_2|pre_ff_layernorm", "mlp_norm"),
    (r"attention\.output\.LayerNorm|sa_layer_norm|self_attn_layer_norm", "attn_norm"),
    (r"layer\.0\.layer_norm|attn_norm|ln_attn|attention_layernorm", "attn_norm"),
    (r"post_attention_layernorm|ln_2|ln2|norm2|layer_norm2|layernorm_after|ffn_norm", "mlp_norm"),
    (r"output\.LayerNorm|output_layer_norm|final_layer_norm|ln_mlp", "mlp_norm"),
    (r"layer\.[12]\.layer_norm", "mlp_norm"),
    (r"post_self_attn_layernorm|post_attention_norm", "attn_post_norm"),
    (r"pre_feedforward_layernorm|pre_mlp_layernorm", "mlp_pre_norm"),
    (r"post_feedforward_layernorm|post_mlp_layernorm|post_ffw_norm", "mlp_post_norm"),
    (r"norm|ln|layernorm", "norm"),
    (r"ls1(?:\.gamma)?|layer_scale1\.lambda1", "layer_scale.attn"),
    (r"ls2(?:\.gamma)?|layer_scale2\.lambda1", "layer_scale.mlp"),
)

# Outside the layers.
OUTSIDE: tuple[tuple[str, str], ...] = (
    (r"lm_head\.dense|cls\.predictions\.transform\.dense|vocab_transform", "lm_head.dense"),
    (r"lm_head\.layer_norm|cls\.predictions\.transform\.LayerNorm", "lm_head.norm"),
    (r"vocab_layer_norm", "lm_head.norm"),
    (r"cls\.predictions", "lm_head.out"),  # only a bias
    (r"embed_tokens|wte|embed_in|word_embeddings|tok_embeddings|token_embedding", "embed"),
    (r"token_embd|shared|backbone\.embeddings?", "embed"),
    (r"position_embd", "position"),
    (r"token_types", "token_type"),
    (r"patch_embd(?:\.weight)?", "patch_embed"),
    (r"class_embd", "cls_token"),
    (r"rope_freqs", "rotary"),
    (r"rope_factors_long", "rotary.long"),
    (r"rope_factors_short", "rotary.short"),
    (r"wpe|position_embeddings?|embed_positions|pos_embed|positional_embedding", "position"),
    (r"position_ids", "position.ids"),
    (r"token_type_embeddings", "token_type"),
    (r"patch_embed(?:\.proj|dings?(?:\.projection)?)|patch_conv", "patch_embed"),
    (r"cls_token|class_embedding", "cls_token"),
    (r"embeddings\.(?:LayerNorm|norm)|word_embeddings_layernorm|layernorm_embedding", "embed_norm"),
    (r"pre_layrnorm|pre_layernorm|ln_pre|token_embd_norm|pre_ln", "embed_norm"),
    (r"norm|ln_f|final_layer_norm|final_layernorm|norm_f|layernorm|layer_norm", "final_norm"),
    (r"post_layernorm|ln_post|output_norm|ln_final|fc_norm|final_norm|post_ln", "final_norm"),
    (r"lm_head|embed_out|cls\.predictions\.decoder|vocab_projector|lm_head\.decoder", "lm_head"),
    (r"(?<=:)output", "lm_head"),
    (r"pooler\.dense|pooler|cls", "pooler"),
    (r"classifier|head|score|classifier\.dense|classifier\.out_proj|cls\.output", "head"),
)

# Every role in the order in which a walker meets them, with its class.
WALK: tuple[tuple[str, str], ...] = (
    ("embeddings", "embed position token_type patch_embed cls_token"),
    ("norms", "embed_norm attn_norm"),
    ("attention", "q_a"),
    ("norms", "q_a_norm"),
    ("attention", "q_b q"),
    ("norms", "q_norm"),
    ("attention", "kv_a"),
    ("norms", "kv_a_norm"),
    ("attention", "kv_b k_b v_b k"),
    ("norms", "k_norm"),
    ("attention", "v kv qkv position_bias sinks rotary mask o"),
    ("norms", "attn_post_norm cross_norm"),
    ("attention", "cross_q cross_k cross_v cross_o"),
    ("norms", "mlp_norm mlp_pre_norm"),
    ("experts", "router"),
    ("mlp", "gate up gate_up down"),
    ("experts", "shared_router shared_gate shared_up shared_gate_up shared_down"),
    ("norms", "mlp_post_norm layer_scale norm"),
    ("other", ""),  # a role made of a name's own words
    ("norms", "final_norm"),
    ("other", "pooler head projector"),
    ("embeddings", "lm_head"),
)
