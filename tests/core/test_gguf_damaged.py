"""GGUF files made to hurt: each is refused with one sentence, at once."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from weightwalk.core.errors import CheckpointError
from weightwalk.core.readers import open_checkpoint

from .gguf_files import (
    ARRAY,
    F32,
    LLAMA,
    TEXT,
    U8,
    U32,
    U64,
    assert_refused,
    f32,
    field,
    header,
    info,
    little_llama,
    packed,
    text,
)  # fmt: skip


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
