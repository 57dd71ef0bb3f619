"""Opening a file to write: the one place where a failing disk becomes an error fit to show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import OutputError


@contextmanager
def open_output(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for binary writing; it is complete and closed when the block ends.

    Raises
    ------
    OutputError
        With the path and the system's reason, for any OSError while the file is open.
    """
    try:
        with path.open("wb") as file:
            yield file
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
