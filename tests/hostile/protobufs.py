"""ONNX files field by field (numbers of the fields from onnx.proto)."""

from __future__ import annotations

import struct

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def varint(number: int) -> bytes:
    """Return a number in groups of seven bits."""
    number %= 2**64
    out = b""
    while number > 127:
        out += bytes([number % 128 | 128])
        number //= 128
    return out + bytes([number])


def key(number: int, kind: int) -> bytes:
    """Return the key of a field."""
    return varint(number << 3 | kind)


def whole(number: int, content: int) -> bytes:
    """Return a field that is a whole number."""
    return key(number, VARINT) + varint(content)


def data(number: int, content: bytes | str, length: int | None = None) -> bytes:
    """Return a field of bytes, or of a message; of another length than it says if wanted."""
    raw = content.encode() if isinstance(content, str) else content
    return key(number, BYTES) + varint(len(raw) if length is None else length) + raw


DIMS, TYPE, SEGMENT, FLOATS, INT32S, STRINGS, INT64S, NAME, RAW = range(1, 10)
DOUBLES, UINT64S, _, EXTERNAL, LOCATION = range(10, 15)


def tensor(
    name: str | bytes = "w",
    dims: tuple[int, ...] = (2, 3),
    kind: int = 1,
    *more: bytes,
    raw: bytes | None = bytes(range(24)),
) -> bytes:
    """Return a TensorProto."""
    out = b"".join(whole(DIMS, n) for n in dims) + whole(TYPE, kind) + data(NAME, name)
    return out + (b"" if raw is None else data(RAW, raw)) + b"".join(more)


def external(
    *, dims: tuple[int, ...] = (2, 3), kind: int = 1, name: str = "w", **entries: str | bytes
) -> bytes:
    """Return a TensorProto whose data is in another file."""
    pairs = (data(EXTERNAL, data(1, key) + data(2, value)) for key, value in entries.items())
    return tensor(name, dims, kind, *pairs, whole(LOCATION, 1), raw=None)


def model(*initializers: bytes, graph: bytes = b"", tail: bytes = b"") -> bytes:
    """Return a ModelProto with these initialisers."""
    inside = data(2, "g") + b"".join(data(5, one) for one in initializers) + graph
    return whole(1, 8) + data(2, "test") + data(7, inside) + data(8, whole(2, 17)) + tail


def packed_floats(number: int, *numbers: float) -> bytes:
    """Return a packed field of floats."""
    return data(number, struct.pack(f"<{len(numbers)}f", *numbers))
