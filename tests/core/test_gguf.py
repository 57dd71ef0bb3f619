"""GGUF files: numbers against the formats' definitions, headers against the specification."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weightwalk.core.errors import CheckpointError, DTypeError, MissingDependencyError
from weightwalk.core.fields import build
from weightwalk.core.plans import make_plans
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.readers.gguf_blocks import TYPES
from weightwalk.core.settings import FieldSettings

RNG = np.random.default_rng(11)
U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, ARRAY, U64, I64, F64 = range(13)
CODES = "BbHhIif?__Qqd"
Fields = dict[str, tuple[Any, ...]]


# --- a writer, from the specification ---------------------------------------------------------


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def value(kind: int, content: Any) -> bytes:
    if kind == TEXT:
        return text(content)
    if kind == ARRAY:
        inner, items = content
        return struct.pack("<IQ", inner, len(items)) + b"".join(value(inner, i) for i in items)
    return struct.pack("<" + CODES[kind], content)


def field(name: str, kind: int, content: Any) -> bytes:
    return text(name) + struct.pack("<I", kind) + value(kind, content)


def info(name: str, lengths: tuple[int, ...], kind: int, offset: int) -> bytes:
    """Describe a tensor; `lengths` begin with a row's."""
    return text(name) + struct.pack(f"<I{len(lengths)}QIQ", len(lengths), *lengths, kind, offset)


def header(tensors: int = 0, fields: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields)


def packed(
    tensors: dict[str, tuple[int, tuple[int, ...], bytes]],
    fields: Fields | None = None,
    version: int = 3,
    alignment: int = 32,
) -> bytes:
    """Write a file: tensors are name → GGML type, shape as numpy has it, raw blocks."""
    infos, data = b"", b""
    for name, (kind, shape, raw) in tensors.items():
        data += bytes(-len(data) % alignment)
        infos += info(name, tuple(reversed(shape)), kind, len(data))
        data += raw
    fields = fields or {}
    content = b"".join(field(name, *each) for name, each in fields.items())
    head = header(len(tensors), len(fields), version) + content + infos
    return head + bytes(-len(head) % alignment) + data


def read(path: Path, name: str = "w", **options: Any) -> np.ndarray:
    with open_checkpoint(path) as checkpoint:
        return np.asarray(checkpoint[name], **options)


def of_one(tmp_path: Path, kind: str, shape: tuple[int, ...], raw: bytes) -> Path:
    number = gguf.GGMLQuantizationType[kind].value
    path = tmp_path / "one.gguf"
    path.write_bytes(packed({"pad": (24, (3,), b"abc"), "w": (number, shape, raw)}))
    return path


def same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.view("<u4"), expected.astype("<f4").view("<u4"))


# --- numbers ----------------------------------------------------------------------------------


def test_the_types_are_those_of_ggml() -> None:
    sizes = {kind.value: size for kind, size in gguf.GGML_QUANT_SIZES.items()}
    for number, kind in TYPES.items():
        if number in sizes:  # an older package lacks the newest
            assert kind.name == gguf.GGMLQuantizationType(number).name
            assert (kind.elements, kind.nbytes) == sizes[number]
    assert {gguf.GGMLQuantizationType(number).name for number in sizes.keys() - TYPES.keys()} <= {
        "Q8_1", "Q8_K",  # only ever in memory
    }  # fmt: skip


def decoded_types() -> list[str]:
    return [kind.name for kind in TYPES.values() if kind.packing and not kind.reason]


@pytest.mark.parametrize("name", decoded_types())
def test_every_type_is_what_the_package_makes_of_it(name: str, tmp_path: Path) -> None:
    """Random blocks, in whole and from any place, over the borders of what is made at once."""
    kind = next(kind for kind in TYPES.values() if kind.name == name)
    width = 2 * max(kind.elements, 128)
    rows = 3 * (1 << 17) // width + 5
    raw = np.frombuffer(RNG.bytes(rows * width // kind.elements * kind.nbytes), np.uint8)
    with np.errstate(all="ignore"):
        blocks = raw.reshape(rows, -1)
        expected = gguf.dequantize(blocks, gguf.GGMLQuantizationType[name])
        half, wide = expected.astype(np.float16), expected.astype(np.float64)
    with open_checkpoint(of_one(tmp_path, name, (rows, width), raw.tobytes())) as checkpoint:
        tensor = checkpoint["w"]
        assert (tensor.dtype, tensor.shape, tensor.nbytes) == (name, (rows, width), raw.nbytes)
        assert tensor.is_float
        assert tensor.packing is not None
        assert tensor.packing.bits == kind.nbytes * 8 / kind.elements
        same_bits(np.asarray(tensor), expected)
        for start, stop in ((0, 0), (1, 2), (31, 290), (131_071, 131_073), (7, rows * width)):
            same_bits(tensor.flat(start, stop), expected.reshape(-1)[start:stop])
        np.testing.assert_array_equal(tensor.rows(1, 3, np.float16), half[1:3])
        np.testing.assert_array_equal(tensor.rows(rows - 1, rows, np.float64), wide[-1:])


@pytest.mark.parametrize("kind", ["F32", "F16", "F64", "I8", "I16", "I32", "I64"])
def test_plain_types_are_numpys(kind: str, tmp_path: Path) -> None:
    array = np.frombuffer(RNG.bytes(4 * 6 * 8), f"<{kind[0].lower()}{int(kind[1:]) // 8}")
    array = array.reshape(-1, 6)
    with np.errstate(all="ignore"):
        path = of_one(tmp_path, kind, array.shape, array.tobytes())
        np.testing.assert_array_equal(read(path), array.astype(np.float32))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint["w"].is_float == (kind[0] == "F")
        assert checkpoint["w"].packing is None


def test_bfloat16_is_the_upper_half_of_a_float32(tmp_path: Path) -> None:
    values = RNG.normal(size=(3, 5)).astype("<f4")
    halves = values.view("<u4") >> 16
    expected = (halves << 16).view("<f4")
    same_bits(read(of_one(tmp_path, "BF16", (3, 5), halves.astype("<u2").tobytes())), expected)


# Quantisers and decoders of our own, block by block as ggml-quants.c defines them.


def half(number: float) -> np.float32:
    return np.float32(np.float16(number))


def test_q4_0(tmp_path: Path) -> None:
    """The largest number of 32 is -8 times the scale; nibble j holds numbers j and j + 16."""
    values = RNG.normal(size=(6, 64)).astype(np.float32)
    raw, expected = b"", []
    for block in values.reshape(-1, 32):
        scale = block[np.abs(block).argmax()] / np.float32(-8)
        codes = np.clip(np.floor(block / scale + 8.5), 0, 15).astype(np.uint8)
        raw += np.float16(scale).tobytes() + (codes[:16] | codes[16:] << 4).tobytes()
        expected.append(half(scale) * (codes.astype(np.float32) - np.float32(8)))
    found = read(of_one(tmp_path, "Q4_0", values.shape, raw))
    same_bits(found, np.array(expected).reshape(values.shape))
    assert np.abs(found - values).max() < np.abs(values).max() / 7


def test_q8_0(tmp_path: Path) -> None:
    """The largest of 32 numbers is 127 times the scale."""
    values = RNG.normal(size=(6, 64)).astype(np.float32)
    raw, expected = b"", []
    for block in values.reshape(-1, 32):
        scale = np.abs(block).max() / np.float32(127)
        codes = np.round(block / scale).astype(np.int8)
        raw += np.float16(scale).tobytes() + codes.tobytes()
        expected.append(half(scale) * codes.astype(np.float32))
    found = read(of_one(tmp_path, "Q8_0", values.shape, raw))
    same_bits(found, np.array(expected).reshape(values.shape))
    np.testing.assert_allclose(found, values, atol=np.abs(values).max() / 200)


def scales_and_mins(packed: bytes) -> list[tuple[int, int]]:
    """Unpack the 8 pairs of 6-bit numbers of a Q4_K or Q5_K block."""
    first = [(packed[j] & 63, packed[j + 4] & 63) for j in range(4)]
    return first + [
        (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
        for j in range(4, 8)
    ]


def random_blocks(nbytes: int, *halves: int) -> tuple[np.ndarray, bytes]:
    """Make 8 random blocks with a scale of common size at each of the positions `halves`."""
    raw = np.frombuffer(RNG.bytes(8 * nbytes), np.uint8).reshape(8, nbytes).copy()
    for at in halves:
        raw[:, at : at + 2] = RNG.normal(size=(8, 1)).astype("<f2").view(np.uint8)
    return raw, raw.tobytes()


def test_q4_k(tmp_path: Path) -> None:
    """256 numbers in 8 groups, each number · (d · scale) - (dmin · min)."""
    blocks, raw = random_blocks(144, 0, 2)
    expected = np.empty((8, 256), np.float32)
    for block, out in zip(blocks, expected, strict=True):
        d, dmin = (np.float32(block[at : at + 2].view("<f2")[0]) for at in (0, 2))
        for group, (scale, least) in enumerate(scales_and_mins(block[4:16].tobytes())):
            codes = block[16 + group // 2 * 32 :][:32] >> (4 * (group % 2)) & 15
            product = codes.astype(np.float32) * (d * np.float32(scale))
            out[group * 32 :][:32] = product - dmin * np.float32(least)
    same_bits(read(of_one(tmp_path, "Q4_K", (4, 512), raw)), expected.reshape(4, 512))


def test_q6_k(tmp_path: Path) -> None:
    """256 numbers in 16 groups; 4 low bits and 2 high ones lie apart, 32 is subtracted."""
    blocks, raw = random_blocks(210, 208)
    expected = np.empty((8, 256), np.float32)
    for block, out in zip(blocks, expected, strict=True):
        low, high, scales = block[:128], block[128:192], block[192:208].view(np.int8)
        d = np.float32(block[208:].view("<f2")[0])
        for at in range(256):
            part, quarter, lane = at // 128, at % 128 // 32, at % 32
            nibble = int(low[part * 64 + quarter % 2 * 32 + lane]) >> (4 * (quarter // 2)) & 15
            bits = int(high[part * 32 + lane]) >> (2 * quarter) & 3
            code = np.float32((nibble | bits << 4) - 32)
            out[at] = d * np.float32(scales[at // 16]) * code
    same_bits(read(of_one(tmp_path, "Q6_K", (8, 256), raw)), expected)


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
FP4 = np.concatenate([E2M1, -E2M1])


def test_mxfp4(tmp_path: Path) -> None:
    """A power of two and 32 four-bit floats (OCP microscaling formats, 1.0)."""
    raw = np.frombuffer(RNG.bytes(8 * 17), np.uint8).reshape(8, 17).copy()
    raw[:, 0] = RNG.integers(100, 150, 8)
    codes = np.hstack([raw[:, 1:] & 15, raw[:, 1:] >> 4])
    expected = FP4[codes] * np.ldexp(np.float32(1), raw[:, :1].astype(int) - 127)
    if "MXFP4" in decoded_types():
        found = read(of_one(tmp_path, "MXFP4", (2, 128), raw.tobytes()))
        np.testing.assert_array_equal(found, expected.reshape(2, 128))  # -0 is written as 0


@pytest.mark.parametrize(
    "scale_name", ["blk.0.ffn_up_exps.scale", "blk.0.ffn_up_exps.weight.scale"]
)
def test_nvfp4_with_the_scale_beside_it(scale_name: str, tmp_path: Path) -> None:
    """Each 16 numbers share an 8-bit float, each expert one of 32 bits in another tensor."""
    raw = np.frombuffer(RNG.bytes(3 * 4 * 36), np.uint8).reshape(-1, 36).copy()
    raw[:, :4] = RNG.integers(1, 0x7E, (12, 4))
    exponent, mantissa = raw[:, :4].astype(int) >> 3, raw[:, :4] & 7
    small = np.where(exponent, np.ldexp(1 + mantissa / 8, exponent - 7), mantissa / 512)
    bits = raw[:, 4:].reshape(12, 4, 8)
    codes = np.concatenate([bits & 15, bits >> 4], axis=2)
    scales = np.array([0.5, 3.25, 1.1], "<f4")
    plain = (FP4[codes] * small.astype(np.float32)[..., None]).reshape(3, 2, 128)
    name = "blk.0.ffn_up_exps.weight"
    content = {name: (40, (3, 2, 128), raw.tobytes()), scale_name: (0, (3,), scales.tobytes())}
    (tmp_path / "a.gguf").write_bytes(packed(content))
    if "NVFP4" in decoded_types():
        np.testing.assert_array_equal(
            read(tmp_path / "a.gguf", name), plain * scales[:, None, None]
        )
        with open_checkpoint(tmp_path / "a.gguf") as checkpoint:
            assert list(checkpoint) == [name]
            assert checkpoint[name].nbytes == raw.nbytes + scales.nbytes
            part = checkpoint[name].flat(200, 600)
        np.testing.assert_array_equal(part, (plain * scales[:, None, None]).reshape(-1)[200:600])


def test_a_type_that_is_not_decoded_is_listed_and_says_so(tmp_path: Path) -> None:
    path = of_one(tmp_path, "F32", (128,), bytes(512))
    path.write_bytes(packed({"w": (41, (128,), bytes(18))}))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint["w"].dtype == "Q1_0"
        if checkpoint["w"].reason:  # until the package can
            with pytest.raises(DTypeError, match=r"w: Q1_0 is not decoded by the package gguf \d"):
                checkpoint["w"].flat(0, 1)


def test_without_the_package_a_file_is_listed_and_reading_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weightwalk.core.readers import gguf_blocks

    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    gguf_blocks._reason.cache_clear()
    path = of_one(tmp_path, "Q8_0", (2, 32), bytes(68))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint["w"].shape == (2, 32)
        with pytest.raises(MissingDependencyError, match=r"pip install 'weightwalk\[gguf\]'"):
            checkpoint["w"].rows(0, 1)
    gguf_blocks._reason.cache_clear()


def test_only_some_blocks_are_held(tmp_path: Path) -> None:
    """34 MB of Q8_0, 128 MB of float32, are read by rows in far less than either."""
    path = of_one(tmp_path, "Q8_0", (1000, 32_000), bytes(34_000_000))
    with open_checkpoint(path) as checkpoint:
        checkpoint["w"].rows(0, 1)
        tracemalloc.start()
        for start in range(0, 1000, 100):
            checkpoint["w"].rows(start, start + 1)
        checkpoint["w"].flat(0, 400_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8e6


# --- what the header says ---------------------------------------------------------------------

LLAMA: Fields = {
    "general.architecture": (TEXT, "llama"),
    "general.name": (TEXT, "Little Llama"),
    "llama.embedding_length": (U32, 64),
    "llama.attention.head_count": (U32, 8),
    "llama.attention.head_count_kv": (U32, 2),
}


def f32(*shape: int) -> tuple[int, tuple[int, ...], bytes]:
    return 0, shape, RNG.normal(size=shape).astype("<f4").tobytes()


def little_llama() -> dict[str, tuple[int, tuple[int, ...], bytes]]:
    return {
        "token_embd.weight": f32(10, 64),
        "blk.1.attn_q.weight": f32(64, 64),
        "blk.1.attn_k.weight": f32(16, 64),
        "blk.1.attn_output.weight": f32(64, 64),
        "blk.1.ffn_gate_exps.weight": f32(4, 6, 64),
    }


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [1, 8, 32, 4096])
def test_heads_roles_and_names(version: int, alignment: int, tmp_path: Path) -> None:
    fields = LLAMA | {"general.alignment": (U32, alignment)}
    content = packed(little_llama(), fields, version, alignment)
    (tmp_path / "little.gguf").write_bytes(content)
    (tmp_path / "config.json").write_text('{"num_attention_heads": 3}')  # of another model
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.name == "Little Llama"
        assert checkpoint.config["model_type"] == "llama"
        q, k, o, gate = list(checkpoint.values())[1:]
        assert [(t.layer, t.role) for t in (q, k, o, gate)] == [
            (1, "q"), (1, "k"), (1, "o"), (1, "gate")
        ]  # fmt: skip
        assert q.names.heads.starts == {"q": tuple(range(0, 64, 8))}
        assert (k.names.heads.axis, k.names.heads.starts) == (0, {"k": (0, 8)})
        assert (o.names.heads.axis, o.names.heads.head_dim) == (1, 8)
        assert gate.names.fused_experts
        assert gate.shape == (4, 6, 64)
        # `--field heads`: a plane a head, of its rows
        settings = FieldSettings(kind="heads", rows=8, cols=64)
        (plan,), _ = make_plans([q], settings)
        assert build(plan, settings).cells.shape == (8, 8, 64)


def test_names_and_numbers_of_every_kind_come_back(tmp_path: Path) -> None:
    fields: Fields = {
        "a.u8": (U8, 255), "a.i8": (I8, -1), "a.u16": (U16, 65535), "a.i16": (I16, -2),
        "a.u32": (U32, 7), "a.i32": (I32, -7), "a.u64": (U64, 2**64 - 1), "a.i64": (I64, -(2**63)),
        "a.f32": (F32, 0.1), "a.f64": (F64, 1e-300), "a.yes": (BOOL, True), "a.no": (BOOL, False),
        "a.text": (TEXT, "naïve ∑"), "a.empty": (TEXT, ""), "a.long": (TEXT, "x" * 10_000),
        "a.numbers": (ARRAY, (I16, [3, -3])), "a.none": (ARRAY, (U8, [])),
        "a.words": (ARRAY, (TEXT, [f"w{i}" for i in range(5000)])),
        "a.nested": (ARRAY, (ARRAY, [(U8, [1, 2]), (TEXT, ["x"])])),
        "a.last": (TEXT, "found"),
    }  # fmt: skip
    (tmp_path / "a.gguf").write_bytes(packed({"w": f32(2, 3)}, fields))
    with open_checkpoint(tmp_path / "a.gguf") as checkpoint:
        said = checkpoint.metadata
    assert list(said) == list(fields)
    assert said["a.words"] == "[w0, w1, w2, w3, w4, w5, w6, w7, … (5,000)]"
    assert said["a.long"].endswith("x… (10,000 bytes)")
    short = {key[2:]: said[key] for key in said if key not in ("a.words", "a.long", "a.nested")}
    assert short == {
        "u8": "255", "i8": "-1", "u16": "65535", "i16": "-2", "u32": "7", "i32": "-7",
        "u64": "18446744073709551615", "i64": "-9223372036854775808", "f32": "0.1",
        "f64": "1e-300", "yes": "true", "no": "false", "text": "naïve ∑", "empty": "",
        "numbers": "[3, -3]", "none": "[]", "last": "found",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "heads"),
    [([8, 8, 8], 8), ([0, 8, 0], 8), ([4, 8, 8], None), ([0, 0, 0], None)],
)
def test_numbers_of_heads_by_layer(counts: list[int], heads: int | None, tmp_path: Path) -> None:
    """A config has one number for all layers; those without attention say 0."""
    fields = LLAMA | {"llama.attention.head_count": (ARRAY, (I32, counts))}
    (tmp_path / "a.gguf").write_bytes(packed(little_llama(), fields))
    with open_checkpoint(tmp_path) as checkpoint:
        layout = checkpoint["blk.1.attn_q.weight"].names.heads
        assert (layout and len(layout.starts["q"])) == heads


def test_deepseeks_lengths_of_heads(tmp_path: Path) -> None:
    """What is turned and what is not is part of a head's length; the plain ones are the cache's."""
    latent = "deepseek2.attention."
    fields: Fields = {
        "general.architecture": (TEXT, "deepseek2"),
        "deepseek2.rope.dimension_count": (U32, 4),
        "deepseek2.embedding_length": (U32, 64),
        f"{latent}head_count": (U32, 2), f"{latent}head_count_kv": (U32, 1),
        f"{latent}kv_lora_rank": (U32, 16), f"{latent}key_length": (U32, 20),
        f"{latent}value_length": (U32, 16), f"{latent}key_length_mla": (U32, 12),
        f"{latent}value_length_mla": (U32, 6),
    }  # fmt: skip
    tensors = {"blk.0.attn_q_b.weight": f32(24, 8), "blk.0.attn_kv_b.weight": f32(28, 16)}
    (tmp_path / "a.gguf").write_bytes(packed(tensors, fields))
    with open_checkpoint(tmp_path) as checkpoint:
        heads = [tensor.names.heads for tensor in checkpoint.values()]
    assert [(each.head_dim, tuple(each.starts)) for each in heads] == [
        (12, ("q_b",)),
        (14, ("kv_b",)),
    ]


def test_a_file_that_the_package_writes(tmp_path: Path) -> None:
    """Written, quantised and read back by the gguf package itself."""
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_name("made by gguf")
    writer.add_embedding_length(64)
    writer.add_head_count(8)
    writer.add_token_list([f"word {i}" for i in range(1000)])
    matrix = RNG.normal(size=(64, 64)).astype(np.float32)
    blocks = gguf.quantize(matrix, gguf.GGMLQuantizationType.Q5_1)
    kind = gguf.GGMLQuantizationType.Q5_1
    writer.add_tensor("blk.0.attn_q.weight", blocks, raw_dtype=kind)
    writer.add_tensor("output_norm.weight", matrix[0])
    for step in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{step}_to_file")()
    writer.close()
    theirs = {t.name: t for t in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    with open_checkpoint(tmp_path / "a.gguf") as checkpoint:
        assert checkpoint.name == "made by gguf"
        assert list(checkpoint) == list(theirs)
        same_bits(np.asarray(checkpoint["output_norm.weight"]), matrix[0])
        q = checkpoint["blk.0.attn_q.weight"]
        assert q.nbytes == theirs[q.name].n_bytes
        same_bits(np.asarray(q), gguf.dequantize(theirs[q.name].data, kind))
        np.testing.assert_allclose(np.asarray(q), matrix, atol=0.2)


# --- split files ------------------------------------------------------------------------------


def split(folder: Path, count: int = 3, **changes: tuple[int, Any]) -> list[Path]:
    paths = []
    for number in range(count):
        fields: Fields = {
            "split.no": (U16, number),
            "split.count": (U16, count),
            "split.tensors.count": (I32, 2 * count),
        }
        if not number:
            fields |= LLAMA
        fields |= {f"split.{key}": changed for key, changed in changes.items()}
        tensors = {f"blk.{number}.attn_{role}.weight": f32(64, 64) for role in "qv"}
        paths.append(folder / f"Little-Q4_K_M-{number + 1:05}-of-{count:05}.gguf")
        paths[-1].write_bytes(packed(tensors, fields))
    return paths


def test_a_split_model_opens_by_any_part_or_its_folder(tmp_path: Path) -> None:
    paths = split(tmp_path)
    for path in (*paths, tmp_path):
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.name == "Little Llama"
            assert [t.layer for t in checkpoint.values()] == [0, 0, 1, 1, 2, 2]
            assert {t.file.name for t in checkpoint.values()} == {each.name for each in paths}
            last = checkpoint["blk.2.attn_v.weight"]
            assert last.names.heads is None or last.names.heads.head_dim == 8
            assert checkpoint["blk.2.attn_q.weight"].names.heads.head_dim == 8
            raw = paths[2].read_bytes()[-64 * 64 * 4 :]
            assert np.asarray(last).tobytes() == raw


def test_a_split_model_that_is_not_whole(tmp_path: Path) -> None:
    first, second, third = split(tmp_path)
    third.rename(tmp_path / "third")
    assert_refused(first, r"part Little-Q4_K_M-00003-of-00003\.gguf is missing")
    assert_refused(tmp_path, r"00003-of-00003\.gguf is missing")
    third.write_bytes(second.read_bytes())
    assert_refused(first, "00003-of-00003.gguf: this is not part 3 of 3, as its name says")
    third.write_bytes(packed({"w": f32(1)}))
    assert_refused(first, "this is not part 3 of 3")
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "renamed.gguf").write_bytes(second.read_bytes())
    assert_refused(odd, "one of 3 parts of a model, but its name does not say which one")
    more = tmp_path / "more"
    more.mkdir()
    split(more, 2, **{"tensors.count": (I32, 9)})
    assert_refused(more, "the parts have 4 tensors, the model 9")
    twice = {"split.no": (U16, 1), "split.count": (U16, 2)}
    tensors = {"blk.0.attn_q.weight": f32(64, 64)}
    (more / "Little-Q4_K_M-00002-of-00002.gguf").write_bytes(packed(tensors, twice))
    assert_refused(more, "blk.0.attn_q.weight is in another part, too")


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "a-Q4_0.gguf").write_bytes(packed({"w": f32(2, 2)}))
    (tmp_path / "._a-Q4_0.gguf").write_bytes(b"of a Mac")
    assert read(tmp_path).shape == (2, 2)
    assert read(tmp_path / "a-Q4_0.gguf").shape == (2, 2)
    split(tmp_path)
    assert_refused(
        tmp_path, r"2 checkpoints here; open one of: Little-\S+-00001-of-00003\.gguf, a-Q4_0\.gguf"
    )


# --- files made to hurt -----------------------------------------------------------------------


def assert_refused(path: Path, says: str) -> None:
    began = time.perf_counter()
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=says) as error:
        open_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1500
    assert peak < 100e6
    assert time.perf_counter() - began < 2 * 5  # traced, it takes several times as long


def one(name: str | bytes, lengths: tuple[int, ...], kind: int, offset: int = 0) -> bytes:
    """Make a file of one described tensor and 1,000 bytes of data."""
    head = header(1) + info(name, lengths, kind, offset)  # type: ignore[arg-type]
    return head + bytes(-len(head) % 32) + bytes(1000)


def array(kind: int, count: int, rest: bytes = b"") -> bytes:
    return header(0, 1) + text("a") + struct.pack("<IIQ", ARRAY, kind, count) + rest


def deep(levels: int) -> bytes:
    return array(ARRAY, 1, struct.pack("<IQ", ARRAY, 1) * levels)


TWO = info("a", (32,), 0, 0) + info("b", (32,), 0, 64)
HEADERS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "four bytes": (b"GGUF", "only 4: it was cut"),
    "another file": (b"<!DOCTYPE html>" * 9, "web page"),
    "noise": (b"\x00noise" * 9, "not a GGUF file"),
    "version 0": (header(version=0), "version 0; 2 and 3 are read"),
    "version 1": (header(version=1), "version 1 of 2023; convert"),
    "version 4 billion": (header(version=2**32 - 1), "version 4,294,967,295"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "2^63 tensors": (header(2**63) + bytes(99), "9,223,372,036,854,775,808 tensors"),
    "-1 fields": (header(0, 2**64 - 1) + bytes(99), "18,446,744,073,709,551,615 fields"),
    "more fields than bytes": (header(0, 4000), "4,000 fields, which cannot be"),
    "a key of 2^60 bytes": (
        header(0, 1) + struct.pack("<Q", 2**60) + bytes(99),
        "a field's name would have 1,152,921,504,606,846,976 bytes",
    ),
    "a key over the end": (header(0, 1) + struct.pack("<Q", 999) + bytes(99), "it was cut"),
    "a key that is not UTF-8": (header(0, 1) + field(b"\xff", U8, 1), "not UTF-8"),  # type: ignore[arg-type]
    "a text of 2^60 bytes": (
        header(0, 1) + text("a") + struct.pack("<IQ", TEXT, 2**60) + bytes(99),
        "field a: the header goes on to byte 1,152,921,504,606,847,",
    ),
    "a text of 2^64 - 1 bytes": (
        header(0, 1) + text("a") + struct.pack("<IQ", TEXT, 2**64 - 1) + bytes(99),
        "field a: .*: it was cut",
    ),
    "a field twice": (header(0, 2) + 2 * field("a", U8, 1), "field a: it is there twice"),
    "an unknown type": (header(0, 1) + text("a") + struct.pack("<I", 13) + bytes(9), "type 13"),
    "an array of an unknown type": (array(99, 1), "field a: its type 99 is unknown"),
    "an array of 2^60 numbers": (array(U64, 2**60, bytes(99)), "field a: .*it was cut"),
    "an array of 2^60 texts": (array(TEXT, 2**60, bytes(99)), "more than 4,194,304 items"),
    "an array of 2^60 arrays": (array(ARRAY, 2**60, bytes(99)), "more than 4,194,304 items"),
    "texts over the end": (array(TEXT, 1000, bytes(800)), "field a: .*it was cut"),
    "a long text among many": (
        array(TEXT, 1000, bytes(400) + struct.pack("<Q", 2**63) + bytes(9000)),
        "field a: .*it was cut",
    ),
    "arrays in arrays": (deep(100_000), "nested more than 4 deep"),
    "alignment 0": (header(0, 1) + field("general.alignment", U32, 0), "alignment 0 is not"),
    "alignment 48": (header(0, 1) + field("general.alignment", U32, 48), "alignment 48 is not"),
    "alignment is a text": (
        header(0, 1) + field("general.alignment", TEXT, "\x1b[2J"),
        r"alignment \\x1b\[2J is not a power of two",
    ),
    "5 dimensions": (one("w", (1,) * 5, 0), "tensor w: it has 5 dimensions, more than 4"),
    "4 billion dimensions": (
        header(1) + text("w") + struct.pack("<I", 2**32 - 1) + bytes(99),
        "4,294,967,295 dimensions",
    ),
    "a negative dimension": (one("w", (2**64 - 1, 1), 0), "more elements than can be addressed"),
    "dimensions that overflow": (one("w", (2**32, 2**32, 4), 0), "more elements"),
    "empty, but huge": (one("w", (0, 2**62), 0), "more elements"),
    "type 4, taken out": (one("w", (32,), 4), "its GGML type 4 is unknown"),
    "type 4 billion": (one("w", (32,), 2**32 - 1), "type 4,294,967,295 is unknown"),
    "half a block": (one("w", (48, 2), 2), "rows of 48 numbers are not whole blocks of 32 num"),
    "no row of blocks": (one("w", (), 12), "rows of 1 numbers are not whole"),
    "an odd offset": (one("w", (8,), 0, 8), "offset 8 is not a multiple of 32"),
    "an offset over the end": (one("w", (8,), 0, 2**20), "ends at byte 1,048,.*it was cut"),
    "an offset of 2^64": (one("w", (8,), 0, 2**64 - 32), "ends at byte 18,446,.*it was cut"),
    "data that was cut": (one("w", (300,), 0), "ends at byte 1,2.*it was cut"),
    "an overlap": (header(2) + TWO + bytes(4000), "tensor b overlaps the one before it"),
    "a tensor twice": (header(2) + 2 * info("a", (), 0, 0) + bytes(99), "tensor a: it is there tw"),
    "a name that writes": (one("\x1b[31m\n\u202e", (3,), 99), r"\\x1b\[31m\\n\\u202e"),
    "a name that is not UTF-8": (one(b"\xc3", (3,), 0), "not UTF-8"),
    "a name of 2^60 bytes": (header(1) + struct.pack("<Q", 2**60) + bytes(99), "would have 1,152,"),
    "a split of 4 billion": (
        packed({"w": f32(1)}, {"split.count": (U32, 2**32 - 1)}),
        "one of 4294967295 parts of a model",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_damaged_files(tmp_path: Path, case: str) -> None:
    content, says = HEADERS[case]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert_refused(path, f"^{path}: .*{says}")


@pytest.mark.parametrize(
    "content", [array(TEXT, 1 << 22, bytes(8 << 22)), array(ARRAY, 1 << 16, bytes(12 << 16))]
)
def test_the_most_that_a_header_may_have_takes_a_moment(content: bytes, tmp_path: Path) -> None:
    """As many texts, and as many arrays in arrays, as are read, a file without tensors."""
    (tmp_path / "a.gguf").write_bytes(content)
    began = time.perf_counter()
    with open_checkpoint(tmp_path / "a.gguf") as checkpoint:
        assert len(checkpoint) == 0
    assert time.perf_counter() - began < 2


def test_a_cut_anywhere_is_one_error(tmp_path: Path) -> None:
    whole = packed(little_llama(), LLAMA)
    path = tmp_path / "a.gguf"
    for length in (*range(0, 900, 13), *range(900, len(whole) - 1, 999)):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cut|empty"):
            open_checkpoint(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_flipped_bytes(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever stands in the header, the file opens and reads in range or is refused."""
    content = bytearray(FLIPPED)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 600))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.gguf"
    path.write_bytes(content)
    try:
        with open_checkpoint(path) as checkpoint:
            json.dumps(dict(checkpoint.metadata))
            for tensor in checkpoint.values():
                if tensor.decodable:
                    with np.errstate(all="ignore"):
                        assert np.asarray(tensor).shape == tensor.shape
    except CheckpointError as error:
        assert str(error).isprintable()


FLIPPED = packed(
    {"blk.0.attn_q.weight": (2, (2, 64), bytes(72)), "blk.0.attn_k.weight": f32(2, 64)},
    LLAMA | {"a.words": (ARRAY, (TEXT, list("abcdefghijkl"))), "a.f": (ARRAY, (F32, [1.0] * 9))},
)


# --- a real file ------------------------------------------------------------------------------


@pytest.mark.smollm2
def test_a_real_model(smollm2_file: Path) -> None:
    began = time.perf_counter()
    with open_checkpoint(smollm2_file) as checkpoint:
        assert time.perf_counter() - began < 1
        assert len(checkpoint) == 272
        assert {tensor.layer for tensor in checkpoint.values()} == {None, *range(30)}
        kinds = Counter(tensor.dtype for tensor in checkpoint.values())
        assert kinds == {"F32": 61, "Q4_1": 210, "Q8_0": 1}
        assert checkpoint.metadata["tokenizer.ggml.tokens"].endswith("… (49,152)]")
        q, last = checkpoint["blk.3.attn_q.weight"], list(checkpoint.values())[-1]
        assert q.shape == (576, 576)
        assert q.names.heads.starts["q"] == tuple(range(0, 576, 64))
        (span,) = q.values.spans(0, q.size)
        (end,) = last.values.spans(0, last.size)
        assert end.end == smollm2_file.stat().st_size
        found = np.asarray(q)
    # Q4_1: a scale, the least number, and 32 codes, two a byte, the second 16 above
    raw = np.memmap(smollm2_file, np.uint8, "r", span.begin, (576 * 576 // 32, 20))
    scale, least = raw[:, :4].copy().view("<f2").astype(np.float32).T[..., None]
    codes = np.hstack([raw[:, 4:] & 15, raw[:, 4:] >> 4]).astype(np.float32)
    same_bits(found, (codes * scale + least).reshape(576, 576))
    assert 0.05 < found.std() < 0.5
