"""What `weightwalk.training` writes beside the tensors of a snapshot, and how it is read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import get_args

from .errors import CheckpointError
from .pooling import Moments, Pooled
from .readers import Checkpoint, printable
from .settings import Pooling

MARKER = "snapshots.json"  # in the folder: whether the training has ended, and at which step
# Keys of a file's metadata.
STEP_KEY = "step"
VERSION_KEY = "weightwalk.snapshot"
POOLED_KEY = "weightwalk.pooled"
RUN_KEY = "weightwalk.run"  # in the marker, too: which training wrote it


@dataclass(frozen=True)
class PooledNote:
    """Of which tensor a tensor in a snapshot is the pooled grid.

    Attributes
    ----------
    shape : tuple of int
        Of the tensor in the model; the grid is the pooled `pooling.matrix_shape` of it, and its
        cells have the edges of `pooling.cell_edges`.
    pool : {"rms", "absmax", "mean"}
        How the entries under a cell became one value. A cell over an entry that
        is not finite is NaN.
    count : int
        Finite entries of the tensor.
    mean, sigma : float
        Mean and standard deviation of these: the unit in which fields are shown.
    low, high : float
        The smallest and the largest of these; 0 without any.
    nan, inf : int
        The other entries.
    """

    shape: tuple[int, ...]
    pool: Pooling
    count: int
    mean: float
    sigma: float
    low: float
    high: float
    nan: int
    inf: int

    @classmethod
    def of(cls, shape: tuple[int, ...], pool: Pooling, pooled: Pooled) -> PooledNote:
        """Return the note on a tensor that was pooled."""
        moments = pooled.moments
        low, high = (pooled.low, pooled.high) if moments.count else (0.0, 0.0)
        return cls(
            tuple(shape), pool, moments.count, moments.mean, moments.sigma, low, high,
            pooled.nan, pooled.inf,
        )  # fmt: skip

    @property
    def moments(self) -> Moments:
        """Count, mean and squared deviations of the whole tensor."""
        return Moments(self.count, self.mean, self.sigma * self.sigma * self.count)


def pooled_text(notes: Mapping[str, PooledNote]) -> str:
    """Return notes by the name of the tensor as the text that goes into the metadata."""
    return json.dumps({name: asdict(note) for name, note in notes.items()})


def pooled_notes(checkpoint: Checkpoint) -> Mapping[str, PooledNote]:
    """Return which of a checkpoint's tensors are pooled grids; empty for most checkpoints.

    Raises
    ------
    CheckpointError
        The metadata are there and not what they have to be.
    """
    text = checkpoint.metadata.get(POOLED_KEY)
    if text is None:
        return {}
    try:
        parsed = json.loads(text)
        notes = {name: _note(entry) for name, entry in parsed.items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        where = printable(checkpoint.path, 1000)
        raise CheckpointError(f"{where}: its metadata {POOLED_KEY} cannot be read") from None
    return {name: note for name, note in notes.items() if name in checkpoint}


def _note(entry: dict[str, object]) -> PooledNote:
    shape = entry.pop("shape")
    if type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
        raise TypeError
    note = PooledNote(tuple(shape), **entry)  # type: ignore[arg-type]
    whole = (note.count, note.nan, note.inf)
    real = (note.mean, note.sigma, note.low, note.high)
    if note.pool not in get_args(Pooling) or not all(type(n) is int and n >= 0 for n in whole):
        raise ValueError
    if not all(type(x) in (int, float) and math.isfinite(x) for x in real) or note.sigma < 0:
        raise ValueError
    return note
