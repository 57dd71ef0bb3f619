"""Pooled fields of a whole series → one unit and one level for each, found over all steps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .change import Change
from .errors import EmptyFieldError
from .fields import Field, Plan, compose_steps, pool_parts
from .pooling import Moments, Pooled, measure
from .readers import Tensor
from .settings import AnimationSettings, SurfaceSettings
from .stages import Ticks
from .store import Array, Store
from .surfaces import Surface, extract_steps, level_steps
from .tracks import Key, key_of

_NO_VALUES = np.zeros((0, 0))
_TOO_MANY = "no level gives a surface of at most {} faces"
_NO_CELLS = np.zeros((0, 0), np.bool_)


@dataclass(frozen=True)
class Held:
    """A pooled field whose arrays lie on the disk.

    Attributes
    ----------
    digest : str
        Of all of it: two steps with the same look the same, for the tensor did not change.
    grids : tuple of Pooled
        One for each part, without its arrays.
    """

    digest: str
    grids: tuple[Pooled, ...]

    @property
    def unchanged(self) -> bool:
        """Whether every entry is zero, as in a change that is none."""
        return all(g.low == g.high == 0.0 and not g.nan + g.inf for g in self.grids)


def pool_and_keep(plan: Plan, settings: AnimationSettings, store: Store) -> Ticks[Held]:
    """Read and pool a field, and put its arrays on the disk."""
    grids = yield from pool_parts(plan, settings.build.field)
    digest = hashlib.sha256(plan.name.encode(errors="replace"))
    for g in grids:
        for array in (g.values, g.nonfinite):
            digest.update(array.tobytes())
        digest.update(repr((g.moments, g.nan, g.inf, g.low, g.high)).encode())
    found = digest.hexdigest()
    arrays: dict[str, Array] = {f"values{i}": g.values for i, g in enumerate(grids)}
    arrays |= {f"nonfinite{i}": g.nonfinite for i, g in enumerate(grids)}
    store.keep(found, **arrays)
    yield 0
    bare = (replace(g, values=_NO_VALUES, nonfinite=_NO_CELLS) for g in grids)
    return Held(found, tuple(bare))


def compose(
    plan: Plan, held: Held, units: Units, settings: AnimationSettings, store: Store
) -> Ticks[Field]:
    """Take a pooled field from the disk and give it its unit."""
    arrays = store.arrays(held.digest)
    grids = [
        replace(g, values=arrays[f"values{i}"], nonfinite=arrays[f"nonfinite{i}"])
        for i, g in enumerate(held.grids)
    ]
    yield 0
    sigmas = [units.of(part.tensor) for part in plan.parts]
    return (yield from compose_steps(plan, settings.build.field, grids, sigmas))


class Units:
    """How much one σ is, for each tensor: the same at all steps.

    Of weights, it is the standard deviation of all finite entries of all steps. Of changes, it is
    that of the tensor at the first step, which the first change is measured from; where that one is
    constant, that of the changes themselves over all steps.

    Parameters
    ----------
    settings : AnimationSettings
    locked : mapping of Key to float, optional
        Those that were found earlier.
    """

    def __init__(
        self, settings: AnimationSettings, locked: Mapping[Key, float] | None = None
    ) -> None:
        self._together = settings.build.field.sigma == "all"
        self._seen: dict[Key, Moments] = {}
        self._references: dict[Key, Moments] = {}
        self._locked = dict(locked or {})
        self._whole: dict[int, Moments] = {}

    def know(self, tensors: Iterable[Tensor], whole: Mapping[str, Moments]) -> None:
        """Take note of tensors that are pooled grids of larger ones, whose moments count."""
        self._whole |= {id(t): whole[t.name] for t in tensors if t.name in whole}

    def add(self, plans: Iterable[Plan], held: Iterable[Held]) -> Ticks[None]:
        """Take the fields of a step into account; the first reference of a tensor is read."""
        moments: dict[Key, Moments] = {}
        for plan, one in zip(plans, held, strict=True):
            for part, grid in zip(plan.parts, one.grids, strict=True):
                tensor, key = part.tensor, key_of(part.tensor)
                found = self._whole.get(id(tensor), grid.moments)
                # Fields of a fused tensor each pool the whole of it: it counts once.
                others = moments.get(key, Moments()) if plan.kind == "time" else Moments()
                moments[key] = others + found
                if not isinstance(tensor, Change) or {key} & {*self._references, *self._locked}:
                    continue
                reference = tensor.reference
                measured = self._whole.get(id(reference)) or (yield from measure(reference))
                self._references[key] = measured
        for key, added in moments.items():
            self._seen[key] = self._seen.get(key, Moments()) + added

    def of(self, tensor: Tensor) -> float:
        """Return a tensor's unit; 0 where nothing in it differs from anything."""
        key = key_of(tensor)
        if key in self._locked:
            return self._locked[key]
        if self._together:
            return self._total()
        own = self._seen.get(key, Moments()).sigma
        return self._references[key].sigma or own if key in self._references else own

    def all(self) -> dict[Key, float]:
        """Return the unit of every tensor."""
        if self._together:
            return dict.fromkeys(self._seen, self._total()) | self._locked
        own = {key: found.sigma for key, found in self._seen.items()}
        references = {k: found.sigma or own[k] for k, found in self._references.items()}
        return own | references | self._locked

    @property
    def substitutes(self) -> list[str]:
        """Names of the tensors that were constant, so that their changes are their own unit."""
        return [k[0] for k, m in self._references.items() if not m.sigma and self._seen[k].sigma]

    def _total(self) -> float:
        held = self._references or self._seen
        return sum(held.values(), Moments()).sigma


class Cutter:
    """Cuts one field at one level at all steps.

    Parameters
    ----------
    settings : SurfaceSettings
    budget : int or None
        Of triangles at any step.
    """

    def __init__(self, settings: SurfaceSettings, budget: int | None) -> None:
        self.settings, self.budget = settings, budget
        self.level = settings.level or 0.0

    def find(self, fields: Sequence[Ticks[Field]]) -> Ticks[None]:
        """Begin with the level that some of the fields ask for; empty ones ask for none.

        A quantile is that of the cells of all of them together.
        """
        magnitudes = []
        for making in fields:
            try:
                field = yield from making
            except EmptyFieldError:
                continue
            if self.budget is not None:
                self.level = max(self.level, (yield from level_steps(field, self.budget)) or 0.0)
            elif self.settings.quantile is not None:
                magnitudes.append(np.abs(field.cells[field.known]))
        if magnitudes and sum(m.size for m in magnitudes):
            self.level = float(np.quantile(np.concatenate(magnitudes), self.settings.quantile or 0))

    def cut(self, field: Field) -> Ticks[list[Surface]]:
        """Cut a field at the level, which goes up where the budget asks for it.

        Raises
        ------
        EmptyFieldError
            Nothing lies above the level, or no level keeps within the budget: so it is where all
            cells have one magnitude. Such a step has no say in the level of the others.
        """
        while True:
            surfaces = yield from self.cut_here(field)
            faces = sum(len(s.mesh.faces) for s in surfaces)
            if self.budget is None or faces <= self.budget:
                return surfaces
            higher = yield from level_steps(field, self.budget)
            if higher is None:
                raise EmptyFieldError(_TOO_MANY.format(self.budget))
            # Faces may grow with the level, too: go on until they do not.
            self.level = max(higher, 1.001 * self.level)

    def cut_here(self, field: Field) -> Ticks[list[Surface]]:
        """Cut a field at the level as it is."""
        if not self.level > 0.0:
            zero = "the level is zero: so many of its cells are"
            raise EmptyFieldError(zero if self.budget is None else _TOO_MANY.format(self.budget))
        at = SurfaceSettings(level=self.level)
        return (yield from extract_steps(field, at, self.budget))
