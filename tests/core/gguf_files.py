"""GGUF files, written from the specification, and what they must be read as."""

from __future__ import annotations

import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from weightwalk.core.errors import CheckpointError
from weightwalk.core.readers import open_checkpoint

RNG = np.random.default_rng(11)
U8, I8, U16, I16, U32, I32, F32, BOOL, TEXT, ARRAY, U64, I64, F64 = range(13)
CODES = "BbHhIif?__Qqd"
Fields = dict[str, tuple[Any, ...]]


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


def same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found.view("<u4"), expected.astype("<f4").view("<u4"))


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
