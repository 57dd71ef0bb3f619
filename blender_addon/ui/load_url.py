"""A model on another machine: its headers are fetched, and later the bytes of what is built."""

from __future__ import annotations

from collections.abc import Generator

import bpy

from ..core.errors import WeightwalkError
from ..core.location import Location, cached_model, is_hub_name, is_url, location
from ..core.model import Progress
from ..core.readers import Checkpoint, printable
from .job import Working, idle
from .load import take
from .places import OFFLINE, located, opening

ASKED = "give a URL (https://…, hf://org/name), or the name of a model on the hub: org/name"


class LoadUrl(Working, bpy.types.Operator):
    """Fetch the headers of a model on another machine, and see what is in it"""  # noqa: D400 (a tooltip)

    bl_idname = "weightwalk.load_url"
    bl_label = "Load Model Weights"
    bl_options = {"UNDO"}  # noqa: RUF012
    title = "Loading"

    url: bpy.props.StringProperty(name="URL", options={"SKIP_SAVE"})
    build: bpy.props.BoolProperty(default=True, options={"SKIP_SAVE"})

    def work(self, _context: bpy.types.Context) -> Generator[Progress, None, Checkpoint]:
        """Return the steps that open it."""
        return opening(_asked(self.url))

    def done(self, context: bpy.types.Context, result: Checkpoint) -> None:
        """List its tensors."""
        take(self, context, result, build=self.build)


class FromWeb(bpy.types.Operator):
    """Load a model by its URL or its name on the Hugging Face hub; of its weights, only what is built is fetched"""  # noqa: D400, E501 (a tooltip)

    bl_idname = "weightwalk.from_web"
    bl_label = "From the Web"
    bl_options = {"INTERNAL"}  # noqa: RUF012

    address: bpy.props.StringProperty(
        name="URL or name",
        description="https://… of a file, hf://org/name, or for short org/name",
    )
    build: bpy.props.BoolProperty(
        name="Build at once",
        description="Fetch and build all weights, unless memory may be too small; "
        "otherwise choose tensors first",
        default=False,
    )

    @classmethod
    def poll(cls, _context: bpy.types.Context) -> bool:
        """Not while a model is built."""
        return idle(cls)

    def invoke(self, context: bpy.types.Context, _event: bpy.types.Event) -> set[str]:
        """Ask which, where Blender may go online."""
        if not bpy.app.online_access:
            self.report({"ERROR"}, f"a model from the web: {OFFLINE}")
            return {"CANCELLED"}
        return context.window_manager.invoke_props_dialog(self, width=420, confirm_text="Load")

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw the question."""
        row = self.layout.row()
        row.activate_init = True  # to be typed into at once
        row.prop(self, "address", text="", placeholder="https://…, hf://org/name or org/name")
        self.layout.prop(self, "build")

    def execute(self, _context: bpy.types.Context) -> set[str]:
        """Load it."""
        how = "EXEC_DEFAULT" if bpy.app.background else "INVOKE_DEFAULT"
        try:
            bpy.ops.weightwalk.load_url(how, url=self.address, build=self.build)
        except RuntimeError as error:  # what it reports
            self.report({"ERROR"}, str(error).removeprefix("Error: ").strip())
            return {"CANCELLED"}
        return {"FINISHED"}


def _asked(text: str) -> Location:
    """Return where a model is that a person has named.

    Raises
    ------
    WeightwalkError
        This is no URL and no name, or Blender may not go online.
    """
    text = text.strip()
    if not is_url(text):
        if "/" not in text or not is_hub_name(text):
            raise WeightwalkError(f"{printable(text)}: {ASKED}" if text else ASKED)
        found = cached_model(text)
        return found or located(f"hf://{text}")
    return located(text) if not text.lower().startswith("file://") else location(text)
