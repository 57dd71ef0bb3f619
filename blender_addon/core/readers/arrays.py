"""numpy's ``.npy`` and ``.npz``.

A ``.npy`` is a magic number, a version, a header that is a Python literal, and the numbers in C or
Fortran order (numpy/lib/format.py); a ``.npz`` is a zip of them. Nothing is unpickled: arrays of
Python objects are listed and not read.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from ..text import printable
from .base import Tensor
from .datafile import DataFile, Place, bad, open_file
from .dtypes import DTYPES, DType
from .endings import NUMPY
from .index import Listing, choose_in, claimed
from .shapes import checked_shape
from .strided import Strided, Strides
from .values import Raw, Unreadable, Values
from .zipped import Archive, Inflated, Zipped
from .zipped import Stored as StoredEntry

_MAGIC = b"\x93NUMPY"
_MAX_ARRAYS = 10_000  # each takes reads of its own
_HEADER_LIMIT = 10_000  # bytes, as numpy has it
_PYTHON_2 = re.compile(r"(?<=\d)L\b")
# Kind and size as numpy writes them → dtype.
_KNOWN: dict[str, DType] = {
    **{"f8": DTYPES["F64"], "f4": DTYPES["F32"], "f2": DTYPES["F16"], "b1": DTYPES["BOOL"]},
    **{f"i{bits // 8}": DTYPES[f"I{bits}"] for bits in (8, 16, 32, 64)},
    **{f"u{bits // 8}": DTYPES[f"U{bits}"] for bits in (8, 16, 32, 64)},
    "c8": DTYPES["C64"],
}
_ARRAY_TYPE = re.compile(r"([<>|=]?)([a-zA-Z])([0-9]{0,9})(\[[A-Za-z0-9]{1,9}\])?")
_OTHER_KINDS = {
    "O": "an array of Python objects, which are never unpickled",
    "S": "an array of bytes",
    "U": "an array of texts",
    "M": "an array of dates",
    "m": "an array of times",
    "V": "an array of bytes whose meaning the file does not tell (BF16 or FP8 of ml_dtypes?)",
}


def claims(path: Place) -> bool:
    """Whether `path` is for this reader, by its name or its first bytes."""
    return claimed(path, _is_ours, lambda head: head.startswith(_MAGIC))


def load(path: Place, config: Mapping[str, Any]) -> Listing:
    """List the arrays of a file, or of the one file in a folder; headers only are read.

    Raises
    ------
    CheckpointError
        The file is damaged, or it is unclear what to open.
    """
    if path.is_dir():
        names = [entry.name for entry in path.iterdir() if _is_ours(entry.name)]
        archives = [name for name in names if name.lower().endswith(".npz")]
        path = choose_in(path, archives or names, ("weights.npz", "model.npz"))
    data = open_file(path)
    if data.read(0, min(6, data.size)) == _MAGIC:
        return [_array(path.name.removesuffix(".npy"), data, data, config)], {}, ()
    if not data.size:
        raise bad(path, "the file is empty")
    archive = Archive(data)
    arrays = [name for name in archive.entries if name.endswith(".npy")]
    if not arrays:
        raise bad(path, "there are no arrays in this zip archive")
    if len(arrays) > _MAX_ARRAYS:
        raise bad(path, f"there are more than {_MAX_ARRAYS:,} arrays in this archive")
    members = [(name.removesuffix(".npy"), archive.open(archive.entries[name])) for name in arrays]
    return [_array(name, member, data, config) for name, member in members], {}, ()


def _is_ours(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(NUMPY)


def _array(name: str, data: DataFile, source: DataFile, config: Mapping[str, Any]) -> Tensor:
    """Make a tensor of an array, which `data` holds and nothing else."""
    try:
        header, begin = _header(data)
        shape = checked_shape(header.get("shape"))
        if type(header.get("fortran_order")) is not bool:
            raise ValueError("its header does not say in which order the numbers are")
        dtype, size = _dtype(header.get("descr"))
        if size and prod(shape) * size != data.size - begin:
            have = f"{data.size - begin:,}"
            raise ValueError(
                f"its shape and dtype need {prod(shape) * size:,} bytes, it has {have}"
            )
        values = _values(data, begin, dtype, shape, fortran=header["fortran_order"])
    except ValueError as error:
        raise bad(source.path, f"array {printable(name)}: {error}") from None
    return Tensor(name, shape, dtype.name, data.size - begin, values, (source,), config)


def _header(data: DataFile) -> tuple[dict[str, Any], int]:
    """Return the header and where the numbers begin."""
    head = data.read(0, min(data.size, 12))
    if head[:6] != _MAGIC:
        raise ValueError("it does not begin as one of numpy's files")
    if len(head) < 12 or head[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise ValueError("its version is not known")
    start = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    if length > _HEADER_LIMIT or start + length > data.size:
        raise ValueError(f"its header would have {length:,} bytes")
    text = data.read(start, length).decode("utf-8" if head[6] == 3 else "latin-1")
    if head[6] < 3:
        text = _PYTHON_2.sub("", text)
    try:
        header = ast.literal_eval(text.strip())
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise ValueError("its header is not a Python literal") from None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError("its header is not that of an array")
    return header, start + length


def _dtype(described: Any) -> tuple[DType, int]:
    """Return a dtype, and the bytes of an element; 0 where that is not known."""
    if isinstance(described, list):
        return _unread("VOID", "an array of records"), 0
    known = _ARRAY_TYPE.fullmatch(described) if isinstance(described, str) else None
    if known is None:
        raise ValueError(f"its dtype {printable(described, 40)} is unknown")
    order, kind, digits, _ = known.groups()
    size = int(digits or 0)
    dtype = _KNOWN.get(f"{kind}{size}")
    if dtype is None:
        what = _OTHER_KINDS.get(kind)
        if what is None and kind not in "fciub":
            raise ValueError(f"its dtype {printable(described, 40)} is unknown")
        items = {"U": 4 * size, "O": 0}
        return _unread(kind + digits, what or "a kind of number"), items.get(kind, size)
    if order == ">" and dtype.storage is not None and size > 1:
        numbers = np.dtype(f">{kind}{size}")
        dtype = replace(dtype, storage=numbers, decode=None)
    return dtype, size


def _unread(name: str, what: str) -> DType:
    return DType(name, 8, is_float=False, reason=f"it is {what}")


def _values(
    data: DataFile, begin: int, dtype: DType, shape: tuple[int, ...], *, fortran: bool
) -> Values:
    if dtype.reason:
        return Unreadable(dtype.reason)
    size = prod(shape)
    if isinstance(data, StoredEntry | Inflated):
        run: Raw = Zipped(data, begin, size, dtype)
    else:
        run = Raw(data, begin, size, dtype)
    if not fortran:
        return run
    strides = Strides(0, shape, tuple(prod(shape[:axis]) for axis in range(len(shape))))
    return run if strides.contiguous else Strided(run, strides)
