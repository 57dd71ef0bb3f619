"""Tensor name → layer, role, expert, head layout: what layouts, filters and stacking stand on.

A name is read in three steps. ``model.layers.7.mlp.experts.3.gate_proj.weight``: the index after
a container word is the layer (7), the one after ``experts`` the expert (3), the last word the
parameter; then the rest, ``mlp.experts.#.gate_proj``, is looked up in the tables below. A name that
no table knows keeps its own words as its role, so that different tensors keep different roles.

Roles
-----
embeddings   embed position token_type patch_embed cls_token lm_head
attention    q k v o qkv kv · q_a q_b kv_a kv_b (DeepSeek's low-rank pairs) · position_bias sinks
             rotary mask · cross_q … cross_o for attention to another sequence
mlp          gate up down gate_up        (``up`` is the only input where there is no ``gate``)
experts      router · gate up down gate_up with an expert index, or fused in one tensor ·
             shared_gate shared_up shared_down shared_gate_up shared_router
norms        attn_norm attn_post_norm mlp_norm mlp_pre_norm mlp_post_norm q_norm k_norm q_a_norm
             kv_a_norm cross_norm norm embed_norm final_norm layer_scale
other        pooler head projector, and every role made of a name's own words

What is not a weight has a suffix: ``q.bias``, ``q.scale``, ``router.correction_bias``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .head_layout import HeadLayout, head_layout

__all__ = ["HeadLayout", "TensorName", "parse", "role_class", "role_order"]


@dataclass(frozen=True)
class TensorName:
    """What a tensor's name, shape and model config say of it.

    Attributes
    ----------
    layer
        Layer index, or None outside the layers.
    role
        See the module's list.
    expert
        Index of the expert that the tensor belongs to, or None.
    heads
        Where the heads lie, or None where there are none or shape and config disagree.
    fused_experts
        Whether the first axis counts experts.
    group
        Which of several towers or stacks: "" for the only or the language one, "encoder",
        "decoder", "vision", "audio", or the name's own words ("down_blocks").
    """

    layer: int | None
    role: str
    expert: int | None = None
    heads: HeadLayout | None = None
    fused_experts: bool = False
    group: str = ""

    @property
    def role_class(self) -> str:
        """As `role_class`, but what belongs to an expert is "experts"."""
        expert = self.expert is not None or self.fused_experts
        return "experts" if expert else role_class(self.role)


# --- tables -----------------------------------------------------------------------------------

# The end of a name → suffix of the role; the first match counts.
_PARAMETERS: tuple[tuple[str, str], ...] = (
    (r"\.lora_A(?:\.\w+)??(?:\.weight)?", "lora_a"),
    (r"\.lora_B(?:\.\w+)??(?:\.weight)?", "lora_b"),
    (r"\.(?:weight|kernel|qweight|weight_packed)", ""),
    (r"\.(?:attn|attention)\.bias", "mask"),  # GPT-2 and GPT-NeoX store their causal mask
    (r"\.(?:attn|attention)\.masked_bias", "mask.value"),
    (r"\.e_score_correction_bias", "correction_bias"),
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
    (r"(?<=proj)_scales", "scale"),
    (r"(?<=proj)_(bias|blocks)", r"\1"),
    (r"\.bias", "bias"),
)

# Shorthands of the tables. `attn` and `mlp` are also found right below the layer.
_SHORT = {
    "attn": r"(?:self_attn|self_attention|attention\.self|attention\.attention|attention|attn"
    r"|layer\.0\.SelfAttention|attn1|temporal_attn)",
    "cross": r"(?:encoder_attn|cross_attn|cross_attention|crossattention\.self"
    r"|layer\.1\.EncDecAttention|attn2)",
    "mlp": r"(?:mlp|ffn|feed_forward|layer\.[12]\.DenseReluDense|ff)",
    "moe": r"(?:mlp|ffn|feed_forward|block_sparse_moe|moe|block_sparse_moe\.moe)",
    "shared": r"(?:shared_experts?|shared_mlp)",
    "expert": r"experts(?:\.\#)?",
}

# Inside a layer, matched against the end of "group:words.after.the.layer". The first match counts.
_IN_LAYER: tuple[tuple[str, str], ...] = (
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
    (r"{moe}\.{shared}\.(?:gate_proj|w1)", "shared_gate"),
    (r"{moe}\.{shared}\.(?:up_proj|w3)", "shared_up"),
    (r"{moe}\.{shared}\.(?:down_proj|w2|output_linear)", "shared_down"),
    (r"{moe}\.{shared}\.(?:gate_up_proj|input_linear)", "shared_gate_up"),
    (r"{shared}\.input_linear", "shared_gate_up"),
    (r"{shared}\.output_linear", "shared_down"),
    (r"{moe}\.shared_expert_gate", "shared_router"),
    (r"{moe}\.(?:gate|router|router\.layer|router\.classifier)|ffn_gate_inp", "router"),
    (r"(?:{moe}\.)?{expert}\.(?:gate_proj|w1|wi_0)|ffn_gate_exps", "gate"),
    (r"(?:{moe}\.)?{expert}\.(?:up_proj|w3|wi_1|wi)|ffn_up_exps", "up"),
    (r"(?:{moe}\.)?{expert}\.(?:down_proj|w2|wo)|ffn_down_exps", "down"),
    (r"(?:{moe}\.)?{expert}\.gate_up_proj|block_sparse_moe\.input_linear", "gate_up"),
    (r"block_sparse_moe\.output_linear", "down"),
    # MLP
    (r"{mlp}\.(?:gate_up_proj|gate_up)", "gate_up"),
    (r"{mlp}\.(?:gate_proj|w1|wi_0)|ffn_gate", "gate"),
    (r"{mlp}\.(?:up_proj|w3|wi_1|wi|c_fc|fc1|dense_h_to_4h|lin1|fc_in)|ffn_up", "up"),
    (r"{mlp}\.(?:down_proj|w2|wo|c_proj|fc2|dense_4h_to_h|lin2|fc_out)|ffn_down", "down"),
    (r"intermediate\.dense|fc1|linear1", "up"),
    (r"output\.dense|fc2|linear2", "down"),
    # norms; "post_attention_layernorm" stands before the MLP, but see _SANDWICH
    (r"input_layernorm|ln_1|ln1|norm1|layer_norm1|layernorm_before|attention_norm", "attn_norm"),
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
_OUTSIDE: tuple[tuple[str, str], ...] = (
    (r"lm_head\.dense|cls\.predictions\.transform\.dense|vocab_transform", "lm_head.dense"),
    (r"lm_head\.layer_norm|cls\.predictions\.transform\.LayerNorm", "lm_head.norm"),
    (r"vocab_layer_norm", "lm_head.norm"),
    (r"cls\.predictions", "lm_head.out"),  # only a bias
    (r"embed_tokens|wte|embed_in|word_embeddings|tok_embeddings|token_embedding", "embed"),
    (r"token_embd|shared|backbone\.embeddings?", "embed"),
    (r"wpe|position_embeddings?|embed_positions|pos_embed|positional_embedding", "position"),
    (r"position_ids", "position.ids"),
    (r"token_type_embeddings", "token_type"),
    (r"patch_embed(?:\.proj|dings?(?:\.projection)?)|patch_conv", "patch_embed"),
    (r"cls_token|class_embedding", "cls_token"),
    (r"embeddings\.(?:LayerNorm|norm)|word_embeddings_layernorm|layernorm_embedding", "embed_norm"),
    (r"pre_layrnorm|pre_layernorm|ln_pre|token_embd_norm", "embed_norm"),
    (r"norm|ln_f|final_layer_norm|final_layernorm|norm_f|layernorm|layer_norm", "final_norm"),
    (r"post_layernorm|ln_post|output_norm|ln_final|fc_norm|final_norm", "final_norm"),
    (r"lm_head|embed_out|cls\.predictions\.decoder|vocab_projector|lm_head\.decoder", "lm_head"),
    (r"(?<=:)output", "lm_head"),
    (r"pooler\.dense|pooler", "pooler"),
    (r"classifier|head|score|classifier\.dense|classifier\.out_proj", "head"),
)

# Words that only wrap: they name neither a tower nor a part.
_WRAPPER = re.compile(
    r"|model|transformer|module|backbone|base_model|auto_model|language_model|embeddings|gpt_neox"
    r"|bert|roberta|xlm_roberta|distilbert|electra|deberta|mpnet|esm|vit|deit"
)
_TOWERS = {
    **dict.fromkeys(("vision_model", "vision_tower", "visual", "vision_encoder"), "vision"),
    **dict.fromkeys(("audio_tower", "audio_model", "audio_encoder"), "audio"),
    "text_model": "text",
}
# Words before a layer index. Only the plain ones vanish; "down_blocks" also names a stack.
_CONTAINER = re.compile(r"h|blk|\w*layers?|\w*blocks?|stages")
_PLAIN_CONTAINER = re.compile(r"h|blk|layers?|blocks?|resblocks")

# Models with norms on both sides: there "post_attention_layernorm" is really after the attention.
_SANDWICH = re.compile(r"gemma[2-9]|gemma3n|glm4(?!_moe)|olmo[23]")

# Every role in the order in which a walker meets them, with its class.
_WALK: tuple[tuple[str, str], ...] = (
    ("embeddings", "embed position token_type patch_embed cls_token"),
    ("norms", "embed_norm attn_norm"),
    ("attention", "q_a"),
    ("norms", "q_a_norm"),
    ("attention", "q_b q"),
    ("norms", "q_norm"),
    ("attention", "kv_a"),
    ("norms", "kv_a_norm"),
    ("attention", "kv_b k"),
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
_ORDER: dict[str, tuple[int, str]] = {}
for _class, _roles in _WALK:
    for _role in _roles.split(" "):
        _ORDER[_role] = (2 * len(_ORDER), _class)


def role_class(role: str) -> str:
    """Return "attention", "mlp", "embeddings", "norms", "experts" or "other" for a role."""
    return _ORDER.get(role.partition(".")[0], _ORDER[""])[1]


def role_order(role: str) -> int:
    """Return a sort key: the order in which data meets the roles, biases after their weights."""
    base, _, suffix = role.partition(".")
    return _ORDER.get(base, _ORDER[""])[0] + bool(suffix)


# --- reading a name ---------------------------------------------------------------------------


def _compile(table: tuple[tuple[str, str], ...]) -> tuple[tuple[re.Pattern[str], str], ...]:
    for_all = []
    for pattern, role in table:
        for short, long in _SHORT.items():
            pattern = pattern.replace(f"{{{short}}}", long)  # noqa: PLW2901
        for_all.append((re.compile(rf"(?:(?<=[:.])|^)(?:{pattern})$"), role))
    return tuple(for_all)


_IN_LAYER_RE = _compile(_IN_LAYER)
_OUTSIDE_RE = _compile(_OUTSIDE)
_PARAMETERS_RE = tuple((re.compile(pattern + "$", re.I), suffix) for pattern, suffix in _PARAMETERS)
_FUSABLE = frozenset(("gate", "up", "down", "gate_up"))
_OF_EXPERTS = re.compile(r"experts|_moe|_exps")
_INDEX = re.compile(r"[0-9]{1,6}")
_GLUED_INDEX = re.compile(r"(?<![^.])(layers?|blocks?|h)_([0-9]{1,6})(?![^.])")  # Flax: layers_0


def parse(
    name: str, shape: tuple[int, ...] = (), config: Mapping[str, Any] | None = None
) -> TensorName:
    """Read a tensor's name.

    Parameters
    ----------
    name
        As in the checkpoint.
    shape
        The tensor's shape; decides on fused experts and head layouts.
    config
        The model's ``config.json``; without it there are no head layouts.

    Returns
    -------
    TensorName
        Always: a name never seen gets a role of its own words.
    """
    config = config or {}
    words = _GLUED_INDEX.sub(r"\1.\2", name.replace("/", ".")).split(".")
    layer_at, expert_at = _indices(words)
    layer = int(words[layer_at]) if layer_at is not None else None
    expert = int(words[expert_at]) if expert_at is not None else None
    for at in (layer_at, expert_at):
        if at is not None:
            words[at] = "#"
    group, role, spelled = _known(".".join(words), layer_at)
    if role.startswith("mlp_norm") and "post_attention" in name and _is_sandwich(config):
        role = role.replace("mlp_norm", "attn_post_norm")
    base, _, suffix = role.partition(".")
    stacked = len(shape) >= 2 if suffix else len(shape) == 3
    fused = stacked and expert is None and base in _FUSABLE and bool(_OF_EXPERTS.search(name))
    heads = head_layout(role, spelled, group, shape, config)
    return TensorName(layer, role, expert, heads, fused, group)


def _is_sandwich(config: Mapping[str, Any]) -> bool:
    text = config.get("text_config")
    kinds = (config.get("model_type"), text.get("model_type") if isinstance(text, dict) else None)
    return any(isinstance(kind, str) and _SANDWICH.match(kind) for kind in kinds)


def _indices(words: list[str]) -> tuple[int | None, int | None]:
    """Find the words that are the layer index and the expert index."""
    expert = first = layer = None
    for at, word in enumerate(words):
        if not _INDEX.fullmatch(word):
            continue
        before = words[at - 1] if at else ""
        if before in ("experts", "expert"):
            expert = at if expert is None else expert
        elif layer is None and _CONTAINER.fullmatch(before):
            layer = at
        elif first is None:
            first = at
    return (first if layer is None else layer), expert


@lru_cache(maxsize=8192)
def _known(key: str, layer_at: int | None) -> tuple[str, str, str]:
    """Return group, role with suffix, and the words that were matched, for a name without indices.

    The thousands of tensors of a checkpoint share a few dozen keys.
    """
    stem, suffix = _split_parameter(key)
    words = stem.split(".") if stem else []
    if layer_at is None or layer_at >= len(words):
        before, tail, table = [], words, _OUTSIDE_RE
    else:
        before, tail, table = words[:layer_at], words[layer_at + 1 :], _IN_LAYER_RE
    group = _group(before)
    subject = f"{group}:{'.'.join(tail)}"
    found = ((pattern.search(subject), role) for pattern, role in table)
    match, role = next(((match, role) for match, role in found if match), (None, ""))
    if match:
        left = subject[len(group) + 1 : match.start()].split(".")
    else:
        role, left = _own_words(tail)
    group = "/".join(part for part in (group, _group(left)) if part)
    role = ".".join(part for part in (role, suffix) if part) or "weight"
    return group, role, match.group() if match else ""


def _split_parameter(key: str) -> tuple[str, str]:
    """Split ``….q_proj.bias`` into stem and suffix; a suffix of "" is the weight itself."""
    dotted = "." + key
    for pattern, suffix in _PARAMETERS_RE:
        match = pattern.search(dotted)
        if match:
            return dotted[1 : match.start()], match.expand(suffix)
    return key, ""


def _own_words(tail: list[str]) -> tuple[str, list[str]]:
    """Split an unknown tail: words up to the last index name the place, the rest is the role."""
    last = max((at for at, word in enumerate(tail) if _INDEX.fullmatch(word)), default=-1)
    place = tail[: last + 1] + [word for word in tail[last + 1 :] if _is_stack(word)]
    role = [w for w in tail[last + 1 :] if not _is_stack(w) and not _WRAPPER.fullmatch(w)]
    return ".".join(role), place


def _is_stack(word: str) -> bool:
    return word in _TOWERS or word in ("encoder", "decoder")


def _group(words: list[str]) -> str:
    """Name the tower or stack that leading words stand for, leaving out what only wraps."""
    parts: list[str] = []
    for at, word in enumerate(words):
        following = words[at + 1] if at + 1 < len(words) else ""
        last = at == len(words) - 1
        if _WRAPPER.fullmatch(word) or (last and _PLAIN_CONTAINER.fullmatch(word)):
            continue
        if word == "encoder" and (following == "layer" or parts):
            continue  # BERT and ViT have no other stack; a tower's encoder is the tower
        part = _TOWERS.get(word, word)
        if part not in parts or word not in _TOWERS:
            parts.append(part)
    return ".".join(parts)
