"""Fewer faces, until a file stays below a size.

A field has about as many faces as its budget, or all that it can have where that is less. What each
of them had at the budget that was asked for therefore tells the faces of all at a lower one well
enough to need one or two more builds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

from .budget import AIM
from .crew import Crew
from .errors import SettingsError
from .model import Model, Progress, Steps, steps
from .settings import MIN_FACES, Settings
from .stages import Stages
from .writers.stl import size_of_stl

# Share of the limit to aim for, and the least that is good enough.
TARGET = 0.985
ENOUGH = 0.95
TRIES = 5


def fitted_steps(
    settings: Settings, limit: int | None = None, crew: Crew | None = None
) -> Generator[Progress, None, Model]:
    """Do what `core.model.steps` does, with a lower face budget where an STL would be too large.

    Parameters
    ----------
    settings : Settings
    limit : int or None
        Largest size of the STL in bytes.
    crew : Crew or None
        As for `core.model.steps`.

    Returns
    -------
    Model
        Its settings have the budget that was used; a note says that it was lowered, and why.

    Raises
    ------
    SettingsError
        The surfaces were not asked for by a budget, or no budget is small enough.
    """
    model = yield from steps(settings, crew)
    size = size_of_stl(faces_of(model))
    if limit is None or size <= limit:
        return model
    asked = settings.surface.budget(settings.field.kind)
    too_large = f"the STL would have {megabytes(size)}, more than {megabytes(limit)}"
    if asked is None:
        given = "level" if settings.surface.level is not None else "quantile"
        raise SettingsError(
            f"max-stl-mb: {too_large}, and with --{given} there is no budget that could be "
            "lowered: give --faces in its place, or choose fewer tensors"
        )
    counts = _by_field(model)
    spent = model.stages
    del model  # it may be larger than all that follows

    def build(budget: int) -> Steps:
        surface = replace(settings.surface, faces=budget)
        return steps(replace(settings, surface=surface), crew)

    best = yield from _search(build, counts, asked, limit=limit, spent=spent)
    _add(best.stages, spent)
    used = best.settings.surface.faces
    best.notes.append(
        f"faces: the budget was lowered from {asked:,} to {used:,} for each field, because "
        f"{too_large}; it has {megabytes(size_of_stl(faces_of(best)))}"
    )
    return best


def _search(
    build: Callable[[int], Steps], counts: Sequence[int], asked: int, *, limit: int, spent: Stages
) -> Generator[Progress, None, Model]:
    """Build with budgets below the one asked for, until one is about the largest that fits."""
    most = (limit - size_of_stl(0)) // (size_of_stl(1) - size_of_stl(0))
    best: Model | None = None
    fits, fails, aim = MIN_FACES - 1, asked, TARGET * most
    for _ in range(TRIES):
        budget = min(max(_budget_for(aim, counts), fits + 1), fails - 1)
        if budget < MIN_FACES:
            break
        model = yield from build(budget)
        faces = faces_of(model)
        if faces > most:
            fails = budget
            _add(spent, model.stages)
        else:
            fits = budget
            if best is not None:
                _add(spent, best.stages)
            best = model
        del model
        if fits + 1 >= fails or ENOUGH * most <= faces <= most:
            break
        aim *= TARGET * most / max(faces, 1)
    if best is None:
        raise SettingsError(
            f"max-stl-mb: no budget of faces gives an STL of at most {megabytes(limit)}: "
            f"there are {len(counts)} fields; choose fewer tensors"
        )
    return best


def faces_of(model: Model) -> int:
    """Return the number of faces of all surfaces."""
    return sum(len(exhibit.part.faces) for exhibit in model.exhibits)


def megabytes(count: int) -> str:
    """Return a number of bytes for people, in millions."""
    return f"{count / 1e6:,.4g} MB"


def _by_field(model: Model) -> list[int]:
    """Return the faces of each field, of both signs together."""
    counts: Counter[str] = Counter()
    for exhibit in model.exhibits:
        counts[exhibit.surface.field.plan.name] += len(exhibit.part.faces)
    return list(counts.values())


def _budget_for(aim: float, counts: Sequence[int]) -> int:
    """Return the largest budget at which fields are expected to have at most `aim` faces in all."""
    low, high = MIN_FACES, max(counts) + MIN_FACES
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(count, AIM * middle) for count in counts) <= aim:
            low = middle
        else:
            high = middle - 1
    return low


def _add(stages: Stages, others: Stages) -> None:
    """Count what other builds cost to a run's stages."""
    for name, stage in others.by_name.items():
        stages.add(name, stage.bytes)
        stages.by_name[name].seconds += stage.seconds
