"""What a training run shows: what is locked for all its steps, and who is on stage when."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .color import ColorScale
from .exhibit import Exhibit, place
from .layout import Layout, Placement, Stop
from .plans import Skip
from .relief import Relief
from .series import Step
from .settings import AnimationSettings
from .stages import Stages
from .store import Store
from .surfaces import Surface
from .timeline import Timeline


@dataclass(frozen=True)
class Unit:
    """How much one σ of a tensor is, in the tensor's own unit."""

    name: str
    shape: tuple[int, ...]
    sigma: float


@dataclass(frozen=True)
class Level:
    """Where a field is cut, in σ, where it stands, its first tensor's shape and its planes."""

    name: str
    level: float
    placement: Placement
    shape: tuple[int, ...]
    planes: tuple[str, ...]


@dataclass(frozen=True)
class Lock:
    """What is the same at all steps, so that any two frames can be compared.

    Attributes
    ----------
    over : tuple of str
        Names of the steps over which it was found.
    units : tuple of Unit
        Of each tensor.
    levels : tuple of Level
        Of each field.
    scale : ColorScale
    height : float
        Metres that one σ stands for in a relief.
    grids : tuple of str
        How tensors were pooled when they were saved, if they were.
    """

    over: tuple[str, ...]
    units: tuple[Unit, ...]
    levels: tuple[Level, ...]
    scale: ColorScale
    height: float
    grids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Actor:
    """A surface and when it is on stage.

    Attributes
    ----------
    name : str
        Unique: the surface's name and the step's.
    step : int
        Index of the step that it is of; -1 for one that is of all.
    shown : tuple of bool, shape (steps,)
    mesh : str
        Actors with the same have the same mesh: their tensor did not change.
    shell : Surface
        The surface without its arrays, which are empty.
    faces, vertices, clipped : int
        Counts; `clipped` vertices have a value beyond the colour scale.
    """

    name: str
    step: int
    shown: tuple[bool, ...]
    mesh: str
    shell: Surface
    faces: int
    vertices: int
    clipped: int


@dataclass(frozen=True)
class Animation:
    """A whole training run, ready to be shown and written.

    Attributes
    ----------
    name : str
        The series' name.
    settings : AnimationSettings
    steps : tuple of Step
        In order.
    stamps : tuple of str
        `Checkpoint.stamp` of each step's files.
    timeline : Timeline
    layout : Layout
    lock : Lock
    actors : tuple of Actor
        By step, then in the order of the checkpoint.
    reliefs : tuple of Relief
    captions : tuple of str
        The legend's lines.
    skips : tuple of Skip
    notes : list of str
        Grows while files are written.
    stages : Stages
    store : Store
        Where the arrays of the actors lie.
    earlier : int
        Of `later`, what is of steps whose actors are not here.
    """

    name: str
    settings: AnimationSettings
    steps: tuple[Step, ...]
    stamps: tuple[str, ...]
    timeline: Timeline
    layout: Layout
    lock: Lock
    actors: tuple[Actor, ...]
    reliefs: tuple[Relief, ...]
    captions: tuple[str, ...]
    skips: tuple[Skip, ...]
    notes: list[str]
    stages: Stages
    store: Store
    earlier: int = 0

    def mark(self, step: int) -> int:
        """Return the frame to go to for a step: its first, or the one where a relief is its."""
        flows = self.settings.view == "relief"
        return self.timeline.middle(step)[0] if flows else self.timeline.first(step)

    @property
    def later(self) -> int:
        """Values beyond the colour scale at steps over which it was not found."""
        later = {i for i, step in enumerate(self.steps) if step.name not in self.lock.over}
        clipped = sum(actor.clipped for actor in self.actors if actor.step in later)
        clipped += sum(self.lock.scale.clipped(r.values[i]) for r in self.reliefs for i in later)
        return self.earlier + clipped

    def exhibit(self, actor: Actor) -> Exhibit:
        """Return an actor's surface, placed and coloured; read anew each time, to be let go."""
        mesh, cells, values = self.store.read(actor.mesh)
        surface = replace(actor.shell, mesh=mesh, cells=cells, values=values)
        return place(surface, self.layout, self.lock.scale, self.name)


@dataclass(frozen=True)
class Growing:
    """What has to be known of a series to add a step to it; a scene keeps it.

    Attributes
    ----------
    name : str
    settings : AnimationSettings
    steps : tuple of Step
    stamps : tuple of str
    lock : Lock
    stops, low, high
        As of `Layout`.
    skips : tuple of Skip
    later : int
        As of `Animation`.
    """

    name: str
    settings: AnimationSettings
    steps: tuple[Step, ...]
    stamps: tuple[str, ...]
    lock: Lock
    stops: tuple[Stop, ...]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    skips: tuple[Skip, ...]
    later: int

    @classmethod
    def of(cls, animation: Animation) -> Growing:
        """Return what of an animation is needed later."""
        layout = animation.layout
        return cls(
            animation.name, animation.settings, animation.steps, animation.stamps, animation.lock,
            layout.stops, layout.low, layout.high, animation.skips, animation.later,
        )  # fmt: skip
