"""What a layer consists of: which module gives what attention and MLP add, and which routes."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ..core.errors import SettingsError

if TYPE_CHECKING:
    import torch

_ATTENTION = (
    "self_attn", "attn", "attention", "self_attention", "SelfAttention", "linear_attn",
)  # fmt: skip
_MLP = (
    "mlp", "ffn", "feed_forward", "feedforward", "block_sparse_moe", "moe", "DenseReluDense",
)  # fmt: skip
_ROUTER = ("gate", "router")
# Norms of what a part gives, before it is added: of attention and of MLP, and what else tells that
# they are. Elsewhere post_attention_layernorm comes before the MLP, or after the adding.
_NORMS = (
    ("post_self_attn_layernorm", "post_mlp_layernorm"),  # GLM-4
    ("post_self_attn_layernorm", "post_feedforward_layernorm"),  # T5Gemma
    ("post_attention_layernorm", "post_feedforward_layernorm"),  # Gemma 2, OLMo 2
    ("post_attention_layernorm", "post_mlp_layernorm", "pre_mlp_layernorm"),  # AFMoE
)
_SCALES = ("layer_scale1", "layer_scale2")  # DINOv2


def part_of(layer: Any, output: str) -> Any | None:
    """Return the module in a layer whose output is what one looks for, or None.

    Parameters
    ----------
    layer : torch.nn.Module
    output : {"attention", "mlp", "router"}

    Returns
    -------
    torch.nn.Module or None
        Of attention and MLP the module whose output is what is added to the layer's input, so not
        one that has added it already (as in BERT), and the norm after it, where there is one.
    """
    find = {"attention": _attention, "mlp": _mlp, "router": _router}[output]
    return find(layer)


def _attention(layer: Any) -> Any | None:
    if after := _after(layer, 0):
        return after
    found = _child(layer, _ATTENTION)
    if found is None:
        inner = _inner(layer)  # T5
        return _child(inner[0], _ATTENTION) if inner else None
    if dense := _dense(found):  # BERT: the rest of `output` adds the input and normalises
        return dense
    if hasattr(found, "LayerNorm") and hasattr(found, "dense"):  # ALBERT
        return found.dense
    return _unadded(found)


def _mlp(layer: Any) -> Any | None:
    if after := _after(layer, 1):
        return after
    found = _child(layer, _MLP)
    if found is not None:
        return _unadded(found)
    if inner := _inner(layer):
        return _child(inner[-1], _MLP)
    return _dense(layer) or _child(layer, ("ffn_output", "fc2"))


def _router(layer: Any) -> Any | None:
    # JetMoE has a router in its attention, too.
    for name, module in (_child(layer, _MLP) or layer).named_modules():
        if name.rpartition(".")[2] in _ROUTER:
            return module
    return None


def _child(module: Any, names: tuple[str, ...]) -> Any | None:
    children = dict(module.named_children())
    return next((children[name] for name in names if name in children), None)


def _dense(module: Any) -> Any:
    return getattr(getattr(module, "output", None), "dense", None)


def _inner(layer: Any) -> Any:
    """Return the list of parts that a layer of T5 consists of."""
    inner = getattr(layer, "layer", None)
    return inner if hasattr(inner, "__getitem__") else None


def _after(layer: Any, part: int) -> Any | None:
    """Return what comes between attention (0) or MLP (1) and its adding: a norm, or a scale."""
    children = dict(layer.named_children())
    for names in _NORMS:
        if set(names) <= set(children):
            return children[names[part]]
    return children.get(_SCALES[part])


def _unadded(module: Any) -> Any:
    """Return a part, or its last matrix where it adds the layer's input itself (BLOOM)."""
    from torch.nn import Linear

    if "residual" not in inspect.signature(module.forward).parameters:
        return module
    inner = [each for each in module.modules() if isinstance(each, Linear)]
    return inner[-1] if inner else module


def choices(output: Any, experts: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which experts a router has chosen, and their weights, the first choice first.

    Parameters
    ----------
    output : tensor or tuple of tensors
        What the router gave: (logits, weights, indices), or logits alone.
    experts : int or None
        How many are chosen for each token, where only logits are given.

    Returns
    -------
    indices : torch.Tensor of int64, shape (tokens, chosen)
    weights : torch.Tensor of float32, shape (tokens, chosen)
        Where only logits are given their softmax.

    Raises
    ------
    SettingsError
        It is none of these.
    """
    import torch

    several = output if isinstance(output, tuple | list) else (output,)
    tensors = [t.reshape(-1, t.shape[-1]) for t in several if torch.is_tensor(t) and t.ndim > 1]
    floating = [t.float() for t in tensors if t.is_floating_point()]
    whole = [t for t in tensors if t.dtype in {torch.int64, torch.int32}]
    if len(whole) == 1 and len(floating) == 2 and whole[0].shape[1] <= floating[0].shape[1]:
        indices, weights = whole[0].long(), floating[1]
        if weights.shape != indices.shape:
            weights = weights.gather(1, indices)
    elif len(floating) >= 1 and experts:
        weights, indices = floating[-1].softmax(-1).topk(min(experts, floating[-1].shape[1]), -1)
    else:
        raise SettingsError("what this model's router gives cannot be read")
    order = weights.argsort(dim=-1, descending=True, stable=True)
    return indices.gather(1, order), weights.gather(1, order)


def experts_of(config: Any) -> int | None:
    """Return how many experts a model chooses for each token, as far as its config tells."""
    inner = getattr(config, "text_config", config)
    names = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k")
    found = (getattr(inner, name, None) for name in names)
    if hasattr(inner, "router_z_loss_coef") and hasattr(inner, "expert_capacity"):
        return 1  # Switch Transformers
    return next((number for number in found if type(number) is int), None)
