"""What the panel of a training run shows, and the request that it stands for."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy

from ..core.errors import WeightwalkError
from ..core.estimate import Estimate, size_text
from ..core.settings import (
    SLAB_FACES,
    SLAB_GRID,
    VOLUME_FACES,
    VOLUME_GRID,
    AnimationOutput,
    AnimationSettings,
    FlightSettings,
    Settings,
    SurfaceSettings,
    TimelineSettings,
)
from .places import absolute
from .session import session


def _view_changed(run: TrainingRun, _context: bpy.types.Context) -> None:
    """Through time, changes are what there is to see, and a field is a volume."""
    weights, time = run.id_data.weightwalk, run.view == "time"
    if time and run.delta == "none":
        run.delta = "first"
    old, new = (SLAB_GRID, VOLUME_GRID) if time else (VOLUME_GRID, SLAB_GRID)
    if weights.kind == "slab":
        for axis in ("rows", "cols"):
            if getattr(weights, axis) == old:
                setattr(weights, axis, new)
        old, new = (SLAB_FACES, VOLUME_FACES) if time else (VOLUME_FACES, SLAB_FACES)
        if weights.faces == old:
            weights.faces = new
    weights.cost_changed()


def _choice_changed(run: TrainingRun, _context: bpy.types.Context) -> None:
    run.id_data.weightwalk.cost_changed()


def _typed(run: TrainingRun, _context: bpy.types.Context) -> None:
    """Load what was typed or dropped into the field of the folder."""
    if run.folder and run.folder != run.loaded:
        how = "EXEC_DEFAULT" if bpy.app.background else "INVOKE_DEFAULT"
        with suppress(RuntimeError):  # it has said why
            bpy.ops.weightwalk.load_run(how, directory=run.folder)
        run.folder = run.loaded


def _stops(_run: TrainingRun, context: bpy.types.Context, _text: str) -> list[str]:
    record = session().record(context.scene)
    return [stop.label for stop in record.stops] if record else []


def _stop(name: str, description: str) -> Any:
    """Return the name of a stop; what stands in the scene is offered while it is typed."""
    return bpy.props.StringProperty(
        name=name, description=description, search=_stops, search_options={"SUGGESTION"}
    )


class TrainingRun(bpy.types.PropertyGroup):
    """A series of checkpoints, and how it becomes an animation."""

    folder: bpy.props.StringProperty(
        name="Folder",
        description="The folder of a training run, with checkpoint-500, checkpoint-1000 and so on; "
        "or a pattern such as run/step-*.safetensors",
        subtype="DIR_PATH",
        update=_typed,
    )
    loaded: bpy.props.StringProperty()
    found: bpy.props.StringProperty()  # JSON: the names of the steps
    left_out: bpy.props.StringProperty()  # a line for each checkpoint that cannot be used
    cost: bpy.props.StringProperty()

    view: bpy.props.EnumProperty(
        name="Show as",
        description="How the training is seen",
        items=[
            ("iso", "Surfaces", "A surface for every tensor at every step; each is seen for its "
             "own frames, like the pictures of a film"),
            ("relief", "Relief", "Every tensor is a terrain that flows from step to step: as "
             "high as the weights are large"),
            ("time", "Through Time", "One solid for each tensor, with the steps one behind the "
             "other: every weight that moved draws a line through it. It stands still"),
        ],
        update=_view_changed,
    )  # fmt: skip
    delta: bpy.props.EnumProperty(
        name="Values",
        description="What of the weights is shown",
        items=[
            ("none", "Weights", "The weights themselves, as they are at each step"),
            ("first", "Change from Start", "How far each weight has moved since the first step: "
             "red upward, blue downward"),
            ("previous", "Change by Step", "How far each weight has moved since the step before: "
             "red upward, blue downward"),
        ],
        update=_choice_changed,
    )  # fmt: skip
    frames: bpy.props.IntProperty(
        name="Frames a step",
        description="How long each checkpoint is seen: 12 frames are half a second of 24",
        default=12, min=1, max=10_000, update=_choice_changed,
    )  # fmt: skip
    start: bpy.props.IntProperty(
        name="Start frame", description="The first frame of the first step",
        default=1, min=0, max=1_000_000,
    )  # fmt: skip
    fps: bpy.props.IntProperty(
        name="Frames a second", description="How fast it plays; the scene's own rate is set to it",
        default=24, min=1, max=240, update=_choice_changed,
    )  # fmt: skip
    fly: bpy.props.BoolProperty(
        name="Fly the camera",
        description="Make a camera that flies through the layers while the training goes on. "
        "Otherwise it stands still and sees everything",
    )
    fly_from: _stop("From", "Where the flight begins, such as layer 0; empty for the first")
    fly_to: _stop("To", "Where the flight ends, such as layer 5; empty for the last")
    speed: bpy.props.FloatProperty(
        name="Speed",
        description="Metres a second; a layer is some 10 metres deep. At 0 the camera arrives with "
        "the last frame",
        default=0.0, min=0.0, max=10_000.0,
    )  # fmt: skip
    look_at: _stop("Look at", "What the camera keeps in view, such as layer 3; empty: straight on")

    formats: bpy.props.EnumProperty(
        name="Files",
        description="What is written",
        items=[
            ("glb", "GLB", "The animation in 3D, for the web and other programs", 1),
            ("gif", "GIF", "A film without sound that plays anywhere, in 960 × 540", 2),
            ("mp4", "MP4", "A film, smaller and finer than a GIF, in 960 × 540", 4),
            ("frames", "Frames", "A PNG for every frame, for other programs", 8),
            ("dataset", "Data Set", "Every shape of every step as arrays, for programs that "
             "learn from them; into a folder of its own", 16),
        ],
        options={"ENUM_FLAG"},
        default={"glb", "gif"},
    )  # fmt: skip
    camera: bpy.props.EnumProperty(
        name="Camera",
        description="What the film shows",
        items=[
            ("scene", "Scene's Camera", "What Blender would render: the flying one, if there is "
             "one, or your own"),
            ("overview", "Overview", "The whole model, from Weightwalk's own camera"),
        ],
    )  # fmt: skip

    @property
    def targets(self) -> tuple[str, ...]:
        """What `find_series` takes; empty where no run is loaded."""
        return (self.loaded,) if self.loaded else ()

    @property
    def names(self) -> list[str]:
        """The names of the steps that were found when the run was loaded."""
        return json.loads(self.found) if self.found else []

    def clear(self) -> None:
        """Forget the run."""
        self.loaded = self.found = self.left_out = self.cost = ""
        self.folder = ""

    @property
    def sign_given(self) -> str:
        """What of the Shape panel gives way to the sign that a change has; "" where nothing."""
        weights = self.id_data.weightwalk
        if self.delta == "none":
            return ""
        if weights.pool == "rms":
            return "A change has a sign, which the root mean square loses: the mean is taken."
        return "" if weights.signed else "A change has a sign: both signs are shown."

    def settings(self) -> AnimationSettings:
        """Return the request that the panels stand for; raises `SettingsError`."""
        weights = self.id_data.weightwalk
        build: Settings = weights.settings()
        field = build.field
        if self.view == "time":
            field = replace(field, kind="time")
        if self.sign_given:
            pool = "mean" if field.pool == "rms" else field.pool
            field = replace(field, pool=pool, magnitude=False)
        # A relief is not cut.
        surface = SurfaceSettings() if self.view == "relief" else build.surface
        folder = absolute(self.loaded)
        speed = float(f"{self.speed:.6g}") or None
        flight = FlightSettings(self.fly_from, self.fly_to, speed, self.look_at)
        return AnimationSettings(
            (str(folder),),
            replace(build, model=_holder(folder), field=field, surface=surface),
            self.view,
            self.delta,
            TimelineSettings(self.frames, self.start, self.fps, flight if self.fly else None),
        )

    def estimate(self) -> Estimate:
        """Estimate what all steps will cost; raises `WeightwalkError` where nothing can be built.

        A solid through time is one for all steps; of the others there may be one at each.
        """
        weights, steps = self.id_data.weightwalk, max(len(self.names), 1)
        self.settings()
        each = weights.estimate()
        shapes = 1 if self.view == "time" else steps
        return replace(
            each,
            faces=each.faces * shapes,
            seconds=each.seconds * steps,
            bytes_read=each.bytes_read * steps,
            memory=each.memory * shapes,
        )

    def tell_cost(self) -> None:
        """Say what building the run will cost."""
        if not self.loaded:
            return
        steps = len(self.names)
        try:
            found = self.estimate()
        except WeightwalkError as error:
            self.cost = str(error)
            return
        seconds = steps * self.frames / self.fps
        film = "At" if self.view == "time" else f"{seconds:.1f} s, at"
        self.cost = f"{film} most {size_text(found.memory)} of memory"

    def output(self) -> AnimationOutput:
        """Return what the panel's files are; raises `SettingsError`."""
        folder = absolute(self.id_data.weightwalk.export_folder)
        moving = tuple(f for f in ("glb", "gif", "mp4", "frames") if f in self.formats)
        dataset = folder / "dataset" if "dataset" in self.formats else None
        return AnimationOutput(folder, moving, dataset=dataset)


def _holder(target: Path) -> Path:
    """Return the folder that holds a series: itself, or what a pattern's fixed part lies in."""
    return target if target.is_dir() else target.parent
