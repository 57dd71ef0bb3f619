"""One catalog at a time in a folder."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..core.errors import OutputFolderError

LOCK = ".weightwalk.lock"
# Seconds: what a catalog that was killed had started takes some to end.
PATIENCE = 5.0


@contextmanager
def locked(directory: Path, patience: float = PATIENCE) -> Iterator[int]:
    """Hold the lock of a folder, which is made where there is none.

    The system takes the lock back when all processes that have the file open have ended, however
    they did: nothing stale is left behind, and it holds between containers as well.

    Parameters
    ----------
    directory : Path
    patience : float
        Seconds to wait for another process.

    Yields
    ------
    int
        The open file.

    Raises
    ------
    OutputFolderError
        The folder cannot be written, or another process has the lock.
    """
    path = directory / LOCK
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = _take(path, time.monotonic() + patience)
    except OSError as error:
        raise OutputFolderError(f"cannot write into {directory}: {error.strerror}") from error
    if file is None:
        raise OutputFolderError(f"{directory}: another catalog is being made there")
    try:
        yield file
    finally:
        # Windows removes no open file, and elsewhere nobody may lock it before it is gone.
        if sys.platform == "win32":
            os.close(file)
        with suppress(OSError):
            path.unlink()
        if sys.platform != "win32":
            os.close(file)


def _take(path: Path, until: float) -> int | None:
    """Return the open and locked file, or None where another process has it until then."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if _lock(file) and _is_at(file, path):
            return file
        os.close(file)
        if time.monotonic() > until:
            return None
        time.sleep(0.1)


def _lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some file systems know no locks; that is no reason to make nothing.
        return error.errno not in {errno.EAGAIN, errno.EACCES}
    return True


def _is_at(file: int, path: Path) -> bool:
    """Return whether the open file is the one at the path: who had it before has removed it."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
