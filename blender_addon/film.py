"""A scene → pictures of every frame, GIF and MP4."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .core.animation import Animation
from .core.model import Progress
from .core.plain import to_plain
from .core.series_report import Span
from .core.settings import AnimationOutput
from .core.stages import Ticks, told
from .files import staging_in
from .version import VERSION

if TYPE_CHECKING:
    import bpy

    from .scene.render import Changes

Filming = Generator[Progress, None, list[Path]]


@dataclass(frozen=True)
class Film:
    """A saved scene that is to be rendered.

    Attributes
    ----------
    blend : Path
    frames : range
    fps : int
    digest : str
        Another one where the pictures would be others.
    same : dict of int to int
        Of each frame, an earlier one that shows the same.
    changes : Changes or None
        Made to the scene before it is rendered.
    """

    blend: Path
    frames: range
    fps: int
    digest: str
    same: dict[int, int] = field(default_factory=dict)
    changes: Changes | None = None


def film_made(animation: Animation, output: AnimationOutput, base: Path) -> Filming:
    """Save the scene that was made of an animation, and render what was saved.

    Parameters
    ----------
    animation : Animation
    output : AnimationOutput
    base : Path
        Of the files, without ending.
    """
    import bpy

    from .scene.files import save
    from .scene.views import look_through_camera

    blend = Path(f"{base}.blend")
    yield Progress("files", 0, 1, "scene file")
    with animation.stages.time("blend"):
        look_through_camera(bpy.context.scene)
        save(blend)
    files = [blend] if "blend" in output.formats else []
    if not output.needs_frames:
        return files
    span, digest = Span.of(animation.timeline), _digest(animation, output)
    film = Film(blend, span.frames, span.fps, digest, _alike(animation))
    return files + (yield from _render(film, animation, output, base))


def span_of(scene: bpy.types.Scene) -> Span:
    """Return the frames of a person's scene; files have whole frames a second."""
    render = scene.render
    return Span(scene.frame_start, scene.frame_end, max(round(render.fps / render.fps_base), 1))


def film_scene(
    scene: bpy.types.Scene, camera: str, span: Span, animation: Animation, output: AnimationOutput
) -> Callable[[Path, Path], Filming]:
    """Return what renders a copy of a person's scene, given the files' base and a cache."""
    from .scene.files import save
    from .scene.fingerprint import fingerprint_steps
    from .scene.render import Changes, choices

    changes = Changes(scene.name, camera, (), choices(output.render))

    def filming(base: Path, cache: Path) -> Filming:
        with staging_in(cache) as folder:
            now = Progress("files", 0, 1, "scene file")
            yield now
            # Frames of a film that was stopped are those of the same scene, if it says the same.
            seen = yield from told(fingerprint_steps(scene, camera, changes.choices), now)
            blend = folder / "scene.blend"
            save(blend, compress=False)
            film = Film(blend, span.frames, span.fps, f"{VERSION} {seen}", changes=changes)
            return (yield from _render(film, animation, output, base))

    return filming


def frames_folder(output: AnimationOutput, base: Path) -> Path:
    """Return where the frames lie: beside the results, where they stay when work is stopped."""
    return output.directory / f"{base.name}-frames"


def _render(film: Film, animation: Animation, output: AnimationOutput, base: Path) -> Filming:
    """Render the frames, and make of them what is asked for."""
    from .core.writers.gif import write_gif
    from .scene.movie import movie_steps
    from .scene.render import frames_steps

    folder = frames_folder(output, base)
    with animation.stages.time("frames"):
        used = yield from frames_steps(
            film.blend, folder, film.frames, output.render.engine,
            changes=film.changes, same=film.same, digest=film.digest,
        )  # fmt: skip
    if used != output.render.engine:
        animation.notes.append(f"no OpenGL was found, so {used} made the pictures")
    pictures = [folder / f"{frame:04d}.png" for frame in film.frames]
    files = []
    makers: dict[str, Callable[[Path], Ticks[None]]] = {
        "gif": lambda path: write_gif(path, pictures, 1.0 / film.fps),
        "mp4": lambda path: movie_steps(pictures, path, film.fps),
    }
    for kind, make in makers.items():
        if kind in output.formats:
            path = Path(f"{base}.{kind}")
            now = Progress("files", 0, 1, path.name)
            yield now
            with animation.stages.time(kind) as stage:
                yield from told(make(path), now)
                stage.bytes = path.stat().st_size
            files.append(path)
    return files


def _alike(animation: Animation) -> dict[int, int]:
    """Return of each frame an earlier one that shows the same."""
    timeline = animation.timeline
    frames = range(timeline.start, timeline.end + 1)
    if timeline.settings.flight is not None:
        return {}
    if animation.settings.view == "time":
        return dict.fromkeys(frames, timeline.start)
    if animation.settings.view == "relief":
        first, last = timeline.middle(0)[0], timeline.middle(timeline.steps - 1)[-1]
        return {f: last for f in frames if f > last and f >= timeline.first(timeline.steps - 1)} | {
            f: timeline.start for f in frames if f < first
        }
    return {frame: timeline.first(timeline.step_at(frame)) for frame in frames}


def _digest(animation: Animation, output: AnimationOutput) -> str:
    """Return a text that is another one where the pictures would be others."""
    what = [
        VERSION, to_plain(animation.settings), animation.stamps,
        [step.name for step in animation.steps], animation.captions, to_plain(output.render),
        to_plain(animation.lock),
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()
