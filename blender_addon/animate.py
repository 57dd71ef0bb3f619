"""A training run → an animation, for the panel and the command line alike: settings → files."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from .core.animation import Animation, Growing
from .core.errors import CheckpointError, OutputError, WeightwalkError
from .core.estimate import BYTES_A_FACE, available_memory, size_text
from .core.flight import far_of, fly, track
from .core.model import Progress
from .core.plans import Skip
from .core.produce import animation_steps, grown_steps, joined, recalled_steps, with_skips
from .core.readers import printable
from .core.record import Record
from .core.recorded import recorded, there_steps
from .core.series import Series, Step, find_series_steps
from .core.series_report import Span, series_report
from .core.settings import AnimationOutput, AnimationSettings
from .core.timeline import Timeline
from .core.watch import Watch
from .core.writers.animated import CameraTrack, write_animated_glb
from .core.writers.dataset import check_dataset_folder, write_dataset
from .core.writers.encoding import draco_module
from .files import REPORT, publish, safe_name, staging_in, write_json
from .film import Filming, film_made, film_scene, frames_folder, span_of
from .pipeline import Show, drain, require_blender
from .version import VERSION

if TYPE_CHECKING:
    import bpy


# Seconds between two looks at a training run that goes on.
POLL = 2.0
# The share of the free memory that a scene may take.
SHARE = 0.75


@dataclass(frozen=True)
class Animated:
    """What a run made: the animation, and the files under their final names, the report last."""

    animation: Animation
    files: tuple[Path, ...]


Steps = Generator[Progress, None, Animated]


def animate(
    settings: AnimationSettings,
    output: AnimationOutput,
    show: Show | None = None,
    *,
    follow: bool = False,
) -> Animated:
    """Turn a series of checkpoints into an animation and write it.

    Parameters
    ----------
    settings : AnimationSettings
    output : AnimationOutput
    show : callable or None
        Called with the progress before each step.
    follow : bool
        Wait for further checkpoints until the training is over, and write all anew after each.

    Returns
    -------
    Animated

    Raises
    ------
    WeightwalkError
        With a message fit to show; nothing half-made is left behind, but for rendered frames,
        with which the next run goes on.
    """
    steps = follow_steps if follow else animate_steps
    return drain(steps(settings, output), show)


def animate_steps(settings: AnimationSettings, output: AnimationOutput) -> Steps:
    """Do what `animate` does, a step at a time."""
    _check(output)
    series = yield from find_series_steps(settings.targets)
    with staging_in(output.directory) as staging:
        surfaces = staging / "surfaces"
        surfaces.mkdir()
        animation = yield from animation_steps(series, settings, surfaces)
        camera = _camera_of(animation, output)
        return (yield from _write(animation, output, staging, camera))


def follow_steps(settings: AnimationSettings, output: AnimationOutput) -> Steps:
    """Do what `animate` does with a training run that goes on."""
    _check(output)
    watch = Watch(settings.targets)
    needed = 1 if settings.delta == "none" and settings.view != "time" else 2
    with staging_in(output.directory) as kept:
        animation: Animation | None = None
        made: Animated | None = None
        while True:
            new, skips = watch.poll()
            series = watch.series
            if series is not None and len(series.steps) >= needed and new:
                if animation is None or settings.view == "time":
                    animation = yield from animation_steps(series, settings, kept)
                    skips = []  # the series has them
                else:
                    for step in new:
                        try:
                            grown = yield from grown_steps(Growing.of(animation), step, kept)
                        except CheckpointError as error:  # removed meanwhile, say
                            skips = [*skips, Skip(step.label, str(error))]
                        else:
                            animation = joined(animation, grown)
            if animation is not None and skips:
                animation = with_skips(animation, skips)
            if animation is not None and (new or skips):
                with staging_in(output.directory) as staging:
                    camera = _camera_of(animation, output)
                    made = yield from _write(animation, output, staging, camera)
            if watch.ended:
                if made is None:
                    raise WeightwalkError("the training is over, and one checkpoint is no series")
                return made
            count = len(series.steps) if series else 0
            where = printable(" ".join(settings.targets), 200)
            said = f"{count} steps so far" if count else f"no checkpoint in {where} yet"
            yield Progress("waiting", count, count + 1, f"{said}; waiting for the next one")
            sleep(POLL)


def series_in_scene_steps(
    scene: bpy.types.Scene,
    settings: AnimationSettings,
    cache: Path,
    aspect: float = 16 / 9,
    series: Series | None = None,
) -> Generator[Progress, None, Animation]:
    """Build a series and stand it in a scene, in place of an earlier build.

    Parameters
    ----------
    scene : bpy.types.Scene
    settings : AnimationSettings
    cache : Path
        A folder in which there may be another one meanwhile.
    aspect : float
        Width of the picture over its height.
    series : Series or None
        What was found already, of one step or more; None looks for the settings' targets.

    Returns
    -------
    Animation
        Its surfaces can no more be read: they are in the scene.
    """
    from .scene.series import build_series_steps

    name = scene.name
    if series is None:
        series = yield from find_series_steps(settings.targets)
    with staging_in(cache) as folder:
        animation = yield from animation_steps(series, settings, folder)
        check_memory(animation)
        yield from build_series_steps(_scene(name), animation, aspect)
    return animation


def grow_in_scene_steps(
    scene: bpy.types.Scene, earlier: Growing, step: Step, cache: Path
) -> Generator[Progress, None, Animation]:
    """Append one more step to a series in a scene; see `core.produce.grown_steps`."""
    from .scene.series import extend_series_steps

    name = scene.name
    with staging_in(cache) as folder:
        grown = yield from grown_steps(earlier, step, folder)
        check_memory(grown)
        yield from extend_series_steps(_scene(name), grown)
    return grown


def export_run_steps(
    scene: bpy.types.Scene,
    record: Record,
    output: AnimationOutput,
    *,
    cache: Path,
    camera: str | None = None,
) -> Generator[Progress, None, tuple[Path, ...]]:
    """Write a training run that stands in a scene.

    Pictures show the scene as it is now, and need no checkpoint; the GLB and the data set are made
    from the checkpoints again, with the scene's units, levels and colours, and the camera's own
    movement.

    Parameters
    ----------
    scene : bpy.types.Scene
    record : Record
        Of the scene.
    output : AnimationOutput
        Blender itself saves .blend files: they cannot be among the formats.
    cache : Path
        A folder for a copy of the scene while it is rendered.
    camera : str or None
        Name of the camera; None stands for the scene's own.

    Returns
    -------
    tuple of Path
        The report last.
    """
    _check(output)
    series, name = record.series, scene.name
    if series is None:
        raise WeightwalkError("the scene has no training run")
    held = camera or (scene.camera.name if scene.camera else None)
    if held is None and output.needs_frames:
        raise WeightwalkError("the scene has no camera to take the pictures with")
    whole = "glb" in output.formats or output.dataset is not None
    if whole:
        yield from there_steps(series)
    flown = _flown(_scene(name), series, output, held)
    with staging_in(output.directory) as staging:
        surfaces = staging / "surfaces"
        surfaces.mkdir()
        if whole:
            animation = yield from recalled_steps(series, surfaces)
        else:
            animation = recorded(record, surfaces)
        filming, span = _nothing(), None
        if held is not None and output.needs_frames:
            base = staging / (output.name or safe_name(animation.name))
            span = span_of(_scene(name))
            filming = film_scene(_scene(name), held, span, animation, output)(base, cache)
            own = Span.of(animation.timeline)
            if whole and span != own:
                animation.notes.append(
                    f"GLB and data set have the training run's own frames, {own.start} to "
                    f"{own.end} at {own.fps} a second; the pictures have the scene's"
                )
        made = yield from _write(animation, output, staging, flown, filming, span=span)
        return made.files


def _flown(
    scene: bpy.types.Scene, series: Growing, output: AnimationOutput, camera: str | None
) -> CameraTrack | None:
    """Return the way of a scene's camera, as the GLB has it."""
    from .scene.flight import track as track_in_scene

    if "glb" not in output.formats or camera is None:
        return None
    timeline = Timeline(len(series.steps), series.settings.timeline)
    return track_in_scene(scene, timeline, output.render.width / output.render.height, camera)


def _nothing() -> Filming:
    yield from ()
    return []


def _scene(name: str) -> bpy.types.Scene:
    """Return a scene, which a person may have removed meanwhile."""
    import bpy

    scene = bpy.data.scenes.get(name)
    if scene is None:
        raise WeightwalkError(f"the scene {name} is gone")
    return scene


def memory_of(animation: Animation) -> int:
    """Return about how many bytes a scene with the animation takes."""
    faces = {actor.mesh: actor.faces for actor in animation.actors}
    keys = len(animation.steps) + 2
    sheets = sum(len(r.part.faces) * (1 + keys // 8) for r in animation.reliefs)
    return BYTES_A_FACE * (sum(faces.values()) + sheets)


def check_memory(animation: Animation) -> None:
    """Raise `WeightwalkError` where a scene would not fit into memory."""
    needed, free = memory_of(animation), available_memory()
    if free is not None and needed > SHARE * free:
        raise WeightwalkError(
            f"a scene of these {len(animation.steps)} steps takes about {size_text(needed)} of "
            f"memory, and {size_text(free)} are free; choose fewer tensors, faces or steps"
        )


def _check(output: AnimationOutput) -> None:
    """Find out what is missing before any work is done."""
    if output.needs_blender:
        require_blender(" and ".join(f for f in output.formats if f != "glb"))
    if output.needs_frames and output.render.device == "gpu":
        from .scene import gpu

        gpu.check()
    if "mp4" in output.formats:
        from .scene import movie

        movie.check()
    if "gif" in output.formats:
        from .core.images import pillow

        pillow()
    if "glb" in output.formats and output.compression == "draco":
        draco_module()
    if output.dataset is not None:
        check_dataset_folder(output.dataset)
    if not output.formats and output.dataset is None:
        raise OutputError("nothing is to be written")


def _write(
    animation: Animation,
    output: AnimationOutput,
    staging: Path,
    camera: CameraTrack | None = None,
    filming: Filming | None = None,
    *,
    span: Span | None = None,
) -> Steps:
    """Write all that is asked for; a scene is made for it where none is given."""
    base = staging / (output.name or safe_name(animation.name))
    files: list[Path] = []
    versions = {"weightwalk": VERSION}
    if output.needs_blender:
        import bpy

        versions["blender"] = bpy.app.version_string
    if output.needs_blender and filming is None:
        check_memory(animation)
        yield from _scene_of(animation, output)
        filming = film_made(animation, output, base)
    if "glb" in output.formats:
        path = Path(f"{base}.glb")
        with animation.stages.time("glb") as stage:
            yield from write_animated_glb(
                path, animation, camera, output.compression, generator=f"Weightwalk {VERSION}"
            )
            stage.bytes = path.stat().st_size
        files.append(path)
    if filming is not None:
        files += yield from filming
    if output.dataset is not None:
        with animation.stages.time("dataset"):
            yield from write_dataset(output.dataset, animation)
    yield Progress("files", len(files), len(files) + 1, REPORT)
    report = staging / REPORT
    write_json(report, series_report(animation, output, files, versions, span))
    made = publish([*files, report], output.directory)
    if output.needs_frames and "frames" not in output.formats:
        shutil.rmtree(frames_folder(output, base), ignore_errors=True)
    return Animated(animation, made)


def _scene_of(animation: Animation, output: AnimationOutput) -> Generator[Progress, None, None]:
    """Build the scene in a Blender that we have to ourselves."""
    import bpy

    from .scene.build import clear
    from .scene.render import configure
    from .scene.series import build_series_steps

    render = output.render
    with animation.stages.time("scene"):
        clear(bpy.context.scene)
        configure(bpy.context.scene, render)
        yield from build_series_steps(bpy.context.scene, animation, render.width / render.height)


def _camera_of(animation: Animation, output: AnimationOutput) -> CameraTrack | None:
    """Return the flight that was asked for, as the GLB has it."""
    flight = animation.timeline.settings.flight
    if flight is None:
        return None
    layout, timeline = animation.layout, animation.timeline
    aspect = output.render.width / output.render.height
    return track(fly(layout, timeline, flight), timeline, aspect, far_of(layout))
