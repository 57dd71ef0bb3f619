"""Where the experts lie in a tensor that holds all of a layer's, out of its shape and the config.

A matrix of an expert lies as (out, in), as ``torch.nn.Linear`` has it, or transposed; and gate and
up may lie in one, one after the other or row by row. The model's hidden size tells the first, for
gate and up read from it and down writes to it; its ``model_type`` tells the second, and the first
where the matrix is square. Nothing is guessed: without a config there is no layout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .head_layout import number, section_of

# These store fused experts as (expert, in, out) in what they publish: see the parameters of the
# experts in their classes of the transformers library. All others store (expert, out, in).
_TRANSPOSED = re.compile(r"gpt_oss|llama4(?:_text)?|aria(?:_text)?|openai_privacy_filter")
# gpt-oss alone has a row of gate, a row of up, and so on; all others have two halves.
_INTERLEAVED = re.compile(r"gpt_oss")


@dataclass(frozen=True)
class FusedLayout:
    """How the experts of a layer lie in one tensor.

    Attributes
    ----------
    experts
        How many there are, one after the other.
    shape
        Rows and columns of one, as they lie in the file.
    transposed
        Whether its rows are what goes in and its columns what comes out, and not the reverse.
    parts
        For each role that an expert's matrix holds ("gate" and "up", or its only one) which of its
        outputs are that role's.
    """

    experts: int
    shape: tuple[int, int]
    transposed: bool
    parts: Mapping[str, slice]


def fused_layout(
    role: str, spelled: str, group: str, shape: tuple[int, ...], config: Mapping[str, Any]
) -> FusedLayout | None:
    """Return how experts lie in a tensor, or None where shape and config do not tell.

    Parameters
    ----------
    role : {"gate", "up", "gate_up", "down"}
    spelled
        The words of the name that gave the role, such as ``"experts.gate_up_proj"``.
    group
        As `naming.TensorName` has it.
    shape
        (expert, row, column); DBRX's has the first two in one.
    config
        The model's ``config.json``.
    """
    section = section_of(config, group)
    if len(shape) == 2 and ".mlp." in spelled:
        return _flat(role, shape, section)
    if len(shape) != 3 or 0 in shape:
        return None
    matrix = shape[1:]
    kinds = [k for k in (section.get("model_type"), config.get("model_type")) if type(k) is str]
    transposed = _is_transposed(role, spelled, matrix, kinds, number(section, *_HIDDEN))
    if transposed is None:
        return None
    out = matrix[1] if transposed else matrix[0]
    if role != "gate_up":
        return FusedLayout(shape[0], matrix, transposed, {role: slice(0, out, 1)})
    if out % 2:
        return None
    if "mlp1" in spelled or any(map(_INTERLEAVED.fullmatch, kinds)):
        parts = {"gate": slice(0, out, 2), "up": slice(1, out, 2)}
    else:
        parts = {"gate": slice(0, out // 2, 1), "up": slice(out // 2, out, 1)}
    return FusedLayout(shape[0], matrix, transposed, parts)


_HIDDEN = ("hidden_size", "n_embd", "d_model", "dim")


def _is_transposed(
    role: str, spelled: str, matrix: tuple[int, int], kinds: list[str], hidden: int | None
) -> bool | None:
    # GGUF's, and those of OpenAI's own files of gpt-oss, are always (out, in).
    if "_exps" in spelled or "mlp.mlp" in spelled:
        return False
    known = any(map(_TRANSPOSED.fullmatch, kinds))
    if hidden is None:
        return True if known else None
    straight, turned = (n == hidden for n in (matrix if role == "down" else matrix[::-1]))
    if straight and turned:
        return known if kinds else None
    return turned if straight or turned else None


def _flat(role: str, shape: tuple[int, ...], section: Mapping[str, Any]) -> FusedLayout | None:
    """Return DBRX's layout: all matrices are (expert · width, hidden), down as (in, out)."""
    inner = section.get("ffn_config")
    experts = number(inner if isinstance(inner, dict) else section, "moe_num_experts")
    if experts is None or 0 in shape or shape[0] % experts or role == "gate_up":
        return None
    matrix = shape[0] // experts, shape[1]
    transposed = role == "down"
    out = matrix[1] if transposed else matrix[0]
    return FusedLayout(experts, matrix, transposed, {role: slice(0, out, 1)})
