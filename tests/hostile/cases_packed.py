"""Packed weights whose parts or settings contradict each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from .making import PROMISE, REFUSED, UNREADABLE, Case, Files, damaged, floats, stored

NAME = "model.safetensors"
P = "model.layers.0.self_attn.q_proj"
Tensors = Mapping[str, tuple[str, tuple[int, ...], bytes]]
WIDTH = {"I32": 4, "F16": 2, "BF16": 2, "F32": 4, "U8": 1, "I8": 1, "F8_E4M3": 1, "I64": 8}


def some(dtype: str, *shape: int, byte: int = 0) -> tuple[str, tuple[int, ...], bytes]:
    """Return a tensor of one byte over and over."""
    size = WIDTH[dtype]
    for n in shape:
        size *= n
    return dtype, shape, bytes([byte]) * size


def files(tensors: Tensors, settings: object = None, file: str = "config.json") -> Files:
    """Return a model's files; the settings are those of the quantisation."""
    whole = {"quantization_config": settings} if file == "config.json" else settings
    return {NAME: stored(tensors), file: json.dumps(whole).encode()}


def _gptq(bits: int = 4, group: int = 8) -> tuple[dict[str, tuple], dict[str, object]]:
    rows, cols, groups = 32, 32, 32 // max(group, 1)
    tensors = {
        f"{P}.qweight": some("I32", rows * bits // 32, cols, byte=17),
        f"{P}.qzeros": some("I32", groups, cols * bits // 32),
        f"{P}.scales": some("F16", groups, cols, byte=40),
        f"{P}.g_idx": (
            "I32",
            (rows,),
            b"".join((n // group).to_bytes(4, "little") for n in range(rows)),
        ),
    }
    settings = {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": group,
        "desc_act": False,
        "sym": True,
    }
    return tensors, settings


def _awq() -> tuple[dict[str, tuple], dict[str, object]]:
    tensors = {
        f"{P}.qweight": some("I32", 32, 4, byte=17),
        f"{P}.qzeros": some("I32", 4, 4),
        f"{P}.scales": some("F16", 4, 32, byte=40),
    }
    return tensors, {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 8,
        "version": "gemm",
        "zero_point": True,
    }


def _fp8() -> tuple[dict[str, tuple], dict[str, object]]:
    tensors = {
        f"{P}.weight": some("F8_E4M3", 20, 12, byte=56),
        f"{P}.weight_scale_inv": floats(3, 2),
    }
    return tensors, {"quant_method": "fp8", "weight_block_size": [8, 8], "fmt": "e4m3"}


def _mxfp4() -> tuple[dict[str, tuple], dict[str, object]]:
    e = "model.layers.0.mlp.experts.gate_up_proj"
    tensors = {
        f"{e}_blocks": some("U8", 2, 8, 1, 16, byte=34),
        f"{e}_scales": some("U8", 2, 8, 1, byte=127),
    }
    return tensors, {"quant_method": "mxfp4"}


STATE = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [16, 16]}
NESTED = {**STATE, "nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.1}


def _state(state: object, kind: str = "nf4") -> dict[str, tuple]:
    raw = state if isinstance(state, bytes) else json.dumps(state).encode()
    return {f"{P}.weight.quant_state.bitsandbytes__{kind}": ("U8", (len(raw),), raw)}


def _bnb(state: object = STATE, nested: bool = False) -> tuple[dict[str, tuple], dict[str, object]]:
    tensors = {
        f"{P}.weight": some("U8", 128, 1, byte=18),
        f"{P}.weight.absmax": some("U8", 4, byte=9) if nested else floats(4),
        f"{P}.weight.quant_map": floats(16),
        **_state(state),
    }
    if nested:
        tensors |= {
            f"{P}.weight.nested_absmax": floats(1),
            f"{P}.weight.nested_quant_map": floats(256),
        }
    return tensors, {"quant_method": "bitsandbytes", "load_in_4bit": True}


def _int8() -> tuple[dict[str, tuple], dict[str, object]]:
    tensors = {
        f"{P}.weight": some("I8", 8, 16, byte=5),
        f"{P}.SCB": floats(8),
        f"{P}.weight_format": ("U8", (), b"\0"),
    }
    return tensors, {"quant_method": "bitsandbytes", "load_in_8bit": True}


def _group(**weights: object) -> dict[str, object]:
    usual = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 16}
    return {"targets": ["Linear"], "weights": {**usual, **weights}}


def _compressed(**weights: object) -> tuple[dict[str, tuple], dict[str, object]]:
    tensors = {
        f"{P}.weight_packed": some("I32", 8, 4, byte=17),
        f"{P}.weight_scale": some("BF16", 8, 2, byte=60),
        f"{P}.weight_shape": ("I64", (2,), (8).to_bytes(8, "little") + (32).to_bytes(8, "little")),
    }
    settings = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": _group(**weights)},
    }
    return tensors, settings


def _nvfp4() -> tuple[dict[str, tuple], dict[str, object]]:
    tensors = {
        f"{P}.weight": some("U8", 8, 16, byte=34),
        f"{P}.weight_scale": some("F8_E4M3", 8, 2, byte=56),
        f"{P}.weight_scale_2": floats(),
    }
    return tensors, {"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16}


METHODS = {
    **{f"gptq {bits} bit": _gptq(bits) for bits in (2, 3, 4, 8)},
    "awq": _awq(),
    "fp8": _fp8(),
    "mxfp4": _mxfp4(),
    "nf4": _bnb(),
    "nested nf4": _bnb(NESTED, True),
    "int8": _int8(),
    "compressed": _compressed(),
    "nvfp4": _nvfp4(),
}
VALID = {method: files(*parts) for method, parts in METHODS.items()}
STRANGE: tuple[object, ...] = (
    *(0, -1, 5, 2**31, 2**70, 1.5, float("nan"), "4", None, True),
    *([], [0, 0], [-1, 8], [2**40, 1], {}, "\x1b[2J"),
)


def cases() -> Iterator[Case]:
    """Give all of them: each part missing, of other shapes and types, each setting strange."""
    for method, (tensors, settings) in METHODS.items():
        yield Case(f"{method}: as it should be", files(tensors, settings), "", PROMISE)
        for part in tensors:
            yield from _parts(method, tensors, settings, part)
        for key in settings:
            for value in STRANGE:
                wrong = files(tensors, {**settings, key: value})
                yield Case(f"{method}: {key} {str(value)[:20]!r}", wrong, "", PROMISE)
        for value in STRANGE:
            yield Case(f"{method}: settings {value!r:.20}", files(tensors, value), "", PROMISE)
            beside = files(tensors, value, "quantize_config.json")
            yield Case(f"{method}: beside {value!r:.20}", beside, "", PROMISE)
    valid = VALID["gptq 4 bit"]
    yield from damaged("gptq's file", valid, NAME, opened="")
    yield from damaged("gptq's settings", valid, "config.json", opened="", cut=PROMISE)
    yield from damaged("nf4's file", VALID["nested nf4"], NAME, opened="")
    yield from _scales_missing()
    yield from _states()
    yield from _others()


def _parts(method: str, tensors: Tensors, settings: object, part: str) -> Iterator[Case]:
    end = part.removeprefix(P)
    without = {k: v for k, v in tensors.items() if k != part}
    if without:
        yield Case(f"{method}: no {end}", files(without, settings), "", PROMISE)
    shapes = ((), (1,), (3, 5), (0, 32), (1, 1, 1, 1), (64, 64))
    for shape in shapes:
        dtype = tensors[part][0]
        wrong = {**tensors, part: some(dtype, *shape, byte=255)}
        yield Case(f"{method}: {end} {shape}", files(wrong, settings), "", PROMISE)
    for dtype in ("F32", "U8", "I64", "F8_E4M3"):
        if dtype != tensors[part][0]:
            wrong = {**tensors, part: some(dtype, *tensors[part][1], byte=255)}
            yield Case(f"{method}: {end} {dtype}", files(wrong, settings), "", PROMISE)
    same = {**tensors, part: some(tensors[part][0], *tensors[part][1], byte=255)}
    yield Case(f"{method}: {end} all ones", files(same, settings), "", PROMISE)


def _scales_missing() -> Iterator[Case]:
    """Give packs that cannot be unpacked for certain: shown as such, never as integers."""
    needed = {"gptq 4 bit": "scales", "awq": "scales", "nf4": "weight.absmax"}
    needed |= {
        "compressed": "weight_scale",
        "mxfp4": "gate_up_proj_scales",
        "nvfp4": "weight_scale",
    }
    for method, end in needed.items():
        tensors, settings = METHODS[method]
        left = {k: v for k, v in tensors.items() if not k.endswith(f".{end}")}
        assert len(left) == len(tensors) - 1, method
        yield Case(f"{method}: its {end} are missing", files(left, settings), "", UNREADABLE)
    tensors, settings = METHODS["gptq 4 bit"]
    far = {**tensors, f"{P}.g_idx": some("I32", 32, byte=127)}
    yield Case("gptq: g_idx far out", files(far, settings), "", PROMISE)
    below = {**tensors, f"{P}.g_idx": some("I32", 32, byte=255)}
    yield Case("gptq: g_idx below 0", files(below, settings), "", PROMISE)
    odd = {**settings, "bits": 5}
    yield Case("gptq: five bits", files(tensors, odd), "", UNREADABLE)


def _states() -> Iterator[Case]:
    """Give bad ``quant_state`` of bitsandbytes, which is JSON in a tensor."""
    texts = (b"", b"x", b"[]", b"\xff\xfe", b"{", b'{"a":' * 50_000, b"9" * 5000)
    for n, raw in enumerate(texts):
        yield Case(f"nf4: state {n}", files(*_bnb(raw)), "", PROMISE)
    for key in NESTED:
        for value in (*STRANGE, [2**40, 2**40], [-16, -16], [0, 2**62], [1] * 999):
            tensors, settings = _bnb({**NESTED, key: value}, True)
            yield Case(f"nf4: {key} {str(value)[:20]!r}", files(tensors, settings), "", PROMISE)
    tensors, settings = _bnb(b" " * 20_000_000 + b"{}")
    yield Case("nf4: a state of 20 MB", files(tensors, settings), "", PROMISE)
    two = {**_bnb()[0], **_state(STATE, "fp4")}
    yield Case("nf4: two states", files(two, settings), "", PROMISE)


def _others() -> Iterator[Case]:
    """Give shapes, groups and patterns in settings that are traps."""
    tensors, settings = _compressed()
    shapes = ((-8, -32), (2**62, 2**62), (0, 0), (8, 33), (2**40, 1))
    for rows, cols in shapes:
        raw = b"".join((n % 2**64).to_bytes(8, "little") for n in (rows, cols))
        wrong = {**tensors, f"{P}.weight_shape": ("I64", (2,), raw)}
        yield Case(f"compressed: shape {rows} {cols}", files(wrong, settings), "", PROMISE)
    for key in ("num_bits", "group_size", "strategy", "type", "symmetric", "actorder"):
        for value in STRANGE:
            named = f"compressed: group's {key} {str(value)[:20]!r}"
            yield Case(named, files(*_compressed(**{key: value})), "", PROMISE)
    for trap in ("re:(a+)+$", "re:(.*)*x", "re:" + "(" * 5000, "re:[", "re:((.|.)+)+y", "\0"):
        group = {**_group(), "targets": [trap]}
        long = {k.replace(P, "a" * 60): v for k, v in tensors.items()}
        for wrong in ({"config_groups": {"g": group}}, {"ignore": [trap]}):
            named = f"compressed: pattern {trap[:20]!r} {next(iter(wrong))}"
            yield Case(named, files(long, {**settings, **wrong}), "", PROMISE)
    beside = {**files(tensors, settings), "quantize_config.json": b'{"a":' * 100_000}
    yield Case("two settings, one nested deeply", beside, "", PROMISE)
    yield Case("no model beside the settings", {"quantize_config.json": b"{}"}, "", REFUSED)
