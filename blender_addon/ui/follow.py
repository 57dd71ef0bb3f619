"""A training run that goes on → its new checkpoints, appended as they become complete."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import bpy

from ..core.animation import Growing
from ..core.errors import CheckpointError
from ..core.readers import printable
from ..core.series import FINAL, Series, Step
from ..core.watch import Watch
from .job import redraw, sentence_of
from .session import session

INTERVAL = 2.0  # seconds between two looks at the folder
SOON = 0.1  # seconds, where there is more to do


class Following:
    """Looks at a folder with every tick of a timer; what it finds, operators build.

    It holds no reference to anything of Blender's, so that a person may undo, rename and remove
    what they like.

    Parameters
    ----------
    scene : bpy.types.Scene
    targets : sequence of str
        As `find_series` takes them; nothing has to be there yet.
    """

    what = "checkpoint"  # that a step is called before it is there

    def __init__(self, scene: bpy.types.Scene, targets: Sequence[str]) -> None:
        self.active = True
        self.said = f"Looks for {self.what}s."
        self.next: Step | None = None  # which is to be appended
        self._scene = scene.session_uid
        self._targets = tuple(targets)
        self._watch = Watch(targets)
        self._passed: dict[Path, str] = {}
        # A method is a new object each time; Blender knows a timer by its own.
        self.timer = self.tick
        bpy.app.timers.register(self.timer, first_interval=SOON)

    @property
    def series(self) -> Series | None:
        """All complete steps that were found so far."""
        return self._watch.series

    @property
    def scene(self) -> bpy.types.Scene | None:
        """The scene that it builds in, unless it is gone."""
        return next((s for s in bpy.data.scenes if s.session_uid == self._scene), None)

    def is_of(self, scene: bpy.types.Scene) -> bool:
        """Return whether this is what a scene follows, or followed last."""
        return scene.session_uid == self._scene

    def stop(self, why: str) -> None:
        """Look no more."""
        if self.active:
            self.active, self.said = False, why
        if bpy.app.timers.is_registered(self.timer):
            bpy.app.timers.unregister(self.timer)

    def pass_over(self, step: Step, error: Exception) -> None:
        """Do without a step, unless what is wrong would be wrong with the next one, too."""
        if isinstance(error, CheckpointError):
            self._passed[_place(step)] = f"{step.label} was left out: {sentence_of(error)}."
        else:
            self.stop(f"Follows no more: {sentence_of(error)}.")

    def tick(self) -> float | None:
        """Look once; return after how many seconds to look again, None for never."""
        if not self.active:
            return None
        try:
            again = self._look()
        except Exception as error:  # Blender would print a traceback that nobody sees
            self.stop(f"Follows no more: {sentence_of(error)}.")
        redraw(bpy.context)
        return again if self.active else None

    def _look(self) -> float:
        scene = self.scene
        growing = self.growing(scene) if scene else None
        if scene is None:
            self.stop("The scene is gone.")
        elif growing is None and self._loaded(scene) != self._targets:
            self.stop("Follows no more: something else was loaded.")
        elif waits := _waits_for(scene):
            self.said = f"Waits until {waits}."
        else:
            self._watch.poll()
            return self._build(scene, growing)
        return INTERVAL

    def _loaded(self, scene: bpy.types.Scene) -> tuple[str, ...]:
        """Return what the panel has loaded."""
        return scene.weightwalk.run.targets

    def _build(self, scene: bpy.types.Scene, growing: Growing | None) -> float:
        """Have built what there is to build, or say what is waited for."""
        settings = growing.settings if growing else scene.weightwalk.run.settings()
        found = self.series.steps if self.series else ()
        several = settings.view == "time" or settings.delta != "none"
        fresh = self._fresh(growing.steps if growing else ())
        if growing is None and len(found) > several:
            return self._call(scene, "build_run", f"Builds {len(found)} steps.")
        if growing is not None and fresh:
            self.next = fresh[0]
            if settings.view == "time":
                return self._call(scene, "build_run", f"Builds anew, with {fresh[-1].label}.")
            return self._call(scene, "append_step", f"Appends {fresh[0].label}.")
        if self._watch.ended:
            self.stop(f"The training is over, after {len(found)} steps.")
        self.said = " ".join([self._state(len(found), several), *self._left_out()])
        return INTERVAL

    def _state(self, found: int, several: bool) -> str:
        if not self.active:
            return self.said
        if not found:
            return f"Waits for the first {self.what}."
        if found == 1 and several:
            return "1 step so far; waits for the second, for a change takes two."
        return f"{found} {'step' if found == 1 else 'steps'} so far; waits for the next."

    def _left_out(self) -> list[str]:
        """Return a line for each checkpoint that is done without."""
        skips = self.series.skips if self.series else ()
        named = [f"{printable(skip.name)} was left out: {skip.reason}." for skip in skips]
        return [*named, *self._passed.values()][-2:]

    def growing(self, scene: bpy.types.Scene) -> Growing | None:
        """Return what of this run stands in the scene."""
        record = session().record(scene)
        growing = record.series if record else None
        ours = growing is not None and growing.settings.targets == self._targets
        return growing if ours else None

    def _fresh(self, shown: Sequence[Step]) -> list[Step]:
        """Return the steps that are not shown yet; time goes forward."""
        there = {_place(step) for step in shown}
        last = max((step.number or 0 for step in shown), default=-1)
        fresh = []
        for step in self.series.steps if self.series else ():
            place = _place(step)
            if place in there or place in self._passed:
                continue
            if shown and step.number is not None and step.number <= last and step.name != FINAL:
                self._passed[place] = (
                    f"{step.label} became complete after step {last}: build the animation again "
                    "to have it at its place."
                )
                continue
            fresh.append(step)
        return fresh

    def _call(self, scene: bpy.types.Scene, operator: str, said: str) -> float:
        """Have an operator do the work, as if the person had pressed its button."""
        self.said, passed = said, len(self._passed)
        call = getattr(bpy.ops.weightwalk, operator)
        given = {"followed": True} if operator.startswith("build") else {}
        try:
            if bpy.app.background:
                with bpy.context.temp_override(scene=scene):
                    call("EXEC_DEFAULT", **given)
            else:
                window = next(w for w in bpy.context.window_manager.windows if w.scene == scene)
                with bpy.context.temp_override(window=window):
                    call("INVOKE_DEFAULT", **given)
        except RuntimeError as error:  # what it reports, or that it cannot run
            if len(self._passed) == passed:  # that step is named already
                self.stop(str(error).removeprefix("Error: ").strip())
        return SOON


F = TypeVar("F", bound=Following)


def toggled(current: F | None, scene: bpy.types.Scene, begin: Callable[[], F]) -> F:
    """End what is followed in a scene; or begin, in place of what another scene follows."""
    if current is not None and current.active:
        current.stop("")
        if current.is_of(scene):
            return current
    return begin()


def _place(step: Step) -> Path:
    return Path(os.path.abspath(step.path))  # noqa: PTH100 (resolve follows links)


def _waits_for(scene: bpy.types.Scene) -> str:
    """Return what has to end before anything may be built in a scene, or ""."""
    if session().job is not None:
        return "the work under way is done"
    if bpy.app.is_job_running("RENDER"):
        return "the rendering is done"
    windows = bpy.context.window_manager.windows
    if any(window.modal_operators for window in windows):
        return "you have finished what you are doing"
    if any(thing.mode != "OBJECT" for thing in scene.objects):
        return "you have left Edit Mode"
    if not bpy.app.background and all(window.scene != scene for window in windows):
        return "its scene is shown"
    return ""
