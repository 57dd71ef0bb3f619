"""What an animation was made of, and how, as `report.json`; see docs/animation.schema.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .animation import Actor, Animation
from .change import Change
from .plain import to_plain
from .report import file_entry, filled_settings, stage_entries, versions_here
from .settings import AnimationOutput
from .timeline import Timeline

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Span:
    """Which frames pictures were made of, and how fast they are shown.

    Attributes
    ----------
    start, end : int
        The first frame and the last.
    fps : int
        Frames a second.
    """

    start: int
    end: int
    fps: int

    @classmethod
    def of(cls, timeline: Timeline) -> Span:
        """Return what a timeline has."""
        return cls(timeline.start, timeline.end, timeline.settings.fps)

    @property
    def frames(self) -> range:
        """All frames."""
        return range(self.start, self.end + 1)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.frames) / self.fps


def series_report(
    animation: Animation,
    output: AnimationOutput,
    files: Sequence[Path],
    versions: dict[str, str],
    span: Span | None = None,
) -> dict[str, Any]:
    """Return the report of an animation.

    Parameters
    ----------
    animation : Animation
    output : AnimationOutput
    files : sequence of Path
        The files made, where they lie now; they are read for their checksums.
    versions : dict of str to str
        Of Weightwalk and Blender.
    span : Span or None
        Of pictures of a person's scene; None stands for the animation's timeline.

    Returns
    -------
    dict
        JSON-able, without NaN or infinity.
    """
    settings, lock = animation.settings, animation.lock
    span = span or Span.of(animation.timeline)
    filled = replace(settings, build=filled_settings(settings.build))
    return {
        "schema_version": SCHEMA_VERSION,
        "series": animation.name,
        "settings": {**to_plain(filled), "output": to_plain(output)},
        "versions": versions | versions_here(),
        "timeline": {
            "start": span.start,
            "end": span.end,
            "fps": span.fps,
            "seconds": span.seconds,
        },
        "lock": {
            "over": list(lock.over),
            "scale": {"unit": "σ", **to_plain(lock.scale)},
            "metres_per_sigma": lock.height if settings.view == "relief" else None,
            "units": [to_plain(unit) for unit in lock.units],
            "levels": [{"field": one.name, "level": one.level or None} for one in lock.levels],
        },
        "steps": [_step(animation, i) for i in range(len(animation.steps))],
        "captions": list(animation.captions),
        "skipped": to_plain(animation.skips),
        "notes": list(animation.notes),
        "stages": stage_entries(animation.stages),
        "files": [file_entry(path) for path in files],
    }


def _step(animation: Animation, i: int) -> dict[str, Any]:
    step, timeline = animation.steps[i], animation.timeline
    here = [actor for actor in animation.actors if actor.shown[i]]
    return {
        "name": step.name,
        "number": step.number,
        "checkpoint": step.path.name,
        "first_frame": timeline.first(i),
        "last_frame": timeline.last(i),
        "faces": sum(actor.faces for actor in here),
        "surfaces": [_surface(actor) for actor in here],
        "reliefs": [r.plan.name for r in animation.reliefs if r.shown[i]],
    }


def _surface(actor: Actor) -> dict[str, Any]:
    shell = actor.shell
    field, tensors = shell.field, [part.tensor for part in shell.field.plan.parts]
    references = [t.reference.file for t in tensors if isinstance(t, Change)]
    return {
        "field": field.plan.name,
        "tensors": list(dict.fromkeys(t.name for t in tensors)),
        "since": sorted({f"{file.parent.name}/{file.name}" for file in references}),
        "layer": field.plan.layer,
        "role": field.plan.role,
        "part": {1: "positive", -1: "negative", 0: "nonfinite"}[shell.sign],
        "level": shell.level if shell.sign else None,
        "sigma": list(field.sigmas),
        "mesh": actor.mesh,
        "faces": actor.faces,
        "vertices": actor.vertices,
        "clipped": actor.clipped,
        "nan": field.nan,
        "inf": field.inf,
        "components": to_plain(shell.components),
        "permuted": to_plain(shell.permuted),
    }
