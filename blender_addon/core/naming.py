"""Tensor name → layer, role, expert, head layout: what layouts, filters and stacking stand on.

A name is read in three steps. ``model.layers.7.mlp.experts.3.gate_proj.weight``: the index after
a container word is the layer (7), the one after ``experts`` the expert (3), the last word the
parameter; then the rest, ``mlp.experts.#.gate_proj``, is looked up in `name_tables`. A name that
no table knows keeps its own words as its role, so that different tensors keep different roles.

Roles
-----
embeddings   embed position token_type patch_embed cls_token lm_head
attention    q k v o qkv kv · q_a q_b kv_a kv_b, in GGUF also k_b v_b (DeepSeek's low-rank
             pairs) · position_bias sinks rotary mask · cross_q … cross_o for attention to another
             sequence
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

from .expert_layout import FusedLayout, fused_layout
from .head_layout import HeadLayout, head_layout
from .name_tables import IN_LAYER, OUTSIDE, PARAMETERS, SHORT, WALK
from .text import printable

__all__ = ["FusedLayout", "HeadLayout", "TensorName", "parse", "role_class", "role_order"]


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
        Whether the tensor holds all experts of its layer.
    fused_layout
        How these lie in it, or None where shape and config do not tell.
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
    fused_layout: FusedLayout | None = None

    @property
    def role_class(self) -> str:
        """As `role_class`, but what belongs to an expert is "experts"."""
        expert = self.expert is not None or self.fused_experts
        return "experts" if expert else role_class(self.role)


# --- words ------------------------------------------------------------------------------------

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
# GGUF's towers, at the start of a name.
_GGUF_TOWERS = {"v": "vision_tower", "a": "audio_tower", "enc": "encoder", "dec": "decoder"}
_GGUF_IN_TOWER = frozenset(
    ("blk", "output_norm", "patch_embd", "position_embd", "class_embd", "pre_ln", "post_ln")
)
# Words before a layer index. Only the plain ones vanish; "down_blocks" also names a stack.
_CONTAINER = re.compile(r"h|blk|\w*layers?|\w*blocks?|stages")
_PLAIN_CONTAINER = re.compile(r"h|blk|layers?|blocks?|resblocks")

# Models with norms on both sides: there "post_attention_layernorm" is really after the attention.
_SANDWICH = re.compile(r"gemma[2-9]|gemma3n|glm4(?!_moe)|olmo[23]")

_ORDER: dict[str, tuple[int, str]] = {}
for _class, _roles in WALK:
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
        for short, long in SHORT.items():
            pattern = pattern.replace(f"{{{short}}}", long)  # noqa: PLW2901
        for_all.append((re.compile(rf"(?:(?<=[:.])|^)(?:{pattern})$"), role))
    return tuple(for_all)


_IN_LAYER_RE = _compile(IN_LAYER)
_OUTSIDE_RE = _compile(OUTSIDE)
_PARAMETERS_RE = tuple((re.compile(pattern + "$", re.I), suffix) for pattern, suffix in PARAMETERS)
_FUSABLE = frozenset(("gate", "up", "down", "gate_up"))
_OF_EXPERTS = re.compile(r"experts|[_.]moe\.|_exps|put_linear|mlp\.mlp[12]")
_EXPERT_WORDS = frozenset(("experts", "expert", "ffn_gate", "ffn_up", "ffn_down"))  # old GGUF
_INDEX = re.compile(r"[0-9]{1,6}")
# Flax: layers_0; Switch and NLLB: expert_0
_GLUED_INDEX = re.compile(r"(?<![^.])(layers?|blocks?|h|expert)_([0-9]{1,6})(?![^.])")


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
    if words[1:] and words[1] in _GGUF_IN_TOWER:
        words[0] = _GGUF_TOWERS.get(words[0], words[0])
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
    heads = head_layout(role, spelled, group, shape, config)
    if expert is not None or base not in _FUSABLE or not _OF_EXPERTS.search(name):
        return TensorName(layer, role, expert, heads, group=group)
    layout = None if suffix else fused_layout(role, spelled, group, shape, config)
    stacked = len(shape) >= 2 if suffix else len(shape) == 3
    return TensorName(layer, role, None, heads, stacked or layout is not None, group, layout)


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
        if before in _EXPERT_WORDS:
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
    group, role = (printable(text, len(text)) for text in (group, role))
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
