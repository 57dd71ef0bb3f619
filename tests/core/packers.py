"""Quantisers, written from the formats' definitions: what they give back is what a reader must."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Tensors = dict[str, tuple[str, Array]]

NAMES = {
    "u4": "U32",
    "f4": "F32",
    "f2": "F16",
    "f8": "F64",
    "i4": "I32",
    "i8": "I64",
    "u1": "U8",
    "i1": "I8",
}
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


@dataclass
class Packed:
    """Tensors by what follows the weight's module, settings, and the weight that they mean."""

    tensors: Tensors
    weight: Array
    settings: dict[str, Any] = field(default_factory=dict)


def of(array: Array, dtype: str = "") -> tuple[str, Array]:
    return dtype or NAMES[array.dtype.str[1:]], array


def write(path: Path, tensors: Tensors) -> Path:
    """Write a safetensors file."""
    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def save(folder: Path, packed: Packed, module: str) -> Path:
    """Write a model folder of one packed weight."""
    tensors = {f"{module}.{end}": value for end, value in packed.tensors.items()}
    config = {"quantization_config": packed.settings} if packed.settings else {}
    (folder / "config.json").write_text(json.dumps(config))
    write(folder / "model.safetensors", tensors)
    return folder


def bits_of(numbers: Array, bits: int) -> Array:
    """Return words of 32 bits that hold the numbers of each row, the lowest bits first."""
    ones = (numbers[..., None].astype(np.int64) >> np.arange(bits)) & 1
    stream = ones.reshape(len(numbers), -1).astype(np.uint8)
    stream = np.pad(stream, ((0, 0), (0, -stream.shape[1] % 32)))
    return np.packbits(stream, axis=1, bitorder="little").view("<i4")


def bfloat16(values: Array) -> tuple[tuple[str, Array], Array]:
    """Cut values to BF16: the file's tensor, and the values."""
    raw = (values.astype("<f4").view("<u4") >> 16).astype("<u2")
    return ("BF16", raw), (raw.astype("<u4") << 16).view("<f4")


# --- whole numbers -----------------------------------------------------------------------------


def gptq(
    weight: Array,
    bits: int = 4,
    group: int = 32,
    *,
    version: str = "gptq",
    act_order: bool = False,
    symmetric: bool = False,
    scale_dtype: str = "f2",
) -> Packed:
    """Quantise (out, in) as GPTQ stores it: min to max of a group of inputs, rounded."""
    out, inputs = weight.shape
    g_idx = np.arange(inputs) // group
    if act_order:
        g_idx = np.random.default_rng(0).permutation(g_idx)
    groups, top = g_idx.max() + 1, (1 << bits) - 1
    scales = np.zeros((groups, out), np.float32)
    points = np.zeros((groups, out), np.int64)
    for g in range(groups):
        of_group = weight[:, g_idx == g]
        low, high = np.minimum(of_group.min(1), 0), np.maximum(of_group.max(1), 0)
        if symmetric:
            high = np.maximum(-low, high)
            low = -high
        scales[g] = (high - low) / top
        points[g] = (top + 1) // 2 if symmetric else np.rint(-low / scales[g])
    stored_scales, scales = (
        bfloat16(scales)
        if scale_dtype == "bf2"
        else (of(scales.astype(scale_dtype)), scales.astype(scale_dtype).astype(np.float32))
    )
    number = np.rint(weight / scales[g_idx].T) + points[g_idx].T
    number = np.clip(number, 0, top).astype(np.int64)
    expected = scales[g_idx].T * (number - points[g_idx].T).astype(np.float32)
    stored = (points - (version == "gptq")) & top
    tensors = {
        "qweight": of(np.ascontiguousarray(bits_of(number, bits).T)),
        "qzeros": of(bits_of(stored, bits)),
        "scales": stored_scales,
        "g_idx": of(g_idx.astype("<i4")),
    }
    settings = {
        **{"quant_method": "gptq", "bits": bits, "group_size": group, "sym": symmetric},
        **{"desc_act": act_order, "checkpoint_format": version},
    }
    return Packed(tensors, expected, settings)


def awq(weight: Array, group: int = 32) -> Packed:
    """Quantise (out, in) as AutoAWQ packs it for "gemm"."""
    out, inputs = weight.shape
    grouped = weight.reshape(out, -1, group)
    low, high = grouped.min(2), grouped.max(2)
    scales = ((high - low) / 15).astype("<f2")
    points = np.clip(np.rint(-low / scales.astype("<f4")), 0, 15).astype(np.int64)
    wide = scales.astype("<f4")[:, :, None]
    number = np.clip(np.rint(grouped / wide) + points[:, :, None], 0, 15).astype(np.int64)
    expected = (number - points[:, :, None]).astype(np.float32) * wide

    def packed(numbers: Array) -> tuple[str, Array]:
        words = np.zeros((len(numbers), out // 8), np.int64)
        for column in range(out // 8):
            for place, output in enumerate((0, 2, 4, 6, 1, 3, 5, 7)):
                words[:, column] |= numbers[:, column * 8 + output] << (4 * place)
        return of(words.astype("<u4").view("<i4"))

    tensors = {
        "qweight": packed(number.reshape(out, inputs).T),
        "qzeros": packed(points.T),
        "scales": of(np.ascontiguousarray(scales.T)),
    }
    settings = {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm"}
    return Packed(tensors, expected.reshape(out, inputs), settings | {"zero_point": True})


def pack_quantized(
    weight: Array, bits: int = 4, group: int = 32, *, symmetric: bool = True, ordered: bool = False
) -> Packed:
    """Quantise (out, in) as compressed-tensors packs whole numbers; group 0 is a row."""
    out, inputs = weight.shape
    size = group or inputs
    g_idx = np.arange(inputs) // size
    if ordered:
        g_idx = np.random.default_rng(1).permutation(g_idx)
    groups, half = g_idx.max() + 1, 1 << (bits - 1)
    scales, points = np.zeros((out, groups), "<f4"), np.zeros((out, groups), np.int64)
    for g in range(groups):
        of_group = weight[:, g_idx == g]
        if symmetric:
            scales[:, g] = np.abs(of_group).max(1) / (half - 1)
        else:
            low, high = of_group.min(1), of_group.max(1)
            scales[:, g] = (high - low) / (2 * half - 1)
            points[:, g] = np.clip(np.rint(-low / scales[:, g]) - half, -half, half - 1)
    stored_scales, scales = bfloat16(scales)
    number = np.clip(np.rint(weight / scales[:, g_idx]) + points[:, g_idx], -half, half - 1)
    expected = (number - points[:, g_idx]).astype(np.float32) * scales[:, g_idx]
    tensors = {
        "weight_packed": of(bits_of(number + half, bits)),
        "weight_scale": stored_scales,
        "weight_shape": of(np.array([out, inputs], "<i8")),
    }
    if not symmetric:
        down = bits_of((points + half).T, bits).T
        tensors["weight_zero_point"] = of(np.ascontiguousarray(down))
    if ordered:
        tensors["weight_g_idx"] = of(g_idx.astype("<i4"))
    weights = {
        **{"num_bits": bits, "type": "int", "symmetric": symmetric},
        **{"strategy": "group" if group else "channel", "group_size": group or None},
    }
    settings = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
    return Packed(tensors, expected, settings)


def int8_groups(weight: Array, group: int = 32) -> Packed:
    """Quantise (out, in) to int8 that are not packed, with a scale for each group of inputs."""
    groups = weight.reshape(len(weight), -1, group)
    scales = (np.abs(groups).max(2) / 127).astype("<f4")
    number = np.rint(groups / scales[:, :, None]).astype(np.int8)
    expected = (number.astype(np.float32) * scales[:, :, None]).reshape(weight.shape)
    weights = {"num_bits": 8, "type": "int", "strategy": "group", "group_size": group}
    settings = {"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": weights}}}
    tensors = {"weight": of(number.reshape(weight.shape)), "weight_scale": of(scales)}
    return Packed(tensors, expected, settings)


def mlx(weight: Array, bits: int = 4, group: int = 32) -> Packed:
    """Quantise (out, in) from the least of a group of inputs up, as MLX stores it."""
    groups = weight.reshape(len(weight), -1, group)
    stored_biases, biases = bfloat16(groups.min(2))
    stored_scales, scales = bfloat16((groups.max(2) - groups.min(2)) / ((1 << bits) - 1))
    number = np.rint((groups - biases[:, :, None]) / scales[:, :, None])
    number = np.clip(number, 0, (1 << bits) - 1).astype(np.int64)
    product = number.astype(np.float32) * scales[:, :, None]
    tensors = {
        "weight": of(bits_of(number.reshape(weight.shape), bits).view("<u4")),
        "scales": stored_scales,
        "biases": stored_biases,
    }
    expected = (product + biases[:, :, None]).reshape(weight.shape)
    return Packed(tensors, expected, {"bits": bits, "group_size": group})


# --- small floats ------------------------------------------------------------------------------


def e4m3_of(code: int) -> float:
    """Return what a code of E4M3 stands for, by the rule: bias 7, all ones is NaN."""
    sign = -1.0 if code & 128 else 1.0
    exponent, mantissa = code >> 3 & 15, code & 7
    if (exponent, mantissa) == (15, 7):
        return float("nan")
    if exponent == 0:
        return sign * mantissa / 8 * 2.0**-6
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7)


E4M3 = np.array([e4m3_of(code) for code in range(256)], np.float32)


def to_e4m3(values: Array) -> Array:
    """Return the codes of the nearest numbers of E4M3."""
    finite = np.nan_to_num(E4M3, nan=np.inf)
    order = np.argsort(finite, kind="stable")[:-2]  # without the two NaN
    ladder = finite[order]
    at = np.clip(np.searchsorted(ladder, values), 1, len(ladder) - 1)
    at -= np.abs(values - ladder[at - 1]) < np.abs(values - ladder[at])
    return order[at].astype(np.uint8)


def fp8_blocks(weight: Array, rows: int = 128, cols: int = 128) -> Packed:
    """Quantise (…, out, in) with a scale for each block, as DeepSeek does."""
    *_, out, inputs = weight.shape
    scales = np.zeros((*weight.shape[:-2], -(-out // rows), -(-inputs // cols)), "<f4")
    wide = np.zeros(weight.shape, np.float32)
    for i in range(scales.shape[-2]):
        for j in range(scales.shape[-1]):
            block = np.s_[..., i * rows : (i + 1) * rows, j * cols : (j + 1) * cols]
            scales[..., i, j] = np.abs(weight[block]).max((-2, -1)) / 448
            wide[block] = scales[..., i, j][..., None, None]
    codes = to_e4m3(weight / wide)
    tensors = {"weight": of(codes, "F8_E4M3"), "weight_scale_inv": of(scales)}
    settings = {"quant_method": "fp8", "weight_block_size": [rows, cols]}
    return Packed(tensors, E4M3[codes] * wide, settings)


def e2m1_codes(values: Array) -> Array:
    """Return the codes of the nearest numbers of E2M1, the sign in the highest of four bits."""
    nearest = np.abs(np.abs(values)[..., None] - np.array(E2M1)).argmin(-1)
    return (nearest + 8 * np.signbit(values)).astype(np.uint8)


def from_e2m1(codes: Array) -> Array:
    signs = np.where(codes & 8, -1.0, 1.0)
    return (signs * np.array(E2M1)[codes & 7]).astype(np.float32)


def two_a_byte(codes: Array) -> Array:
    """Put two codes in a byte, the first in the low half."""
    return (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8)


def nvfp4(weight: Array, *, divide: bool = False) -> Packed:
    """Quantise (…, out, in): 16 numbers share an E4M3 scale, all share a float32.

    With `divide` as compressed-tensors stores it, else as ModelOpt does.
    """
    groups = weight.reshape(*weight.shape[:-1], -1, 16)
    largest = np.abs(groups).max(-1)
    whole = np.float32(largest.max() / (6 * 448))
    whole = np.float32(1 / whole) if divide else whole
    scale_codes = to_e4m3(largest / 6 * whole if divide else largest / 6 / whole)
    scales = E4M3[scale_codes] / whole if divide else E4M3[scale_codes] * whole
    assert scales.dtype == np.float32
    codes = e2m1_codes(groups / np.maximum(scales, 1e-30)[..., None])
    expected = (from_e2m1(codes) * scales[..., None]).reshape(weight.shape)
    data = of(two_a_byte(codes.reshape(weight.shape)))
    if divide:
        tensors = {
            "weight_packed": data,
            "weight_scale": of(scale_codes, "F8_E4M3"),
            "weight_global_scale": of(np.array([whole])),
        }
        return Packed(tensors, expected, {"quant_method": "compressed-tensors"})
    tensors = {
        "weight": data,
        "weight_scale": of(scale_codes, "F8_E4M3"),
        "weight_scale_2": of(np.array(whole)),
    }
    return Packed(tensors, expected, {"quant_method": "modelopt", "quant_algo": "NVFP4"})


def mxfp4(weight: Array) -> tuple[Array, Array, Array]:
    """Quantise (…, in): blocks of bytes, powers of two as bytes, and the numbers meant."""
    groups = weight.reshape(*weight.shape[:-1], -1, 32)
    power = np.floor(np.log2(np.abs(groups).max(-1))).astype(np.int64) - 2
    codes = e2m1_codes(groups / 2.0 ** power[..., None])
    expected = (from_e2m1(codes) * 2.0 ** power[..., None]).astype(np.float32)
    return two_a_byte(codes), (power + 127).astype(np.uint8), expected.reshape(weight.shape)


# --- bitsandbytes ------------------------------------------------------------------------------

# The 16 numbers of NF4 (Dettmers et al., QLoRA, 2023, appendix E).
NF4 = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ],
    np.float32,
)


def nf4(weight: Array, block: int = 64, *, nested: int = 0) -> Packed:
    """Quantise runs of numbers in C order; `nested` scales share a scale of their own."""
    flat = np.append(weight.reshape(-1), np.zeros(-weight.size % block, np.float32))
    runs = flat.reshape(-1, block)
    scales = np.abs(runs).max(1)
    state: dict[str, Any] = {"quant_type": "nf4", "blocksize": block, "dtype": "bfloat16"}
    state["shape"] = list(weight.shape)
    tensors: Tensors = {}
    if nested:
        codes = np.linspace(-1, 1, 256, dtype=np.float32)
        offset = float(scales.mean())
        runs_of = np.append(scales - offset, np.zeros(-len(scales) % nested)).reshape(-1, nested)
        nested_scales = np.abs(runs_of).max(1).astype("<f4")
        by = np.repeat(nested_scales, nested)[: len(scales)]
        index = np.abs((scales - offset)[:, None] / by[:, None] - codes).argmin(1)
        scales = codes[index] * by + np.float32(offset)
        state |= {"nested_blocksize": nested, "nested_dtype": "float32", "nested_offset": offset}
        tensors["weight.absmax"] = of(index.astype(np.uint8))
        tensors["weight.nested_absmax"] = of(nested_scales)
        tensors["weight.nested_quant_map"] = of(codes)
    else:
        tensors["weight.absmax"] = of(scales.astype("<f4"))
    index = np.abs(runs[..., None] / scales[:, None, None] - NF4).argmin(-1)
    expected = (NF4[index] * scales[:, None]).reshape(-1)[: weight.size].reshape(weight.shape)
    codes4 = index.reshape(-1)[: weight.size + weight.size % 2].astype(np.uint8)
    data = (codes4[0::2] << 4 | codes4[1::2]).astype(np.uint8)[:, None]
    text = np.frombuffer(json.dumps(state).encode(), np.uint8)
    tensors |= {
        "weight": of(data),
        "weight.quant_map": of(NF4),
        "weight.quant_state.bitsandbytes__nf4": of(text),
    }
    return Packed(tensors, expected, {"quant_method": "bitsandbytes", "load_in_4bit": True})


def int8(weight: Array) -> Packed:
    """Quantise rows by their largest magnitude."""
    largest = np.abs(weight).max(1).astype("<f4")
    number = np.rint(weight / largest[:, None] * 127).astype(np.int8)
    expected = number.astype(np.float32) * largest[:, None] * np.float32(1 / 127)
    tensors = {
        "weight": of(number),
        "SCB": of(largest),
        "weight_format": of(np.array(0, np.uint8)),
    }
    return Packed(tensors, expected, {"quant_method": "bitsandbytes", "load_in_8bit": True})
