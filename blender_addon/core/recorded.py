"""What a scene tells of its training run without the checkpoints, and whether they are there."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from .animation import Animation, Growing
from .errors import BadInputError, CheckpointError
from .layout import Layout
from .model import Progress
from .readers import open_checkpoint, printable
from .record import Record
from .series import reason
from .stages import Stages
from .store import Store
from .timeline import Timeline

NOTE = "the pictures show the scene as it stood; what surfaces were in it is not listed"
# Steps that a message names.
FEW = 3


def recorded(record: Record, folder: Path) -> Animation:
    """Return what a scene's record tells of its training run: all but the surfaces.

    Parameters
    ----------
    record : Record
    folder : Path
        An empty folder.

    Raises
    ------
    BadInputError
        The record is not that of a training run.
    """
    series = record.series
    if series is None:
        raise BadInputError("the scene has no training run")
    return Animation(
        series.name, series.settings, series.steps, series.stamps,
        Timeline(len(series.steps), series.settings.timeline),
        Layout({}, {}, series.stops, series.low, series.high), series.lock, (), (),
        record.captions, record.skips, [*record.notes, NOTE], Stages(), Store(folder),
        series.later,
    )  # fmt: skip


def there_steps(series: Growing) -> Generator[Progress, None, None]:
    """Look whether all checkpoints of a training run are there as they were.

    Raises
    ------
    CheckpointError
        Says which are not.
    """
    gone = []
    for i, (step, stamp) in enumerate(zip(series.steps, series.stamps, strict=True)):
        yield Progress("open", i, len(series.steps), step.label)
        try:
            with open_checkpoint(step.path) as checkpoint:
                if checkpoint.stamp != stamp:
                    gone.append(f"{printable(step.label)}: the files have changed since")
        except CheckpointError as error:
            gone.append(f"{printable(step.label)}: {reason(error, step.path)}")
    if gone:
        more = f"; and {len(gone) - FEW} more" if len(gone) > FEW else ""
        raise CheckpointError(
            f"GLB and data set are made from the checkpoints ({'; '.join(gone[:FEW])}{more}); "
            "build it again, or export pictures alone"
        )
