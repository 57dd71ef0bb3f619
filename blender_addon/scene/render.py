"""A scene → pictures, in a process of its own, so that it can be stopped at any moment."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from types import MappingProxyType
from typing import Any, TypeVar

import bpy

from ..core.errors import OutputError, WeightwalkError
from ..core.model import Progress
from ..core.settings import Engine, RenderSettings
from ..core.stages import Ticks
from ..core.writers.frames import ROOM, FrameFolder, complete
from . import compat, render_child
from .child import last_words, run
from .render_child import NOT_TAKEN

T = TypeVar("T")
Y = TypeVar("Y")
CHILD = Path(render_child.__file__)
NONE: Mapping[int, int] = MappingProxyType({})
# Less than this, and a disk counts as full: a few pictures, in bytes.
FULL = 1 << 24


@dataclass(frozen=True)
class Changes:
    """What is other in the picture than in the file.

    Attributes
    ----------
    scene : str
        The scene's name.
    camera : str
        The camera's name.
    hidden : tuple of str
        Objects that are not to be seen.
    choices : list of (str, value)
        See `choices`.
    """

    scene: str
    camera: str
    hidden: tuple[str, ...]
    choices: list[tuple[str, Any]]


def configure(scene: bpy.types.Scene, settings: RenderSettings) -> None:
    """Store engine, size and samples in the scene; the colours are shown as they are."""
    render_child.assign(scene, choices(settings))


def choices(settings: RenderSettings) -> list[tuple[str, Any]]:
    """Return what `configure` stores: (path from the scene, value) in the order to set them."""
    return [
        ("render.engine", compat.engine_id(settings.engine)),
        ("render.resolution_x", settings.width),
        ("render.resolution_y", settings.height),
        ("render.resolution_percentage", 100),
        *compat.PICTURE_ONLY,
        # A filmic transform would change the colours of the scale.
        ("view_settings.view_transform", "Standard"),
        ("cycles.device", settings.device.upper()),
        ("cycles.samples", settings.samples),
        ("cycles.use_denoising", True),
        ("cycles.max_bounces", 3),
        ("eevee.taa_render_samples", settings.samples),
        ("display.shading.light", "STUDIO"),
        ("display.shading.studio_light", "paint.sl"),
        ("display.shading.color_type", "VERTEX"),
        ("display.shading.show_cavity", True),
        ("display.shading.cavity_type", "WORLD"),
        ("display.shading.cavity_ridge_factor", 0.6),
        ("display.shading.cavity_valley_factor", 1.2),
        # Its shadows are drawn from every triangle: a minute in software, for half a million faces.
        ("display.shading.show_shadows", False),
        ("display.render_aa", "5"),
    ]


def render_steps(
    blend: Path, picture: Path, engine: Engine, changes: Changes | None = None
) -> Ticks[Engine]:
    """Render a saved scene with its own camera and settings to a PNG.

    Closed before its end, the generator ends the process that renders.

    Parameters
    ----------
    blend, picture : Path
        The picture's folder holds what the process says, too, until it ends.
    engine : {"workbench", "cycles", "eevee"}
        Workbench needs OpenGL, if only Mesa's in software; where there is none, Cycles steps in.
    changes : Changes or None
        Made to the scene before it is rendered.

    Returns
    -------
    {"workbench", "cycles", "eevee"}
        The engine that made the picture.

    Raises
    ------
    WeightwalkError
        Blender could not render; the message has its last words.
    """
    said = ""
    for attempt in _tries(engine):
        job = {**_job(blend, attempt, changes), "picture": str(picture)}
        with TemporaryDirectory(prefix=".render-", dir=picture.parent) as room:
            status, said = yield from run(CHILD, job, Path(room))
        if status == 0 and picture.exists():
            return attempt
    words = last_words(said)
    raise WeightwalkError(f"{picture.name}: Blender could not render the picture: {words}")


def _tries(engine: Engine) -> tuple[Engine, ...]:
    """Return the engines to try, one after the other."""
    return (engine, "cycles") if engine == "workbench" else (engine,)


def _job(blend: Path, engine: Engine, changes: Changes | None) -> dict[str, Any]:
    """Return what the child is told of any scene."""
    given = asdict(changes) if changes else {}
    return {"blend": str(blend), "engine": compat.engine_id(engine), "changes": given}


def frames_steps(
    blend: Path,
    folder: Path,
    frames: Sequence[int],
    engine: Engine,
    *,
    digest: str,
    changes: Changes | None = None,
    same: Mapping[int, int] = NONE,
) -> Generator[Progress, None, Engine]:
    """Render frames of a saved scene to ``folder/0001.png`` and so on.

    Frames that are there already are not rendered again. Closed before its end, the generator ends
    the process that renders; what is complete stays, and the next call goes on from there.

    Parameters
    ----------
    blend : Path
    folder : Path
        Made when it is not there. Files in it that are not ours are left alone.
    frames : sequence of int
        In the order in which to render them.
    engine : {"workbench", "cycles", "eevee"}
        Workbench needs OpenGL, if only Mesa's in software; where there is none, Cycles steps in.
    digest : str
        The same for two animations only if they look the same; frames of another one are removed.
    changes : Changes or None
        Made to the scene before it is rendered.
    same : mapping of int to int
        Frames that look exactly like another of `frames`, and so are not rendered.

    Yields
    ------
    Progress
        Frames; `what` has the time left as soon as it can be told.

    Returns
    -------
    {"workbench", "cycles", "eevee"}
        The engine that made the pictures.

    Raises
    ------
    OutputFolderError
        The folder cannot be used, or has other files where the frames belong.
    OutputError
        The disk is full. The frames that are complete stay.
    WeightwalkError
        Blender could not render; the message has its last words.
    """
    there = FrameFolder(folder.absolute(), tuple(frames), same)
    before: Engine = there.claim(digest, engine)  # type: ignore[assignment]
    try:
        return (yield from _fill(there, blend, before, changes))
    finally:
        there.leave()


def _fill(
    there: FrameFolder, blend: Path, engine: Engine, changes: Changes | None
) -> Generator[Progress, None, Engine]:
    """Render what is missing, with the next engine if the first one makes nothing at all."""
    count = _Count(there)
    yield count.look()
    if not count.waiting:
        return engine
    for attempt in _tries(engine):
        if attempt != engine:
            there.made_by(attempt)
        try:
            with TemporaryDirectory(prefix=ROOM, dir=there.path) as room:
                pictures = [(f, str(there.picture(f))) for f in count.waiting]
                job = {**_job(blend, attempt, changes), "frames": pictures}
                status, said = yield from _watched(run(CHILD, job, Path(room)), count.look)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"cannot write into {there.path}: {error.strerror}") from error
        yield count.look()
        if not count.waiting:
            return attempt
        if status == NOT_TAKEN or shutil.disk_usage(there.path).free < FULL:
            raise OutputError(_full(there, count))
        if count.rendered:
            break
    frame = there.picture(count.waiting[0]).name
    raise WeightwalkError(f"{frame}: Blender could not render the frame: {last_words(said)}")


def _full(there: FrameFolder, count: _Count) -> str:
    picture = there.picture(count.waiting[0])
    done = f"{count.done} of {count.total} frames are complete and stay"
    if shutil.disk_usage(there.path).free < FULL:
        return f"cannot write {picture}: the disk is full; {done}"
    return f"cannot write {picture}: the disk took only a part of it; {done}"


class _Count:
    """Which frames are there, and how long the others will take.

    Attributes
    ----------
    waiting : list of int
        Frames to render that are not there yet, in order.
    done, total : int
        Frames, those included that look like another.
    rendered : int
        Frames rendered since the start.
    """

    def __init__(self, there: FrameFolder) -> None:
        self.there = there
        self.waiting = there.missing()
        self.repeats: dict[int, list[int]] = {}
        for frame, source in there.same.items():
            self.repeats.setdefault(source, []).append(frame)
        waiting = set(self.waiting)
        ready = [f for s, fs in self.repeats.items() if s not in waiting for f in fs]
        there.repeat(ready)
        self.total = len(there.frames)
        self.done = self.total - sum(1 + len(self.repeats.get(f, ())) for f in self.waiting)
        self.rendered = 0
        self.begin = self.last = monotonic()

    def look(self) -> Progress:
        """Look which frames have come, and say so."""
        while self.waiting and complete(self.there.picture(self.waiting[0])):
            again = self.repeats.get(self.waiting.pop(0), [])
            self.there.repeat(again)
            self.done += 1 + len(again)
            self.rendered += 1
            self.last = monotonic()
            if self.rendered == 1:
                self.begin = self.last
        what = f"{self.done} of {self.total}"
        if self.rendered > 1 and self.waiting:
            # The first frame took the time to start with it.
            each = (self.last - self.begin) / (self.rendered - 1)
            left = each * len(self.waiting) - (monotonic() - self.last)
            what += f", {time_left(max(left, each))}"
        return Progress("frames", self.done, self.total, what)


def time_left(seconds: float) -> str:
    """Return a time in the unit in which it is a number from 1 to 120 or so."""
    if seconds < 120:
        return f"{max(round(seconds), 1)} s left"
    return f"{seconds / 60:.0f} min left" if seconds < 7200 else f"{seconds / 3600:.1f} h left"


def _watched(work: Ticks[T], look: Callable[[], Y]) -> Generator[Y, None, T]:
    """Do some work and look at something at each tick."""
    with closing(work):
        while True:
            try:
                next(work)
            except StopIteration as end:
                result: T = end.value
                return result
            yield look()
