"""The safetensors format: one file, or shards under an index.

A file is 8 bytes of header length (little-endian), a JSON header, and the data:
https://huggingface.co/docs/safetensors. The header is parsed here because the library tells no
offsets, follows a mapped file to its death, and passes duplicate names; values are read here
because the library's numpy side knows neither BF16 nor F8, and no ranges of elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path, PureWindowsPath
from typing import Any

from ..text import printable
from .base import Tensor, parse_json
from .datafile import DataFile, LocalFile, bad
from .describe import NOT_SAFETENSORS, what_it_is
from .dtypes import DTYPES
from .values import Raw

HEADER_LIMIT = 100_000_000  # bytes, as in the safetensors library
_VETTED_BY_LIBRARY = 8_000_000  # bytes: Python's JSON may need 25 times its text in memory
_INDEX_LIMIT = 100_000_000
_MAX_DIMENSIONS = 32  # numpy 1.26's limit
_MAX_ELEMENTS = (1 << 60) - 1  # what numpy can address as float64

Metadata = dict[str, str]
_Span = tuple[int, int, str]


def claims(path: Path) -> bool:
    """Whether `path` is for this reader, by its name or its first bytes."""
    if path.is_dir():
        return any(_is_ours(entry.name) for entry in path.iterdir())
    if _is_ours(path.name):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= HEADER_LIMIT


def load(path: Path, config: Mapping[str, Any]) -> tuple[list[Tensor], Metadata]:
    """List the tensors of a file, an index or a folder, and the metadata; headers only are read.

    Raises
    ------
    CheckpointError
        A file is damaged, a shard or a tensor is missing, or it is unclear what to open.
    """
    if path.is_dir():
        path = _in_folder(path)
    if path.name.lower().endswith(".json"):
        return _load_index(path, config)
    tensors, metadata = _load_file(path, config)
    return list(tensors.values()), metadata


def _is_ours(name: str) -> bool:
    hidden = name.startswith(".")  # macOS leaves "._model.safetensors" on foreign disks
    return not hidden and name.lower().endswith((".safetensors", ".index.json"))


def _in_folder(folder: Path) -> Path:
    """Choose the one index or file that a folder stands for."""
    names = sorted(entry.name for entry in folder.iterdir() if _is_ours(entry.name))
    for preferred in ("model.safetensors.index.json", "model.safetensors"):
        if preferred in names:
            return folder / preferred
    indices = [name for name in names if name.endswith(".safetensors.index.json")]
    files = [name for name in names if name.endswith(".safetensors")]
    candidates = indices or files
    if len(candidates) == 1:
        return folder / candidates[0]
    if not candidates:
        raise bad(folder, what_it_is(folder))
    listed = ", ".join(map(printable, candidates[:6])) + (", …" if len(candidates) > 6 else "")
    raise bad(folder, f"there are {len(candidates)} checkpoints here; open one of: {listed}")


def _read_header(data: DataFile) -> tuple[dict[str, Any], int]:
    """Return the header and the position of the first data byte."""
    path = data.path
    with path.open("rb", buffering=0) as file:
        head = file.read(9)
        length = int.from_bytes(head[:8], "little")
        if length > HEADER_LIMIT or 8 + length > data.size or head[8:] != b"{":
            raise bad(path, _why_no_header(path, length, data.size))
        text = head[8:] + file.read(length - 1)
    if len(text) < length:
        raise bad(path, "the file was cut while it was read")
    if length > _VETTED_BY_LIBRARY:
        _let_the_library_check(path)
    return parse_json(text, path, "the header"), 8 + length


def _why_no_header(path: Path, length: int, size: int) -> str:
    if size == 0:
        return "the file is empty"
    if size < 8 or length > HEADER_LIMIT:
        what = what_it_is(path)
        limit = f" (a header has at most {HEADER_LIMIT:,} bytes, this would have {length:,})"
        return what + limit if what == NOT_SAFETENSORS and size >= 8 else what
    if 8 + length > size:
        return f"the header has {length:,} bytes, the whole file only {size:,}: it was cut"
    return "the header is not a JSON object"


def _let_the_library_check(path: Path) -> None:
    """Let safetensors refuse a large header that is not a list of tensors: it needs less memory."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass
    except SafetensorError as error:
        what = str(error).removeprefix("Error while deserializing header: ")
        raise bad(path, f"the header is not valid ({printable(what)})") from None


def _load_file(path: Path, config: Mapping[str, Any]) -> tuple[dict[str, Tensor], Metadata]:
    data = LocalFile(path)
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


def _metadata(metadata: Any, path: Path) -> Metadata:
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
    if type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("its shape is not a list of whole numbers from 0")
    if len(shape) > _MAX_DIMENSIONS:
        raise ValueError(f"it has {len(shape)} dimensions, more than {_MAX_DIMENSIONS}")
    if prod(n for n in shape if n) > _MAX_ELEMENTS:
        raise ValueError("its shape has more elements than can be addressed")
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
    return dtype.name, tuple(shape), begin, end


def _check_spans(spans: list[_Span], data_size: int, path: Path) -> None:
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


def _load_index(path: Path, config: Mapping[str, Any]) -> tuple[list[Tensor], Metadata]:
    """Follow an index's ``weight_map``: tensors in its order, only the shards that it names."""
    data = LocalFile(path)
    if data.size > _INDEX_LIMIT:
        raise bad(path, f"the index is larger than {_INDEX_LIMIT // 1_000_000} MB")
    index = parse_json(path.read_bytes(), path, "the index")
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not all(type(v) is str for v in weight_map.values()):
        raise bad(path, "the index has no weight_map of tensor names to file names")
    if not weight_map:
        raise bad(path, "the index names no tensor")
    shards = {
        shard: _load_file(_shard_path(path, shard), config)
        for shard in dict.fromkeys(weight_map.values())
    }
    tensors = []
    for name, shard in weight_map.items():
        tensor = shards[shard][0].get(name)
        if tensor is None:
            raise bad(path, f"tensor {printable(name)} is not in its shard {printable(shard)}")
        tensors.append(tensor)
    metadata: Metadata = {}
    for _, of_shard in shards.values():
        metadata |= of_shard
    return tensors, metadata


def _shard_path(index: Path, shard: str) -> Path:
    """Return a shard's path, which must lie below the index's folder.

    The name decides, links are not followed: a hub-cache snapshot is links into ``../../blobs``.
    """
    parts = PureWindowsPath(shard)  # knows both kinds of slash, and drives
    if not parts.name or parts.drive or parts.root or ".." in parts.parts or "\0" in shard:
        raise bad(index, f"shard {printable(shard)} is not a path inside the model's folder")
    path = index.parent / shard
    if not path.exists():
        raise bad(index, f"shard {printable(shard)} is missing")
    return path
