"""A training run that plays, as GLB: surfaces come and go, terrain flows, the camera flies.

Core glTF cannot hide a node: a scale of zero does it. One surface for each thread is in memory at a
time; the file's binary chunk waits on the disk where it is large.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..exhibit import provenance
from ..geometry import measure
from ..model import Progress
from ..plain import to_plain
from ..readers import printable
from ..stages import finish, told
from .clip import Clip
from .document import Document, extras, place_of
from .encoding import Encoded, Encoder, encode_draco, encode_quantize, encode_target, y_up
from .glb import encoder_of
from .output import open_output

if TYPE_CHECKING:
    from ..animation import Actor, Animation
    from ..relief import Relief

T = TypeVar("T")
Steps = Generator[Progress, None, None]

_SPOOL_BYTES = 8 << 20  # a larger binary chunk waits on the disk; it goes there at one go
_REST = (
    "what a viewer shows that does not play is the last step; the colours of a sheet are those of "
    "the last step, too, where a viewer knows no COLOR_0 in morph targets"
)


@dataclass(frozen=True, eq=False)
class CameraTrack:
    """Where a camera is and looks, over time.

    Attributes
    ----------
    name : str
    seconds : ndarray of float, shape (k,)
        Rising, from 0; straight between.
    locations : ndarray of float, shape (k, 3)
        In metres, in Blender's axes (Z up).
    rotations : ndarray of float, shape (k, 4)
        Quaternions (w, x, y, z) in Blender's axes, of a camera that looks along its own -Z.
    yfov : float
        Vertical angle of view, in radians.
    aspect : float
        Width over height.
    near, far : float
        What is seen, in metres from the camera.
    """

    name: str
    seconds: NDArray[np.floating[Any]]
    locations: NDArray[np.floating[Any]]
    rotations: NDArray[np.floating[Any]]
    yfov: float
    aspect: float
    near: float
    far: float


def write_animated_glb(
    path: Path,
    animation: Animation,
    camera: CameraTrack | None = None,
    compression: str = "draco",
    *,
    generator: str = "Weightwalk",
) -> Steps:
    """Write a training run as one glTF animation that lasts as long as its timeline.

    Every actor is a node whose scale is keyed, 0 or 1, with STEP; a relief is a mesh with a morph
    target a step, whose weights are keyed in the middle of each step's time; the camera has its own
    channels. Reliefs are always quantised, and all that stands with them: Draco reorders vertices
    and leaves morphs alone.

    Parameters
    ----------
    path : Path
        Written in place; the caller writes beside the target and renames.
    animation : Animation
    camera : CameraTrack, optional
    compression : {"draco", "quantize", "none"}
        Bytes a face of each mesh, about: 4 to 6, 16 to 20, 22 to 28; of a relief 14, and 11 more
        for each step.
    generator : str
        Goes to `asset.generator`.

    Yields
    ------
    Progress
        In meshes and morph targets. Closed early, the generator leaves a file that is not complete.

    Raises
    ------
    OutputError
        There is no surface, the file would pass 4 GiB, or it cannot be written.
    SettingsError, MissingDependencyError
        As `glb.encoder_of`.
    """
    encoder, extension = encoder_of("quantize" if animation.reliefs else compression)
    with (
        open_output(path) as file,
        SpooledTemporaryFile(_SPOOL_BYTES, dir=str(path.parent)) as binary,
    ):
        asset = {"generator": generator} | extras(_asset_extras(animation))
        document = Document(path, binary, asset, extension)
        clip = Clip(document, animation.timeline)
        bar = _Bar(animation)
        yield from _add_actors(document, clip, animation, encoder, bar)
        for relief in animation.reliefs:
            names = [step.name for step in animation.steps]
            yield from _add_relief(document, clip, relief, names, bar)
        if camera is not None:
            _add_camera(document, clip, camera)
        if clip.channels:
            document.add("animations", clip.entry("Training"))
        yield from told(document.write(file), bar.at(path.name))


class _Bar:
    """How far the writing is, in meshes and morph targets."""

    def __init__(self, animation: Animation) -> None:
        targets = sum(len(relief.shown) for relief in animation.reliefs)
        self.total = len({actor.mesh for actor in animation.actors}) + targets
        self.done = 0

    def at(self, what: str) -> Progress:
        return Progress("glb", min(self.done, self.total), self.total, printable(what))


def _asset_extras(animation: Animation) -> dict[str, Any]:
    timeline, settings = animation.timeline, animation.settings
    return {
        "model": animation.name,
        "captions": list(animation.captions),
        "view": settings.view,
        "delta": settings.delta,
        "scale": to_plain(animation.lock.scale),
        "seconds": timeline.seconds,
        "steps": [
            {
                "name": step.name,
                "number": step.number,
                "begin": timeline.at(timeline.first(k)),
                "end": timeline.at(timeline.first(k + 1)),
            }
            for k, step in enumerate(animation.steps)
        ],
        "rest": _REST,
    } | ({"metres_per_sigma": animation.lock.height} if animation.reliefs else {})


def _add_actors(
    document: Document, clip: Clip, animation: Animation, encoder: Encoder, bar: _Bar
) -> Steps:
    """Add all surfaces, each mesh once; they are read, placed and encoded in threads."""

    def encode(actor: Actor) -> Encoded:
        return encoder(animation.exhibit(actor).part)

    # Draco lets go of the GIL; numpy hardly does.
    threads = min(os.cpu_count() or 1, 8) if encoder is encode_draco else 1
    firsts: dict[str, Actor] = {}
    for actor in animation.actors:
        firsts.setdefault(actor.mesh, actor)
    meshes: dict[str, tuple[int, float]] = {}
    with closing(_results((partial(encode, a) for a in firsts.values()), threads)) as results:
        for key, actor in firsts.items():
            encoded = yield from _awaited(results, bar.at(actor.name))
            meshes[key] = document.add_mesh(actor.shell.name, encoded), encoded.scale
            bar.done += 1
    for actor in animation.actors:
        mesh, scale = meshes[actor.mesh]
        placement = animation.layout.placements[actor.shell.field.plan.name]
        when = animation.steps[actor.step].name if actor.step >= 0 else "all"
        content = {"mesh": mesh, **place_of(placement.origin)}
        content |= extras(provenance(actor.shell, animation.name) | {"training_step": when})
        content["scale"] = [scale if actor.shown[-1] else 0.0] * 3
        node = document.add_node(actor.name, placement.collection, content)
        clip.show(node, actor.shown, scale)


def _add_relief(
    document: Document, clip: Clip, relief: Relief, names: Sequence[str], bar: _Bar
) -> Steps:
    """Add a sheet with a morph target for each step, one after the other."""
    last = max(k for k, shown in enumerate(relief.shown) if shown)
    part = replace(relief.part, colors=relief.colors(last))
    base = encode_quantize(part, relief.height * float(np.abs(relief.values).max()))

    def encode(step: int) -> Encoded:
        offsets = relief.offsets(step)
        normals, _ = finish(measure(part.vertices + offsets, part.faces))
        return encode_target(part, base.scale, offsets, normals, relief.colors(step))

    values = relief.values
    # A tensor that did not change has the target of the step before.
    new = [k for k in range(len(values)) if not k or (values[k] != values[k - 1]).any()]
    targets: list[dict[str, int]] = []
    with closing(_results((partial(encode, k) for k in new), 1)) as results:
        for k in range(len(values)):
            if k in new:
                encoded = yield from _awaited(results, bar.at(f"{part.name} {names[k]}"))
                target, _ = document.add_accessors(encoded)
            targets.append(target)
            bar.done += 1
    mesh = document.add_mesh(part.name, base, targets)
    document.lists["meshes"][mesh] |= {
        "weights": [0.0] * (len(values) - 1) + [1.0],
        "extras": {"targetNames": list(names)},  # as many programs read them
    }
    content = {"mesh": mesh, **place_of(part.translation), **extras(part.extras)}
    content["scale"] = [base.scale if relief.shown[-1] else 0.0] * 3
    node = document.add_node(part.name, part.group, content)
    clip.weigh(node)
    if not all(relief.shown):
        clip.show(node, relief.shown, base.scale)


def _add_camera(document: Document, clip: Clip, track: CameraTrack) -> None:
    """Add a camera that follows its track."""
    lens = {
        "yfov": float(track.yfov), "aspectRatio": float(track.aspect),
        "znear": float(track.near), "zfar": float(track.far),
    }  # fmt: skip
    camera = {"name": track.name, "type": "perspective", "perspective": lens}
    places = y_up(np.asarray(track.locations, np.float32))
    turns = _turned(np.asarray(track.rotations, np.float64))
    content = {
        "camera": document.add("cameras", camera),
        "translation": places[0].tolist(), "rotation": turns[0].tolist(),
    }  # fmt: skip
    node = document.add_node(track.name, "", content)
    clip.key(node, "translation", track.seconds, places, "LINEAR")
    clip.key(node, "rotation", track.seconds, turns, "LINEAR")


def _turned(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn quaternions (w, x, y, z) from Blender's axes to glTF's (x, y, z, w), of length 1.

    The axes of a camera itself are the same in both, so that only the world's are turned. Each is
    the one of the two for the same rotation that is near its neighbour: between keys, readers take
    the way that they are given.
    """
    w, x, y, z = rotations.T / np.linalg.norm(rotations, axis=1)
    a = 0.5**0.5  # Blender's (x, y, z) is glTF's (x, z, -y): a quarter turn back about X
    turned: NDArray[np.float64] = np.stack(
        [a * (x - w), a * (y + z), a * (z - y), a * (w + x)], axis=1
    )
    same = np.einsum("ij,ij->i", turned[1:], turned[:-1]) >= 0
    turned[1:] *= np.cumprod(np.where(same, 1.0, -1.0))[:, None]
    return turned.clip(-1.0, 1.0)


def _results(jobs: Iterable[Callable[[], T]], threads: int) -> Generator[T | None, None, None]:
    """Do jobs in threads and yield what they return, in order; None while the next is not ready.

    Only a few are begun ahead: what is made and not taken would pile up in memory.
    """
    pool, left = ThreadPoolExecutor(threads), iter(jobs)
    try:
        ahead = deque(pool.submit(job) for job in islice(left, threads))
        while ahead:
            while not wait([ahead[0]], 0.02).done:
                yield None
            done = ahead.popleft()
            ahead.extend(pool.submit(job) for job in islice(left, 1))
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _awaited(results: Iterator[T | None], now: Progress) -> Generator[Progress, None, T]:
    """Return the next result; yield meanwhile."""
    yield now
    while (result := next(results)) is None:
        yield now
    return result
