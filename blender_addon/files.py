"""Files beside their place until all of them are complete."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .core.errors import OutputError, OutputFolderError
from .core.model import Progress
from .core.settings import OutputSettings
from .core.stages import Stages, Ticks, told
from .core.writers import Encoding, MeshPart, write_stl
from .version import VERSION

REPORT = "report.json"


@dataclass(frozen=True)
class Contents:
    """What files are made of.

    Attributes
    ----------
    model : str
        The checkpoint's name.
    captions : tuple of str
        The legend's lines.
    parts : list of MeshPart
    stages : Stages
        Of the run; writing adds its own.
    """

    model: str
    captions: tuple[str, ...]
    parts: list[MeshPart]
    stages: Stages


class Viewer(Protocol):
    """What has a scene to take a picture of."""

    def prepare(self) -> Generator[Progress, None, str]:
        """Make the scene; return Blender's version."""
        ...

    def write(self, base: Path, bar: tuple[int, int]) -> Generator[Progress, None, None]:
        """Write picture and .blend, as asked.

        `base` is their path without ending; `bar` says how many files are done, and of how many.
        """
        ...


def file_name(model: str, output: OutputSettings) -> str:
    """Return the name of the files without ending: the asked one, or the model's made safe."""
    return safe_name(model) if output.name is None else output.name


def safe_name(model: str) -> str:
    """Return a model's name as one that every file system takes."""
    safe = "".join(c if c.isalnum() or c in "-_. " else "-" for c in model).strip(" .-")
    return safe[:120] or "weights"


def write(
    contents: Contents, output: OutputSettings, staging: Path, viewer: Viewer
) -> Generator[Progress, None, tuple[list[Path], dict[str, str]]]:
    """Write all files but the report into a folder.

    The GLB is compressed while the others are written.

    Returns
    -------
    list of Path, dict of str to str
        The files, and the versions of what made them.
    """
    name = file_name(contents.model, output)
    # Names are given whole: "a.b" with an ending put in place of ".b" would be another file.
    paths = {kind: staging / f"{name}.{kind}" for kind in output.formats}
    total = len(paths) + 1
    versions = {"weightwalk": VERSION}
    done = 0
    with ExitStack() as stack:
        if "glb" in paths:
            encoding = stack.enter_context(Encoding(contents.parts, output.compression))
        if "stl" in paths:
            now = Progress("files", done, total, paths["stl"].name)
            yield now
            with contents.stages.time("stl") as stage:
                yield from told(_aside(lambda: write_stl(paths["stl"], contents.parts)), now)
                stage.bytes = paths["stl"].stat().st_size
            done += 1
        if output.needs_blender:
            versions["blender"] = yield from viewer.prepare()
        if "glb" in paths:
            now = Progress("files", done, total, paths["glb"].name)
            yield now
            with contents.stages.time("glb") as stage:
                extras = {"model": contents.model, "captions": list(contents.captions)}
                by = f"Weightwalk {VERSION}"
                writing = _aside(
                    lambda: encoding.write(paths["glb"], extras, generator=by), encoding.drop
                )
                yield from told(writing, now)
                stage.bytes = paths["glb"].stat().st_size
            done += 1
    if output.needs_blender:
        yield from viewer.write(staging / name, (done, total))
    return list(paths.values()), versions


def _aside(work: Callable[[], None], stop: Callable[[], None] | None = None) -> Ticks[None]:
    """Do some work that knows nothing of Blender in a thread; wait for it in short steps.

    Closed before its end, the generator calls `stop` and waits for the thread.
    """
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(work)
        try:
            while not wait([job], 0.02).done:
                yield 0
        except BaseException:
            if stop is not None:
                stop()
            raise
        job.result()


def publish(files: Sequence[Path], directory: Path) -> tuple[Path, ...]:
    """Move finished files to where they belong; where one cannot go, the earlier ones stay."""
    targets = tuple(directory / file.name for file in files)
    earlier = files[0].parent / "earlier"
    moved: list[tuple[Path, Path]] = []
    try:
        earlier.mkdir()
        for file, target in zip(files, targets, strict=True):
            if target.is_dir():
                raise OutputError(f"cannot write {target}: it is a folder")
            for source, goal in ((target, earlier / target.name), (file, target)):
                if source.exists():
                    source.replace(goal)
                    moved.append((source, goal))
    except BaseException as error:
        for source, goal in reversed(moved):
            goal.replace(source)
        if isinstance(error, OSError) and not isinstance(error, OutputError):
            raise OutputError(f"cannot write {directory}: {error.strerror}") from error
        raise
    return targets


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an object as JSON.

    Raises
    ------
    OutputError
        With the system's reason.
    """
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        # A path that is not UTF-8 has lone surrogates; written this way they are JSON's escapes.
        path.write_bytes((text + "\n").encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(f"cannot write {path.name}: {error.strerror}") from error


@contextmanager
def staging_in(directory: Path) -> Iterator[Path]:
    """Give a folder beside the results, gone at the end whatever happens.

    Folders that had to be made for it are gone, too, where nothing came of it.
    """
    absent: list[Path] = []
    try:
        try:
            absent += (f for f in (directory, *directory.parents) if not f.exists())
            directory.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".weightwalk-", dir=directory))
        except OSError as error:
            raise OutputFolderError(f"cannot write into {directory}: {error.strerror}") from error
        try:
            yield staging
        except OutputError as error:
            # Say where the file would have been.
            raise OutputError(str(error).replace(str(staging), str(directory))) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except BaseException:
        for folder in absent:
            with suppress(OSError):
                folder.rmdir()
        raise
