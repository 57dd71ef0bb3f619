"""Arrays and facts by key, in files of a folder that several processes share."""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from .errors import OutputError
from .text import printable

Array = npt.NDArray[Any]

# Of the line that a file begins with, in bytes: a field of thousands of planes has less.
LONGEST_HEAD = 1 << 24
# The checksum that a file ends with: eight hexadecimal digits.
TAIL = 8
DTYPES = frozenset({"<f4", "<f8", "<i4", "|b1"})


class DamagedError(Exception):
    """A file is not what its key says: cut, changed, or of somebody else."""


class Shelf:
    """A folder of files that are complete from the moment on that they have their names.

    A file is one line of JSON, the arrays as they lie in memory, little-endian and in C order, and
    the CRC-32 of both. Two processes may make one file at the same time: both make the same.

    Parameters
    ----------
    folder : Path
        Exists.
    run : str
        In the names of all that only lives as long as a run; unique to it.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self.folder, self.run = folder, run

    def has(self, key: str) -> bool:
        """Return whether a file is there and whole; one that is damaged is taken away."""
        try:
            self._read(key)
        except FileNotFoundError:
            return False
        except (DamagedError, OSError):
            with suppress(OSError):
                self.path(key).unlink()
            return False
        return True

    def keep(self, key: str, facts: Mapping[str, Any], arrays: Sequence[Array] = ()) -> None:
        """Write a file under its key.

        Parameters
        ----------
        key : str
        facts : mapping
            What JSON can hold; also NaN and infinity.
        arrays : sequence of ndarray
            Of float32, float64, int32 or bool.

        Raises
        ------
        OutputError
            With the system's reason: the disk is full, say.
        """
        little = [np.asarray(a, a.dtype.newbyteorder("<"), order="C") for a in arrays]
        listed = [[a.dtype.str, list(a.shape)] for a in little]
        head = json.dumps({"key": key, "arrays": listed, "facts": facts}).encode() + b"\n"
        part = self.folder / f"{key}.{self.run}.{secrets.token_hex(8)}.part"
        try:
            try:
                with part.open("xb") as file:
                    _write(file, [np.frombuffer(head, np.uint8), *little])
                self._name(part, key)
            finally:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
        except OSError as error:
            raise self._not_written(error) from error

    def _name(self, part: Path, key: str) -> None:
        try:
            part.replace(self.path(key))
        except PermissionError:  # Windows, while somebody reads what another has made meanwhile
            if not self.path(key).exists():
                raise

    def read(self, key: str) -> tuple[dict[str, Any], list[Array]]:
        """Return the facts and arrays of a file.

        Raises
        ------
        FileNotFoundError
        OutputError
            It is damaged, or cannot be read.
        """
        try:
            return self._read(key)
        except FileNotFoundError:
            raise
        except (DamagedError, OSError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise OutputError(f"{printable(self.path(key), 1000)}: {why}") from None

    def post(self, name: str, text: str) -> str:
        """Write a text that lives as long as the run; return what `posted` finds it by."""
        try:
            (self.folder / f"{self.run}.{name}.job").write_text(text, "ascii")
        except OSError as error:
            raise self._not_written(error) from error
        return f"{self.run}.{name}"

    def sweep(self) -> None:
        """Take away what of this run is no result: its texts, and what was never finished."""
        for pattern in (f"{self.run}.*.job", f"*.{self.run}.*.part"):
            for left in self.folder.glob(pattern):
                with suppress(OSError):
                    left.unlink()

    def path(self, key: str) -> Path:
        """Return where the file of a key is, or would be."""
        return self.folder / f"{key}.unit"

    def _not_written(self, error: OSError) -> OutputError:
        where = printable(self.folder, 1000)
        return OutputError(f"cannot write into {where}: {error.strerror or error}")

    def _read(self, key: str) -> tuple[dict[str, Any], list[Array]]:
        path = self.path(key)
        with path.open("rb") as file:
            line = file.readline(LONGEST_HEAD)
            head = _head(line, key)
            arrays = [(np.dtype(dtype), tuple(shape)) for dtype, shape in head["arrays"]]
            held = sum(dtype.itemsize * prod(shape) for dtype, shape in arrays)
            if path.stat().st_size != len(line) + held + TAIL:
                raise DamagedError("it was cut")
            made = [np.empty(shape, dtype) for dtype, shape in arrays]
            crc = zlib.crc32(line)
            for array in made:
                file.readinto(_bytes(array))
                crc = zlib.crc32(_bytes(array), crc)
            if file.read(TAIL) != b"%08x" % crc:
                raise DamagedError("its checksum is another")
        native = [array.astype(array.dtype.newbyteorder("="), copy=False) for array in made]
        facts: dict[str, Any] = head["facts"]
        return facts, native


def posted(folder: Path, name: str) -> str:
    """Return what `Shelf.post` wrote, perhaps on another machine.

    Raises
    ------
    OutputError
        It is not there.
    """
    try:
        return (folder / f"{name}.job").read_text("ascii")
    except (OSError, ValueError):
        where = printable(folder, 1000)
        raise OutputError(
            f"the folder {where} is not the same for all who work: what one wrote there, another "
            "does not find"
        ) from None


def _head(line: bytes, key: str) -> dict[str, Any]:
    """Return what a file begins with, checked as far as reading goes by it."""
    try:
        head: dict[str, Any] = json.loads(line)
        sound = head["key"] == key and isinstance(head["facts"], dict)
        for dtype, shape in head["arrays"]:
            sound &= dtype in DTYPES and all(type(n) is int and n >= 0 for n in shape)
    except (ValueError, TypeError, LookupError, RecursionError):
        sound = False
    if not sound:
        raise DamagedError("it does not begin as it should")
    return head


def _write(file: BinaryIO, arrays: Sequence[Array]) -> None:
    crc = 0
    for array in arrays:
        file.write(_bytes(array))
        crc = zlib.crc32(_bytes(array), crc)
    file.write(b"%08x" % crc)


def _bytes(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data
