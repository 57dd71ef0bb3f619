"""A unit of work: (checkpoint, tensors, settings) → a file under the hash of all that decides it.

Whoever is handed an order opens the checkpoint itself, finds the same plans and makes the same
bytes; so a unit may be made anywhere, by two at once, or again after the one that had it has died.

measure
    The moments of a tensor, where one σ is that of all.
pool
    One tensor of a field that has several, on its grid.
cut
    The surfaces of a field, of grids that were pooled before where it has several tensors.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from math import prod
from pathlib import Path
from typing import Any, Literal

from ..version import VERSION
from .errors import CheckpointError, EmptyFieldError, SettingsError, WeightwalkError
from .fields import SLAB_PLANES, Plan, field_steps, pool_part
from .location import Url
from .plain import from_plain, to_plain
from .plans import make_plans, select
from .pooling import Moments
from .readers import Checkpoint, Tensor, open_checkpoint, printable
from .readers.datafile import Place
from .results import keep_moments, keep_pooled, keep_surfaces, read_pooled
from .settings import Settings
from .shelf import Shelf, posted
from .sigma import measure_tensor, tensors_of
from .stages import Ticks, finish
from .surfaces import extract_steps

# What to search and cut a voxel costs: so many entries can be read meanwhile.
ENTRIES_PER_VOXEL = 20
# Jobs whose checkpoints a process that works keeps open.
AT_HAND = 2
# Files beside a checkpoint that say how it is to be read.
CONFIGS = "*config*.json"
# The same on another machine, which may not list its folders.
FAR_CONFIGS = ("config.json", "quantize_config.json", "quant_config.json", "adapter_config.json")
LARGEST_CONFIG = 1 << 20

Kind = Literal["measure", "pool", "cut"]
Hash = Any  # of hashlib, which has no public type for them


@dataclass(frozen=True)
class Job:
    """What the units of one build have in common.

    Attributes
    ----------
    settings : Settings
        The model's place is absolute.
    stamp : str
        `Checkpoint.stamp` as the one who asks has it.
    address : str
        The model's whole URL, which settings do not tell; "" where it is a path.
    """

    settings: Settings
    stamp: str
    address: str = ""

    @classmethod
    def of(cls, settings: Settings, stamp: str) -> Job:
        """Return a job with a model at this place."""
        model = settings.model
        return cls(settings, stamp, model.text if isinstance(model, Url) else "")

    def whole(self) -> Settings:
        """Return the settings, with the model's whole URL."""
        return replace(self.settings, model=Url(self.address)) if self.address else self.settings


@dataclass(frozen=True)
class Unit:
    """A unit of a job.

    Attributes
    ----------
    kind : {"measure", "pool", "cut"}
    name : str
        Of the tensor to measure, or of the plan.
    key : str
        The hash of all that decides the result.
    work : int
        How long it takes, in the time that it takes to read an entry.
    part : int
        Index of the plan's part to pool.
    pools : tuple of str
        Keys of the parts' grids; none where the field's one tensor is pooled on the way.
    sigma : float or None
        One for all tensors.
    """

    kind: Kind
    name: str
    key: str
    work: int
    part: int = 0
    pools: tuple[str, ...] = ()
    sigma: float | None = None


@dataclass(frozen=True)
class Order:
    """A unit as it travels.

    Attributes
    ----------
    unit : Unit
    text : str
        JSON in ASCII, for `perform`.
    """

    unit: Unit
    text: str


@cache
def maker() -> dict[str, str]:
    """Return what else decides a surface than the checkpoint and the settings.

    Two processes make the same bytes where this is the same and their processors are of one kind.
    """
    found = {"weightwalk": VERSION, "weightwalk's sources": _sources()}
    for package in ("numpy", "scipy", "scikit-image"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "of unknown version"
    return found


def _sources() -> str:
    """Return a hash of the code that makes surfaces: between releases, versions say too little."""
    core = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(core.rglob("*.py")):
        digest.update(path.relative_to(core).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


class Keys:
    """The keys of a checkpoint's units.

    Parameters
    ----------
    checkpoint : Checkpoint
    settings : Settings
        The model's place is absolute.
    """

    def __init__(self, checkpoint: Checkpoint, settings: Settings) -> None:
        # The place, too: files out of archives may share their names, sizes and times.
        where = settings.model
        place = where.text if isinstance(where, Url) else str(where)
        said = [maker(), place, checkpoint.stamp, _configs(checkpoint)]
        self._begin = hashlib.sha256(_text(said))
        self.settings = settings

    def measure(self, tensor: Tensor) -> str:
        """Return the key of a tensor's moments."""
        return self._key("measure", _facts(tensor))

    def pool(self, plan: Plan, part: int) -> str:
        """Return the key of a part's grid."""
        return self._key("pool", _grid(plan, part), self.settings.field.pool)

    def cut(self, plan: Plan, sigma: float | None) -> str:
        """Return the key of a plan's surfaces."""
        seen = [to_plain(self.settings.field), to_plain(self.settings.surface), sigma]
        named = [plan.name, plan.kind, plan.role, plan.group, plan.layer, plan.planes]
        return self._key("cut", seen, named, *(_grid(plan, i) for i in range(len(plan.parts))))

    def job(self) -> str:
        """Return the key of all units together."""
        return self._key("job", to_plain(self.settings))

    def _key(self, *said: object) -> str:
        digest = self._begin.copy()
        digest.update(_text(said))
        return digest.hexdigest()


def _text(said: object) -> bytes:
    return json.dumps(said, sort_keys=True, default=str).encode()


def _facts(tensor: Tensor) -> list[object]:
    within = tensor.within
    place = within and [within.name, within.offset, within.row_stride, within.col_stride]
    return [tensor.name, tensor.shape, tensor.dtype, str(tensor.packing), place]


def _grid(plan: Plan, part: int) -> list[object]:
    """Return what decides the grid of a part."""
    one = plan.parts[part]
    edges = [hashlib.sha256(e.tobytes()).hexdigest() for e in (one.row_edges, one.col_edges)]
    windows = [[s.start, s.stop] for window in one.windows for s in window]
    return [*_facts(one.tensor), *edges, windows]


def _configs(checkpoint: Checkpoint) -> list[object]:
    """Return what beside the tensors says how they are to be read, which no stamp covers."""
    small = (f for f in _beside(checkpoint) if f.is_file() and f.stat().st_size <= LARGEST_CONFIG)
    texts = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in small}
    return [checkpoint.config, texts]


def _beside(checkpoint: Checkpoint) -> Iterable[Place]:
    path = checkpoint.path
    if isinstance(path, Path):
        return (path if path.is_dir() else path.parent).glob(CONFIGS)
    folders = {str(f.path.parent): f.path.parent for t in checkpoint.values() for f in t.sources}
    return [folder / name for _, folder in sorted(folders.items()) for name in FAR_CONFIGS]


def work_of(plan: Plan) -> int:
    """Return how long a plan takes, in the time that it takes to read an entry."""
    return sum(part.entries for part in plan.parts) + _cutting(plan)


def _cutting(plan: Plan) -> int:
    voxels = prod(plan.shape) * (SLAB_PLANES if plan.kind == "slab" else 1)
    return ENTRIES_PER_VOXEL * voxels


def measuring(plans: Sequence[Plan], keys: Keys) -> list[Unit]:
    """Return the units that measure each tensor of some plans, in the order of `tensors_of`."""
    return [Unit("measure", t.name, keys.measure(t), t.size) for t in tensors_of(plans)]


def pooling(plan: Plan, keys: Keys) -> list[Unit]:
    """Return the units that come before that which cuts a plan: many tensors are read by many."""
    if len(plan.parts) == 1:
        return []
    return [
        Unit("pool", plan.name, keys.pool(plan, i), part.entries, part=i)
        for i, part in enumerate(plan.parts)
    ]


def cutting(plan: Plan, keys: Keys, sigma: float | None) -> Unit:
    """Return the unit that makes a plan's surfaces."""
    pools = tuple(unit.key for unit in pooling(plan, keys))
    work = _cutting(plan) if pools else work_of(plan)
    return Unit("cut", plan.name, keys.cut(plan, sigma), work, pools=pools, sigma=sigma)


def order_of(unit: Unit, folder: Path, job: str) -> Order:
    """Return a unit of a job that was posted in a folder as it travels.

    The maker stands in it, too: a process that is another may not read the rest.
    """
    said = {"maker": maker(), "folder": str(folder), "job": job, "unit": to_plain(unit)}
    return Order(unit, json.dumps(said))


def perform(text: str) -> Ticks[dict[str, str]]:
    """Make what an order asks for, unless it is there.

    Parameters
    ----------
    text : str
        Of an `Order`.

    Returns
    -------
    dict
        Empty, or with the class and the message of a `WeightwalkError`, for `raise_said`: what is
        wrong with the model or the disk is so wherever it is tried.
    """
    try:
        order = json.loads(text)
        _check_maker(order["maker"])
        folder = Path(order["folder"])
        job: str = order["job"]
        unit = from_plain(Unit, order["unit"])
        shelf = Shelf(folder, job.partition(".")[0])
        if not shelf.has(unit.key):
            yield from _bench(folder, job).make(unit, shelf)
    except WeightwalkError as error:
        return {"error": type(error).__name__, "said": str(error)}
    return {}


def performed(text: str) -> dict[str, str]:
    """Do what `perform` does at one go."""
    return finish(perform(text))


def _check_maker(asked: Mapping[str, str]) -> None:
    for what, wanted in asked.items():
        if (here := maker().get(what)) != wanted:
            raise SettingsError(
                f"the worker on {platform.node() or 'another machine'} has {what} {here}, and this "
                f"machine {wanted}: surfaces could differ; install the same there"
            )


@lru_cache(maxsize=AT_HAND)
def _bench(folder: Path, job: str) -> _Bench:
    return _Bench(from_plain(Job, json.loads(posted(folder, job))))


class _Bench:
    """A checkpoint and its plans, for all units of a job that a process makes."""

    def __init__(self, job: Job) -> None:
        self.settings = settings = job.whole()
        self.checkpoint = open_checkpoint(settings.model)
        if self.checkpoint.stamp != job.stamp:
            raise self._other("the files have changed, or are others where the worker looks")
        tensors, _ = select(self.checkpoint, settings.selection)
        plans, _ = make_plans(tensors, settings.field)
        self.plans = {plan.name: plan for plan in plans}
        self.tensors = {tensor.name: tensor for tensor in tensors_of(plans)}
        self.keys = Keys(self.checkpoint, settings)

    def _other(self, why: str) -> CheckpointError:
        return CheckpointError(f"{printable(self.settings.model, 1000)}: {why}")

    def make(self, unit: Unit, shelf: Shelf) -> Ticks[None]:
        """Make a unit's file."""
        if unit.key != self._key(unit):
            raise self._other("its config.json differs where the worker looks")
        if unit.kind == "measure":
            keep_moments(shelf, unit.key, (yield from self._measured(unit)))
        elif unit.kind == "pool":
            part = self.plans[unit.name].parts[unit.part]
            pooled = yield from pool_part(part, self.settings.field)
            keep_pooled(shelf, unit.key, pooled)
        else:
            yield from self._cut(unit, shelf)

    def _key(self, unit: Unit) -> str | None:
        """Return the key that a unit has here, or None where there is nothing of its name."""
        if unit.kind == "measure":
            tensor = self.tensors.get(unit.name)
            return None if tensor is None else self.keys.measure(tensor)
        plan = self.plans.get(unit.name)
        if plan is None or unit.part >= len(plan.parts):
            return None
        return (
            self.keys.pool(plan, unit.part)
            if unit.kind == "pool"
            else self.keys.cut(plan, unit.sigma)
        )

    def _measured(self, unit: Unit) -> Ticks[Moments]:
        return (yield from measure_tensor(self.tensors[unit.name]))

    def _cut(self, unit: Unit, shelf: Shelf) -> Ticks[None]:
        plan, settings = self.plans[unit.name], self.settings
        try:
            if unit.pools:
                pooled = [read_pooled(shelf, key) for key in unit.pools]
            else:
                pooled = [(yield from pool_part(plan.parts[0], settings.field))]
            field = yield from field_steps(plan, settings.field, pooled, unit.sigma)
            surfaces = yield from extract_steps(field, settings.surface)
        except EmptyFieldError as error:
            keep_surfaces(shelf, unit.key, [], str(error))
        else:
            keep_surfaces(shelf, unit.key, surfaces)
