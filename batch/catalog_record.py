"""What of a catalog is up to date: checksums of what went in and of what came out.

Each part's folder has a `job.json`, written last: where it is missing, or tells of other files than
are there, the part is made again.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.errors import OutputError, WeightwalkError
from ..core.location import Location, Url, is_url
from ..core.readers import open_checkpoint
from ..core.readers.datafile import DataFile, Place, open_file
from ..core.readers.describe import location_name
from ..version import VERSION
from .jobs import Job, located

if TYPE_CHECKING:
    from ..core.readers.remote import RemotePath

JOB = "job.json"
REPORT = "report.json"
LEFT_OVER = ".weightwalk-*"
# Files beside a checkpoint's tensors that say what these are.
BESIDE = (
    "config.json", "quantize_config.json", "quant_config.json", "adapter_config.json",
    "trainer_state.json", "model.safetensors.index.json", "pytorch_model.bin.index.json",
)  # fmt: skip
# A file, or on another machine its stamp.
Source = Path | DataFile


@dataclass(frozen=True)
class Done:
    """What a part's `job.json` says.

    Attributes
    ----------
    key : str
        SHA-256 of all that decides what comes out; "" where that is not known.
    status : int
        Exit status, 0 or 3.
    files : dict of str to str
        SHA-256 of each file made, by its path in the folder.
    """

    key: str
    status: int
    files: dict[str, str]


class Sources:
    """Checksums of the files that jobs read, each made once in a run; of URLs their stamps.

    Parameters
    ----------
    base : Path
        To which their paths are relative.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.known: dict[Source, str] = {}
        self.guard = threading.Lock()

    def key(self, job: Job) -> str:
        """Return a SHA-256 of all that decides what a job gives, or "" where that is not known.

        It holds the version, the options and the content of the files, not where these lie.
        """
        try:
            files = self._files(job)
            with self.guard:  # what two jobs read is read once
                sums = sorted((_name(file), self._sum(file)) for file in files)
            names = [location_name(located(self.base, source)) for source in job.sources]
        except (OSError, ValueError, WeightwalkError):
            return ""  # the job itself says what is wrong
        content = json.dumps([VERSION, job.kind, job.options, names, sums])
        return hashlib.sha256(content.encode("utf-8", "backslashreplace")).hexdigest()

    def _sum(self, file: Source) -> str:
        if file not in self.known:
            self.known[file] = checksum(file) if isinstance(file, Path) else _stamp(file)
        return self.known[file]

    def _files(self, job: Job) -> set[Source]:
        if job.kind == "mesh":
            return _files_of_model(located(self.base, job.sources[0]))
        targets = [self._absolute(source) for source in job.sources]
        if job.kind == "flow":
            return set().union(*map(_files_of_pattern, targets))
        from ..core.series import find_series

        steps = find_series(targets).steps
        return set().union(*(_files_of_model(step.path) for step in steps))

    def _absolute(self, source: str) -> str:
        """Return a URL, or a path or pattern such that only what was a pattern before is one."""
        if is_url(source):
            return source
        exact = self.base / source
        if os.path.lexists(exact):
            return str(exact)
        return os.path.join(glob.escape(str(self.base)), source)  # noqa: PTH118 (a pattern)


def _files_of_model(where: Location) -> set[Source]:
    """Return the files that hold a checkpoint, and those beside them that say what it is."""
    path = where if isinstance(where, Path) else _connect(where)
    with open_checkpoint(path) as checkpoint:
        held = {file for tensor in checkpoint.values() for file in tensor.sources}
    folder: Place = path if path.is_dir() else path.parent
    beside = [path, *(folder / name for name in BESIDE)]
    held |= {open_file(file) for file in beside if file.is_file()}
    return {file.path if isinstance(file.path, Path) else file for file in held}


def _connect(url: Url) -> RemotePath:
    from ..core.readers.remote import connect

    return connect(url)


def _name(file: Source) -> str:
    return file.name if isinstance(file, Path) else file.path.name


def _stamp(file: DataFile) -> str:
    """Return what another state of a file on another machine would have otherwise.

    Raises
    ------
    ValueError
        Its server does not tell.
    """
    if "" in file.stamp:
        raise ValueError(f"{file.path}: the server names no version")
    return json.dumps(file.stamp)


def _files_of_pattern(target: str) -> set[Source]:
    if Path(target).is_dir():
        return set(Path(target).glob("*.safetensors"))
    if os.path.lexists(target):
        return {Path(target)}
    return {Path(name) for name in glob.glob(target)}  # noqa: PTH207 (absolute)


def checksum(file: Path) -> str:
    """Return the SHA-256 of a file's content, hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def read_done(folder: Path) -> Done | None:
    """Return what was made in a part's folder, if all of it is there as it was."""
    content = _read(folder / JOB)
    key, status, files = (content.get(name) for name in ("key", "status", "files"))
    if not isinstance(key, str) or status not in {0, 3} or not isinstance(files, dict):
        return None
    try:
        if REPORT in files and all(checksum(folder / name) == files[name] for name in files):
            return Done(key, int(str(status)), files)
    except (OSError, ValueError, TypeError):
        pass
    return None


def write_done(folder: Path, job: Job, key: str, status: int) -> dict[str, Any]:
    """Write a part's `job.json`; remove what an earlier one had made and is no longer wanted.

    Returns
    -------
    dict
        The part's report.

    Raises
    ------
    OutputError
        The report is not there, or the disk is full.
    """
    report = read_report(folder)
    earlier = _read(folder / JOB).get("files")
    try:
        names = [REPORT, *(str(file["name"]) for file in report["files"])]
        frames = folder / f"{job.file_name}-frames"
        names += [file.relative_to(folder).as_posix() for file in _below(frames)]
        files = {name: checksum(folder / name) for name in dict.fromkeys(names)}
        content = {"schema_version": 1, "key": key, "status": status, "files": files}
        beside = folder / f"{LEFT_OVER[:-1]}{JOB}"
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        beside.replace(folder / JOB)
    except OSError as error:
        raise OutputError(f"cannot write {folder / JOB}: {error.strerror}") from error
    _remove(folder, set(earlier if isinstance(earlier, dict) else ()) - {JOB, *files})
    return report


def read_report(folder: Path) -> dict[str, Any]:
    """Return a part's report.

    Raises
    ------
    OutputError
        It cannot be read.
    """
    report = _read(folder / REPORT)
    if not isinstance(report.get("files"), list):
        raise OutputError(f"{folder / REPORT} cannot be read")
    return report


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON object out of a file, empty where there is none."""
    from ..core.series import read_json

    return read_json(path) or {}


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files that an earlier run made in a part's folder, and what the page had of them."""
    root = folder.resolve()
    for file in (folder / f"{name}{ending}" for name in names for ending in ("", ".js")):
        if file.parent.resolve().is_relative_to(root) and file.is_file():
            with suppress(OSError):
                file.unlink()


def tidy(folder: Path) -> None:
    """Remove what a run that was killed has left in a folder."""
    with suppress(OSError):
        for path in folder.glob(LEFT_OVER):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
