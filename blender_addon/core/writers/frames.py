"""A folder of numbered pictures that is filled bit by bit, and what in it is ours."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import OutputError, OutputFolderError

INDEX = "frames.json"
FORMAT = "weightwalk-frames"
# Of the folder in which the frame at hand is made.
ROOM = ".frames-"


@dataclass
class FrameFolder:
    """Frames of one animation: ``0001.png`` is frame 1, complete as soon as it is there.

    A file beside them, ``frames.json``, says which numbers are ours and of which animation they
    are. Nothing else in the folder is ever touched.

    Attributes
    ----------
    path : Path
        Made by `claim` when it is not there.
    frames : tuple of int
        The frames that are wanted.
    same : mapping of int to int
        Frames that look exactly like another of `frames`.
    """

    path: Path
    frames: tuple[int, ...]
    same: Mapping[int, int] = field(default_factory=dict)
    _made: bool = field(default=False, init=False)
    _index: dict[str, Any] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        wanted = set(self.frames)
        alike = {f: s for f, s in self.same.items() if f != s and f in wanted and s in wanted}
        # One that is to be copied is no one's source.
        self.same = {f: s for f, s in alike.items() if s not in alike}

    def picture(self, frame: int) -> Path:
        """Return where a frame's picture is or will be."""
        return self.path / f"{frame:04d}.png"

    def claim(self, digest: str, engine: str) -> str:
        """Make the folder ours, and remove what is left in it of another animation of ours.

        Parameters
        ----------
        digest : str
            The same for two animations only if they look the same.
        engine : str
            The engine to render with; with another one it is another animation.

        Returns
        -------
        str
            The engine that made the frames that are there; `engine` if there are none.

        Raises
        ------
        OutputFolderError
            Where a frame belongs, there is a file that is not ours; or the folder cannot be used.
        """
        try:
            self._made = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            old = self._read()
            ours: frozenset[int] = frozenset(old["frames"] if old else ())
            self._refuse_others(ours)
            for room in self.path.glob(f"{ROOM}*"):
                shutil.rmtree(room, ignore_errors=True)
            if old and (old["digest"], old["asked"]) != (digest, engine):
                for frame in ours:
                    self.picture(frame).unlink(missing_ok=True)
                ours = frozenset()
            used: str = old["engine"] if any(self.picture(f).exists() for f in ours) else engine
            self._index = {
                "format": FORMAT, "version": 1, "digest": digest, "asked": engine, "engine": used,
                "frames": sorted(ours.union(self.frames)),
            }  # fmt: skip
            self._write()
        except OSError as error:
            if isinstance(error, OutputFolderError):
                raise
            raise OutputFolderError(f"cannot write into {self.path}: {error.strerror}") from error
        return used

    def made_by(self, engine: str) -> None:
        """Note that another engine makes the frames than was asked for."""
        self._index["engine"] = engine
        try:
            self._write()
        except OSError as error:
            raise OutputError(f"cannot write {self.path / INDEX}: {error.strerror}") from error

    def missing(self) -> list[int]:
        """Return the frames, but for those in `same`, that are not there or were cut short."""
        return [f for f in self.frames if f not in self.same and not complete(self.picture(f))]

    def repeat(self, frames: Iterable[int]) -> None:
        """Give those of some frames that look like another one the picture of that one."""
        for frame in frames:
            picture, source = self.picture(frame), self.picture(self.same[frame])
            if complete(picture):
                continue
            try:
                picture.unlink(missing_ok=True)
                try:
                    os.link(source, picture)
                except OSError:  # not on this file system
                    _put(picture, source.read_bytes())
            except OSError as error:
                raise OutputError(f"cannot write {picture}: {error.strerror}") from error

    def leave(self) -> None:
        """Take back the claim if it came to nothing."""
        with suppress(OSError):
            if not any(self.picture(frame).exists() for frame in self._index["frames"]):
                self._index_path.unlink()
                if self._made:
                    self.path.rmdir()

    @property
    def _index_path(self) -> Path:
        return self.path / INDEX

    def _read(self) -> dict[str, Any]:
        """Return what frames.json says, nothing when there is none."""
        if not self._index_path.exists():
            return {}
        try:
            old: dict[str, Any] = json.loads(self._index_path.read_bytes())
            known = old["format"] == FORMAT and old["version"] == 1
            texts = all(isinstance(old[key], str) for key in ("digest", "asked", "engine"))
            if known and texts and all(type(frame) is int for frame in old["frames"]):
                return old
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise OutputFolderError(
            f"{self._index_path} is not what an earlier render left there; choose another folder"
        )

    def _refuse_others(self, ours: frozenset[int]) -> None:
        for frame in self.frames:
            picture = self.picture(frame)
            if (frame not in ours and os.path.lexists(picture)) or picture.is_dir():
                raise OutputFolderError(
                    f"{picture} is there already and is no frame of ours; move it away or choose"
                    " another folder"
                )

    def _write(self) -> None:
        _put(self._index_path, (json.dumps(self._index) + "\n").encode())


def _put(path: Path, content: bytes) -> None:
    """Write a file that is complete as soon as it is there."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def complete(picture: Path) -> bool:
    """Return whether a PNG is there and ends as a PNG does."""
    try:
        with picture.open("rb") as stream:
            stream.seek(-8, os.SEEK_END)
            return stream.read(4) == b"IEND"
    except OSError:
        return False
