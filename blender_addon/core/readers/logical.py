"""Tensors as they lie in files → the weights that the model computes with.

A quantised weight lies in several tensors: packed numbers, their scales, zero points. Here they
become one tensor with the model's name and shape, which unpacks itself when it is read. Which
tensors belong together is told by the ends of their names alone; each format is a module of
`packed`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..text import printable
from . import adapters
from .base import Tensor
from .datafile import Place
from .packed import awq, bitsandbytes, compressed, eightbits, gptq, mlx, mxfp4
from .packed.pack import Pack, RefusedError, Settings
from .packed.settings import find_settings
from .values import Unreadable

Notes = tuple[str, ...]
_Parts = dict[str, Tensor]

# Last word of a name → the part that it is of "….weight", "weight" itself apart.
_OF_WEIGHT = dict.fromkeys(
    (
        *("qweight", "qzeros", "scales", "g_idx", "biases"),
        *("weight_scale_inv", "weight_scale", "scale", "weight_scale_2", "weight_zero_point"),
        *("weight_packed", "weight_global_scale", "weight_shape", "weight_g_idx"),
        *("SCB", "weight_format"),
    ),
    ".weight",
)
# The same of the tensor whose name stands before it: "….weight.absmax".
_OF_NAMED = dict.fromkeys(
    ("absmax", "quant_map", "nested_absmax", "nested_quant_map", "blocks"), ""
)
_AFTER_STEM = _OF_WEIGHT | _OF_NAMED
_STATE = ".quant_state.bitsandbytes__"
# Ends of names of fused experts, "….gate_up_proj_scale_inv" → the part of "….gate_up_proj".
_OF_FUSED = {
    "_blocks": "blocks",
    "_scales": "scales",
    "_weight_scale_inv": "weight_scale_inv",
    "_scale_inv": "weight_scale_inv",
    "_weight_scale_2": "weight_scale_2",
    "_weight_scale": "weight_scale",
    "_scale": "weight_scale",  # FBGEMM's, of Llama 4
}
_FUSED_ENDS = tuple(_OF_FUSED)

# Parts that mean nothing as numbers: they are never drawn, also where they make up no weight.
_CODES = frozenset(("qweight", "qzeros", "weight_packed", "weight_zero_point", "absmax"))
_INTEGERS = frozenset(("I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64"))
_BUFFERS = (
    ".bias",
    "_ids",
    "_idx",
    "_index",
    "_table",
    "_mask",
)  # integers that any model may have
_PACKED_AS = _INTEGERS | {"F4", *eightbits.FLOAT8}


def logical(
    tensors: list[Tensor], config: Mapping[str, Any], folder: Place, where: Place
) -> tuple[list[Tensor], Notes]:
    """Return the tensors with packed ones replaced by the weights that they make up.

    Parameters
    ----------
    tensors
        As they lie in the files.
    config
        The model's ``config.json``.
    folder
        Where settings may lie beside it.
    where
        What was opened, for notes.

    Returns
    -------
    tensors
        A weight stands at the place of the first of its parts. Parts that do not make up a weight
        stay under their own names, and those that hold packed numbers say why they are not read.
    notes
    """
    packs, named = _collect(tensors)
    settings, notes = find_settings(config, folder, files=bool(packs))
    known: dict[Hashable, Any] = {}
    instead: dict[str, Tensor] = {}  # name of a part → what is listed in its place
    for name, parts in packs.items():
        weight = named.get(name)
        if weight is not None:
            parts["weight"] = weight
        instead |= _in_place_of(Pack(name, parts, settings, known))
    if settings:
        rest = (tensor for tensor in tensors if tensor.name not in instead)
        instead |= _without_scales(rest, settings)
    if instead:
        tensors = list(dict.fromkeys(instead.get(tensor.name, tensor) for tensor in tensors))
    tensors, more = adapters.logical(tensors, config, folder, where)
    return tensors, notes + more


def _collect(tensors: list[Tensor]) -> tuple[dict[str, _Parts], _Parts]:
    """Return the parts of each weight that may be packed, and all tensors by name."""
    packs: dict[str, _Parts] = {}
    named: _Parts = {}
    for tensor in tensors:
        name = tensor.name
        named[name] = tensor
        stem, _, word = name.rpartition(".")
        if word in _AFTER_STEM:
            packs.setdefault(stem + _AFTER_STEM[word], {})[word] = tensor
        elif word.endswith(_FUSED_ENDS):
            end = next(end for end in _FUSED_ENDS if word.endswith(end))
            packs.setdefault(name.removesuffix(end), {})[_OF_FUSED[end]] = tensor
        elif _STATE in name:
            packs.setdefault(name.partition(_STATE)[0], {})["quant_state"] = tensor
    for name in [name for name, parts in packs.items() if "blocks" in parts]:
        dotted = packs.pop(f"{name}.weight", None)  # "….blocks" and "….scales"
        packs[name] |= dotted or {}
    return packs, named


def _in_place_of(pack: Pack) -> dict[str, Tensor]:
    """Return, for the names of parts, the tensor that is listed instead."""
    try:
        made = _make(pack)
    except RefusedError as error:
        packed = (part for part in pack.parts.values() if part.dtype in _PACKED_AS)
        whole = [pack.parts["weight"]] if {"weight", "absmax"} <= pack.parts.keys() else []
        return _unreadable((*packed, *whole), str(error))
    if made is not None:
        return {part.name: made for part in pack.parts.values()}
    lone = (part for word, part in pack.parts.items() if word in _CODES)
    lone = (part for part in lone if part.dtype in _PACKED_AS)
    return _unreadable(lone, "part of packed weights that are missing")


def _make(pack: Pack) -> Tensor | None:
    """Unpack by the format that the parts tell; None where nothing is packed."""
    parts = pack.parts
    kind = next((word for word in _MAKERS if word in parts), None)
    if kind == "biases" and ("weight" not in parts or parts["weight"].dtype != "U32"):
        return None
    if kind is None:
        return eightbits.unpack(pack) if "weight" in parts else None
    if "weight" in parts and kind in ("qweight", "weight_packed", "blocks"):
        raise RefusedError("packed weights beside others of the same name")
    return _MAKERS[kind](pack)


def _words(pack: Pack) -> Tensor:
    """Unpack GPTQ or AWQ, whose parts have the same names."""
    method: Any = pack.settings.get("quant_method")
    method = method or ("awq" if "w_bit" in pack.settings else "gptq")
    if not pack.settings:
        raise RefusedError("packed weights, and no quantization_config says by which method")
    if method not in ("gptq", "awq"):
        raise RefusedError(f"weights packed by {printable(method, 40)}, a method that is not read")
    return gptq.make(pack) if method == "gptq" else awq.make(pack)


def _blocks(pack: Pack) -> Tensor:
    dotted = pack.parts["blocks"].name.endswith(".blocks")  # the reference implementation's own
    return mxfp4.unpack(pack, turned=not dotted)


_MAKERS: dict[str, Callable[[Pack], Tensor]] = {
    "qweight": _words,
    "weight_packed": compressed.make,
    "blocks": _blocks,
    "quant_state": bitsandbytes.four_bits,
    "absmax": bitsandbytes.four_bits,
    "SCB": bitsandbytes.int8,
    "biases": mlx.make,
}


def _without_scales(tensors: Iterable[Tensor], settings: Settings) -> dict[str, Tensor]:
    """Refuse what is left of a quantised checkpoint's packed numbers: nobody knows their scales."""
    lone, strange = [], []
    for tensor in tensors:
        integers = tensor.dtype in _INTEGERS
        if tensor.dtype in eightbits.FLOAT8 or (integers and tensor.name.endswith(".weight")):
            lone.append(tensor)
        elif integers and len(tensor.shape) > 1 and not tensor.name.endswith(_BUFFERS):
            strange.append(tensor)
    method = printable(settings.get("quant_method", "an unnamed method"), 40)
    return _unreadable(lone, "packed weights whose scales are missing") | _unreadable(
        strange, f"integers in a model packed by {method}, of which these are not read"
    )


def _unreadable(tensors: Iterable[Tensor], reason: str) -> dict[str, Tensor]:
    values = Unreadable(reason)
    return {tensor.name: replace(tensor, values=values) for tensor in tensors}
