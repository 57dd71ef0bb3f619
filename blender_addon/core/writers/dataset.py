"""The shapes of a training run as arrays, to learn from: docs/dataset.md describes version 1.

A folder with a `.safetensors` file for each step and an `index.json`, written all or nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import string
import struct
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import OutputError, OutputFolderError
from ..geometry import measure
from ..model import Progress
from ..plain import to_plain
from ..readers import printable
from ..stages import finish
from .output import open_output

if TYPE_CHECKING:
    from ..animation import Actor, Animation
    from ..fields import Plan
    from ..relief import Relief

FORMAT, VERSION = "weightwalk-shapes", 1
INDEX = "index.json"

_STAGING = ".weightwalk-"
_PLAIN = frozenset(string.ascii_letters + string.digits + "-_.")
# dtype, what says how many there are, and how many numbers each has, in the files' order.
_ARRAYS: dict[str, tuple[Any, ...]] = {
    "vertices": ("F32", "vertices", 3),
    "faces": ("I32", "faces", 3),
    "normals": ("F32", "vertices", 3),
    "values": ("F32", "vertices"),
}

Steps = Generator[Progress, None, None]


class Arrays(NamedTuple):
    """What is kept of one surface; the fields' names are those in the files."""

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]
    normals: NDArray[np.float32]
    values: NDArray[np.float32]


@dataclass(frozen=True)
class _Entry:
    """One surface of a file: what the index says of it, its size, and what reads its arrays."""

    said: dict[str, Any]
    read: Callable[[], Arrays]


def write_dataset(folder: Path, animation: Animation) -> Steps:
    """Write vertices, faces, normals and values of every surface at every step.

    Parameters
    ----------
    folder : Path
        Made, with those above it. One that holds an earlier data set and nothing else gets the new
        one in its place.
    animation : Animation

    Yields
    ------
    Progress
        In surfaces; one is in memory at a time. Stopped, it leaves everything as it was.

    Raises
    ------
    OutputFolderError
        Something else is in the folder, or it cannot be made.
    OutputError
        There is no surface, or a file cannot be written, for the disk is full, say.
    """
    check_dataset_folder(folder)
    steps, whole = _entries(animation)
    total, done = sum(map(len, steps)) + len(whole), 0
    if not total:
        raise OutputError(f"cannot write the data set into {folder}: there is no surface to write")
    names = _file_names(animation)
    files = []
    with _staging(folder) as staging:
        for name, step, entries in [*zip(names, animation.steps, steps, strict=True)] + (
            [("whole", None, whole)] if whole else []
        ):
            path = staging / f"{name}.safetensors"
            with open_output(path) as file:
                writing = _Writing(file, entries, step.name if step else "")
                for entry in entries:
                    yield Progress("dataset", done, total, printable(entry.said["name"]))
                    writing.add(entry)
                    done += 1
            files.append({
                "file": path.name, "bytes": path.stat().st_size,
                "sha256": writing.digest.hexdigest(), "surfaces": writing.surfaces,
            })  # fmt: skip
        yield Progress("dataset", done, total, INDEX)
        text = json.dumps(_index(animation, files), indent=1, ensure_ascii=False, allow_nan=False)
        with open_output(staging / INDEX) as file:
            # Half of a surrogate pair, which UTF-8 cannot hold, becomes an escape of JSON's.
            file.write((text + "\n").encode("utf-8", "backslashreplace"))


def check_dataset_folder(folder: Path) -> None:
    """Raise `OutputFolderError` where something is in the way that is no data set of ours."""
    why = ""
    try:
        if folder.is_dir():
            strangers = {path.name for path in folder.iterdir()} - _own(folder)
            strangers = {name for name in strangers if not name.startswith(_STAGING)}
            if strangers:
                why = f"{printable(min(strangers))} is in it, and no part of a data set"
        elif folder.exists():
            why = "it is a file"
    except OSError as error:
        why = str(error.strerror)
    if why:
        raise OutputFolderError(f"cannot write the data set into {folder}: {why}")


def _own(folder: Path) -> set[str]:
    """Return the files of a folder that its index lists, itself included."""
    try:
        index = json.loads((folder / INDEX).read_bytes())
        if index["format"] != FORMAT:
            return set()
        whole = [index["whole"]] if index["whole"] else []
        listed = {entry["file"] for entry in index["steps"] + whole}
        there = {path.name for path in folder.glob("*.safetensors") if path.is_file()}
        return {INDEX, *(listed & there)}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return set()


def _file_names(animation: Animation) -> list[str]:
    """Return a file's name without ending for each step: a step's own may hold anything."""
    names: list[str] = []
    for step in animation.steps:
        safe = "".join(c if c in _PLAIN else "-" for c in step.name)
        name = safe = f"step-{safe[:80]}"
        count = 1
        while name.casefold() in {other.casefold() for other in names}:
            count += 1
            name = f"{safe}-{count}"
        names.append(name)
    return names


def _entries(animation: Animation) -> tuple[list[list[_Entry]], list[_Entry]]:
    """Return the surfaces of each step, and those that are of all steps together."""
    steps: list[list[_Entry]] = [[] for _ in animation.steps]
    whole: list[_Entry] = []
    for actor in animation.actors:
        (steps[actor.step] if actor.step >= 0 else whole).append(_of_actor(animation, actor))
    for relief in animation.reliefs:
        for k, shown in enumerate(relief.shown):
            if shown:
                steps[k].append(_of_relief(animation, relief, k))
    return steps, whole


def _of_actor(animation: Animation, actor: Actor) -> _Entry:
    def read() -> Arrays:
        exhibit = animation.exhibit(actor)
        part = exhibit.part
        return Arrays(part.vertices, part.faces, part.normals, exhibit.surface.values)

    shell = actor.shell
    said = {"name": shell.name, **_said_of(shell.field.plan)}
    said["part"] = {1: "positive", -1: "negative", 0: "nonfinite"}[shell.sign]
    said["level"] = shell.level if shell.sign else None
    said["sigma"] = list(shell.field.sigmas)
    said |= {"vertices": actor.vertices, "faces": actor.faces}
    said["translation"] = list(animation.layout.placements[shell.field.plan.name].origin)
    return _Entry(said, read)


def _of_relief(animation: Animation, relief: Relief, step: int) -> _Entry:
    part = relief.part

    def read() -> Arrays:
        vertices = part.vertices + relief.offsets(step)
        normals, _ = finish(measure(vertices, part.faces))
        return Arrays(vertices, part.faces, normals, relief.values[step])

    said = {"name": part.name, **_said_of(relief.plan), "part": "relief", "level": None}
    tensor = relief.plan.parts[0].tensor
    units = {(unit.name, unit.shape): unit.sigma for unit in animation.lock.units}
    said["sigma"] = [units[tensor.name, tensor.shape]]
    said |= {"vertices": len(part.vertices), "faces": len(part.faces)}
    said["translation"] = [float(t) for t in part.translation]
    return _Entry(said, read)


def _said_of(plan: Plan) -> dict[str, Any]:
    tensors = list(dict.fromkeys(part.tensor.name for part in plan.parts))
    return {
        "tensor": tensors[0] if len(tensors) == 1 else plan.name,
        "tensors": tensors,
        "shape": list(plan.parts[0].tensor.shape),
        "layer": plan.layer,
        "role": plan.role,
        "field": plan.kind,
        "grid": list(plan.shape),
        "planes": list(plan.planes),
    }


class _Writing:
    """One `.safetensors` file: the header first, for all sizes are known, then the arrays.

    Parameters
    ----------
    file : BinaryIO
    entries : sequence of _Entry
        All that will be added, in order.
    step : str
        For the file's metadata; "" for none.
    """

    def __init__(self, file: BinaryIO, entries: Sequence[_Entry], step: str) -> None:
        self.file, self.digest = file, hashlib.sha256()
        self.surfaces: list[dict[str, Any]] = []
        metadata = {"format": FORMAT, "version": str(VERSION)} | ({"step": step} if step else {})
        header: dict[str, Any] = {"__metadata__": metadata}
        at = 0
        for key, entry in enumerate(entries):
            for name, (dtype, kind, *width) in _ARRAYS.items():
                shape = [entry.said[kind], *width]
                size = 4 * math.prod(shape)
                header[f"{key}.{name}"] = {
                    "dtype": dtype, "shape": shape, "data_offsets": [at, at + size],
                }  # fmt: skip
                at += size
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":"))
        body = text.encode("utf-8", "replace")
        body += b" " * (-len(body) % 8)
        self._write(struct.pack("<Q", len(body)) + body)

    def add(self, entry: _Entry) -> None:
        """Write the arrays of the next surface."""
        digest = hashlib.sha256()
        for name, array in entry.read()._asdict().items():
            dtype, kind, *width = _ARRAYS[name]
            if array.shape != (entry.said[kind], *width):
                raise ValueError(f"{entry.said['name']!r}: {name} are not as many as was said")
            data = np.ascontiguousarray(array, {"F32": "<f4", "I32": "<i4"}[dtype]).tobytes()
            digest.update(data)
            self._write(data)
        said = {"key": str(len(self.surfaces)), **entry.said, "sha256": digest.hexdigest()}
        self.surfaces.append(said)

    def _write(self, data: bytes) -> None:
        self.digest.update(data)
        self.file.write(data)


def _index(animation: Animation, files: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the content of `index.json`; docs/dataset.schema.json has its keys."""
    count, lock, settings = len(animation.steps), animation.lock, animation.settings
    heads = [
        {"name": step.name, "number": step.number, "checkpoint": step.path.name}
        for step in animation.steps
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": animation.name,
        "unit": "metre",
        "axes": "right-handed, Z up",
        "view": settings.view,
        "delta": settings.delta,
        "field": to_plain(settings.build.field),
        "lock": {
            "over": list(lock.over),
            "units": to_plain(lock.units),
            "levels": [{"name": level.name, "level": level.level} for level in lock.levels],
            "scale": to_plain(lock.scale),
            "height": lock.height if settings.view == "relief" else None,
        },
        "skipped": to_plain(animation.skips),
        "notes": list(animation.notes),
        "steps": [head | file for head, file in zip(heads, files[:count], strict=True)],
        "whole": files[count] if files[count:] else None,
    }


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """Give a folder for the files; at the end they go to their place, or away with it."""
    absent: list[Path] = []
    try:
        try:
            absent += (f for f in (folder, *folder.parents) if not f.exists())
            folder.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder))
        except OSError as error:
            raise OutputFolderError(f"cannot write into {folder}: {error.strerror}") from error
        try:
            yield staging
            _publish(staging, folder)
        except OutputError as error:
            # Say where the file would have been.
            raise OutputError(str(error).replace(str(staging), str(folder))) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except BaseException:
        for made in absent:
            with suppress(OSError):
                made.rmdir()
        raise


def _publish(staging: Path, folder: Path) -> None:
    """Move an earlier data set's files away and the new ones in, or nothing."""
    # The index goes first and comes last: where it is, all that it lists is.
    old = sorted(_own(folder), key=lambda name: name != INDEX)
    new = sorted((path.name for path in staging.iterdir()), key=lambda name: name == INDEX)
    earlier = staging / "earlier"
    moved: list[tuple[Path, Path]] = []
    try:
        earlier.mkdir()
        moves = [(folder / name, earlier / name) for name in old]
        moves += [(staging / name, folder / name) for name in new]
        for source, goal in moves:
            if source.exists():
                source.replace(goal)
                moved.append((source, goal))
    except OSError as error:
        for source, goal in reversed(moved):
            goal.replace(source)
        raise OutputError(f"cannot write {folder}: {error.strerror}") from error
