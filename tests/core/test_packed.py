"""Quantised weights, bit by bit against quantisers written from the formats' definitions."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import weightwalk
from weightwalk import pipeline
from weightwalk.batch.cli import main
from weightwalk.core.model import steps
from weightwalk.core.readers.base import Packing
from weightwalk.core.report import make_report
from weightwalk.core.settings import OutputSettings, Selection, Settings

from . import packers
from .packers import Packed, of, save, write

RNG = np.random.default_rng(7)
MODULE = "model.layers.3.self_attn.q_proj"
WEIGHT = RNG.normal(size=(64, 192)).astype(np.float32) / 8
WEIGHT[:, 40] *= 30
ODD = RNG.normal(size=(40, 136)).astype(np.float32)

Case = tuple[Callable[[], Packed], str, Packing]

CASES: dict[str, Case] = {
    **{
        f"gptq {bits} {version} {order}": (
            lambda bits=bits, version=version, order=order: packers.gptq(
                WEIGHT, bits, version=version, act_order=order
            ),
            f"GPTQ{bits}",
            Packing("GPTQ", bits, 32, "32"),
        )
        for bits in (2, 3, 4, 8)
        for version in ("gptq", "gptq_v2")
        for order in (False, True)
    },
    "gptq symmetric, scales in bf16": (
        lambda: packers.gptq(WEIGHT, group=64, symmetric=True, scale_dtype="bf2"),
        "GPTQ4",
        Packing("GPTQ", 4, 64, "64"),
    ),
    "gptq with positive rows, whose zero point is 0": (
        lambda: packers.gptq(np.abs(WEIGHT)),
        "GPTQ4",
        Packing("GPTQ", 4, 32, "32"),
    ),
    "awq": (lambda: packers.awq(WEIGHT), "AWQ4", Packing("AWQ", 4, 32, "32")),
    "fp8 in blocks that are cut": (
        lambda: packers.fp8_blocks(ODD, 32, 48),
        "F8_E4M3",
        Packing("FP8", 8, 0, "32×48"),
    ),
    "int8 in groups": (
        lambda: packers.int8_groups(WEIGHT),
        "INT8",
        Packing("INT", 8, 32, "32"),
    ),
    "fp8 in 128×128": (
        lambda: packers.fp8_blocks(WEIGHT),
        "F8_E4M3",
        Packing("FP8", 8, 0, "128×128"),
    ),
    **{
        f"int{bits} {group} {symmetric} {ordered}": (
            lambda bits=bits, group=group, symmetric=symmetric, ordered=ordered: (
                packers.pack_quantized(WEIGHT, bits, group, symmetric=symmetric, ordered=ordered)
            ),
            f"INT{bits}",
            Packing("INT", bits, group, str(group) if group else "channel"),
        )
        for bits, group, symmetric, ordered in [
            *((4, 32, True, False), (4, 32, False, False), (4, 64, False, True)),
            *((8, 32, False, False), (4, 0, True, False), (8, 0, False, False)),
        ]
    },
    "int4 whose words overhang its rows": (
        lambda: packers.pack_quantized(WEIGHT[:37, :99], 4, 0, symmetric=False),
        "INT4",
        Packing("INT", 4, 0, "channel"),
    ),
    **{
        f"mlx {bits}": (
            lambda bits=bits: packers.mlx(WEIGHT, bits),
            f"INT{bits}",
            Packing("MLX", bits, 32, "32"),
        )
        for bits in (2, 3, 4, 5, 6, 8)
    },
    "nvfp4 of ModelOpt": (
        lambda: packers.nvfp4(WEIGHT),
        "NVFP4",
        Packing("NVFP4", 4, 16, "16"),
    ),
    "nvfp4 of compressed-tensors": (
        lambda: packers.nvfp4(WEIGHT, divide=True),
        "NVFP4",
        Packing("NVFP4", 4, 16, "16"),
    ),
    "nf4": (lambda: packers.nf4(WEIGHT), "NF4", Packing("NF4", 4, 64, "64")),
    "nf4 of a shape that fills no block": (
        lambda: packers.nf4(ODD[:39, :135], nested=8),
        "NF4",
        Packing("NF4", 4, 64, "64"),
    ),
    "int8 of bitsandbytes": (
        lambda: packers.int8(WEIGHT),
        "INT8",
        Packing("INT", 8, 0, "channel"),
    ),
}


def same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype == np.float32


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_packed_weight_is_one_tensor_with_its_own_numbers(tmp_path: Path, case: Case) -> None:
    make, dtype, packing = case
    packed = make()
    with weightwalk.open(save(tmp_path, packed, MODULE)) as checkpoint:
        (tensor,) = checkpoint.values()
        assert (tensor.name, tensor.layer, tensor.role) == (f"{MODULE}.weight", 3, "q")
        assert (tensor.shape, tensor.dtype) == (packed.weight.shape, dtype)
        assert tensor.packing == packing
        assert (tensor.is_float, tensor.decodable) == (True, True)
        assert tensor.nbytes == sum(array.nbytes for _, array in packed.tensors.values())
        same_bits(np.asarray(tensor), packed.weight)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_any_range_is_that_range(
    tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a panel is a few rows: then it is cut in the middle of words and groups."""
    monkeypatch.setattr("weightwalk.core.readers.values._PANEL", 1000)
    monkeypatch.setattr("weightwalk.core.readers.values._PANEL_ACROSS", 1500)
    packed = case[0]()
    with weightwalk.open(save(tmp_path, packed, MODULE)) as checkpoint:
        (tensor,) = checkpoint.values()
        for start, stop in [(0, 0), (1, 2), (777, 3001), (tensor.size - 5, tensor.size), (5, 999)]:
            same_bits(tensor.flat(start, stop), packed.weight.reshape(-1)[start:stop])
            spans = list(tensor.values.spans(start, stop))
            assert bool(spans) == (start < stop)
            assert all(0 <= s.begin < s.end <= s.file.size for s in spans)
        same_bits(np.asarray(tensor), packed.weight)


@pytest.mark.parametrize(
    ("shape", "by", "group"),
    [
        *(((24, 40), (), "tensor"), ((24, 40), (1,), "tensor"), ((24, 40), (24,), "channel")),
        *(((24, 40), (24, 1), "channel"), ((24, 40), (1, 40), "channel")),
        *(((3, 24, 40), (3,), "tensor"), ((3, 24, 40), (3, 1, 1), "tensor")),
        *(((3, 24, 40), (3, 24, 1), "channel"), ((3, 24, 40), (3, 1, 40), "channel")),
    ],
)
@pytest.mark.parametrize("dtype", ["F8_E4M3", "I8"])
def test_eight_bits_with_a_scale_of_each_shape(
    tmp_path: Path, shape: tuple[int, ...], by: tuple[int, ...], group: str, dtype: str
) -> None:
    codes = RNG.integers(0, 120, shape).astype(np.uint8)
    scale = RNG.random(by).astype(np.float32)
    numbers = packers.E4M3[codes] if dtype == "F8_E4M3" else codes.astype(np.float32)
    spread = scale.reshape(-1, *(1 for _ in shape[1:])) if len(by) == 1 else scale
    tensors = {"a.weight": (dtype, codes), "a.weight_scale": of(scale)}
    tensors["a.input_scale"] = of(np.float32([3]))
    with weightwalk.open(write(tmp_path / "model.safetensors", tensors)) as checkpoint:
        assert list(checkpoint) == ["a.weight", "a.input_scale"]
        packing = checkpoint["a.weight"].packing
        assert packing is not None
        assert (packing.bits, packing.group) == (8, group)
        same_bits(np.asarray(checkpoint["a.weight"]), numbers * spread)


def test_parts_may_lie_in_different_shards(tmp_path: Path) -> None:
    packed = packers.gptq(WEIGHT)
    save(tmp_path, packed, MODULE)
    (tmp_path / "model.safetensors").unlink()
    weight_map = {}
    for end, value in packed.tensors.items():
        weight_map[f"{MODULE}.{end}"] = f"{end}.safetensors"
        write(tmp_path / f"{end}.safetensors", {f"{MODULE}.{end}": value})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with weightwalk.open(tmp_path) as checkpoint:
        (tensor,) = checkpoint.values()
        assert tensor.file.name == "qweight.safetensors"
        assert len(tensor.sources) == len(packed.tensors)
        same_bits(np.asarray(tensor), packed.weight)


def test_experts_with_a_scale_a_channel_by_the_name_of_fbgemm(tmp_path: Path) -> None:
    codes = RNG.integers(0, 120, (3, 24, 40)).astype(np.uint8)
    scale = RNG.random((3, 1, 40)).astype(np.float32)
    name = "model.layers.0.feed_forward.experts.gate_up_proj"
    tensors = {name: ("F8_E4M3", codes), f"{name}_scale": of(scale)}
    with weightwalk.open(write(tmp_path / "model.safetensors", tensors)) as checkpoint:
        assert list(checkpoint) == [name]
        same_bits(np.asarray(checkpoint[name]), packers.E4M3[codes] * scale)


@pytest.mark.parametrize("dtype", ["U8", "F8_E8M0"])
def test_experts_in_one_tensor(tmp_path: Path, dtype: str) -> None:
    """Of gpt-oss in MXFP4 and of DeepSeek-like ones in FP8: as the BF16 checkpoints have them."""
    weight = RNG.normal(size=(3, 48, 96)).astype(np.float32)
    blocks, scales, expected = packers.mxfp4(weight)
    fp8 = packers.fp8_blocks(weight)
    at = "model.layers.0.mlp.experts"
    tensors = {
        f"{at}.gate_up_proj_blocks": of(blocks),
        f"{at}.gate_up_proj_scales": of(scales, dtype),
        f"{at}.down_proj": fp8.tensors["weight"],
        f"{at}.down_proj_scale_inv": fp8.tensors["weight_scale_inv"],
        "block.0.mlp.mlp1_weight.blocks": of(blocks),
        "block.0.mlp.mlp1_weight.scales": of(scales, dtype),
    }
    config = '{"quantization_config": {"weight_block_size": [128, 128]}}'
    (tmp_path / "config.json").write_text(config)
    with weightwalk.open(write(tmp_path / "model.safetensors", tensors)) as checkpoint:
        gate_up, down, reference = checkpoint.values()
        assert (gate_up.name, gate_up.shape) == (f"{at}.gate_up_proj", (3, 96, 48))
        assert (gate_up.dtype, str(gate_up.packing)) == ("MXFP4", "MXFP4 4-bit, group 32")
        same_bits(np.asarray(gate_up), expected.transpose(0, 2, 1))
        same_bits(gate_up.rows(1, 2), expected.transpose(0, 2, 1)[1:2])
        assert (down.name, down.shape) == (f"{at}.down_proj", weight.shape)
        same_bits(np.asarray(down), fp8.weight)
        same_bits(np.asarray(reference), expected)


def test_a_power_of_two_may_be_nothing_at_all(tmp_path: Path) -> None:
    """E8M0 reaches from 2^-127, below the normal float32, to NaN."""
    scales = np.array([[[0, 1, 254, 255]]], np.uint8)
    blocks = np.full((1, 1, 4, 16), 0x2B, np.uint8)  # -1.5, then 1
    tensors = {"experts.down_proj_blocks": of(blocks), "experts.down_proj_scales": of(scales)}
    with weightwalk.open(write(tmp_path / "model.safetensors", tensors)) as checkpoint:
        found = np.asarray(checkpoint["experts.down_proj"]).reshape(4, 32)
    same_bits(found[:3, 0], np.float32([-1.5 * 2.0**-127, -1.5 * 2.0**-126, -1.5 * 2.0**127]))
    same_bits(found[:3, 1], np.float32([2.0**-127, 2.0**-126, 2.0**127]))
    assert np.isnan(found[3]).all()


@pytest.mark.parametrize("dtype", ["U8", "F8_E8M0"])
def test_eight_bits_with_powers_of_two(tmp_path: Path, dtype: str) -> None:
    """MXFP8, and FP8 in blocks whose scales are rounded to powers of two."""
    codes = RNG.integers(0, 120, (64, 96)).astype(np.uint8)
    powers = RNG.integers(110, 130, (64, 3)).astype(np.uint8)
    tensors = {
        "a.weight": ("F8_E4M3", codes),
        "a.weight_scale": of(powers, dtype),
        "b.weight": ("F8_E4M3", codes),
        "b.weight_scale_inv": of(powers[:2], dtype),
    }
    config = '{"quantization_config": {"weight_block_size": [32, 32]}}'
    (tmp_path / "config.json").write_text(config)
    scales = (2.0 ** (powers.astype(np.float64) - 127)).astype(np.float32)
    with weightwalk.open(write(tmp_path / "model.safetensors", tensors)) as checkpoint:
        small, blocks = checkpoint.values()
        assert str(small.packing) == "MXFP8 8-bit, group 32"
        same_bits(np.asarray(small), packers.E4M3[codes] * np.repeat(scales, 32, 1))
        wide = np.repeat(np.repeat(scales[:2], 32, 0), 32, 1)
        assert str(blocks.packing) == "FP8 8-bit, group 32×32"
        same_bits(np.asarray(blocks), packers.E4M3[codes] * wide)


def test_numbers_of_bitsandbytes_may_be_stored_as_any_dtype(tmp_path: Path) -> None:
    """``bnb_4bit_quant_storage``: the same bytes, called BF16."""
    packed = packers.nf4(WEIGHT)
    packed.tensors["weight"] = ("BF16", packed.tensors["weight"][1].reshape(-1, 2).view("<u2"))
    with weightwalk.open(save(tmp_path, packed, MODULE)) as checkpoint:
        same_bits(np.asarray(checkpoint[f"{MODULE}.weight"]), packed.weight)


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("quantize_config.json", '{"bits": 4, "group_size": 32, "desc_act": false}'),
        ("quant_config.json", '{"w_bit": 4, "q_group_size": 32, "version": "GEMM"}'),
    ],
)
def test_settings_may_lie_beside_the_config(tmp_path: Path, file: str, settings: str) -> None:
    packed = packers.gptq(WEIGHT) if "quantize" in file else packers.awq(WEIGHT)
    packed.settings = {}
    save(tmp_path, packed, MODULE)
    (tmp_path / file).write_text(settings)
    with weightwalk.open(tmp_path) as checkpoint:
        same_bits(np.asarray(checkpoint[f"{MODULE}.weight"]), packed.weight)


def test_a_weight_stands_where_its_first_part_stood(tmp_path: Path) -> None:
    """And what is not packed stays as it is, also when its name sounds packed."""
    packed = packers.gptq(WEIGHT)
    plain = of(np.float32([[1, 2]]))
    others = {"a.weight": plain, "norm.scale": plain, "norm.weight": plain, "x_scales": plain}
    ends = {f"{MODULE}.{end}": value for end, value in packed.tensors.items()}
    first, *rest = ends
    tensors = {first: ends[first], **others, **{name: ends[name] for name in rest}}
    tensors["z.weight_scale"] = plain
    save(tmp_path, packed, MODULE)
    write(tmp_path / "model.safetensors", tensors)
    with weightwalk.open(tmp_path) as checkpoint:
        assert list(checkpoint) == [f"{MODULE}.weight", *others, "z.weight_scale"]
        assert all(t.is_float and t.decodable for t in checkpoint.values())


def test_the_whole_is_never_held(tmp_path: Path) -> None:
    """128 MiB of float32 are made in panels of 8, or of 32 where rows lie across the file."""
    out, inputs, group = 8192, 4096, 128

    def zeros(*shape: int, dtype: str = "<i4") -> tuple[str, packers.Array]:
        return of(np.zeros(shape, dtype))

    halves = zeros(out, inputs // 2, dtype="u1")
    scales = zeros(out, inputs // 16, dtype="u1")[1]
    state = f'{{"quant_type": "nf4", "shape": [{out}, {inputs}], "blocksize": 64}}'
    tensors = {
        "gptq.qweight": zeros(inputs // 8, out),
        "gptq.qzeros": zeros(inputs // group, out // 8),
        "gptq.scales": zeros(inputs // group, out, dtype="<f2"),
        "gptq.g_idx": zeros(inputs),
        "fp8.weight": ("F8_E4M3", np.zeros((out, inputs), "u1")),
        "fp8.weight_scale_inv": zeros(out // 128, inputs // 128, dtype="<f4"),
        "nvfp4.weight": halves,
        "nvfp4.weight_scale": ("F8_E4M3", scales),
        "nvfp4.weight_scale_2": zeros(dtype="<f4"),
        "nf4.weight": halves,
        "nf4.weight.absmax": zeros(out * inputs // 64, dtype="<f4"),
        "nf4.weight.quant_map": zeros(16, dtype="<f4"),
        "nf4.weight.quant_state.bitsandbytes__nf4": of(np.frombuffer(state.encode(), "u1")),
        "experts.down_proj_blocks": zeros(2, out // 2, inputs // 32, 16, dtype="u1"),
        "experts.down_proj_scales": zeros(2, out // 2, inputs // 32, dtype="u1"),
    }
    settings = {"bits": 4, "group_size": group, "weight_block_size": [128, 128]}
    save(tmp_path, Packed({}, WEIGHT, settings), MODULE)
    with weightwalk.open(write(tmp_path / "model.safetensors", tensors)) as checkpoint:
        assert len(checkpoint) == 5
        for tensor in checkpoint.values():
            assert tensor.size == out * inputs, tensor.reason
            tracemalloc.start()
            try:
                for start in range(0, tensor.size, 1 << 20):
                    tensor.flat(start, start + (1 << 20))
                now, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            across = tensor.dtype in ("GPTQ4", "MXFP4")
            assert peak < (140 if across else 40) << 20, tensor.dtype
            assert now < 1 << 20, tensor.dtype


def test_bits_and_group_are_in_the_list_and_in_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = packers.gptq(WEIGHT)
    packed.tensors["bias"] = of(WEIGHT[0])
    save(tmp_path, packed, MODULE)
    assert main(["inspect", str(tmp_path)]) == 0
    weight, bias = capsys.readouterr().out.splitlines()[2:]
    assert "GPTQ4" in weight
    assert "GPTQ 4-bit, group 32" in weight
    assert "bit" not in bias
    assert main(["inspect", str(tmp_path), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    docs = Path(__file__).resolve().parents[2] / "docs"
    jsonschema.validate(listed, json.loads((docs / "inspect.schema.json").read_text("utf-8")))
    assert [(t["bits"], t["group"]) for t in listed["tensors"]] == [(4, "32"), (None, None)]
    model = pipeline.drain(steps(Settings(tmp_path, Selection(names=(f"{MODULE}.weight",)))))
    report = make_report(model, OutputSettings(Path("out")), (), {"weightwalk": "0"})
    jsonschema.validate(
        json.loads(json.dumps(report)), json.loads((docs / "report.schema.json").read_text("utf-8"))
    )
    packing = {"method": "GPTQ", "bits": 4, "group_size": 32, "group": "32"}
    assert [entry["packing"] for entry in report["surfaces"]] == [[packing]] * len(model.exhibits)
    assert model.exhibits[0].part.extras["packing"] == "GPTQ 4-bit, group 32"
