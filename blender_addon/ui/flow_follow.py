"""A training that writes probe files → its flow, built anew as they become complete."""

from __future__ import annotations

import os
from pathlib import Path

import bpy

from ..core.flow.standing import FlowRecord
from ..scene.flow import flow_record
from .follow import INTERVAL, Following, toggled
from .session import session


class FlowFollowing(Following):
    """Looks at a folder with every tick of a timer; with a new probe file, the flow is built anew.

    The scale stays that of the first step.

    Attributes
    ----------
    unread : int
        How many of the files found so far could not be read when it was built.
    """

    what = "probe file"
    unread = 0

    def _loaded(self, scene: bpy.types.Scene) -> tuple[str, ...]:
        return scene.weightwalk.flow.targets

    def growing(self, scene: bpy.types.Scene) -> FlowRecord | None:
        """Return what of this folder stands in the scene."""
        record = flow_record(scene)
        folders = {str(Path(file).parent) for file in record.files} if record else set()
        return record if folders == {os.path.abspath(self._targets[0])} else None  # noqa: PTH100

    def _build(self, scene: bpy.types.Scene, growing: FlowRecord | None) -> float:
        """Have built what there is to build, or say what is waited for."""
        found = self.series.steps if self.series else ()
        if len(found) - self.unread > (len(growing.files) if growing else 0):
            more = found[-1].label
            return self._call(scene, "build_flow", f"Builds the flow, up to {more}.")
        if self._watch.ended:
            self.stop(f"The training is over, after {len(found)} steps.")
        self.said = " ".join([self._state(len(found), several=False), *self._left_out()])
        return INTERVAL


class FollowFlow(bpy.types.Operator):
    """Watch the folder while the training goes on: with each new probe file the flow is built anew. Press again to stop"""  # noqa: D400, E501 (a tooltip)

    bl_idname = "weightwalk.follow_flow"
    bl_label = "Follow the Training"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """With a folder of probe files."""
        if not context.scene.weightwalk.flow.grows:
            cls.poll_message_set("load the folder into which the training writes probe files")
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin or end."""
        scene = context.scene
        session().flow_following = toggled(
            session().flow_following,
            scene,
            lambda: FlowFollowing(scene, scene.weightwalk.flow.targets),
        )
        return {"FINISHED"}
