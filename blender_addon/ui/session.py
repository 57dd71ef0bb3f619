"""What lives in this Blender and in no file: work under way, open headers, what a scene holds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from itertools import product
from time import monotonic
from typing import TYPE_CHECKING, Any

import bpy
import numpy as np

from ..core.errors import BadInputError, CheckpointError
from ..core.fields import SLAB_PLANES
from ..core.flow.standing import FlowRecord
from ..core.location import Location, Url
from ..core.model import Progress
from ..core.readers import Checkpoint, printable
from ..core.record import Record
from ..core.stages import finish
from ..core.timeline import Timeline
from ..scene.flow_ground import flow_record
from ..scene.mesh import STEP
from ..scene.ours import FLOW, find_root
from .places import located, opening

if TYPE_CHECKING:
    from .follow import Following

BEHIND = 1e12  # square metres, to sort what lies behind the viewer after all else
RESTED = 0.5
SLICE = 0.03  # seconds of work between two looks at what the person does


class Job:
    """Work under way, and what the panel shows of it."""

    def __init__(
        self, title: str, work: Generator[Progress, None, Any], shares: Mapping[str, float]
    ) -> None:
        self.title = title
        self.fraction = 0.0  # how much of all is done, from 0 to 1
        self._shares = shares
        self.progress = Progress("", 0, 1, "")
        self.stopped = ""  # why it was
        self.tidy: Callable[[], None] = lambda: None  # takes away what shows that it runs
        self._work = work
        self._began = monotonic()

    def advance(self, seconds: float = SLICE) -> tuple[bool, Any]:
        """Work for a moment; return whether it is done, and its result."""
        until = monotonic() + seconds
        while monotonic() < until:
            try:
                progress = next(self._work)
            except StopIteration as end:
                return True, end.value
            self.progress = progress
        self.fraction = max(self.fraction, self._done())
        return False, None

    def stop(self, why: str) -> None:
        """End the work, which takes back what it made."""
        self.stopped = self.stopped or why
        self._work.close()

    def _done(self) -> float:
        """Return how much of all the stages is done."""
        stage, total = self.progress.stage, max(sum(self._shares.values()), 1e-9)
        within = min(self.progress.done / max(self.progress.total, 1), 1.0)
        if stage not in self._shares:
            return 0.0 if self._shares else within
        names = list(self._shares)
        before = sum(self._shares[name] for name in names[: names.index(stage)])
        return (before + within * self._shares[stage]) / total

    @property
    def remaining(self) -> str:
        """Time left, in words; nothing before it can be told."""
        spent = monotonic() - self._began
        if spent < 1.0 or self.fraction < 0.05:
            return ""
        left = spent * (1.0 - self.fraction) / self.fraction
        if left < 1.0:
            return ""
        return f"{left:.0f} s left" if left < 90 else f"{left / 60:.0f} min left"


@dataclass(frozen=True)
class Seen:
    """What the head-up line says of a surface; no reference to it, which an undo would break.

    A relief has neither sign nor level: all of its field is there.
    """

    plan: str
    shape: str
    sign: int | None
    level: float | None


class Built:
    """Where the visible surfaces of a scene are, kept from one redraw to the next.

    Attributes
    ----------
    record : Record
    step : str
        Of a training run: what people call the step that is shown.
    seen : list of Seen
    low, high : ndarray, shape (n, 3)
        Corners of the surfaces' boxes in the world, in metres.
    """

    def __init__(
        self, surfaces: list[bpy.types.Object], record: Record, step: int | None = None
    ) -> None:
        self.record, self.at = record, monotonic()
        self.step = "" if step is None else record.series.steps[step].label
        self.seen = [Seen(o["plan"], o["shape"], o.get("sign"), o.get("level")) for o in surfaces]
        half = np.array([_half_size(o) for o in surfaces]).reshape(-1, 1, 3)
        corners = half * np.array(list(product((-1.0, 1.0), repeat=3)))
        world = np.array([o.matrix_world for o in surfaces]).reshape(-1, 4, 4)
        placed = np.einsum("nij,nkj->nki", world[:, :3, :3], corners) + world[:, None, :3, 3]
        self.low, self.high = placed.min(axis=1), placed.max(axis=1)
        fronts = [stop.y - 0.5 for stop in record.stops]
        self._stop = np.maximum(np.searchsorted(fronts, self.low[:, 1]) - 1, 0)

    def nearest(self, eye: np.ndarray, ahead: np.ndarray) -> tuple[Seen, str, float]:
        """Return the nearest surface before the viewer, its layer, and its distance in metres.

        There must be a surface; where all are behind the viewer, it is the nearest of these.

        Parameters
        ----------
        eye, ahead : ndarray, shape (3,)
            Where the viewer is, and the direction of view.
        """
        away = np.maximum(np.maximum(self.low - eye, eye - self.high), 0.0)
        squares = np.einsum("ij,ij->i", away, away)
        farthest = np.where(ahead > 0.0, self.high, self.low) - eye
        behind = farthest @ ahead <= 0.0
        i = int(np.where(behind, squares + BEHIND, squares).argmin())
        layer = self.record.stops[int(self._stop[i])].label
        return self.seen[i], layer, float(squares[i]) ** 0.5


def _read(root: bpy.types.Collection) -> Record | None:
    """Return a root's record; one that a person or a newer version has written may be no use."""
    try:
        return Record.from_json(str(root["weightwalk"]))
    except BadInputError:
        return None


def visible_surfaces(scene: bpy.types.Scene) -> list[bpy.types.Object]:
    """Return our surfaces in a scene that are not hidden."""
    return [o for o in scene.objects if is_surface(o) and o.visible_get()]


def visible_fields(scene: bpy.types.Scene, step: int | None) -> list[bpy.types.Object]:
    """Return our surfaces and reliefs that are not hidden, of a step only, if one is given.

    While a scene plays, Blender may not know yet that those of other steps are hidden.
    """
    things = (o for o in scene.objects if step is None or o.get(STEP, -1) in {-1, step})
    return [o for o in things if is_field(o) and o.visible_get()]


def step_of(scene: bpy.types.Scene, record: Record | None) -> int | None:
    """Return which step of a training run a scene's frame shows.

    None of a single model, and of a run through time, of which all steps are shown at once.
    """
    series = record.series if record else None
    if series is None or series.settings.view == "time":
        return None
    return Timeline(len(series.steps), series.settings.timeline).step_at(scene.frame_current)


def is_surface(thing: bpy.types.Object) -> bool:
    """Return whether a thing is a surface of ours; other add-ons may use one of the words."""
    return all(key in thing for key in ("plan", "step", "grid", "level", "report"))


def is_field(thing: bpy.types.Object) -> bool:
    """Return whether a thing shows a field: a surface, or a relief of a training run."""
    return is_surface(thing) or all(key in thing for key in ("plan", "step", "grid", STEP))


def _half_size(surface: bpy.types.Object) -> list[float]:
    """Return half of what a surface's field takes up, in metres.

    Blender's own box of an object is not there at all times: just after an undo, for one.
    """
    planes, rows, cols = map(int, surface["grid"].split("x"))
    planes = SLAB_PLANES if surface["field"] == "slab" else planes
    counts = (cols + 1, planes + 1, rows + 1)
    return [0.5 * count * step for count, step in zip(counts, surface["step"], strict=True)]


class Session:
    """The one of this process; made when the extension is switched on."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.notice = ""  # why the last work was stopped, where no operator is left to say it
        self.following: Following | None = None
        self.flow_following: Following | None = None
        self._checkpoint: Checkpoint | None = None
        self._record: tuple[int, Record | None] | None = None
        self._flow: tuple[int, FlowRecord | None] | None = None
        self._built: dict[tuple[object, ...], Built] = {}
        self._waiting: Callable[[], None] | None = None
        self._stale = False
        self.at_end: list[Callable[[], None]] = []

    def end(self) -> None:
        """Leave nothing behind."""
        self.follow_no_more()
        if self.job is not None:
            self.end_job(self.job)
        self._wait_no_more()
        for tidy in self.at_end:
            tidy()

    def soon(self, what: Callable[[], None]) -> None:
        """Call something in a moment, and not what waited for that before."""
        self._wait_no_more()
        self._waiting = what
        bpy.app.timers.register(what, first_interval=0.3)

    def follow_no_more(self, why: str = "") -> None:
        """Look at no training run any more."""
        for following in (self.following, self.flow_following):
            if following is not None:
                following.stop(why)

    def _wait_no_more(self) -> None:
        if self._waiting is not None and bpy.app.timers.is_registered(self._waiting):
            bpy.app.timers.unregister(self._waiting)

    def end_job(self, job: Job) -> None:
        """Forget a job that is done or stopped."""
        job.stop("cancelled")
        job.tidy()
        if self.job is job:
            self.job = None

    def interrupt(self, why: str) -> None:
        """End the work under way before Blender takes away what it works on."""
        if self.job is not None:
            self.notice = f"{self.job.title} was stopped: {why}"
            self.job.stop(self.notice)

    def open_steps(self, path: str, stamp: str) -> Generator[Progress, None, Checkpoint]:
        """Return a checkpoint by the path or URL, and the stamp, that it was first opened with.

        Raises
        ------
        CheckpointError
            It is not there any more, has changed, or Blender may not go online.
        """
        where = self.located(path)
        try:
            found = yield from opening(where)
        except CheckpointError as error:
            where = "choose the model again with Load Model Weights"
            raise CheckpointError(f"{error}; {where}") from None
        if stamp and found.stamp != stamp:
            raise CheckpointError(
                f"{printable(path, 1000)}: the files have changed since they were read; "
                "load the model again"
            )
        self._checkpoint = found
        return found

    def located(self, path: str) -> Location:
        """Do what `places.located` does; what a scene keeps of a URL may lack a secret in it."""
        where, held = located(path), self._checkpoint
        if isinstance(where, Url) and held is not None and str(held.path) == path:
            return held.path
        return where

    def hold(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint's headers at hand."""
        self._checkpoint = checkpoint

    def holds(self, path: str, stamp: str) -> bool:
        """Return whether a checkpoint's headers are at hand."""
        held = self._checkpoint
        return held is not None and str(held.path) == path and held.stamp == stamp

    def headers(self, path: str, stamp: str) -> Checkpoint:
        """Return a checkpoint for its headers alone, without looking at the disk each time.

        Raises
        ------
        CheckpointError
            As `open_steps`; or it is on another machine, of which one cannot wait for an answer.
        """
        if self._checkpoint is not None and self.holds(path, stamp):
            return self._checkpoint
        if isinstance(located(path), Url):
            raise CheckpointError("what this costs is known as soon as its headers are fetched")
        return finish(self.open_steps(path, stamp))

    def record(self, scene: bpy.types.Scene) -> Record | None:
        """Return the record of the surfaces in a scene; None where it has none that can be read."""
        root = find_root(scene)
        if root is None:
            return None
        # A build makes a new collection, so that its number stands for its content.
        if self._record is None or self._record[0] != root.session_uid:
            self._record = root.session_uid, _read(root)
        return self._record[1]

    def flow(self, scene: bpy.types.Scene) -> FlowRecord | None:
        """Return the record of the flow in a scene; None where it has none that can be read."""
        root = find_root(scene, FLOW)
        if root is None:
            return None
        if self._flow is None or self._flow[0] != root.session_uid:
            self._flow = root.session_uid, flow_record(scene)
        return self._flow[1]

    def built(self, scene: bpy.types.Scene) -> Built | None:
        """Return what stands in a scene as a view layer shows it.

        Kept until something in the scene changes; while things keep changing, as in a playback,
        it is looked at again no more often than `RESTED` seconds.
        """
        record, root = self.record(scene), find_root(scene)
        if record is None or root is None:
            return None
        step = step_of(scene, record)
        key = scene.session_uid, root.session_uid, bpy.context.view_layer.name, step
        held = self._built.get(key)
        if held is None or (self._stale and monotonic() - held.at > RESTED):
            self._stale = False
            held = Built(visible_fields(scene, step), record, step)
            self._built = {key: held}
        return held

    def forget(self) -> None:
        """Look at the scenes and at their records again when next asked."""
        self._built, self._record, self._flow = {}, None, None


_sessions: list[Session] = []


def session() -> Session:
    """Return the session of this process."""
    return _sessions[-1]


def _changed(*_arguments: Any) -> None:
    session()._stale = True


def _forget(*_arguments: Any) -> None:
    session().forget()


def _undone(*_arguments: Any) -> None:
    session().interrupt("something was undone meanwhile")


def _loading(*_arguments: Any) -> None:
    session().follow_no_more()
    session().following = session().flow_following = None
    session().interrupt("another file was opened")
    if session().job is not None:  # the windows go, and the operator with them
        session().end_job(session().job)
    session().forget()


_HANDLERS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("depsgraph_update_post", _changed),
    ("undo_post", _forget),
    ("redo_post", _forget),
    ("load_post", _forget),
    ("undo_pre", _undone),
    ("redo_pre", _undone),
    ("load_pre", _loading),
)


def register() -> None:
    """Begin a session."""
    _sessions.append(Session())
    for name, handler in _HANDLERS:
        # Without the mark it would be gone after the next file.
        getattr(bpy.app.handlers, name).append(bpy.app.handlers.persistent(handler))


def unregister() -> None:
    """End the session and its work."""
    session().end()
    for name, handler in _HANDLERS:
        getattr(bpy.app.handlers, name).remove(handler)
    _sessions.clear()
