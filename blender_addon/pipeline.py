"""The one way through, for the panel and the command line alike: settings → scene and files.

All work is a generator of steps. Whoever drains it shows its progress, and can stop it between two
steps: files appear under their names only when all of them are complete, and a scene that could not
be finished is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .core.crew import Hiring, nobody
from .core.errors import MissingDependencyError, WeightwalkError
from .core.fitting import fitted_steps
from .core.legend import captions
from .core.model import Model, Progress
from .core.record import Record
from .core.report import make_report, report_of
from .core.settings import OutputSettings, Settings
from .core.stages import Stages, told
from .core.writers import MeshPart
from .files import REPORT, Contents, publish, staging_in, write, write_json
from .quiet import held_signals, silence

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


def run(
    settings: Settings, output: OutputSettings, show: Show | None = None, hire: Hiring = nobody
) -> Result:
    """Build the surfaces of a model and write them.

    Parameters
    ----------
    settings : Settings
    output : OutputSettings
    show : callable or None
        Called with the progress before each step.
    hire : callable
        Gives who makes the surfaces; nobody leaves that to this process.

    Returns
    -------
    Result

    Raises
    ------
    WeightwalkError
        With a message fit to show; nothing is left behind then.
    """
    return drain(run_steps(settings, output, hire), show)


def run_steps(
    settings: Settings, output: OutputSettings, hire: Hiring = nobody
) -> Generator[Progress, None, Result]:
    """Do what `run` does, a step at a time."""
    _check(output)
    with staging_in(output.directory) as staging:
        with hire(staging) as crew:
            model = yield from fitted_steps(settings, output.stl_limit, crew)
        parts = [exhibit.part for exhibit in model.exhibits]
        contents = Contents(model.name, captions(model), parts, model.stages)
        files, versions = yield from write(contents, output, staging, _Built(model, output))
        yield Progress("files", len(files), len(files) + 1, REPORT)
        write_json(staging / REPORT, make_report(model, output, files, versions))
        made = publish([*files, staging / REPORT], output.directory)
    return Result(model, made)


def show_steps(
    scene: bpy.types.Scene, model: Model, aspect: float = 16 / 9
) -> Generator[Progress, None, bpy.types.Collection]:
    """Stand a model's surfaces in a Blender scene, in place of those of an earlier build.

    They enter it with the last step; closed before that, the generator leaves all as it was.
    """
    from .scene.build import build_steps

    return (yield from build_steps(scene, model, aspect))


def show_in(scene: bpy.types.Scene, model: Model, aspect: float = 16 / 9) -> bpy.types.Collection:
    """Do what `show_steps` does at one go."""
    return drain(show_steps(scene, model, aspect))


def export_steps(
    scene: bpy.types.Scene,
    surfaces: Sequence[bpy.types.Object],
    record: Record,
    output: OutputSettings,
    *,
    cache: Path,
    camera: str | None = None,
) -> Generator[Progress, None, tuple[Path, ...]]:
    """Write surfaces of a scene as they stand, and the report of what they are.

    Parameters
    ----------
    scene : bpy.types.Scene
    surfaces : sequence of bpy.types.Object
        At least one of ours; the picture shows no other.
    record : Record
        Of the scene.
    output : OutputSettings
        Blender itself saves .blend files: they cannot be among the formats.
    cache : Path
        A folder for a copy of the scene while the picture is made.
    camera : str or None
        Name of the camera that takes the picture; None stands for the scene's own.

    Returns
    -------
    tuple of Path
        The report last.

    Raises
    ------
    WeightwalkError
        With a message fit to show; nothing is left behind then.
    """
    from .scene.export import in_order

    # No objects are held from one step to the next: a person may remove them meanwhile.
    names = [one.name for one in in_order(surfaces)]
    stages = Stages()
    picture = _Seen(scene, names, output, cache=cache, stages=stages, camera=camera)
    return _export_steps(names, record, output, picture)


def _export_steps(
    names: Sequence[str], record: Record, output: OutputSettings, picture: _Seen
) -> Generator[Progress, None, tuple[Path, ...]]:
    from .scene.export import read

    _check(output)
    stages = picture.stages
    held: list[MeshPart] = []
    entries: list[dict[str, Any]] = []
    with staging_in(output.directory) as staging:
        for i, name in enumerate(names):
            yield Progress("surfaces", i, len(names), name)
            with stages.time("surfaces"):
                part, entry = read(name)
            held.append(part)
            entries.append(entry)
        contents = Contents(record.model, record.captions, held, stages)
        files, versions = yield from write(contents, output, staging, picture)
        yield Progress("files", len(files), len(files) + 1, REPORT)
        noted = replace(record, notes=(*record.notes, *picture.notes))
        report = report_of(noted, entries, output, files=files, versions=versions, stages=stages)
        write_json(staging / REPORT, report)
        return publish([*files, staging / REPORT], output.directory)


class _Built:
    """A scene that is made for a picture or a .blend in a Blender that we have to ourselves."""

    def __init__(self, model: Model, output: OutputSettings) -> None:
        self.model, self.output = model, output

    def prepare(self) -> Generator[Progress, None, str]:
        """Build the scene in an emptied Blender; return Blender's version."""
        import bpy

        from .scene.build import clear
        from .scene.render import configure

        yield Progress("scene", 0, 1, "an empty scene")
        render = self.output.render
        with self.model.stages.time("scene"):
            clear(bpy.context.scene)
            configure(bpy.context.scene, render)
            show_in(bpy.context.scene, self.model, render.width / render.height)
        version: str = bpy.app.version_string
        return version

    def write(self, base: Path, bar: tuple[int, int]) -> Generator[Progress, None, None]:
        """Save the scene, and render what was saved."""
        import bpy

        from .scene.files import save
        from .scene.render import render_steps
        from .scene.views import look_through_camera

        done, total = bar
        stages, output = self.model.stages, self.output
        blend, picture = Path(f"{base}.blend"), Path(f"{base}.png")
        what = blend.name if "blend" in output.formats else "scene file"
        yield Progress("files", done, total, what)
        with stages.time("blend") as stage:
            look_through_camera(bpy.context.scene)
            save(blend)
            stage.bytes = blend.stat().st_size
        if "png" in output.formats:
            now = Progress("files", total - 2, total, picture.name)
            yield now
            with stages.time("png") as stage:
                used = yield from told(render_steps(blend, picture, output.render.engine), now)
                stage.bytes = picture.stat().st_size
            self.model.notes.extend(_notes(picture, output, used))


class _Seen:
    """A person's scene, of which a picture is taken; nothing in it is changed."""

    def __init__(
        self,
        scene: bpy.types.Scene,
        surfaces: Sequence[str],
        output: OutputSettings,
        *,
        cache: Path,
        stages: Stages,
        camera: str | None,
    ) -> None:
        self.scene, self.output, self.cache, self.stages = scene.name, output, cache, stages
        self.camera = camera or (scene.camera.name if scene.camera else None)
        self.shown = set(surfaces)
        self.notes: list[str] = []

    def prepare(self) -> Generator[Progress, None, str]:
        """Return Blender's version."""
        import bpy

        yield from ()
        version: str = bpy.app.version_string
        return version

    def write(self, base: Path, bar: tuple[int, int]) -> Generator[Progress, None, None]:
        """Render a copy of the scene in which the other surfaces are hidden."""
        from .scene.files import save
        from .scene.render import Changes, choices, render_steps

        if self.camera is None:
            raise WeightwalkError("the scene has no camera to take the picture with")
        picture = Path(f"{base}.png")
        now = Progress("files", *bar, picture.name)
        yield now
        # The copy is saved in the same step.
        others = self._others()
        changes = Changes(self.scene, self.camera, tuple(others), choices(self.output.render))
        with staging_in(self.cache) as folder, self.stages.time("png") as stage:
            save(folder / "scene.blend", compress=False)
            yield now
            engine = self.output.render.engine
            rendering = render_steps(folder / "scene.blend", picture, engine, changes)
            used = yield from told(rendering, now)
            stage.bytes = picture.stat().st_size
        self.notes += _notes(picture, self.output, used)

    def _others(self) -> list[str]:
        """Return the names of the surfaces to hide; all that the picture needs must be there."""
        import bpy

        from .scene.ours import objects_in

        scene = bpy.data.scenes.get(self.scene)
        there = {o.name: "plan" in o for o in objects_in(scene.collection)} if scene else {}
        gone = sorted(self.shown - there.keys())
        if self.camera not in bpy.data.objects:
            gone.append(str(self.camera))
        if gone:
            raise WeightwalkError(f"{gone[0]} was removed while it was exported")
        return [name for name, surface in there.items() if surface and name not in self.shown]


def _notes(picture: Path, output: OutputSettings, used: str) -> list[str]:
    if used == output.render.engine:
        return []
    return [f"{picture.name}: no OpenGL was found, so {used} made the picture"]


def _check(output: OutputSettings) -> None:
    """Find out what is missing before any work is done."""
    if output.needs_blender:
        require_blender(" and ".join(k for k in output.formats if k in {"png", "blend"}))
    if "png" in output.formats and output.render.device == "gpu":
        from .scene import gpu

        gpu.check()
    if "glb" in output.formats and output.compression == "draco":
        from .core.writers.encoding import draco_module

        draco_module()


def require_blender(wanted: str) -> None:
    """Raise `MissingDependencyError` where there is no Blender for what is wanted."""
    try:
        with held_signals(), silence():
            import bpy  # noqa: F401
    except ImportError:
        raise MissingDependencyError(
            f"to write {wanted} takes Blender: install weightwalk[blender] on Python 3.11 or 3.13, "
            "or run batch/driver.py inside Blender"
        ) from None
