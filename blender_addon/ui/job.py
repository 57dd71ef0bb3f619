"""Operators whose work is a generator of steps: in the window a step at a time, else at one go."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, ClassVar

import bpy

from ..core.errors import WeightwalkError
from ..core.model import Progress
from ..core.readers import printable
from ..pipeline import drain
from .session import Job, session

BUSY = "something is being built: wait for it, or press Cancel"


def idle(operator: Any) -> bool:
    """Return whether no work is under way, and say so in the operator's tooltip."""
    if session().job is None:
        return True
    operator.poll_message_set(BUSY)
    return False


class Working:
    """Base of operators that work for longer than a blink.

    A subclass says what the work is (`work`) and what follows from its result (`done`). What it
    raises as a `WeightwalkError` is shown to the person; the work takes back what it had made.
    """

    title = ""
    _job: Job | None = None
    # What share of the time each stage takes, in their order; with none, a stage is all.
    shares: ClassVar[Mapping[str, float]] = {}

    def work(self, context: bpy.types.Context) -> Generator[Progress, None, Any]:
        """Return the work; raises `WeightwalkError` where it cannot begin."""
        raise NotImplementedError

    def done(self, context: bpy.types.Context, result: Any) -> None:
        """Use what the work gave."""

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """One piece of work at a time."""
        return idle(cls)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Begin, and go on with each tick of a timer."""
        return self.begin(context)

    def begin(self, context: bpy.types.Context) -> set[str]:
        """Start the work in the window; in the background, do it all."""
        if bpy.app.background or context.window is None:
            return self.execute(context)
        status = self.start(context)
        if status == {"RUNNING_MODAL"}:
            context.window_manager.modal_handler_add(self)
        return status

    def start(self, context: bpy.types.Context) -> set[str]:
        """Start the work of an operator that has its handler."""
        if session().job is not None:  # begun in another window, while a surface was picked
            self.report({"ERROR"}, BUSY)
            return {"CANCELLED"}
        try:
            job = Job(self.title, self.work(context), self.shares)
        except Exception as error:
            return fail(self, error)
        manager, workspace = context.window_manager, context.workspace
        timer = manager.event_timer_add(0.01, window=context.window)
        workspace.status_text_set(f"{self.title}: Esc cancels")

        def tidy() -> None:
            manager.event_timer_remove(timer)
            # The person may have gone to another workspace.
            for each in bpy.data.workspaces:
                each.status_text_set(None)

        job.tidy = tidy
        self._job = session().job = job
        session().notice = ""
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Do all the work at one go."""
        try:
            self.done(context, drain(self.work(context)))
        except Exception as error:
            return fail(self, error)
        return {"FINISHED"}

    def modal(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Go on, stop, or let the person do what they like meanwhile."""
        job = self._job
        if job is None or job is not session().job:
            return {"CANCELLED"}
        if event.type == "ESC" and event.value == "PRESS":
            job.stop(f"{self.title}: cancelled")
        if job.stopped:
            self.cancel(context)
            self.report({"INFO"}, job.stopped)
            return {"CANCELLED"}
        if event.type != "TIMER":
            # While the scene is made, what the person does waits for the moment that it takes.
            undo = event.type == "Z" and (event.ctrl or event.oskey)
            return {"RUNNING_MODAL" if undo or job.progress.stage == "scene" else "PASS_THROUGH"}
        try:
            ready, result = job.advance()
        except Exception as error:
            self.cancel(context)
            return fail(self, error)
        if not ready:
            redraw(context)
            return {"RUNNING_MODAL"}
        self.cancel(context)
        try:
            self.done(context, result)
        except Exception as error:
            fail(self, error)
        # The work is in the scene, whatever came after it: it needs its undo step.
        return {"FINISHED"}

    def cancel(self, context: bpy.types.Context) -> None:
        """Tidy up; Blender calls it, too, when the window or the file is closed."""
        if self._job is not None:
            session().end_job(self._job)
            self._job = None
            redraw(context)


class WorkingOnSurfaces(Working):
    """Base of those that need surfaces in the scene."""

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With something built."""
        if session().record(context.scene) is None:
            cls.poll_message_set("build a model first")
            return False
        return super().poll(context)


def fail(operator: Any, error: Exception) -> set[str]:
    """Tell the person what is wrong."""
    operator.report({"ERROR"}, sentence_of(error))
    return {"CANCELLED"}


def sentence_of(error: Exception) -> str:
    """Return what is wrong, in words for people."""
    if isinstance(error, WeightwalkError):
        said = str(error)
    elif isinstance(error, MemoryError):
        said = "there is not enough memory for this"
    elif isinstance(error, OSError):
        said = f"{error.filename or 'the disk'}: {error.strerror or error}"
    else:
        said = f"{type(error).__name__}: {error}"
    return printable(said, 2000)


def redraw(context: bpy.types.Context) -> None:
    """Draw the sidebars again, and not the scene, which can take long."""
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type == "UI":
                        region.tag_redraw()


class Confirm(bpy.types.Operator):
    """Ask before something that cannot be taken back, or that may be too much"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.confirm"
    bl_label = "Are you sure?"
    bl_options = {"INTERNAL"}  # noqa: RUF012

    operator: bpy.props.StringProperty(options={"SKIP_SAVE"})
    question: bpy.props.StringProperty(options={"SKIP_SAVE"})
    yes: bpy.props.StringProperty(options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask."""
        return context.window_manager.invoke_confirm(
            self, event, title=f"{self.yes}?", message=self.question,
            confirm_text=self.yes, icon="WARNING",
        )  # fmt: skip

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Do it."""
        try:
            getattr(bpy.ops.weightwalk, self.operator)("INVOKE_DEFAULT", sure=True)
        except RuntimeError as error:  # what the operator reports
            self.report({"ERROR"}, str(error).removeprefix("Error: ").strip())
            return {"CANCELLED"}
        return {"FINISHED"}


class Cancel(bpy.types.Operator):
    """Stop what is being built; the scene is then as it was before"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.cancel"
    bl_label = "Cancel"
    bl_options = {"INTERNAL"}  # noqa: RUF012

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Ask the work to stop."""
        job = session().job
        if job is not None:
            job.stop(f"{job.title}: cancelled")
        return {"FINISHED"}
