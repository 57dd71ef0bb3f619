"""What a GGUF header says of the model, in the words of a ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .gguf_header import Listed

# llama.cpp's name of an architecture, where transformers' model_type is another (without dashes).
_MODEL_TYPES = {
    "command-r": "cohere",
    "cohere2": "cohere2",
    "deepseek": "deepseek",
    "deepseek2": "deepseek_v3",
    "glm4moe": "glm4_moe",
    "gptneox": "gpt_neox",
    "granitehybrid": "granitemoehybrid",
    "phi2": "phi",
    "phimoe": "phimoe",
    "qwen2moe": "qwen2_moe",
    "qwen2vl": "qwen2_vl",
    "qwen3moe": "qwen3_moe",
    "qwen3next": "qwen3_next",
    "starcoder": "gpt_bigcode",
}
_PLAIN = {  # of the config → of the header, after the architecture's name
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "max_position_embeddings": "context_length",
    "num_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
}


def config_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Make a config of a header's fields: sizes, numbers of heads, and their lengths.

    A number that differs from layer to layer is left out, for a config has one for all of them;
    layers without attention, which count 0 heads, aside.

    llama.cpp stores the rows of q and k of Llama's kin in another order than transformers (for its
    rotation of neighbours), but only within a head: heads are the same blocks of rows in both.
    """
    architecture = fields.get("general.architecture")
    if not isinstance(architecture, str):
        return {}
    if architecture == "clip":  # an mmproj file: the towers beside a language model
        towers = {name: _section(fields, f"clip.{name}.") for name in ("vision", "audio")}
        return {f"{name}_config": section for name, section in towers.items() if section}
    model_type = _MODEL_TYPES.get(architecture, architecture.replace("-", "_"))
    return {"model_type": model_type, **_section(fields, f"{architecture}.")}


def _section(fields: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    def number(key: str) -> int | None:
        return _one(fields.get(prefix + key))

    found = {name: number(key) for name, key in _PLAIN.items()}
    found["head_dim"] = number("attention.key_length")
    found["v_head_dim"] = number("attention.value_length")
    if number("attention.kv_lora_rank"):  # DeepSeek's kind, whose plain lengths may be of the cache
        found["head_dim"] = number("attention.key_length_mla") or found["head_dim"]
        found["v_head_dim"] = number("attention.value_length_mla") or found["v_head_dim"]
        turned = number("rope.dimension_count")
        found["qk_rope_head_dim"] = turned
        found["qk_nope_head_dim"] = (found["head_dim"] or 0) - (turned or 0)
    return {name: value for name, value in found.items() if value is not None and value > 0}


def _one(value: Any) -> int | None:
    """Return the number, or the one that all layers have that have any."""
    if isinstance(value, Listed):
        different = set(value.first) - {0} if value.count == len(value.first) else set()
        value = different.pop() if len(different) == 1 else None
    return value if type(value) is int else None
