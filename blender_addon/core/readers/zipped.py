"""Zip archives whose entries are read where they lie: a strict look at the directory, no more.

The layout is PKWARE's APPNOTE.TXT, 6.3: entries, each behind a local header; the central directory;
for large archives a zip64 end record and its locator; the end record. An archive must agree with
itself: entries that overlap, lie outside, or come twice are an error, and so are names that leave
the folder, though nothing is ever unpacked to a disk.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ..errors import CheckpointError
from ..text import printable
from .datafile import Array, DataFile, bad
from .dtypes import DType
from .values import Raw, Span

STORED, DEFLATED = 0, 8
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_MAX_COMMENT = (1 << 16) - 1
_FULL = (1 << 32) - 1  # "see the zip64 field"
_DIRECTORY_LIMIT = 16 << 20  # bytes; an entry has about 100
_BEST_RATIO = 1032  # of deflate
_CHUNK = 1 << 18  # bytes unpacked at a time


class Entry(NamedTuple):
    """A file in an archive.

    Attributes
    ----------
    name
        With forward slashes; below the archive's folder.
    raw_name
        The same as it stands in the file.
    method
        `STORED` or `DEFLATED`, or another one that cannot be read.
    packed, size
        Bytes in the archive, and unpacked.
    crc
        CRC-32 of the unpacked bytes; PyTorch can leave it 0.
    header
        Where the local header is. The data's own place is known once that has been read.
    limit
        Where the next header is, or the directory.
    """

    name: str
    raw_name: bytes
    method: int
    packed: int
    size: int
    crc: int
    header: int
    limit: int


class Archive:
    """The entries of a zip by name, in the order of the file.

    Raises
    ------
    CheckpointError
        It is not a zip, or contradicts itself.
    """

    def __init__(self, data: DataFile) -> None:
        self.data = data
        self.entries: Mapping[str, Entry] = {}
        try:
            self.entries = _entries(data)
        except CheckpointError:
            raise
        except (ValueError, struct.error) as error:
            what = str(error) if type(error) is ValueError else "its directory cannot be read"
            raise bad(data.path, f"the zip archive is damaged: {what}") from None

    def read(self, entry: Entry) -> bytes:
        """Return all of a small entry, checked against its sum."""
        content = self.open(entry).read(0, entry.size)
        if entry.crc and zlib.crc32(content) != entry.crc:
            raise self.bad(entry, "its checksum is wrong")
        return content

    def open(self, entry: Entry) -> Stored | Inflated:
        """Return an entry as a file of its own.

        Raises
        ------
        CheckpointError
            It is packed in another way than deflate.
        """
        if entry.method == STORED:
            return Stored(self, entry)
        if entry.method == DEFLATED:
            return Inflated(self, entry)
        raise self.bad(entry, f"it is packed by a method that is not read ({entry.method})")

    def bad(self, entry: Entry, what: str) -> CheckpointError:
        """Return the error for an entry."""
        return bad(self.data.path, f"entry {printable(entry.name)} of the zip archive: {what}")

    def start(self, entry: Entry) -> int:
        """Return where an entry's data is, by its local header."""
        head = self.data.read(entry.header, _LOCAL.size + len(entry.raw_name))
        signature, *_, name_length, extra_length = _LOCAL.unpack_from(head)
        if signature != b"PK\3\4" or head[_LOCAL.size :] != entry.raw_name:
            raise self.bad(entry, "its header is not where the directory says")
        start = entry.header + _LOCAL.size + name_length + extra_length
        if name_length != len(entry.raw_name) or start + entry.packed > entry.limit:
            raise self.bad(entry, "it does not end before the next one")
        return int(start)


class _Member(DataFile):
    """What stored and deflated entries have in common."""

    def __init__(self, archive: Archive, entry: Entry) -> None:
        self.archive, self.entry = archive, entry
        self.path, self.stamp = archive.data.path, archive.data.stamp
        self.size = entry.size

    def span(self, begin: int, end: int) -> Span:
        """Return bytes of the archive that hold these of the entry."""
        raise NotImplementedError


class Stored(_Member):
    """An entry that lies in the archive as it is."""

    _start: int | None = None

    def _read_into(self, offset: int, arrays: Iterator[Array], end: int) -> None:
        if self._start is None:  # not before: to open a model would take a read for each tensor
            self._start = self.archive.start(self.entry)
        self.archive.data.read_into(self._start + offset, arrays, self._start + end)

    def span(self, begin: int, end: int) -> Span:
        """Return them with the header; how long that is, is not known before it has been read."""
        header, limit = self.entry.header, self.entry.limit
        shortest = header + _LOCAL.size + len(self.entry.raw_name)
        last = min(shortest + _MAX_COMMENT + end, limit)
        return Span(self.archive.data, header if begin == 0 else shortest + begin, last)


class Inflated(_Member):
    """An entry that is unpacked while it is read, from its start on; best read in order."""

    def __init__(self, archive: Archive, entry: Entry) -> None:
        super().__init__(archive, entry)
        if entry.size > _BEST_RATIO * entry.packed + _CHUNK:
            raise archive.bad(entry, "it cannot be as large as it says")
        self._streams: list[_Stream] = []  # the one that stopped last

    def _read_into(self, offset: int, arrays: Iterator[Array], end: int) -> None:
        try:
            stream = self._streams.pop()  # so that of two threads only one has it
        except IndexError:
            stream = None
        if stream is None or stream.at > offset:
            stream = _Stream(self.archive, self.entry)
        stream.skip(offset - stream.at)
        for array in arrays:
            stream.fill(array)
        self._streams[:] = [stream]

    def span(self, begin: int, end: int) -> Span:
        """Return all of the entry."""
        return Span(self.archive.data, self.entry.header, self.entry.limit)


class _Stream:
    """An entry unpacked up to some byte."""

    def __init__(self, archive: Archive, entry: Entry) -> None:
        self.archive, self.entry = archive, entry
        self.at = 0
        self._unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
        self._next = archive.start(entry)
        self._end = self._next + entry.packed
        self._held = b""
        self._crc = 0

    def skip(self, count: int) -> None:
        """Unpack so many bytes for nothing."""
        while count:
            count -= len(self._more(min(count, _CHUNK)))

    def fill(self, array: Array) -> None:
        """Unpack into an array."""
        view = array.reshape(-1).view(np.uint8)
        while len(view):
            piece = self._more(min(len(view), _CHUNK))
            view[: len(piece)] = np.frombuffer(piece, np.uint8)
            view = view[len(piece) :]

    def _more(self, most: int) -> bytes:
        """Unpack from 1 to `most` bytes."""
        while True:
            if not self._held and self._next < self._end:
                count = min(_CHUNK, self._end - self._next)
                self._held = self.archive.data.read(self._next, count)
                self._next += count
            try:
                piece = self._unpacking.decompress(self._held, most)
            except zlib.error:
                raise self.archive.bad(self.entry, "it cannot be unpacked") from None
            self._held = self._unpacking.unconsumed_tail
            if piece:
                break
            if self._unpacking.eof or (not self._held and self._next == self._end):
                raise self.archive.bad(self.entry, "it is shorter than it says")
        self.at += len(piece)
        self._crc = zlib.crc32(piece, self._crc)
        if self.at == self.entry.size:
            self._check_end()
        return piece

    def _check_end(self) -> None:
        if self.entry.crc != self._crc:
            raise self.archive.bad(self.entry, "its checksum is wrong")


class Zipped(Raw):
    """Numbers that lie in an entry of an archive."""

    def __init__(self, data: Stored | Inflated, offset: int, size: int, dtype: DType) -> None:
        super().__init__(data, offset, size, dtype)
        self.member = data

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield the bytes of the archive."""
        begin, end = (self.offset + n * self.dtype.bits // 8 for n in (start, stop))
        yield self.member.span(begin, end)


# --- the directory ----------------------------------------------------------------------------


def _entries(data: DataFile) -> dict[str, Entry]:
    count, size, begin = _end_record(data)
    if size > _DIRECTORY_LIMIT:
        raise ValueError(f"its directory is larger than {_DIRECTORY_LIMIT >> 20} MiB")
    text = data.read(begin, size)
    at, found = 0, []
    while at < size:
        entry, at = _central(text, at)
        found.append(entry)
    if len(found) != count:
        raise ValueError(f"it has {len(found):,} entries and says {count:,}")
    found.sort(key=lambda entry: entry.header)
    entries: dict[str, Entry] = {}
    limits = [*(entry.header for entry in found[1:]), begin]
    for entry, limit in zip(found, limits, strict=False):
        _check_name(entry.name)
        if entry.name in entries:
            raise ValueError(f"entry {printable(entry.name)} comes twice")
        if entry.header + _LOCAL.size + len(entry.raw_name) + entry.packed > limit:
            raise ValueError(f"entry {printable(entry.name)} does not end before the next one")
        if entry.method == STORED and entry.packed != entry.size:
            raise ValueError(f"entry {printable(entry.name)} has two sizes")
        entries[entry.name] = entry._replace(limit=limit)
    return entries


def _end_record(data: DataFile) -> tuple[int, int, int]:
    """Return the number of entries, and the directory's size and place."""
    size = data.size
    begin = max(size - _END.size - _MAX_COMMENT - _LOCATOR.size, 0)
    tail = data.read(begin, size - begin)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise ValueError("it has no end record, so it was cut")
    _, disk, first_disk, here, count, length, offset, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise ValueError("it goes on after its end record")
    end = begin + at
    if tail[max(at - _LOCATOR.size, 0) :].startswith(b"PK\6\7"):
        _, _, record, _ = _LOCATOR.unpack_from(tail, at - _LOCATOR.size)
        if record + _END64.size > end - _LOCATOR.size:
            raise ValueError("its zip64 end record is not where it says")
        fields = _END64.unpack(data.read(record, _END64.size))
        signature, _, _, _, disk, first_disk, here, count, length, offset = fields
        if signature != b"PK\6\6":
            raise ValueError("its zip64 end record is not where it says")
        end = record
    if disk or first_disk or here != count:
        raise ValueError("it is a part of a split one")
    if offset + length != end:
        raise ValueError("its directory is not where it says")
    return count, length, offset


def _central(text: bytes, at: int) -> tuple[Entry, int]:
    """Parse an entry of the directory; return it and where the next one is."""
    fields = _CENTRAL.unpack_from(text, at)
    signature, _, _, flags, method, _, _, crc, packed, size = fields[:10]
    name_length, extra_length, comment_length, disk, _, _, header = fields[10:]
    name_at = at + _CENTRAL.size
    extra_at = name_at + name_length
    end = extra_at + extra_length + comment_length
    if signature != b"PK\1\2" or end > len(text):
        raise ValueError("an entry of its directory is cut")
    raw_name = text[name_at:extra_at]
    name = raw_name.decode("utf-8" if flags & 0x800 else "cp437")
    if flags & 1:
        raise ValueError(f"entry {printable(name)} is encrypted")
    if disk:
        raise ValueError("it is a part of a split one")
    extra = text[extra_at : extra_at + extra_length]
    size, packed, header = _widened([size, packed, header], extra)
    return Entry(name, raw_name, method, packed, size, crc, header, 0), end


def _widened(numbers: list[int], extra: bytes) -> list[int]:
    """Replace the numbers that are full by those of the zip64 field."""
    if _FULL not in numbers:
        return numbers
    while extra:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            wide = struct.iter_unpack("<Q", extra[4 : 4 + length // 8 * 8])
            try:
                return [next(wide)[0] if n == _FULL else n for n in numbers]
            except (StopIteration, RuntimeError):
                raise ValueError("a zip64 field of its directory is cut") from None
        extra = extra[4 + length :]
    return numbers


def _check_name(name: str) -> None:
    odd = not name or name.startswith("/") or "\\" in name or "\0" in name
    if odd or ".." in name.split("/"):
        raise ValueError(f"entry {printable(name)} is not a path inside a folder")
