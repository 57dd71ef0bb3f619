"""Where the attention heads lie in a projection, out of the tensor's shape and ``config.json``.

A layout is given only if the shape agrees exactly with the config; nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_MAX_HEADS = 1 << 14


@dataclass(frozen=True)
class HeadLayout:
    """Heads as equal blocks along one axis.

    Attributes
    ----------
    axis
        The tensor's axis that the heads divide.
    head_dim
        Length of one head along it.
    starts
        For each role in the tensor ("q"; or "q", "k", "v" of a fused one) where its heads begin:
        head ``h`` of role ``r`` is ``[starts[r][h], starts[r][h] + head_dim)``.
    """

    axis: int
    head_dim: int
    starts: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Heads:
    """Numbers of heads and their sizes; `qk_dim` and `v_dim` differ in DeepSeek only."""

    q: int
    kv: int
    qk_dim: int
    v_dim: int
    kv_b_dim: int


def head_layout(
    role: str, spelled: str, group: str, shape: tuple[int, ...], config: Mapping[str, Any]
) -> HeadLayout | None:
    """Return the heads of a weight or bias, or None.

    Parameters
    ----------
    role, group
        As `naming.TensorName` has them.
    spelled
        The words of the name that gave the role, such as ``"attn.c_attn"``.
    shape
        (out, in), as ``torch.nn.Linear`` stores weights; GPT-2's "c_…" are (in, out).
    config
        The model's ``config.json``.
    """
    base, _, suffix = role.partition(".")
    base = base.removeprefix("cross_")
    bias = suffix == "bias" and base != "o"
    if base not in _PARTS or (suffix and not bias) or len(shape) != (1 if bias else 2):
        return None
    section = section_of(config, group)
    heads = _heads(section, group)
    if heads is None:
        return None
    transposed = ".c_" in spelled and section.get("model_type") != "gpt_bigcode"
    axis = 0 if bias else int(transposed != (base == "o"))
    if base == "qkv":
        return _fused(axis, heads, shape[axis], _is_grouped(spelled, section))
    count, dim = _PARTS[base](heads)
    if shape[axis] != count * dim:
        return None
    return HeadLayout(axis, dim, {role.partition(".")[0]: tuple(range(0, count * dim, dim))})


_PARTS = {
    "q": lambda heads: (heads.q, heads.qk_dim),
    "k": lambda heads: (heads.kv, heads.qk_dim),
    "v": lambda heads: (heads.kv, heads.v_dim),
    "o": lambda heads: (heads.q, heads.v_dim),
    "q_b": lambda heads: (heads.q, heads.qk_dim),
    "kv_b": lambda heads: (heads.q, heads.kv_b_dim),
    "qkv": lambda heads: (heads.q + 2 * heads.kv, heads.qk_dim),
}


def _is_grouped(spelled: str, section: Mapping[str, Any]) -> bool:
    """Whether each k and v head stands next to its q heads, and not all q, then all k, then all v.

    So in GPT-NeoX, Bloom and Falcon ("query_key_value") and InternLM2 ("wqkv").
    """
    return spelled.endswith(("query_key_value", "wqkv")) and section.get("model_type") != "chatglm"


def _fused(axis: int, heads: _Heads, length: int, grouped: bool) -> HeadLayout | None:
    dim, q, kv = heads.qk_dim, heads.q, heads.kv
    if length != (q + 2 * kv) * dim or q % kv:
        return None
    if grouped:
        each = q // kv
        order = [(g * (each + 2) + j) * dim for g in range(kv) for j in range(each + 2)]
        place = [j for _ in range(kv) for j in range(each + 2)]
        starts = {
            "q": tuple(s for s, j in zip(order, place, strict=True) if j < each),
            "k": tuple(s for s, j in zip(order, place, strict=True) if j == each),
            "v": tuple(s for s, j in zip(order, place, strict=True) if j == each + 1),
        }
    else:
        ends = {"q": (0, q), "k": (q, q + kv), "v": (q + kv, q + 2 * kv)}
        starts = {r: tuple(range(a * dim, b * dim, dim)) for r, (a, b) in ends.items()}
    return HeadLayout(axis, dim, starts)


_SECTIONS = {
    "vision": ("vision_config",),
    "audio": ("audio_config",),
    "encoder": ("encoder", "audio_config"),
    "decoder": ("decoder",),
}


def section_of(config: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    """Return the part of the config that describes a tower."""
    tower = group.replace("/", ".").split(".")[0]
    for key in _SECTIONS.get(tower, ("text_config", "llm_config", "language_config")):
        part = config.get(key)
        if isinstance(part, dict):
            return part
    return config


def number(config: Mapping[str, Any], *keys: str) -> int | None:
    """Return the first of some entries that is a size, or None."""
    for key in keys:
        value = config.get(key)
        if type(value) is int and 0 < value < 1 << 31:
            return value
    return None


def _heads(config: Mapping[str, Any], group: str) -> _Heads | None:
    own = f"{group.partition('/')[0]}_attention_heads"  # BART and Whisper count them by stack
    q = number(config, own, "num_attention_heads", "n_head", "num_heads", "n_heads")
    if q is None or q > _MAX_HEADS:
        return None
    hidden = number(config, "hidden_size", "n_embd", "d_model", "embed_dim", "dim")
    even = hidden // q if hidden and hidden % q == 0 else None
    dim = number(config, "head_dim", "d_kv") or even
    nope, rope = number(config, "qk_nope_head_dim"), number(config, "qk_rope_head_dim")
    qk_dim = nope + rope if nope and rope else dim
    v_dim = number(config, "v_head_dim") or dim
    if qk_dim is None or v_dim is None:
        return None
    kv = number(config, "num_key_value_heads", "multi_query_group_num") or q
    if config.get("new_decoder_architecture"):  # Falcon 40B
        kv = number(config, "num_kv_heads", "n_head_kv") or q
    elif config.get("multi_query") is True and "multi_query_group_num" not in config:
        kv = 1
    return _Heads(q, min(kv, q), qk_dim, v_dim, (nope or 0) + v_dim)
