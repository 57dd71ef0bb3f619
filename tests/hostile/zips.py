"""Zip archives of which every field can be wrong."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

LOCAL = {
    "signature": ("I", 0x04034B50),
    "version": ("H", 20),
    "flags": ("H", 0),
    "method": ("H", 0),
    "time": ("H", 0),
    "date": ("H", 0x21),
    "crc": ("I", 0),
    "packed": ("I", 0),
    "size": ("I", 0),
    "name_length": ("H", 0),
    "extra_length": ("H", 0),
}
CENTRAL = {
    "signature": ("I", 0x02014B50),
    "made_by": ("H", 20),
    **{key: LOCAL[key] for key in list(LOCAL)[1:]},
    "comment_length": ("H", 0),
    "disk": ("H", 0),
    "internal": ("H", 0),
    "external": ("I", 0),
    "offset": ("I", 0),
}
END = {
    "signature": ("I", 0x06054B50),
    "disk": ("H", 0),
    "directory_disk": ("H", 0),
    "here": ("H", 0),
    "count": ("H", 0),
    "directory_size": ("I", 0),
    "directory_offset": ("I", 0),
    "comment_length": ("H", 0),
}
SIZES = {"H": 1 << 16, "I": 1 << 32}


@dataclass(frozen=True)
class Entry:
    """A file in a zip; `local` and `central` replace fields of its two headers."""

    name: str | bytes
    data: bytes
    deflated: bool = False
    local: dict[str, int] = field(default_factory=dict)
    central: dict[str, int] = field(default_factory=dict)
    extra: bytes = b""


def _record(fields: dict[str, tuple[str, int]], **values: int) -> bytes:
    letters = "".join(letter for letter, _ in fields.values())
    numbers = [values.get(key, usual) % SIZES[letter] for key, (letter, usual) in fields.items()]
    return struct.pack(f"<{letters}", *numbers)


def archive(*entries: Entry, end: dict[str, int] | None = None, tail: bytes = b"") -> bytes:
    """Return a zip; `end` replaces fields of the end record, `tail` is put before that."""
    out, directory = bytearray(), bytearray()
    for entry in entries:
        name = entry.name.encode() if isinstance(entry.name, str) else entry.name
        data = _deflate(entry.data) if entry.deflated else entry.data
        known = {
            "method": 8 * entry.deflated,
            "crc": zlib.crc32(entry.data),
            "packed": len(data),
            "size": len(entry.data),
            "name_length": len(name),
            "extra_length": len(entry.extra),
            "flags": 0x800,
        }
        central = {**known, "offset": len(out), **entry.central}
        directory += _record(CENTRAL, **central) + name + entry.extra
        out += _record(LOCAL, **{**known, **entry.local}) + name + entry.extra + data
    known = {
        "here": len(entries),
        "count": len(entries),
        "directory_size": len(directory),
        "directory_offset": len(out),
    }
    return bytes(out + directory + tail) + _record(END, **{**known, **(end or {})})


def _deflate(data: bytes) -> bytes:
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
    return squeeze.compress(data) + squeeze.flush()


def bomb(name: str, head: bytes, mebibytes: int, byte: bytes = b"\0", **central: int) -> Entry:
    """Return a small deflated entry that unpacks to `head` and so many MiB of one byte.

    Each MiB is one block of the stream that stands for itself, so the stream is one repeated.
    The check sum is wrong: who waits for it has already unpacked everything.
    """
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = squeeze.compress(head) + squeeze.flush(zlib.Z_FULL_FLUSH)
    block = squeeze.compress(byte * (1 << 20)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    stream = first + block * mebibytes + b"\x03\x00"
    size = len(head) + (mebibytes << 20)
    known = {"method": 8, "packed": len(stream), "size": size, "crc": 0}
    return Entry(name, stream, local={**known, **central}, central={**known, **central})


def zip64(name: str, data: bytes, size: int, packed: int, offset: int) -> bytes:
    """Return a zip of one entry whose sizes are in a zip64 field."""
    extra = struct.pack("<HHQQQ", 1, 24, size % 2**64, packed % 2**64, offset % 2**64)
    full = {"size": 2**32 - 1, "packed": 2**32 - 1}
    central = {**full, "offset": 2**32 - 1}
    return archive(Entry(name, data, local=full, central=central, extra=extra))


def zip64_end(directory: bytes, count: int, size: int, offset: int, at: int) -> bytes:
    """Return a zip that is a directory and a zip64 end record."""
    record = struct.pack(
        "<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, *(n % 2**64 for n in (count, count, size)),
        offset % 2**64,
    )  # fmt: skip
    locator = struct.pack("<IIQI", 0x07064B50, 0, at % 2**64, 1)
    full = dict.fromkeys(("here", "count", "directory_size", "directory_offset"), 2**32 - 1)
    return directory + record + locator + _record(END, **full)
