"""A training run → an animation in the scene; then more of it, or all anew."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any, ClassVar

import bpy

from .. import animate
from ..core.animation import Animation
from ..core.errors import WeightwalkError
from ..core.model import Progress
from ..core.readers import printable
from ..core.series import Series
from ..core.settings import AnimationSettings
from ..scene.ours import find_root
from .build import too_much
from .follow import Following, toggled
from .job import Working, WorkingOnSurfaces, fail
from .preferences import cache_folder
from .run_load import list_steps, list_tensors
from .session import session
from .view import hide_startup_cube, show_overview

Work = Generator[Progress, None, tuple[Animation, bool]]


class BuildRun(Working, bpy.types.Operator):
    """Build all steps; what stands in the scene already is replaced. Esc cancels"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.build_run"
    bl_label = "Build Animation"
    bl_options = {"UNDO"}  # noqa: RUF012
    title = "Building"
    shares: ClassVar = {
        "series": 0.03, "open": 0.02, "imports": 0.03, "fields": 0.3, "surfaces": 0.3,
        "place": 0.02, "scene": 0.3,
    }  # fmt: skip

    sure: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"})
    followed: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With a training run."""
        if not context.scene.weightwalk.run.loaded:
            cls.poll_message_set("load a training run first")
            return False
        return super().poll(context)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask first where memory may be too small; nobody is asked while a run is followed."""
        if self.sure or self.followed:
            return self.begin(context)
        try:
            question = too_much(context.scene.weightwalk.run.estimate())
        except WeightwalkError as error:
            return fail(self, error)
        if question:
            bpy.ops.weightwalk.confirm(
                "INVOKE_DEFAULT", operator="build_run", question=question, yes="Build anyway"
            )
            return {"CANCELLED"}
        return self.begin(context)

    def work(self, context: bpy.types.Context) -> Work:
        """Return the steps from the files to the scene."""
        run, following = context.scene.weightwalk.run, session().following
        if self.followed and following is not None and following.series is not None:
            standing = following.growing(context.scene)
            settings = standing.settings if standing else run.settings()
            work = _build(context, settings, following.series)
            return told_to(following, work)
        if not self.sure and bpy.app.background:
            found = run.estimate() if context.scene.weightwalk.tensors else None
            if found and (question := too_much(found)):
                raise WeightwalkError(f"{question}; choose fewer tensors, or say sure=True")
        return _build(context, run.settings())

    def done(self, context: bpy.types.Context, result: tuple[Animation, bool]) -> None:
        """Show the whole of a first build; after that, the view is the person's."""
        animation, first = result
        stand(context, first=first)
        _note(context, animation)
        if animation.settings.delta != "none" and animation.settings.view != "time":
            # At the first step nothing has changed: there is nothing to see yet.
            context.scene.frame_set(animation.timeline.first(min(1, len(animation.steps) - 1)))
        if animation.skips:
            named = f"{printable(animation.skips[0].name)} {animation.skips[0].reason}"
            self.report({"WARNING"}, f"{len(animation.skips)} not shown, such as {named}")
        what = f"{len(animation.steps)} steps"
        if animation.settings.view != "time":
            what += f", {animation.timeline.seconds:.1f} s; Space plays them"
        self.report({"INFO"}, f"{printable(animation.name)}: {what}")


def _note(context: bpy.types.Context, animation: Animation) -> None:
    """Note the steps that a run has by now, and the tensors, if there were none before."""
    weights = context.scene.weightwalk
    loaded = weights.run.loaded
    if weights.run.targets != animation.settings.targets:
        return
    if not weights.tensors:
        list_tensors(context, animation.name, animation.steps[0])
        weights.run.loaded = weights.run.folder = loaded
    list_steps(weights.run, animation.steps)


def stand(context: bpy.types.Context, *, first: bool) -> None:
    """Forget what was known of surfaces before, and show the whole of a first build."""
    session().forget()
    weights = context.scene.weightwalk
    weights.reading = weights.copy_text = weights.refine_plan = ""
    if first:
        hide_startup_cube(context)
        show_overview(context)


def _build(
    context: bpy.types.Context, settings: AnimationSettings, series: Series | None = None
) -> Work:
    """Build a series that was found already, or is to be found."""
    scene, cache = context.scene, cache_folder(context)
    first = find_root(scene) is None
    render = scene.render
    aspect = render.resolution_x / render.resolution_y
    steps = animate.series_in_scene_steps(scene, settings, cache, aspect, series=series)
    return _with_first(steps, first)


def _with_first(steps: Generator[Progress, None, Animation], first: bool) -> Work:
    animation = yield from steps
    return animation, first


def told_to(following: Following, work: Generator[Progress, None, Any]) -> Any:
    """Do some work, and let who follows the training know how it ended if not well."""
    try:
        return (yield from work)
    except GeneratorExit:
        if not session().notice:  # not an undo, after which it goes on
            following.stop("Follows no more: you cancelled it.")
        raise
    except Exception as error:
        if following.next is not None:
            following.pass_over(following.next, error)
        else:
            following.stop(f"Follows no more: {error}.")
        raise


class AppendStep(WorkingOnSurfaces, bpy.types.Operator):
    """Append a checkpoint to the animation"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.append_step"
    bl_label = "Append Step"
    bl_options = {"UNDO", "INTERNAL"}  # noqa: RUF012
    title = "Appending"
    shares: ClassVar = {"open": 0.05, "imports": 0.05, "fields": 0.3, "surfaces": 0.3, "scene": 0.3}

    def work(self, context: bpy.types.Context) -> Generator[Progress, None, Animation]:
        """Return the steps from the file to the scene."""
        following, record = session().following, session().record(context.scene)
        if following is None or following.next is None or record.series is None:
            raise WeightwalkError("no training run is followed")
        cache = cache_folder(context)
        steps = animate.grow_in_scene_steps(context.scene, record.series, following.next, cache)
        return told_to(following, steps)

    def done(self, context: bpy.types.Context, result: Animation) -> None:
        """Say so; the view is the person's."""
        session().forget()
        _note(context, result)
        self.report({"INFO"}, f"{result.steps[-1].label} was appended")


class Follow(bpy.types.Operator):
    """Watch the folder while the training goes on: each new checkpoint is appended to the animation. Press again to stop"""  # noqa: D400, E501 (a tooltip)

    bl_idname = "weightwalk.follow"
    bl_label = "Follow the Training"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With a training run, loaded or in the scene."""
        if not followable(context.scene):
            cls.poll_message_set("load a training run first")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin or end."""
        scene = context.scene
        session().following = toggled(
            session().following, scene, lambda: Following(scene, followable(scene))
        )
        return {"FINISHED"}


def followable(scene: bpy.types.Scene) -> tuple[str, ...]:
    """Return the targets of the run that is loaded or stands in a scene; none of neither."""
    record = session().record(scene)
    standing = record.series.settings.targets if record and record.series else ()
    return scene.weightwalk.run.targets or standing


def unlocked(scene: bpy.types.Scene) -> int:
    """Return how many steps have come since unit, level and colours were found."""
    record = session().record(scene)
    if record is None or record.series is None:
        return 0
    series = record.series
    return sum(step.name not in series.lock.over for step in series.steps)


class Relock(WorkingOnSurfaces, bpy.types.Operator):
    """Find unit, level and colours over all steps again, and build them all anew"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.relock"
    bl_label = "Relock"
    bl_options = {"UNDO"}  # noqa: RUF012
    title = "Relocking"
    shares = BuildRun.shares

    sure: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With steps that have come later."""
        if not super().poll(context):
            return False
        if not unlocked(context.scene):
            cls.poll_message_set("unit, level and colours are those of all steps already")
            return False
        return True

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask first where steps would be lost: a training may keep its last checkpoints only."""
        gone = [] if self.sure else _gone(context.scene)
        if gone:
            question = f"{_named(gone)} no longer on the disk and would be lost"
            bpy.ops.weightwalk.confirm(
                "INVOKE_DEFAULT", operator="relock", question=question, yes="Relock anyway"
            )
            return {"CANCELLED"}
        return self.begin(context)

    def work(self, context: bpy.types.Context) -> Work:
        """Return the steps from the files to the scene."""
        gone = _gone(context.scene)
        if gone and not self.sure:
            raise WeightwalkError(f"{_named(gone)} no longer on the disk and would be lost")
        held = session().record(context.scene).series
        steps = tuple(step for step in held.steps if step.label not in gone)
        if not steps:
            raise WeightwalkError("none of the checkpoints is on the disk any more")
        folder = Path(held.settings.targets[0])
        return _build(context, held.settings, Series(held.name, folder, steps, ()))

    def done(self, context: bpy.types.Context, result: tuple[Animation, bool]) -> None:
        """Say over what they were found."""
        stand(context, first=False)
        self.report({"INFO"}, f"unit, level and colours are those of {len(result[0].steps)} steps")


def _gone(scene: bpy.types.Scene) -> list[str]:
    held = session().record(scene).series
    return [step.label for step in held.steps if not step.path.exists()]


def _named(steps: list[str]) -> str:
    more = f" and {len(steps) - 3} more" * (len(steps) > 3)
    are = "is" if len(steps) == 1 else "are"
    return f"{', '.join(map(printable, steps[:3]))}{more} {are}"
