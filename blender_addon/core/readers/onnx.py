"""ONNX: the initialisers of a graph, found by a walk over the protobuf wire format.

A message is a run of fields, each a key (number << 3 | kind) and a value
(protobuf.dev/programming-guides/encoding). Only the fields on the way from the model to its tensors
are entered (numbers from onnx/onnx.proto); all others are stepped over, so that a model of 2 GB
takes reads of its edges. Numbers in other files are read where they lie, below the model's folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..text import printable
from .base import Tensor
from .datafile import DataFile, Place, bad, open_file
from .dtypes import DTYPES, DType
from .endings import ONNX
from .index import Listing, Metadata, below, choose_in
from .shapes import MAX_DIMENSIONS, checked_shape
from .values import Raw, Unreadable, Values

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WINDOW = 1 << 16  # bytes read at a time
_LONGEST = 10  # bytes of a whole number
_MAX_FIELDS = 500_000
_NAME_LIMIT = 1 << 16  # bytes of a name or a path
_METADATA_LIMIT = 100

# ModelProto, GraphProto, TensorProto, StringStringEntryProto.
_PRODUCER, _GRAPH, _PROPERTIES = 2, 7, 14
_INITIALIZER, _SPARSE = 5, 15
_DIMS, _TYPE, _SEGMENT, _NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 3, 8, 9, 13, 14
_KEY, _VALUE = 1, 2
# Field of numbers in the message itself → the dtype whose bytes they are, if in one run.
_TYPED = {4: "F32", 5: "I32", 6: "", 7: "I64", 10: "F64", 11: "U64"}


def _other(name: str, bits: int, what: str) -> DType:
    return DType(name, bits, is_float=False, reason=f"{name} ({what}) is not decoded")


# TensorProto.DataType → dtype.
_DTYPES: dict[int, DType] = {
    **{number: DTYPES[name] for number, name in (
        (1, "F32"), (2, "U8"), (3, "I8"), (4, "U16"), (5, "I16"), (6, "I32"), (7, "I64"),
        (9, "BOOL"), (10, "F16"), (11, "F64"), (12, "U32"), (13, "U64"), (14, "C64"), (16, "BF16"),
        (17, "F8_E4M3"), (18, "F8_E4M3FNUZ"), (19, "F8_E5M2"), (20, "F8_E5M2FNUZ"),
        (24, "F8_E8M0"),
    )},
    8: _other("STRING", 8, "texts"),
    15: _other("C128", 128, "complex numbers"),
    21: _other("U4", 4, "packed whole numbers"),
    22: _other("I4", 4, "packed whole numbers"),
    23: _other("F4", 4, "packed floats"),
    25: _other("U2", 2, "packed whole numbers"),
    26: _other("I2", 2, "packed whole numbers"),
}  # fmt: skip


def claims(path: Place) -> bool:
    """Whether `path` is for this reader, by its name: the format has no first bytes of its own."""
    if path.is_dir():
        return any(_is_ours(entry.name) for entry in path.iterdir())
    return _is_ours(path.name)


def load(path: Place, config: Mapping[str, Any]) -> Listing:
    """List the initialisers of a model, or of the one in a folder; no numbers are read.

    Raises
    ------
    CheckpointError
        The file is damaged or no ONNX model, a file of its numbers is missing or outside of its
        folder, or it is unclear what to open.
    """
    if path.is_dir():
        names = [entry.name for entry in path.iterdir() if _is_ours(entry.name)]
        path = choose_in(path, names, ("model.onnx",))
    data = open_file(path)
    if not data.size:
        raise bad(path, "the file is empty")
    try:
        return _Model(data, config).listing()
    except DamagedError as error:
        raise bad(path, f"this is not an ONNX model, or a damaged one: {error}") from None


def _is_ours(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(ONNX)


class DamagedError(Exception):
    """The bytes are not what they should be; the message says how."""


# --- protobuf ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message.

    Attributes
    ----------
    number, kind
        Which field it is, and how it is written.
    value
        A whole number; 0 for `_BYTES`.
    begin, end
        Where its bytes are, for `_BYTES` and the fixed kinds.
    """

    number: int
    kind: int
    value: int
    begin: int
    end: int


class _Wire:
    """Reads keys and lengths of a file, through a window on it."""

    def __init__(self, data: DataFile) -> None:
        self.data = data
        self._window, self._at = b"", 0
        self._left = _MAX_FIELDS

    def fields(self, begin: int, end: int) -> Iterator[_Field]:
        """Yield the fields of the message in ``[begin, end)``."""
        while begin < end:
            self._left -= 1
            if self._left < 0:
                raise DamagedError(f"it has more than {_MAX_FIELDS:,} parts")
            key, at = self._varint(begin, end)
            number, kind, value, stop = key >> 3, key & 7, 0, at
            if not 0 < number < 1 << 29:
                raise DamagedError("a part has a number that none can have")
            if kind == _VARINT:
                value, stop = self._varint(at, end)
                at = stop
            elif kind == _BYTES:
                length, at = self._varint(at, end)
                stop = at + length
            elif kind in (_FIXED64, _FIXED32):
                stop = at + (8 if kind == _FIXED64 else 4)
            else:
                raise DamagedError(f"a part is of kind {kind}, which is not known")
            if stop > end:
                raise DamagedError("a part ends behind what it is in: the file was cut")
            yield _Field(number, kind, value, at, stop)
            begin = stop

    def text(self, part: _Field) -> str:
        """Return a short text."""
        if part.kind != _BYTES or part.end - part.begin > _NAME_LIMIT:
            raise DamagedError("a name is not a text, or too long")
        try:
            return self.data.read(part.begin, part.end - part.begin).decode("utf-8")
        except UnicodeDecodeError:
            raise DamagedError("a name is not UTF-8") from None

    def varints(self, part: _Field) -> Iterator[int]:
        """Yield the whole numbers of a field, packed into one or not."""
        if part.kind == _VARINT:
            yield part.value
            return
        at = part.begin
        while at < part.end:
            value, at = self._varint(at, part.end)
            yield value

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """Return the whole number at a place, and the place behind it."""
        local = at - self._at
        if not 0 <= local <= len(self._window) - _LONGEST:
            self._window = self.data.read(at, min(_WINDOW, self.data.size - at))
            self._at, local = at, 0
        value = shift = 0
        for byte in self._window[local : local + min(end - at, _LONGEST)]:
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value & (1 << 64) - 1, at
            shift += 7
        raise DamagedError("a number is cut or too long")


# --- the model --------------------------------------------------------------------------------


@dataclass
class _Parts:
    """What a TensorProto says, field by field."""

    name: str = ""
    dims: list[int] = field(default_factory=list)
    type: int = 0
    external: bool = False
    entries: dict[str, str] = field(default_factory=dict)
    raw: _Field | None = None
    typed: list[_Field] = field(default_factory=list)


class _Model:
    """Lists the tensors of a model."""

    def __init__(self, data: DataFile, config: Mapping[str, Any]) -> None:
        self.data, self.config = data, config
        self.wire = _Wire(data)
        self.files: dict[str, DataFile] = {}
        self.tensors: dict[str, Tensor] = {}
        self.metadata: Metadata = {}
        self.sparse = 0

    def listing(self) -> Listing:
        """Return the tensors, the metadata and the notes."""
        graphs = 0
        for part in self.wire.fields(0, self.data.size):
            if part.number == _GRAPH and part.kind == _BYTES:
                graphs += 1
                self._graph(part)
            elif part.number == _PRODUCER and part.kind == _BYTES:
                self.metadata["producer_name"] = self.wire.text(part)
            elif part.number == _PROPERTIES and part.kind == _BYTES:
                self._property(part)
        if graphs != 1:
            raise DamagedError(f"it has {graphs} graphs")
        if not self.tensors:
            what = "this ONNX model has no initialisers; numbers inside of its nodes are not read"
            raise bad(self.data.path, what)
        notes: tuple[str, ...] = ()
        if self.sparse:
            what = f"{self.sparse:,} sparse initialisers are left out"
            notes = (f"{printable(self.data.path.name)}: {what}",)
        return list(self.tensors.values()), self.metadata, notes

    def _graph(self, graph: _Field) -> None:
        for part in self.wire.fields(graph.begin, graph.end):
            if part.number == _INITIALIZER and part.kind == _BYTES:
                tensor = self._tensor(part)
                if tensor.name in self.tensors:
                    raise DamagedError(f"it has {printable(tensor.name)} twice")
                self.tensors[tensor.name] = tensor
            elif part.number == _SPARSE:
                self.sparse += 1

    def _pair(self, message: _Field) -> tuple[str, str]:
        key = value = ""
        for part in self.wire.fields(message.begin, message.end):
            if part.number == _KEY:
                key = self.wire.text(part)
            elif part.number == _VALUE:
                value = self.wire.text(part)
        return key, value

    def _property(self, message: _Field) -> None:
        key, value = self._pair(message)
        if len(self.metadata) < _METADATA_LIMIT and len(value) < 1000:
            self.metadata[key] = value

    def _tensor(self, message: _Field) -> Tensor:
        parts = self._parts(message)
        try:
            shape = checked_shape(parts.dims)
            dtype = _DTYPES.get(parts.type)
            if dtype is None:
                raise ValueError(f"its dtype {parts.type} is unknown")
            data, values, nbytes = self._values(parts, dtype, prod(shape))
        except CheckpointError:  # about a file of numbers
            raise
        except ValueError as error:
            raise DamagedError(f"tensor {printable(parts.name)}: {error}") from None
        return Tensor(parts.name, shape, dtype.name, nbytes, values, (data,), self.config)

    def _parts(self, message: _Field) -> _Parts:
        parts = _Parts()
        for part in self.wire.fields(message.begin, message.end):
            if part.number == _DIMS:
                self._dims(part, parts)
            elif part.number == _TYPE:
                parts.type = part.value
            elif part.number == _NAME:
                parts.name = self.wire.text(part)
            elif part.number == _RAW and part.kind == _BYTES:
                parts.raw = part
            elif part.number == _LOCATION:
                parts.external = part.value == 1
            elif part.number == _EXTERNAL and part.kind == _BYTES:
                parts.entries.update([self._pair(part)])
            elif part.number == _SEGMENT:
                raise DamagedError("a tensor is cut into segments, which are not read")
            elif part.number in _TYPED:
                parts.typed.append(part)
        return parts

    def _dims(self, part: _Field, parts: _Parts) -> None:
        for value in self.wire.varints(part):
            if value >= 1 << 63:
                raise DamagedError(f"tensor {printable(parts.name)} has a negative dimension")
            parts.dims.append(value)
            if len(parts.dims) > MAX_DIMENSIONS:
                raise DamagedError(f"a tensor has more than {MAX_DIMENSIONS} dimensions")

    def _values(self, parts: _Parts, dtype: DType, size: int) -> tuple[DataFile, Values, int]:
        """Return the file of a tensor's numbers, the numbers, and how many bytes they are."""
        needed = -(-size * dtype.bits // 8)
        if parts.external:
            data, begin = self._outside(parts, needed)
        elif parts.raw is not None:
            data, begin, have = self.data, parts.raw.begin, parts.raw.end - parts.raw.begin
            if any(part.end > part.begin for part in parts.typed):
                raise ValueError("it has its numbers twice")
            if have != needed and dtype.name != "STRING":
                raise ValueError(f"its shape and dtype need {needed:,} bytes, it has {have:,}")
        else:
            return self.data, *self._typed(parts, dtype, size)
        if dtype.reason:
            return data, Unreadable(dtype.reason), needed
        return data, Raw(data, begin, size, dtype), needed

    def _typed(self, parts: _Parts, dtype: DType, size: int) -> tuple[Values, int]:
        """Return numbers that are fields of the message: in one run, or listed and not read."""
        packed = [part for part in parts.typed if part.kind == _BYTES]
        nbytes = sum(part.end - part.begin for part in parts.typed)
        if not size and not parts.typed:
            return Raw(self.data, 0, 0, dtype), 0
        if dtype.reason:
            return Unreadable(dtype.reason), nbytes
        runs = dtype.name in ("F32", "F64") and len(packed) == len(parts.typed) == 1
        if runs and _TYPED[packed[0].number] == dtype.name:
            if nbytes * 8 != size * dtype.bits:
                raise ValueError(f"its shape needs {size:,} numbers, it has {nbytes:,} bytes")
            return Raw(self.data, packed[0].begin, size, dtype), nbytes
        if nbytes * 8 < size * min(dtype.bits, 8):  # a whole number takes at least a byte
            raise ValueError(f"its shape needs {size:,} numbers, it has {nbytes:,} bytes")
        return Unreadable("its numbers are written one by one, not as an array"), nbytes

    def _outside(self, parts: _Parts, needed: int) -> tuple[DataFile, int]:
        """Return the file that holds a tensor's numbers, and where they begin."""
        name = parts.entries.get("location", "")
        data = self.files.get(name)
        if data is None:
            data = self.files[name] = open_file(_beside(self.data.path, name))
        begin = _decimal(parts.entries.get("offset", "0"))
        length = _decimal(parts.entries.get("length", str(needed)))
        if length != needed:
            raise ValueError(f"its shape and dtype need {needed:,} bytes, it has {length:,}")
        if begin + length > data.size:
            where = printable(name, 80)
            raise ValueError(f"it ends at byte {begin + length:,} of {where} of {data.size:,}")
        return data, begin


def _beside(model: Place, name: str) -> Place:
    """Return the file of numbers that a model names; a link must not lead to any other file."""
    file = below(model, name, "the file of numbers")
    if isinstance(file, Path) and isinstance(model, Path):
        roots = [model.parent, model.resolve().parent]
        # A snapshot in a hub cache is links into the blobs of its model.
        roots += [
            parent for parent in model.absolute().parents if parent.name.startswith("models--")
        ]
        real = file.resolve()
        if not any(real.is_relative_to(root.resolve()) for root in roots):
            raise bad(model, f"the file of numbers {printable(name)} is a link out of the folder")
    return file


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ValueError(f"{printable(text, 40)} is not a place in a file")
    return int(text)
