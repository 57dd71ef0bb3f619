"""The chosen tensors → surfaces in the scene."""

from __future__ import annotations

from collections.abc import Generator
from typing import ClassVar

import bpy

from .. import pipeline
from ..core.errors import WeightwalkError
from ..core.estimate import Estimate, available_memory, size_text
from ..core.location import Url, is_url
from ..core.model import Model, Progress, steps
from ..core.readers import printable
from ..core.settings import Settings
from ..scene.build import find_root
from .job import Working, fail
from .session import session
from .view import hide_startup_cube, show_overview

# The share of the free memory that a build may take without asking.
SHARE = 0.75


class Build(Working, bpy.types.Operator):
    """Build the chosen tensors; surfaces that are there already are replaced. Esc cancels"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.build"
    bl_label = "Build"
    bl_options = {"UNDO"}  # noqa: RUF012
    title = "Building"
    shares: ClassVar = {"imports": 0.05, "surfaces": 0.55, "place": 0.1, "scene": 0.3}

    sure: bpy.props.BoolProperty(options={"HIDDEN", "SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With a model, and not twice at a time."""
        if not context.scene.weightwalk.path:
            cls.poll_message_set("load a model first")
            return False
        return super().poll(context)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask first where memory may be too small."""
        try:
            weights = context.scene.weightwalk
            # What is not known of a model on another machine yet is asked when it is opened.
            known = not is_url(weights.path) or session().holds(weights.path, weights.stamp)
            question = too_much(weights.estimate()) if known and not self.sure else ""
        except WeightwalkError as error:
            return fail(self, error)
        if question:
            bpy.ops.weightwalk.confirm(
                "INVOKE_DEFAULT", operator="build", question=question, yes="Build anyway"
            )
            return {"CANCELLED"}
        return self.begin(context)

    def work(self, context: bpy.types.Context) -> Generator[Progress, None, tuple[Model, bool]]:
        """Return the steps from the file to the scene."""
        return _build(context.scene.name, context.scene.weightwalk.settings(), sure=self.sure)

    def done(self, context: bpy.types.Context, result: tuple[Model, bool]) -> None:
        """Show the whole of a first build; after that, the view is the person's."""
        model, first = result
        session().forget()
        weights = context.scene.weightwalk
        # They are about the surfaces before.
        weights.reading = weights.copy_text = weights.refine_plan = ""
        if is_url(weights.path):
            weights.tell_cost()
        if first:
            hide_startup_cube(context)
            show_overview(context)
        if model.skips:
            named = f"{printable(model.skips[0].name)} {model.skips[0].reason}"
            self.report({"WARNING"}, f"{len(model.skips)} not shown, such as {named}")
        faces = sum(len(e.part.faces) for e in model.exhibits)
        count = len(model.exhibits)
        self.report({"INFO"}, f"{printable(model.name)}: {count} surfaces, {faces:,} faces")


def _build(
    name: str, settings: Settings, *, sure: bool
) -> Generator[Progress, None, tuple[Model, bool]]:
    weights = bpy.data.scenes[name].weightwalk
    yield from session().open_steps(weights.path, weights.stamp)
    question = too_much(_scene(name).weightwalk.estimate())
    if question and not sure and (bpy.app.background or isinstance(settings.model, Url)):
        how = "say sure=True" if bpy.app.background else "press Build again"
        raise WeightwalkError(f"{question}; choose fewer tensors, or {how}")
    model = yield from steps(settings)
    # Asked for only now: the person may have removed or renamed it meanwhile.
    scene = _scene(name)
    first = find_root(scene) is None
    yield from pipeline.show_steps(scene, model)
    return model, first


def _scene(name: str) -> bpy.types.Scene:
    scene = bpy.data.scenes.get(name)
    if scene is None:
        raise WeightwalkError(f"the scene {name} is gone")
    return scene


def too_much(found: Estimate) -> str:
    """Return the question whether to build what may not fit into memory, or nothing."""
    free = available_memory()
    if free is None or found.memory <= SHARE * free:
        return ""
    return f"This needs about {size_text(found.memory)} of memory, and {size_text(free)} are free"
