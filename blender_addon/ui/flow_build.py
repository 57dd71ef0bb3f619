"""Probe files → a terrain or a volume in the scene, or pictures."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import ClassVar

import bpy

from .. import flow
from ..core.errors import WeightwalkError
from ..core.flow.run import FlowRun, find_run_steps
from ..core.flow.settings import FlowOutput, FlowSettings, FlowShape
from ..core.flow.standing import FlowRecord
from ..core.model import Progress
from ..core.readers import printable
from ..files import REPORT
from ..scene.flow import flow_record
from .flow_follow import FlowFollowing
from .job import Working
from .replacing import Replacing, require_folder
from .session import session
from .training_run import told_to
from .view import hide_startup_cube, show_flow

Work = Generator[Progress, None, tuple[FlowRun, bool]]


class WithFlow(Working):
    """Base of those that need probe files."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With probe files."""
        if not context.scene.weightwalk.flow.loaded:
            cls.poll_message_set("load a probe file first")
            return False
        return super().poll(context)


class BuildFlow(WithFlow, bpy.types.Operator):
    """Build what the layers put out; a flow that stands there already is replaced. Esc cancels"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.build_flow"
    bl_label = "Build Flow"
    bl_options = {"UNDO"}  # noqa: RUF012
    title = "Building the flow"
    shares: ClassVar = {"read": 0.2, "values": 0.2, "surfaces": 0.2, "scene": 0.4}

    followed: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def work(self, context: bpy.types.Context) -> Work:
        """Return the steps from the files to the scene."""
        asked, following = context.scene.weightwalk.flow, session().flow_following
        if self.followed and following is not None and following.series is not None:
            work = _build(context.scene.name, *_followed(context.scene, following))
            return told_to(following, work)
        return _build(context.scene.name, asked.targets, asked.settings(), asked.shape())

    def done(self, context: bpy.types.Context, result: tuple[FlowRun, bool]) -> None:
        """Show the whole of a first build of its kind; after that, the view is the person's."""
        run, first = result
        asked = context.scene.weightwalk.flow
        asked.hold(asked.targets, run)
        if self.followed and session().flow_following is not None:
            session().flow_following.unread = len(run.skips)
        session().forget()
        if first:
            hide_startup_cube(context)
            show_flow(context)
        if run.skips:
            named = f"{printable(run.skips[0].name)}: {run.skips[0].reason}"
            self.report({"WARNING"}, f"{len(run.skips)} left out, such as {named}")
        self.report({"INFO"}, f"{printable(run.name)}: {_count(len(run.probes), 'step')}")


def _followed(
    scene: bpy.types.Scene, following: FlowFollowing
) -> tuple[list[str], FlowSettings, FlowShape]:
    """Return what is to be built of a training: as it stands, or else as the panel asks."""
    # Only what is complete: another file may be growing beside it.
    files = [str(step.path) for step in following.series.steps]
    held = following.growing(scene) or scene.weightwalk.flow
    if isinstance(held, FlowRecord):
        return files, held.settings, held.shape
    return files, held.settings(), held.shape()


def _build(name: str, targets: Sequence[str], settings: FlowSettings, shape: FlowShape) -> Work:
    run = yield from find_run_steps(targets)
    # Asked for only now: the person may have removed or renamed it meanwhile.
    scene = bpy.data.scenes.get(name)
    if scene is None:
        raise WeightwalkError(f"the scene {name} is gone")
    held = flow_record(scene)
    first = held is None or held.shape.view != shape.view
    yield from flow.flow_in_scene_steps(scene, run, settings, shape)
    return run, first


class SaveFlow(Replacing, WithFlow, bpy.types.Operator):
    """Write the picture of the last step, a film of all steps, where they change, and a report"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.save_flow"
    bl_label = "Save Pictures"
    title = "Drawing"
    shares: ClassVar = {"read": 0.1, "pictures": 0.4, "files": 0.2, "comparison": 0.3}

    sure: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    def written(self, context: bpy.types.Context) -> list[Path]:
        """Return where the files will be."""
        output = context.scene.weightwalk.flow.files()
        name = output.name
        names = [f"{name}.{kind}" for kind in output.formats]
        names += [f"{name}-difference.{kind}" for kind in {"png", *output.formats}]
        names += [f"{name}-curve.png", REPORT]
        return [output.directory / each for each in names]

    def work(self, context: bpy.types.Context) -> Generator[Progress, None, flow.Drawn]:
        """Return the steps that write the files."""
        require_folder(context)
        asked = context.scene.weightwalk.flow
        return _draw(asked.targets, asked.settings(), asked.files())

    def done(self, context: bpy.types.Context, result: flow.Drawn) -> None:
        """Name the files, and the layer at which it departs."""
        names = ", ".join(path.name for path in result.files)
        self.report({"INFO"}, f"{result.files[0].parent}: {names}")
        for what, comparison in result.comparisons[-1:]:
            self.report({"INFO"}, f"{printable(what)}: {comparison.said}")


def _draw(
    targets: Sequence[str], settings: FlowSettings, output: FlowOutput
) -> Generator[Progress, None, flow.Drawn]:
    run = yield from find_run_steps(targets)
    return (yield from flow.draw_steps(run, settings, output))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
