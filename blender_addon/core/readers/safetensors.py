"""The safetensors format: one file, or shards under an index.

A file is 8 bytes of header length (little-endian), a JSON header, and the data:
https://huggingface.co/docs/safetensors. The header is parsed here because the library tells no
offsets, follows a mapped file to its death, and passes duplicate names; values are read here
because the library's numpy side knows neither BF16 nor F8, and no ranges of elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..text import printable
from .base import Tensor, parse_json
from .datafile import DataFile, Place, bad, open_file
from .dtypes import DTYPES
from .foreign import what_it_is
from .index import Listing, Metadata, choose_in, claimed, load_index
from .shapes import MAX_TENSORS, checked_shape
from .values import Raw

HEADER_LIMIT = 100_000_000  # bytes, as in the safetensors library
_VETTED_BY_LIBRARY = 8_000_000  # bytes: Python's JSON may need 25 times its text in memory
_USUAL = ("model.safetensors.index.json", "model.safetensors")
_NOT_OURS = "this is not a safetensors file"

_Span = tuple[int, int, str]


def claims(path: Place) -> bool:
    """Whether `path` is for this reader, by its name or its first bytes."""
    return claimed(path, _is_ours, _begins)


def _begins(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= HEADER_LIMIT


def load(path: Place, config: Mapping[str, Any]) -> Listing:
    """List the tensors of a file, an index or a folder, and the metadata; headers only are read.

    Raises
    ------
    CheckpointError
        A file is damaged, a shard or a tensor is missing, or it is unclear what to open.
    """
    if path.is_dir():
        path = _in_folder(path)
    if path.name.lower().endswith(".json"):
        return load_index(path, config, _load_file)
    tensors, metadata = _load_file(path, config)
    return list(tensors.values()), metadata, ()


def _is_ours(name: str) -> bool:
    hidden = name.startswith(".")  # macOS leaves "._model.safetensors" on foreign disks
    ours = name.lower().endswith((".safetensors", ".index.json"))
    return ours and not hidden and not name.lower().endswith(".bin.index.json")


def _in_folder(folder: Place) -> Place:
    names = [entry.name for entry in folder.iterdir() if _is_ours(entry.name)]
    indices = [name for name in names if name.endswith(".safetensors.index.json")]
    files = [name for name in names if name.endswith(".safetensors")]
    usual = [name for name in _USUAL if name in names]
    return choose_in(folder, usual or indices or files, usual)


def _read_header(data: DataFile) -> tuple[dict[str, Any], int]:
    """Return the header and the position of the first data byte."""
    path = data.path
    head = data.read(0, min(9, data.size))
    length = int.from_bytes(head[:8], "little")
    if length > HEADER_LIMIT or 8 + length > data.size or head[8:] != b"{":
        raise bad(path, _why_no_header(path, length, data.size))
    text = data.read(8, length)
    if text.count(b'"data_offsets"') > MAX_TENSORS:
        raise bad(path, f"the header has more than {MAX_TENSORS:,} tensors")
    if length > _VETTED_BY_LIBRARY:
        _let_the_library_check(data, text)
    return parse_json(text, path, "the header"), 8 + length


def _why_no_header(path: Place, length: int, size: int) -> str:
    if size == 0:
        return "the file is empty"
    if size < 8 or length > HEADER_LIMIT:
        what = what_it_is(path, _NOT_OURS)
        limit = f" (a header has at most {HEADER_LIMIT:,} bytes, this would have {length:,})"
        return what + limit if what == _NOT_OURS and size >= 8 else what
    if 8 + length > size:
        return f"the header has {length:,} bytes, the whole file only {size:,}: it was cut"
    return "the header is not a JSON object"


def _let_the_library_check(data: DataFile, header: bytes) -> None:
    """Let safetensors refuse a large header that is not a list of tensors: it needs less memory."""
    from safetensors import SafetensorError, safe_open

    with ExitStack() as stack:
        path = data.path
        if not isinstance(path, Path):  # the library reads files on the disk: here, all but empty
            path = Path(stack.enter_context(TemporaryDirectory())) / "header"
            with path.open("wb") as file:
                file.write(len(header).to_bytes(8, "little") + header)
                file.truncate(data.size)
        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            what = str(error).removeprefix("Error while deserializing header: ")
            raise bad(data.path, f"the header is not valid ({printable(what)})") from None


def _load_file(path: Place, config: Mapping[str, Any]) -> tuple[dict[str, Tensor], Metadata]:
    data = open_file(path)
    header, data_start = _read_header(data)
    metadata = _metadata(header.pop("__metadata__", None), path)
    tensors: dict[str, Tensor] = {}
    spans: list[_Span] = []
    for name, entry in header.items():
        try:
            dtype, shape, begin, end = _entry(entry)
        except ValueError as error:
            raise bad(path, f"tensor {printable(name)}: {error}") from None
        spans.append((begin, end, name))
        values = Raw(data, data_start + begin, prod(shape), DTYPES[dtype])
        tensors[name] = Tensor(name, shape, dtype, end - begin, values, (data,), config)
    _check_spans(spans, data.size - data_start, path)
    return tensors, metadata


def _metadata(metadata: Any, path: Place) -> Metadata:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict) or not all(type(v) is str for v in metadata.values()):
        raise bad(path, "the header's __metadata__ is not an object of texts")
    return metadata


def _entry(entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Check one tensor's entry by itself; a ValueError says what is wrong with it."""
    if not isinstance(entry, dict):
        raise ValueError("its entry is not an object")
    name, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    dtype = DTYPES.get(name) if type(name) is str else None
    if dtype is None:
        raise ValueError(f"its dtype {printable(name, 40)} is unknown")
    shape = checked_shape(shape)
    if type(offsets) is not list or len(offsets) != 2 or not all(type(n) is int for n in offsets):
        raise ValueError("its data_offsets are not two whole numbers")
    begin, end = offsets
    if not 0 <= begin <= end:
        raise ValueError(f"its data_offsets {printable(offsets, 60)} are negative or reversed")
    bits = prod(shape) * dtype.bits
    if bits % 8 or bits // 8 != end - begin:
        wanted = f"{bits // 8:,}" if bits % 8 == 0 else f"{bits / 8:,.1f}"
        have = printable(end - begin, 40)
        raise ValueError(f"its shape and dtype need {wanted} bytes, its data_offsets give {have}")
    return dtype.name, shape, begin, end


def _check_spans(spans: list[_Span], data_size: int, path: Place) -> None:
    """Check that the tensors cover the data exactly: no overlap, no hole, nothing left."""
    spans.sort()
    position = 0
    for begin, end, name in spans:
        if end > data_size:
            where = f"ends at byte {printable(end, 40)} of the data"
            what = f"tensor {printable(name)} {where}, but there are only {data_size:,}"
            raise bad(path, f"{what}: the file was cut")
        if begin != position:
            what = "overlaps the one before it" if begin < position else "leaves a hole before it"
            raise bad(path, f"tensor {printable(name)} {what}")
        position = end
    if position != data_size:
        raise bad(path, f"there are {data_size - position:,} bytes after the last tensor")
