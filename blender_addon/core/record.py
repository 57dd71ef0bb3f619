"""What a scene knows of the run that made it, kept in the .blend as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from .animation import Animation, Growing
from .color import ColorScale
from .layout import Stop, Vector
from .legend import captions
from .model import Model
from .plain import from_versioned, versioned_text
from .plans import Skip
from .settings import Settings

VERSION = 1


@dataclass(frozen=True)
class Record:
    """A run, as far as its scene needs it later: to walk, to inspect, to export, to build again.

    Attributes
    ----------
    model : str
        The checkpoint's name.
    path : str
        Where it was, absolute.
    stamp : str
        `Checkpoint.stamp` of the files that were read.
    settings : Settings
    scale : ColorScale
    stops : tuple of Stop
        In walking order.
    low, high : tuple of 3 float
        Corners of the box around all fields, in metres.
    captions : tuple of str
        The legend's lines.
    skips : tuple of Skip
    notes : tuple of str
    series : Growing or None
        Of a training run: its steps, and what is locked.
    """

    model: str
    path: str
    stamp: str
    settings: Settings
    scale: ColorScale
    stops: tuple[Stop, ...]
    low: Vector
    high: Vector
    captions: tuple[str, ...]
    skips: tuple[Skip, ...]
    notes: tuple[str, ...]
    series: Growing | None = None

    @classmethod
    def of(cls, model: Model) -> Record:
        """Return the record of a run."""
        layout = model.layout
        return cls(
            model.name, str(model.settings.model.absolute()), model.stamp, model.settings,
            model.scale, layout.stops, layout.low, layout.high,
            captions(model), model.skips, tuple(model.notes),
        )  # fmt: skip

    @classmethod
    def of_animation(cls, animation: Animation) -> Record:
        """Return the record of a training run."""
        layout, build = animation.layout, animation.settings.build
        return cls(
            animation.name, str(build.model.absolute()), "", build,
            animation.lock.scale, layout.stops, layout.low, layout.high,
            animation.captions, animation.skips, tuple(animation.notes), Growing.of(animation),
        )  # fmt: skip

    def to_json(self) -> str:
        """Return the record in ASCII, whatever bytes a path or a name has."""
        return versioned_text(self, VERSION)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Return the record that `to_json` wrote.

        Raises
        ------
        BadInputError
            It was written by a newer version, by something else, or was damaged.
        """
        return from_versioned(cls, text, VERSION, "model cannot be read; build it again")
