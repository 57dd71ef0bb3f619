"""The one way through, for the panel and the command line alike: settings → scene and files.

All work is a generator of steps. Whoever drains it shows its progress, and can stop it between two
steps: files appear under their names only when all of them are complete, and a scene that could not
be finished is taken back.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .core.errors import MissingDependencyError, OutputError, OutputFolderError
from .core.model import Model, Progress, captions, steps
from .core.report import make_report
from .core.settings import OutputSettings, Settings
from .quiet import held_signals, silence
from .version import VERSION

if TYPE_CHECKING:
    import bpy

T = TypeVar("T")
Show = Callable[[Progress], None]


@dataclass(frozen=True)
class Result:
    """What a run made.

    Attributes
    ----------
    model : Model
    files : tuple of Path
        Under their final names, the report last.
    """

    model: Model
    files: tuple[Path, ...]


def drain(work: Generator[Progress, None, T], show: Show | None = None) -> T:
    """Run a generator of steps to its end and return its result."""
    while True:
        try:
            progress = next(work)
        except StopIteration as end:
            result: T = end.value
            return result
        if show is not None:
            show(progress)


def run(settings: Settings, output: OutputSettings, show: Show | None = None) -> Result:
    """Build the surfaces of a model and write them.

    Parameters
    ----------
    settings : Settings
    output : OutputSettings
    show : callable or None
        Called with the progress before each step.

    Returns
    -------
    Result

    Raises
    ------
    WeightwalkError
        With a message fit to show; nothing is left behind then.
    """
    return drain(run_steps(settings, output), show)


def run_steps(settings: Settings, output: OutputSettings) -> Generator[Progress, None, Result]:
    """Do what `run` does, a step at a time."""
    if output.needs_blender:
        _require_blender(output)
    if "glb" in output.formats and output.compression == "draco":
        from .core.writers.encoding import draco_module

        draco_module()  # before any work is done
    with _staging(output.directory) as staging:
        model = yield from steps(settings)
        files = yield from _write(model, output, staging)
        made = _publish(files, output.directory)
    return Result(model, made)


def show_in(scene: bpy.types.Scene, model: Model, aspect: float = 16 / 9) -> bpy.types.Collection:
    """Stand a model's surfaces in a Blender scene; on failure the scene is as before."""
    from .scene.build import View, build
    from .scene.labels import Legend

    nonfinite = any(e.surface.sign == 0 for e in model.exhibits)
    legend = Legend(model.name, captions(model), model.scale, nonfinite)
    view = View.of(model.exhibits, aspect)
    return build(scene, model.exhibits, model.layout, legend, view)


def file_name(model: Model, output: OutputSettings) -> str:
    """Return the name of the files without ending: the asked one, or the model's made safe."""
    if output.name is not None:
        return output.name
    safe = "".join(c if c.isalnum() or c in "-_. " else "-" for c in model.name).strip(" .-")
    return safe[:120] or "weights"


def _write(
    model: Model, output: OutputSettings, staging: Path
) -> Generator[Progress, None, list[Path]]:
    """Write all files into a folder; the GLB is compressed while the others are written."""
    from .core.writers import Encoding, write_stl

    name = file_name(model, output)
    # Names are given whole: "a.b" with an ending put in place of ".b" would be another file.
    paths = {kind: staging / f"{name}.{kind}" for kind in output.formats}
    parts = [exhibit.part for exhibit in model.exhibits]
    total = len(paths) + 1
    versions = {"weightwalk": VERSION}
    done = 0
    with ExitStack() as stack:
        if "glb" in paths:
            encoding = stack.enter_context(Encoding(parts, output.compression))
        if "stl" in paths:
            yield Progress("files", done, total, paths["stl"].name)
            with model.stages.time("stl") as stage:
                write_stl(paths["stl"], parts)
                stage.bytes = paths["stl"].stat().st_size
            done += 1
        if output.needs_blender:
            yield Progress("files", done, total, "scene")
            versions["blender"] = _fill_scene(model, output)
        if "glb" in paths:
            yield Progress("files", done, total, paths["glb"].name)
            with model.stages.time("glb") as stage:
                extras = {"model": model.name, "captions": list(captions(model))}
                encoding.write(paths["glb"], extras, generator=f"Weightwalk {VERSION}")
                stage.bytes = paths["glb"].stat().st_size
            done += 1
    if output.needs_blender:
        yield from _save_and_render(model, output, staging / name, (done, total))
    yield Progress("files", total - 1, total, "report.json")
    files = list(paths.values())
    report = staging / "report.json"
    _write_json(report, make_report(model, output, files, versions))
    return [*files, report]


def _fill_scene(model: Model, output: OutputSettings) -> str:
    """Build the scene in an emptied Blender; return Blender's version."""
    import bpy

    from .scene.build import clear
    from .scene.render import configure

    with model.stages.time("scene"):
        clear(bpy.context.scene)
        configure(bpy.context.scene, output.render)
        show_in(bpy.context.scene, model, output.render.width / output.render.height)
    version: str = bpy.app.version_string
    return version


def _save_and_render(
    model: Model, output: OutputSettings, base: Path, progress: tuple[int, int]
) -> Generator[Progress, None, None]:
    from .scene.files import save
    from .scene.render import render

    done, total = progress
    blend, picture = Path(f"{base}.blend"), Path(f"{base}.png")
    yield Progress("files", done, total, blend.name if "blend" in output.formats else "scene file")
    with model.stages.time("blend") as stage:
        save(blend)
        stage.bytes = blend.stat().st_size
    if "png" in output.formats:
        yield Progress("files", total - 2, total, picture.name)
        with model.stages.time("png") as stage:
            used = render(blend, picture, output.render.engine)
            stage.bytes = picture.stat().st_size
        if used != output.render.engine:
            model.notes.append(f"{picture.name}: no OpenGL was found, so {used} made the picture")


def _publish(files: Sequence[Path], directory: Path) -> tuple[Path, ...]:
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


def _write_json(path: Path, content: dict[str, Any]) -> None:
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        # A path that is not UTF-8 has lone surrogates; written this way they are JSON's escapes.
        path.write_bytes((text + "\n").encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(f"cannot write {path.name}: {error.strerror}") from error


def _require_blender(output: OutputSettings) -> None:
    try:
        with held_signals(), silence():
            import bpy  # noqa: F401
    except ImportError:
        wanted = " and ".join(k for k in output.formats if k in {"png", "blend"})
        raise MissingDependencyError(
            f"to write {wanted} takes Blender: install weightwalk[blender] on Python 3.11 or 3.13, "
            "or run batch/driver.py inside Blender"
        ) from None


@contextmanager
def _staging(directory: Path) -> Iterator[Path]:
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
