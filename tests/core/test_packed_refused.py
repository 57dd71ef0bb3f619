"""Packed weights that cannot be unpacked stay listed, say why, and are never drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import weightwalk
from hypothesis import given, settings
from hypothesis import strategies as st
from weightwalk.core.errors import CheckpointError, DTypeError, SelectionError
from weightwalk.core.plans import select
from weightwalk.core.settings import Selection

from . import packers
from .packers import Packed, Tensors, of, save

MODULE = "model.layers.3.mlp.up_proj"
WEIGHT = np.random.default_rng(9).normal(size=(32, 64)).astype(np.float32)
CODES = {"I8", "I16", "I32", "I64", "U8", "F8_E4M3"}

Change = Callable[[Tensors, dict[str, Any]], None]


def without(*ends: str) -> Change:
    return lambda tensors, settings: [tensors.pop(end) for end in ends] and None


def said(**changes: Any) -> Change:
    return lambda tensors, settings: settings.update(changes)


def no_settings(tensors: Tensors, settings: dict[str, Any]) -> None:
    settings.clear()


def cut(end: str) -> Change:
    """Take the first row of a part away."""

    def change(tensors: Tensors, settings: dict[str, Any]) -> None:
        dtype, array = tensors[end]
        tensors[end] = dtype, array[1:]

    return change


def group_of_settings(**changes: Any) -> Change:
    def change(tensors: Tensors, settings: dict[str, Any]) -> None:
        settings["config_groups"]["group_0"]["weights"].update(changes)

    return change


def state(**changes: Any) -> Change:
    """Change what the quant_state says."""
    end = "weight.quant_state.bitsandbytes__nf4"

    def change(tensors: Tensors, settings: dict[str, Any]) -> None:
        text = json.dumps(json.loads(tensors[end][1].tobytes()) | changes)
        tensors[end] = of(np.frombuffer(text.encode(), np.uint8))

    return change


def gptq() -> Packed:
    return packers.gptq(WEIGHT)


def int4() -> Packed:
    return packers.pack_quantized(WEIGHT, symmetric=False)


def nested_nf4() -> Packed:
    return packers.nf4(WEIGHT, nested=8)


REFUSED: list[tuple[Callable[[], Packed], Change, str]] = [
    (gptq, without("scales"), "scales is missing"),
    (gptq, without("qzeros"), "qzeros is missing"),
    (gptq, without("qweight"), "part of packed weights that are missing"),
    (gptq, no_settings, "no quantization_config says by which method"),
    (gptq, said(bits=8), "not of 8 bits, as the quantization_config says"),
    (gptq, said(bits=5), "5-bit GPTQ weights, which are not read"),
    (gptq, said(bits="4"), "setting bits is not a whole number"),
    (gptq, said(group_size=64), "64 inputs in 2 groups, settings say 64 in each"),
    (gptq, said(group_size=0), "settings say 0 in each"),
    (gptq, said(quant_method="exl2"), "packed by exl2, a method that is not read"),
    (gptq, said(quant_method=["gptq"]), "a method that is not read"),
    (gptq, said(checkpoint_format="marlin"), "the format marlin, which is not read"),
    (gptq, said(checkpoint_format={"a": 1}), "GPTQ weights in the format .*not read"),
    (gptq, said(checkpoint_format=""), ""),
    (gptq, cut("qweight"), "parts do not fit together: qweight 7×32"),
    (gptq, cut("g_idx"), "parts do not fit together.*g_idx 63"),
    (lambda: packers.awq(WEIGHT), said(version="gemv"), "version gemv, only gemm is read"),
    (lambda: packers.awq(WEIGHT), said(bits=8), "AWQ weights of 8 bits, only 4 are read"),
    (lambda: packers.awq(WEIGHT), cut("qweight"), "63 inputs, which groups of 32 do not"),
    (lambda: packers.awq(WEIGHT), cut("qzeros"), "parts do not fit together.*qzeros 1×4"),
    (lambda: packers.awq(WEIGHT), without("qzeros"), "qzeros is missing"),
    (
        lambda: packers.fp8_blocks(WEIGHT, 16, 16),
        no_settings,
        "32×64 with scales 2×4, and no quantization_config with the size of a block",
    ),
    (
        lambda: packers.fp8_blocks(WEIGHT, 16, 16),
        said(weight_block_size=[128, 128]),
        "which does not fit the quantization_config",
    ),
    (
        lambda: packers.fp8_blocks(WEIGHT, 16, 16),
        said(weight_block_size=[0, -1]),
        "no quantization_config with the size of a block",
    ),
    (
        lambda: packers.fp8_blocks(WEIGHT),
        without("weight_scale_inv"),
        "packed weights whose scales are missing",
    ),
    (int4, no_settings, "no quantization_config says with how many bits"),
    (int4, without("weight_scale"), "weight_scale is missing"),
    (int4, without("weight_zero_point"), "weight_zero_point is missing"),
    (int4, group_of_settings(num_bits=8), "no group of the quantization_config fits"),
    (int4, group_of_settings(num_bits=3), "no group of the quantization_config fits"),
    (int4, said(config_groups=[]), "no group of the quantization_config fits"),
    (int4, cut("weight_zero_point"), "weight_zero_point is 3×2"),
    (lambda: packers.nvfp4(WEIGHT), without("weight_scale_2"), "weight_scale_2 is missing"),
    (lambda: packers.nvfp4(WEIGHT), without("weight_scale"), "scales are missing"),
    (lambda: packers.nvfp4(WEIGHT), cut("weight_scale"), "not one for 16 numbers"),
    (lambda: packers.nvfp4(WEIGHT, divide=True), cut("weight_scale"), "not one for 16 numbers"),
    (nested_nf4, without("weight.absmax"), "absmax is missing"),
    (nested_nf4, without("weight.nested_absmax"), "nested_absmax is missing"),
    (nested_nf4, without("weight.quant_state.bitsandbytes__nf4"), "quant_state is missing"),
    (nested_nf4, without("weight"), "numbers are missing"),
    (nested_nf4, state(shape=[32, 65]), "parts do not fit together: 1024 bytes"),
    (nested_nf4, state(shape=[1 << 40, 1 << 40]), "has no shape"),
    (nested_nf4, state(shape=[-32, -64]), "has no shape"),
    (nested_nf4, state(shape="32"), "has no shape"),
    (nested_nf4, state(shape=[1] * 40 + [32, 64]), "has no shape"),
    (nested_nf4, state(blocksize=0), "has no size of a block"),
    (nested_nf4, state(blocksize=True), "has no size of a block"),
    (nested_nf4, state(nested_blocksize=0), "scales of U8"),
    (nested_nf4, state(nested_offset="0"), "has no offset"),
    (nested_nf4, state(quant_type="nf5"), "neither nf4 nor fp4"),
    (lambda: packers.int8(WEIGHT), without("SCB"), "scales are missing"),
    (lambda: packers.int8(WEIGHT), cut("SCB"), "parts do not fit together"),
]


@pytest.mark.parametrize(("make", "change", "reason"), REFUSED)
def test_what_is_missing_or_wrong_is_said(
    tmp_path: Path, make: Callable[[], Packed], change: Change, reason: str
) -> None:
    packed = make()
    change(packed.tensors, packed.settings)
    with weightwalk.open(save(tmp_path, packed, MODULE)) as checkpoint:
        if not reason:  # nothing said is the default
            np.testing.assert_array_equal(checkpoint[f"{MODULE}.weight"], packed.weight)
            return
        assert list(checkpoint) == [f"{MODULE}.{end}" for end in packed.tensors]
        codes = [t for t in checkpoint.values() if t.dtype in CODES and t.size > 2]
        codes = [t for t in codes if not t.name.endswith(("g_idx", "weight_shape"))]
        codes = [t for t in codes if "quant_state" not in t.name] or codes
        assert codes
        for tensor in codes:
            assert not tensor.decodable
            with pytest.raises(DTypeError, match=reason):
                tensor.flat(0, 1)
            with pytest.raises(SelectionError, match=reason):
                select(checkpoint, Selection(names=(tensor.name,)))


def test_int8_in_a_layout_of_one_kind_of_gpu(tmp_path: Path) -> None:
    packed = packers.int8(WEIGHT)
    packed.tensors["weight_format"] = of(np.array(2, np.uint8))
    with weightwalk.open(save(tmp_path, packed, MODULE)) as checkpoint:
        assert "only rows are read" in checkpoint[f"{MODULE}.weight"].reason


def test_packed_weights_beside_plain_ones_of_the_same_name(tmp_path: Path) -> None:
    packed = gptq()
    packed.tensors["weight"] = of(WEIGHT)
    with weightwalk.open(save(tmp_path, packed, MODULE)) as checkpoint:
        np.testing.assert_array_equal(checkpoint[f"{MODULE}.weight"], WEIGHT)
        assert "beside others of the same name" in checkpoint[f"{MODULE}.qweight"].reason


def test_integers_of_a_method_that_is_not_read_are_never_drawn(tmp_path: Path) -> None:
    """But those that any model may have are left alone."""
    codes = of(np.ones((4, 4), np.int8))
    tensors: Tensors = {"codes": codes, "bias": codes, "weight": codes, "scales": of(WEIGHT)}
    packed = Packed(tensors, WEIGHT, {"quant_method": "aqlm"})
    with weightwalk.open(save(tmp_path, packed, MODULE)) as checkpoint:
        at = {end: checkpoint[f"{MODULE}.{end}"] for end in tensors}
        assert "in a model packed by aqlm" in at["codes"].reason
        assert "scales are missing" in at["weight"].reason
        assert at["bias"].decodable
        assert at["scales"].decodable


@pytest.mark.parametrize("group", [-1, 2, 1 << 30])
def test_a_group_that_is_not_there(tmp_path: Path, group: int) -> None:
    """Numbers are only looked at when they are asked for: then it is an error of the file."""
    packed = packers.gptq(WEIGHT)
    packed.tensors["g_idx"][1][5] = group
    tensor = weightwalk.open(save(tmp_path, packed, MODULE))[f"{MODULE}.weight"]
    with pytest.raises(CheckpointError, match="g_idx names a group that is not there"):
        np.asarray(tensor)


def test_a_shape_that_the_words_contradict(tmp_path: Path) -> None:
    packed = packers.pack_quantized(WEIGHT)
    packed.tensors["weight_shape"] = of(np.array([32, 63], "<i8"))
    tensor = weightwalk.open(save(tmp_path, packed, MODULE))[f"{MODULE}.weight"]
    with pytest.raises(CheckpointError, match=r"says \[32, 63\], its words hold 32×64"):
        np.asarray(tensor)


def test_a_row_of_a_billion_numbers_is_not_unpacked(tmp_path: Path) -> None:
    """A sparse file has them for nothing, and a panel has at least a row."""
    path = tmp_path / "model.safetensors"
    size = 1 << 30
    header = {
        "a.weight": {"dtype": "F8_E4M3", "shape": [1, size], "data_offsets": [0, size]},
        "a.weight_scale": {"dtype": "F32", "shape": [], "data_offsets": [size, size + 4]},
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + size + 4)
    with weightwalk.open(path) as checkpoint:
        assert "too many to unpack" in checkpoint["a.weight"].reason


ENDS = (
    *("qweight", "qzeros", "scales", "g_idx", "weight", "weight_scale", "weight_scale_inv"),
    *("weight_packed", "weight_shape", "weight_zero_point", "weight_g_idx", "weight_scale_2"),
    *("weight_global_scale", "SCB", "weight_format", "weight.absmax", "weight.quant_map"),
    *("weight.nested_absmax", "weight.quant_state.bitsandbytes__nf4", "blocks"),
    *("proj_blocks", "proj_scales", "proj", "proj_scale_inv"),
)
SETTINGS = st.dictionaries(
    st.sampled_from(["bits", "group_size", "quant_method", "weight_block_size", "config_groups"]),
    st.one_of(
        *(st.none(), st.integers(-2, 200), st.sampled_from(["gptq", "awq"])),
        st.lists(st.integers(-1, 64), max_size=3),
        st.just({"g": {"weights": {"num_bits": 4, "group_size": 8, "type": "int"}}}),
    ),
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_parts_are_unpacked_or_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the parts, their shapes and the settings: it is numbers or a sentence."""
    folder = tmp_path_factory.getbasetemp()
    kinds = {"I32": "<i4", "F16": "<f2", "F32": "<f4", "U8": "u1", "I8": "i1", "F8_E4M3": "u1"}
    tensors: Tensors = {}
    for end in data.draw(st.lists(st.sampled_from(ENDS), min_size=1, max_size=6, unique=True)):
        dtype = data.draw(st.sampled_from(sorted(kinds)))
        shape = data.draw(st.lists(st.sampled_from([0, 1, 2, 4, 8, 16, 32]), max_size=4))
        tensors[end] = dtype, np.ones(shape, kinds[dtype])
    save(folder, Packed(tensors, WEIGHT, data.draw(SETTINGS)), "layers.0.a")
    with weightwalk.open(folder) as checkpoint:
        for tensor in checkpoint.values():
            assert isinstance(tensor.names.role, str)
            if tensor.decodable:
                try:
                    found = np.asarray(tensor)
                except CheckpointError:
                    continue
                assert found.shape == tensor.shape
                list(tensor.values.spans(0, tensor.size))
