"""The two forms of a PyTorch file: what its pickle is, and where the storages lie.

Since 1.6 a file is a zip: ``NAME/data.pkl`` describes the tensors, ``NAME/data/KEY`` are their
numbers. Before, it was five pickles after each other (a magic number, a version, what kind of
machine it was, the object, the keys of the storages), then each storage behind the number of its
elements (torch/serialization.py, `_save` and `_legacy_save`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..text import printable
from .datafile import DataFile, bad
from .foreign import what_it_is
from .torch_machine import CutError, DamagedError, Machine, Pairs
from .torch_objects import Storage, allowed, call, load
from .torch_pickle import MAX_STEPS, Steps, follow
from .values import Raw
from .zipped import STORED, Archive, Stored, Zipped

_MAGIC = 0x1950A86A20F9469CFC6C
_MAGIC_PICKLED = b"\x8a\x0a" + _MAGIC.to_bytes(10, "little")
_VERSION = 1001
_PICKLE_LIMIT = 100_000_000  # bytes; a tensor has about 200
_FIRST_LOOK = 4 << 20  # bytes read for the pickles of an old file
_TAR = (
    "this is a tar archive (PyTorch before 0.1.10?): save it anew with torch.load and torch.save, "
    "or unpack it first"
)
_TORCHSCRIPT = (
    "this is a TorchScript program, which is not read: load it with torch.jit.load and save its "
    "state_dict() with torch.save"
)
_BIG_ENDIAN = "its numbers have their highest byte first, as on some old machines"
_NOT_PYTORCH = "this is not a PyTorch file"

# Gives a storage as a run of numbers; a ValueError where it is not there, or not of its size.
Locate = Callable[[Storage], Raw]


def begins_as_torch(head: bytes) -> bool:
    """Whether the first 14 bytes are those of an old PyTorch file."""
    return head[2:14] == _MAGIC_PICKLED


def is_torch_zip(archive: Archive) -> bool:
    """Whether a zip is a PyTorch file."""
    return bool(_pickles_in(archive))


def open_pickled(data: DataFile) -> tuple[Any, Locate]:
    """Follow the pickle of a file.

    Returns
    -------
    root
        What it is: plain values, `Pairs`, tensors.
    locate
        Finds its storages.

    Raises
    ------
    RefusedError, DamagedError, ValueError, CheckpointError
        It wants to run something, is damaged, or is no PyTorch file.
    """
    head = data.read(0, min(data.size, 512))
    if head.startswith(b"PK"):
        return _open_zip(data)
    if head[257:262] == b"ustar":
        raise bad(data.path, _TAR)
    if not begins_as_torch(head):
        _refuse_other(data, head)
    return _open_old(data)


def _unpickle(data: bytes) -> tuple[Any, int]:
    machine = Machine(data, 0, allowed, call, load)
    return follow(machine, Steps()), machine.at


# --- since 1.6 --------------------------------------------------------------------------------


def _pickles_in(archive: Archive) -> list[str]:
    names = (name for name in archive.entries if name.count("/") == 1)
    return [name for name in names if name.endswith("/data.pkl")]


def _open_zip(data: DataFile) -> tuple[Any, Locate]:
    """Return what the pickle of a zip is, and what finds its storages."""
    archive = Archive(data)
    pickles = _pickles_in(archive)
    if len(pickles) != 1:
        raise ValueError(_why_no_pickle(archive, len(pickles)))
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in archive.entries:
        raise bad(data.path, _TORCHSCRIPT)
    order = archive.entries.get(f"{folder}byteorder")
    if order is not None and order.size < 10 and archive.read(order) == b"big":
        raise ValueError(_BIG_ENDIAN)
    entry = archive.entries[pickles[0]]
    if entry.method != STORED or entry.size > _PICKLE_LIMIT:
        raise ValueError(f"its pickle is compressed or larger than {_PICKLE_LIMIT:,} bytes")
    pickled = archive.read(entry)
    root, end = _unpickle(pickled)
    if end != len(pickled):
        raise DamagedError(f"there are {len(pickled) - end:,} bytes after its pickle")
    return root, _InZip(archive, folder)


def _why_no_pickle(archive: Archive, count: int) -> str:
    if count:
        return f"it holds {count} pickles"
    names = ", ".join(printable(name, 60) for name in list(archive.entries)[:3])
    return f"it is a zip archive without data.pkl (but with {names})" if names else "it is empty"


class _InZip:
    """Finds storages by their keys in an archive."""

    def __init__(self, archive: Archive, folder: str) -> None:
        self.archive, self.folder = archive, folder
        self.found: dict[tuple[str, str], Zipped] = {}

    def __call__(self, storage: Storage) -> Raw:
        """Return a storage as a run of numbers."""
        key = storage.key, storage.dtype.name
        if key not in self.found:
            self.found[key] = self._find(storage)
        run = self.found[key]
        if run.size != storage.whole:
            raise ValueError(f"its storage {printable(storage.key, 40)} has two sizes")
        return run

    def _find(self, storage: Storage) -> Zipped:
        entry = self.archive.entries.get(f"{self.folder}data/{storage.key}")
        if entry is None:
            raise ValueError(f"its storage {printable(storage.key, 40)} is missing")
        if entry.method != STORED:
            raise ValueError(f"its storage {printable(storage.key, 40)} is compressed")
        _check_size(storage, entry.size)
        return Zipped(Stored(self.archive, entry), 0, storage.whole, storage.dtype)


def _check_size(storage: Storage, size: int) -> None:
    needed = storage.whole * storage.dtype.bits // 8
    if needed != size:
        what = f"its storage {printable(storage.key, 40)} has {size:,} bytes"
        raise ValueError(f"{what}, its tensors need {needed:,}")


# --- before 1.6 -------------------------------------------------------------------------------


def _open_old(data: DataFile) -> tuple[Any, Locate]:
    length = _FIRST_LOOK
    steps = Steps(MAX_STEPS * 3 // 2)  # some are followed twice
    while True:
        begin = data.read(0, min(length, data.size))
        try:
            root, keys, at, storages = _old_pickles(begin, steps)
            return root, _place_old(data, keys, at, storages)
        except CutError:
            if length >= min(data.size, _PICKLE_LIMIT):
                raise
            length = min(8 * length, _PICKLE_LIMIT)


def _refuse_other(data: DataFile, head: bytes) -> None:
    """Say what a file is that does not begin as PyTorch's do."""
    if not head:
        raise bad(data.path, "the file is empty")
    what = what_it_is(data.path, _NOT_PYTORCH)
    if head[0] != 0x80 and what != _NOT_PYTORCH:
        raise bad(data.path, what)
    with suppress(DamagedError):  # so that what it wants to call is told
        _unpickle(data.read(0, min(data.size, _PICKLE_LIMIT)))
    raise bad(data.path, what)


def _old_pickles(data: bytes, steps: Steps) -> tuple[Any, list[Any], int, dict[str, Storage]]:
    """Return the object, the keys of the storages, where those begin, and the storages by key."""
    storages: dict[str, Storage] = {}

    def load_and_keep(identity: Any) -> Storage:
        storage = load(identity)
        known = storages.setdefault(storage.key, storage)
        if (known.whole, known.dtype) != (storage.whole, storage.dtype):
            raise ValueError(f"its storage {printable(storage.key, 40)} has two sizes")
        return storage

    values, at = [], 0
    for _ in range(5):
        machine = Machine(data, at, allowed, call, load_and_keep)
        values.append(follow(machine, steps))
        at = machine.at
    magic, version, system, root, keys = values
    if magic != _MAGIC or version != _VERSION or type(system) is not Pairs:
        raise ValueError("its head is not one that PyTorch writes")
    if ("little_endian", False) in system:
        raise ValueError(_BIG_ENDIAN)
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise ValueError("it has no list of storages")
    if len(set(keys)) != len(keys) or set(keys) != storages.keys():
        raise ValueError("its list of storages is not that of its tensors")
    return root, keys, at, storages


def _place_old(data: DataFile, keys: list[str], at: int, storages: dict[str, Storage]) -> Locate:
    """Find the storages, which lie one after the other, each behind the number of its elements."""
    places: dict[str, int] = {}
    for key in keys:
        storage = storages[key]
        places[key] = at + 8
        at += 8 + storage.whole * storage.dtype.bits // 8
    if at != data.size:
        what = "it was cut" if at > data.size else f"{data.size - at:,} bytes are left"
        raise ValueError(f"its tensors end at byte {at:,} of {data.size:,}: {what}")
    for key in {*keys[:1], *keys[-1:]}:  # all others would lie wrong, too
        told = int.from_bytes(data.read(places[key] - 8, 8), "little")
        if told != storages[key].whole:
            raise ValueError(f"its storage {printable(key, 40)} is not where it should be")
    # A storage of bytes has the dtype that its tensors say.
    return lambda storage: Raw(data, places[storage.key], storage.whole, storage.dtype)
