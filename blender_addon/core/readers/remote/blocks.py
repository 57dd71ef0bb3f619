"""Blocks of files on other machines, kept on the disk: never more than a limit."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import threading
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import time

LIMIT = 4 << 30  # bytes
FOLDER = "WEIGHTWALK_CACHE"  # the environment's word for the folder
_CHECK = 4  # bytes of checksum after each block
# What a path below the folder looks like; nothing else is ever removed.
_FAN = re.compile(r"[0-9a-f]{2}")
_DIGEST = re.compile(r"[0-9a-f]{40}")
_BLOCK = re.compile(r"\d{1,12}(\.\d+\.\d+\.part)?", re.ASCII)
_FRESH = 60.0  # seconds within which a use is not noted again


def default_folder() -> Path:
    """Return where blocks are kept: as the environment says, else in the person's own cache."""
    if folder := os.environ.get(FOLDER):
        return Path(folder).expanduser().absolute()
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser().absolute() / "weightwalk" / "blocks"


class Blocks:
    """The blocks in a folder, which several processes may use at the same time.

    A block is a file under a digest of what it is of: written under another name and then renamed,
    and checked when it is read, so that nobody sees half of one. Those used last stay. Whatever
    else lies in the folder is neither counted nor removed: a person may name any folder.

    Parameters
    ----------
    folder : Path
        Absolute; made when something is first kept.
    limit : int
        In bytes; processes that share the folder may pass it by an eighth for a moment.
    """

    def __init__(self, folder: Path, limit: int = LIMIT) -> None:
        if not folder.is_absolute():
            raise ValueError(f"{folder}: the folder of blocks has to be an absolute path")
        self.folder, self.limit = folder, limit
        self.works = limit > 0  # until writing fails
        self._lock = threading.Lock()
        self._room: int | None = None  # bytes until one has to look what is there

    def get(self, key: str, number: int, length: int) -> bytes | None:
        """Return a block, or None where it is not there whole."""
        path = self._path(key, number)
        try:
            with path.open("rb") as file:
                content = file.read(length + _CHECK + 1)
                age = time() - os.fstat(file.fileno()).st_mtime
            if age > _FRESH:
                os.utime(path)
        except OSError:
            return None
        block = content[:-_CHECK]
        if len(block) != length or content[-_CHECK:] != _checksum(block):
            with suppress(OSError):
                path.unlink()
            return None
        return block

    def put(self, key: str, number: int, block: bytes) -> bool:
        """Keep a block; return whether that could be done."""
        if not self.works:
            return False
        path = self._path(key, number)
        beside = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            self._make_room(len(block) + _CHECK)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                beside.write_bytes(block + _checksum(block))
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)
        except FileNotFoundError:  # another process has just tidied up
            return False
        except OSError:  # a full disk, or one that cannot be written
            self.works = False
        return self.works

    def holds(self, key: str, number: int) -> bool:
        """Return whether a block seems to be there."""
        return self._path(key, number).exists()

    def _path(self, key: str, number: int) -> Path:
        digest = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()[:40]
        return self.folder / digest[:2] / digest / str(number)

    def _make_room(self, count: int) -> None:
        """Remove what was not used for longest, where the limit would be passed."""
        with self._lock:
            if self._room is not None and self._room >= count:
                self._room -= count
                return
            there = sorted(self._there())
            total = sum(size for _, size, _ in there)
            for _, size, path in there:
                # Some more than needed, so that one need not look again at once.
                if total <= self.limit - self.limit // 8:
                    break
                with suppress(OSError):
                    path.unlink()
                total -= size
                with suppress(OSError):
                    path.parent.rmdir()
            self._room = max(min(self.limit - total, self.limit // 8) - count, 0)

    def _there(self) -> Iterator[tuple[float, int, Path]]:
        """Yield time, size and path of each block, and of nothing else that lies in the folder."""
        for fan in _folders(self.folder, _FAN):
            for folder in _folders(fan, _DIGEST):
                if not folder.name.startswith(fan.name):
                    continue
                with suppress(OSError), os.scandir(folder) as entries:
                    for entry in entries:
                        if _BLOCK.fullmatch(entry.name):
                            info = entry.stat(follow_symlinks=False)
                            if stat.S_ISREG(info.st_mode):
                                yield info.st_mtime, info.st_size, Path(entry.path)


def _folders(parent: Path, name: re.Pattern[str]) -> list[Path]:
    with suppress(OSError), os.scandir(parent) as entries:
        return [
            Path(entry.path)
            for entry in entries
            if name.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        ]
    return []


def _checksum(block: bytes) -> bytes:
    return zlib.crc32(block).to_bytes(_CHECK, "little")
