"""The numbers in GGUF files against the formats' definitions."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import gguf
import numpy as np
import pytest
from weightwalk.core.errors import DTypeError, MissingDependencyError
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.readers.gguf_blocks import TYPES

from .gguf_files import RNG, packed, read, same_bits


def of_one(tmp_path: Path, kind: str, shape: tuple[int, ...], raw: bytes) -> Path:
    number = gguf.GGMLQuantizationType[kind].value
    path = tmp_path / "one.gguf"
    path.write_bytes(packed({"pad": (24, (3,), b"abc"), "w": (number, shape, raw)}))
    return path


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
