"""Probe files → pictures, a report, and shapes in a scene, for the panel and the command alike."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from .core.errors import SettingsError
from .core.flow.compare import Comparison, Massive
from .core.flow.probe import Probe, write_probe
from .core.flow.report import flow_report
from .core.flow.run import FlowRun, find_run_steps, read_alike
from .core.flow.settings import FlowOutput, FlowRequest, FlowSettings, FlowShape
from .core.images import pillow
from .core.model import Progress
from .core.plans import Skip
from .core.readers import printable
from .drawing import Drawing
from .files import REPORT, publish, staging_in, write_json
from .pipeline import Show, drain, require_blender

if TYPE_CHECKING:
    import bpy

NOTHING_ELSE: Mapping[str, Probe] = MappingProxyType({})


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes
    ----------
    run : FlowRun
    files : tuple of Path
        Under their final names, the report last.
    comparisons : tuple of (str, Comparison)
        Each with what is compared, in words.
    massive : tuple of Massive
        Of the last step, the largest first.
    notes : tuple of str
    skips : tuple of Skip
    """

    run: FlowRun
    files: tuple[Path, ...]
    comparisons: tuple[tuple[str, Comparison], ...]
    massive: tuple[Massive, ...]
    notes: tuple[str, ...]
    skips: tuple[Skip, ...]


Steps = Generator[Progress, None, Drawn]


def flow(request: FlowRequest, show: Show | None = None) -> Drawn:
    """Draw saved probes.

    Parameters
    ----------
    request : FlowRequest
    show : callable or None
        Called with the progress before each step.

    Returns
    -------
    Drawn

    Raises
    ------
    WeightwalkError
        With a message fit to show; nothing is left behind then.
    """
    return drain(flow_steps(request), show)


def flow_steps(request: FlowRequest) -> Steps:
    """Do what `flow` does, a step at a time."""
    run = yield from find_run_steps(request.targets)
    against = read_alike(request.against, run) if request.against is not None else None
    return (
        yield from draw_steps(run, request.settings, request.output, against, shape=request.shape)
    )


def draw_steps(
    run: FlowRun,
    settings: FlowSettings,
    output: FlowOutput,
    against: Probe | None = None,
    also: Mapping[str, Probe] = NOTHING_ELSE,
    *,
    shape: FlowShape | None = None,
) -> Steps:
    """Draw a run and write what is asked for, all of it or nothing.

    Parameters
    ----------
    run : FlowRun
    settings : FlowSettings
    output : FlowOutput
        ``name.png`` shows the last step, GIF and MP4 all of them, by one scale and one σ. Where
        there is something to compare with, ``name-difference`` shows what each step has more, in
        the same ways, and ``name-curve.png`` how far it departs.
    against : Probe or None
        What the run is compared with; None compares its steps with the first one.
    also : mapping of str to Probe
        Written beside them under these names.
    shape : FlowShape or None
        How the run stands in the .blend, if that is asked for.

    Returns
    -------
    Drawn

    Raises
    ------
    WeightwalkError
        With a message fit to show; nothing is left behind then.
    """
    _check(run, output)
    drawing = Drawing(run, settings, output, against)
    with staging_in(output.directory) as staging:
        for name, probe in also.items():
            yield Progress("files", 0, 1, name)
            write_probe(staging / name, probe)
            drawing.files.append(staging / name)
        yield from drawing.pictures(staging)
        yield from drawing.compare(staging)
        if "blend" in output.formats:
            path = staging / f"{output.name}.blend"
            yield from _save_steps(path, run, settings, shape or FlowShape())
            drawing.files.append(path)
        found = drawing.found
        yield Progress("files", len(drawing.files), len(drawing.files) + 1, REPORT)
        report = flow_report(
            run, settings, output, found, files=drawing.files, versions=drawing.versions
        )
        write_json(staging / REPORT, report)
        files = publish([*drawing.files, staging / REPORT], output.directory)
    return Drawn(run, files, found.comparisons, found.massive, tuple(found.notes), run.skips)


def _check(run: FlowRun, output: FlowOutput) -> None:
    """Find out what is missing before any work is done."""
    pillow()
    moving = [kind for kind in output.formats if kind in {"gif", "mp4"}]
    still = len(moving) < len(output.formats)
    if len(run.probes) < 2 and ("mp4" in moving or not still):
        raise SettingsError(
            f"{moving[-1]}: {printable(run.name)} is one step, which does not move; give two "
            "probe files or more, or export png"
        )
    if "blend" in output.formats:
        require_blender("blend")
    if "mp4" in moving:
        require_blender("mp4")
        from .scene import movie

        movie.check()


def _save_steps(
    path: Path, run: FlowRun, settings: FlowSettings, shape: FlowShape
) -> Generator[Progress, None, None]:
    """Save a scene with the run in it, out of a Blender that we have to ourselves."""
    import bpy

    from .scene.build import clear
    from .scene.files import save
    from .scene.views import look_through_camera

    clear(bpy.context.scene)
    yield from flow_in_scene_steps(bpy.context.scene, run, settings, shape)
    yield Progress("files", 0, 1, path.name)
    look_through_camera(bpy.context.scene)
    save(path)


def flow_in_scene_steps(
    scene: bpy.types.Scene, run: FlowRun, settings: FlowSettings, shape: FlowShape
) -> Generator[Progress, None, bpy.types.Collection]:
    """Stand a run in a scene, in place of an earlier one; see `scene.flow.stand_flow_steps`."""
    from .scene.flow import stand_flow_steps

    return (yield from stand_flow_steps(scene, run, settings, shape))
