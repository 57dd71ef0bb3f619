"""GGUF files of which every field can be wrong (after the format's description in ggml)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
LETTERS = {
    **{U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B"},
    **{U64: "Q", I64: "q", F64: "d"},
}


@dataclass(frozen=True)
class Part:
    """A tensor's entry: dimensions in the file's order, the number of its type, its bytes."""

    name: str | bytes
    dims: tuple[int, ...] = (4, 2)
    type: int = 0
    data: bytes = bytes(range(32))
    offset: int | None = None
    dim_count: int | None = None


def text(content: str | bytes, length: int | None = None) -> bytes:
    """Return a string, of another length than it says if wanted."""
    data = content.encode() if isinstance(content, str) else content
    return struct.pack("<Q", (len(data) if length is None else length) % 2**64) + data


def value(kind: int, content: Any) -> bytes:
    """Return a value; bytes are taken as they are."""
    if isinstance(content, bytes):
        return content
    if kind == STRING:
        return text(content)
    return struct.pack(f"<{LETTERS[kind]}", content)


def entry(key: str | bytes, kind: int, content: Any) -> bytes:
    """Return a key with its value."""
    return text(key) + struct.pack("<I", kind % 2**32) + value(kind, content)


def array(kind: int, contents: list[Any] | bytes, length: int | None = None) -> bytes:
    """Return the value of an array."""
    raw = contents if isinstance(contents, bytes) else b"".join(value(kind, c) for c in contents)
    count = length if length is not None else len(contents)
    return struct.pack("<IQ", kind % 2**32, count % 2**64) + raw


USUAL = (
    entry("general.architecture", STRING, "llama"),
    entry("general.name", STRING, "Little"),
    entry("llama.block_count", U32, 1),
    entry("llama.embedding_length", U32, 32),
    entry("llama.attention.head_count", U32, 4),
    entry("llama.attention.head_count_kv", U32, 2),
    entry("tokenizer.ggml.tokens", ARRAY, array(STRING, ["a", "b", "c"])),
    entry("tokenizer.ggml.scores", ARRAY, array(F32, [0.0, 1.0, 2.0])),
)
Q4_0, Q8_0, Q4_K = 2, 8, 12
BLOCK = {0: 4, 1: 2, Q4_0: 18, Q8_0: 34, Q4_K: 144}
PARTS = (
    Part("blk.0.attn_q.weight", (32, 2), Q8_0, bytes(range(68))),
    Part("blk.0.attn_k.weight", (32, 2), Q4_0, bytes(range(36))),
    Part("blk.0.attn_norm.weight", (8,), 0, bytes(range(32))),
    Part("output.weight", (4, 2), 1, bytes(range(16))),
)


def gguf(
    *parts: Part,
    entries: tuple[bytes, ...] = USUAL,
    magic: bytes = b"GGUF",
    version: int = 3,
    counts: tuple[int | None, int | None] = (None, None),
    alignment: int = 32,
    tail: bytes = b"",
) -> bytes:
    """Return a file of the parts (the usual ones for none); `counts` replace those of the head."""
    parts = parts or PARTS
    tensors, keys = counts
    infos, data = bytearray(), bytearray()
    for part in parts:
        data += bytes(-len(data) % alignment)
        offset = len(data) if part.offset is None else part.offset
        count = len(part.dims) if part.dim_count is None else part.dim_count
        infos += text(part.name) + struct.pack("<I", count % 2**32)
        infos += b"".join(struct.pack("<Q", n % 2**64) for n in part.dims)
        infos += struct.pack("<IQ", part.type % 2**32, offset % 2**64)
        data += part.data
    numbers = (
        len(parts) if tensors is None else tensors % 2**64,
        len(entries) if keys is None else keys % 2**64,
    )
    head = magic + struct.pack("<IQQ", version % 2**32, *numbers) + b"".join(entries) + infos
    return head + bytes(-len(head) % alignment) + data + bytes(-len(data) % alignment) + tail
