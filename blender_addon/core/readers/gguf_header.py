"""The header of a GGUF file: its fields and the list of its tensors.

The format is https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. The
header is parsed here because the gguf package maps the file, takes its counts and lengths as they
are, and keeps every word of the vocabulary.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError
from ..text import printable
from .datafile import DataFile, bad

MAGIC = b"GGUF"
# Real headers stay far below all of these; they bound what a bad one costs.
_HEADER_LIMIT = 64_000_000  # bytes; a vocabulary of 262,144 words with its merges takes 14 million
_MAX_FIELDS = 4096
_MAX_TENSORS = 1 << 17
_MAX_ITEMS = 1 << 22  # texts in all arrays
_MAX_DEPTH = 4  # of arrays in arrays
_MAX_DIMENSIONS = 4  # GGML_MAX_DIMS
_NAME_LIMIT = 65_535  # bytes, of a key
_TEXT_LIMIT = 4096  # bytes that are kept of a text
_KEPT_NUMBERS, _KEPT_TEXTS = 1024, 8  # of an array
_BLOCK = 1 << 20  # bytes read at a time
_LEAST_FIELD, _LEAST_TENSOR = 13, 24  # bytes

_SCALARS = {
    number: struct.Struct(f"<{code}")
    for number, code in ((0, "B"), (1, "b"), (2, "H"), (3, "h"), (4, "I"), (5, "i"), (6, "f"),
                         (7, "?"), (10, "Q"), (11, "q"), (12, "d"))
}  # fmt: skip
_TEXT, _ARRAY = 8, 9
_U32, _U64 = _SCALARS[4], _SCALARS[10]


@dataclass(frozen=True)
class Listed:
    """An array among the fields: how many items it has, and the first of them.

    Attributes
    ----------
    count
        Of all its items.
    first
        Up to 1024 numbers or 8 texts; none of arrays in it.
    """

    count: int
    first: tuple[Any, ...]

    def __str__(self) -> str:
        shown = ", ".join(map(str, self.first[:_KEPT_TEXTS]))
        return f"[{shown}, … ({self.count:,})]" if self.count > _KEPT_TEXTS else f"[{shown}]"


@dataclass(frozen=True)
class Entry:
    """A tensor in the header.

    Attributes
    ----------
    name
    shape
        As numpy has it: the file's dimensions begin with the length of a row.
    kind
        Number of its GGML type.
    offset
        From the start of the data, in bytes.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True)
class Header:
    """What stands before the data.

    Attributes
    ----------
    fields
        Texts, numbers, truth values and `Listed` by key.
    entries
        In the order of the file.
    alignment
        Every tensor's offset is a multiple of it.
    data_start
        Position of the first byte of the data in the file.
    """

    fields: dict[str, Any]
    entries: tuple[Entry, ...]
    alignment: int
    data_start: int


def read_header(data: DataFile) -> Header:
    """Read the header.

    Raises
    ------
    CheckpointError
        It is damaged, cut, of another version, or larger than any real one.
    """
    cursor = _Cursor(data)
    try:
        return _header(cursor)
    except CheckpointError:
        raise
    except ValueError as error:
        raise bad(data.path, f"{cursor.where}{error}") from None


def _header(cursor: _Cursor) -> Header:
    """Read all; a ValueError says what is wrong, `cursor.where` with what."""
    _check_version(cursor)
    tensor_count, field_count = cursor.number(_U64), cursor.number(_U64)
    for what, count, limit, least in (
        ("tensors", tensor_count, _MAX_TENSORS, _LEAST_TENSOR),
        ("fields", field_count, _MAX_FIELDS, _LEAST_FIELD),
    ):
        if count > limit or count * least > cursor.data.size:
            raise ValueError(f"the header has {count:,} {what}, which cannot be")
    fields: dict[str, Any] = {}
    for _ in range(field_count):
        key = cursor.name("a field's name")
        cursor.where = f"field {printable(key)}: "
        if key in fields:
            raise ValueError("it is there twice")
        fields[key] = _field(cursor)
        cursor.where = ""
    entries: dict[str, Entry] = {}
    for _ in range(tensor_count):
        name = cursor.name("a tensor's name")
        cursor.where = f"tensor {printable(name)}: "
        if name in entries:
            raise ValueError("it is there twice")
        entries[name] = _entry(cursor, name)
        cursor.where = ""
    alignment = fields.get("general.alignment", 32)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise ValueError(f"general.alignment {printable(alignment, 40)} is not a power of two")
    data_start = -(-cursor.at // alignment) * alignment
    return Header(fields, tuple(entries.values()), alignment, data_start)


def _check_version(cursor: _Cursor) -> None:
    size = cursor.data.size
    if size == 0:
        raise ValueError("the file is empty")
    if size < 24:
        raise ValueError(f"a GGUF file has at least 24 bytes, this one only {size}: it was cut")
    if cursor.take(4) != MAGIC:
        raise ValueError("this is not a GGUF file")
    version = cursor.number(_U32)
    if version in (2, 3):
        return
    if version and version & 0xFFFF == 0:
        raise ValueError("this GGUF file is for big-endian machines; such files are not read")
    if version == 1:
        what = "is of version 1 of 2023; convert the model again with today's llama.cpp"
        raise ValueError(f"this GGUF file {what}")
    raise ValueError(f"this GGUF file is of version {version:,}; 2 and 3 are read")


def _field(cursor: _Cursor) -> Any:
    kind = cursor.number(_U32)
    if kind == _TEXT:
        return cursor.text()
    if kind == _ARRAY:
        return _array(cursor, 1)
    return cursor.number(_scalar(kind))


def _scalar(kind: int) -> struct.Struct:
    scalar = _SCALARS.get(kind)
    if scalar is None:
        raise ValueError(f"its type {kind} is unknown")
    return scalar


def _array(cursor: _Cursor, depth: int) -> Listed:
    """Read the first items and pass over the others."""
    kind, count = cursor.number(_U32), cursor.number(_U64)
    if kind in (_TEXT, _ARRAY):
        cursor.spend(count * (64 if kind == _ARRAY else 1))  # in Python, one by one
    if kind == _TEXT:
        texts = tuple(cursor.text() for _ in range(min(count, _KEPT_TEXTS)))
        cursor.skip_texts(count - len(texts))
        return Listed(count, texts)
    if kind == _ARRAY:
        if depth == _MAX_DEPTH:
            raise ValueError(f"its arrays are nested more than {_MAX_DEPTH} deep")
        for _ in range(count):
            _array(cursor, depth + 1)
        return Listed(count, ())
    scalar = _scalar(kind)
    kept = min(count, _KEPT_NUMBERS)
    cursor.check(count * scalar.size)
    raw = cursor.take(kept * scalar.size)
    cursor.skip((count - kept) * scalar.size)
    return Listed(count, tuple(item for (item,) in scalar.iter_unpack(raw)))


def _entry(cursor: _Cursor, name: str) -> Entry:
    dimensions = cursor.number(_U32)
    if dimensions > _MAX_DIMENSIONS:
        raise ValueError(f"it has {dimensions:,} dimensions, more than {_MAX_DIMENSIONS}")
    lengths = [cursor.number(_U64) for _ in range(dimensions)]
    kind, offset = cursor.number(_U32), cursor.number(_U64)
    return Entry(name, tuple(reversed(lengths)), kind, offset)


class _Cursor:
    """A place in the header; reads ahead by blocks and never beyond the file or the limit."""

    def __init__(self, data: DataFile) -> None:
        self.data = data
        self.where = ""  # said before what is wrong
        self.at = 0
        self._end = min(data.size, _HEADER_LIMIT)
        self._block, self._begin = b"", 0
        self._items = _MAX_ITEMS

    def number(self, scalar: struct.Struct) -> Any:
        """Read a number."""
        return scalar.unpack(self.take(scalar.size))[0]

    def name(self, what: str) -> str:
        """Read a text that must be short and well formed."""
        length = self.number(_U64)
        if length > _NAME_LIMIT:
            raise ValueError(f"{what} would have {length:,} bytes, which cannot be")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{what} is not UTF-8") from None

    def text(self) -> str:
        """Read a text, up to a limit."""
        length = self.number(_U64)
        self.check(length)
        kept = min(length, _TEXT_LIMIT)
        text = self.take(kept).decode("utf-8", "replace")
        self.skip(length - kept)
        return text if kept == length else f"{text}… ({length:,} bytes)"

    def skip_texts(self, count: int) -> None:
        """Pass over texts, in a loop that is fast enough for a vocabulary."""
        length_at = _U64.unpack_from
        while count:
            self._have(8)
            block, at = self._block, self.at - self._begin
            last = len(block) - 8
            while count and at <= last:
                at += 8 + length_at(block, at)[0]
                count -= 1
            self.skip(self._begin + at - self.at)

    def take(self, count: int) -> bytes:
        """Read bytes."""
        self._have(count)
        begin = self.at - self._begin
        self.at += count
        return self._block[begin : begin + count]

    def skip(self, count: int) -> None:
        """Pass over bytes without reading them."""
        self.check(count)
        self.at += count

    def spend(self, items: int) -> None:
        """Account for items that take time one by one."""
        self._items -= items
        if self._items < 0:
            raise ValueError(f"the header has arrays of more than {_MAX_ITEMS:,} items")

    def check(self, count: int) -> None:
        """Refuse what would go beyond the end."""
        if self.at + count <= self._end:
            return
        size = self.data.size
        if self.at + count > size:
            what = f"the header goes on to byte {self.at + count:,}, the file only to {size:,}"
            raise ValueError(f"{what}: it was cut")
        raise ValueError(f"the header has more than {_HEADER_LIMIT:,} bytes")

    def _have(self, count: int) -> None:
        self.check(count)
        if not self._begin <= self.at <= self.at + count <= self._begin + len(self._block):
            length = min(max(count, _BLOCK), self._end - self.at)
            self._block, self._begin = self.data.read(self.at, length), self.at
