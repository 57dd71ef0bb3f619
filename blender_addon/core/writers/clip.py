"""The one glTF animation of a file: which node has what scale, weights or place at what time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..timeline import Timeline
from .document import Document
from .encoding import View

_FLOAT = 5126


class Clip:
    """Channels and samplers, each sampler once.

    Parameters
    ----------
    document : Document
        Takes the keys.
    timeline : Timeline
        Its first frame is at 0 seconds.
    """

    def __init__(self, document: Document, timeline: Timeline) -> None:
        self.document, self.timeline = document, timeline
        self.channels: list[dict[str, Any]] = []
        self._samplers: dict[tuple[int, int, str], int] = {}
        self._accessors: dict[tuple[str, bytes], int] = {}

    def entry(self, name: str) -> dict[str, Any]:
        """Return the animation for the document."""
        samplers = [
            {"input": times, "output": values, "interpolation": kind}
            for times, values, kind in self._samplers
        ]
        return {"name": name, "channels": self.channels, "samplers": samplers}

    def show(self, node: int, shown: Sequence[bool], scale: float) -> None:
        """Key a node's scale: `scale` at the steps at which it is shown and 0 at the others."""
        changes = self.timeline.changes(shown)
        seconds = [*(self.timeline.at(frame) for frame, _ in changes), self.timeline.seconds]
        on = np.array([*(now for _, now in changes), shown[-1]])
        self.key(node, "scale", seconds, np.outer(on, [scale] * 3), "STEP")

    def weigh(self, node: int) -> None:
        """Key a node's morph targets, one a step: 1 in the middle of the step's time."""
        steps = range(self.timeline.steps)
        keys = [(0.0, 0), *((t, k) for k in steps for t in self._middle(k))]
        keys.append((self.timeline.seconds, steps[-1]))
        seconds, which = zip(*keys, strict=True)
        weights = np.eye(len(steps), dtype=np.float32)[list(which)]
        self.key(node, "weights", seconds, weights, "LINEAR")

    def key(
        self, node: int, path: str, seconds: ArrayLike, values: ArrayLike, interpolation: str
    ) -> None:
        """Add a channel.

        Parameters
        ----------
        node : int
        path : {"translation", "rotation", "scale", "weights"}
        seconds : array_like, shape (k,)
            Keys that are not later than the one before, in single precision, are left out, and so
            are those outside of the timeline.
        values : array_like, shape (k, n)
        interpolation : {"STEP", "LINEAR"}
        """
        times = np.asarray(seconds, np.float32)
        rising = np.diff(np.maximum.accumulate(times), prepend=np.float32(-1)) > 0
        kept = rising & (times >= 0) & (times <= np.float32(self.timeline.seconds))
        rows = np.asarray(values, np.float32)[kept]
        kind = "SCALAR" if path == "weights" else f"VEC{rows.shape[1]}"
        sampler = (
            self._accessor(times[kept], "SCALAR"), self._accessor(rows, kind), interpolation
        )  # fmt: skip
        which = self._samplers.setdefault(sampler, len(self._samplers))
        self.channels.append({"sampler": which, "target": {"node": node, "path": path}})

    def _middle(self, step: int) -> list[float]:
        """Return when a step is at its peak: at one frame, or from one to the next."""
        if self.timeline.settings.frames == 1:
            return [self.timeline.at(self.timeline.first(step) + 0.5)]
        return [self.timeline.at(frame) for frame in self.timeline.middle(step)]

    def _accessor(self, values: NDArray[np.float32], kind: str) -> int:
        data = values.astype("<f4").tobytes()
        if (kind, data) not in self._accessors:
            accessor: dict[str, Any] = {"bufferView": self.document.add_view(View(data))}
            accessor |= {"componentType": _FLOAT, "type": kind}
            accessor["count"] = values.size if kind == "SCALAR" else len(values)
            if values.ndim == 1:  # keys: glTF asks for their bounds
                accessor |= {"min": [float(values.min())], "max": [float(values.max())]}
            self._accessors[kind, data] = self.document.add("accessors", accessor)
        return self._accessors[kind, data]
