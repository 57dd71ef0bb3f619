"""A series of checkpoints → what stands in the corridor at each step, on one locked scale."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .animation import Actor, Animation, Growing, Level, Lock, Unit
from .casting import Cast, Casting, Role
from .color import ColorScale, scale_for
from .errors import CheckpointError, SeriesError, WeightwalkError
from .exhibit import VOTES, plan_provenance
from .layout import Layout, corridor, is_strip
from .legend import Cut, series_captions
from .locking import Units
from .model import Progress, imports
from .plans import Skip
from .readers import Tensor, open_checkpoint, printable
from .relief import Relief, height_unit, relief_of
from .series import Series, Step
from .settings import AnimationSettings
from .stages import Stages
from .store import Store
from .timeline import Timeline
from .tracks import Key, Names, key_of, take, takes_of, through_time

Float32 = npt.NDArray[np.float32]


Steps = Generator[Progress, None, Animation]


def animation_steps(series: Series, settings: AnimationSettings, folder: Path) -> Steps:
    """Build what a series shows at each step, in steps of a few milliseconds.

    Everything is read once and pooled; units, levels and colours are then found over all steps.
    One field is in memory at a time.

    Parameters
    ----------
    series : Series
    settings : AnimationSettings
    folder : Path
        An empty folder for what does not fit into memory. It is needed as long as the animation.

    Returns
    -------
    Animation

    Raises
    ------
    BadInputError
        No step has what was asked for.
    WeightwalkError
        No field gives a surface.
    """
    stages, store = Stages(), Store(folder)
    yield Progress("open", 0, 1, printable(series.name))
    with ExitStack() as stack:
        with stages.time("open"):
            takes, unread, notes = takes_of(series.steps, settings, stack)
        if settings.delta != "none" and len(takes) < 2:
            raise SeriesError(f"{printable(series.name)}: a change takes two steps; there is one")
        yield from imports(stages)
        casting = Casting(settings, store, stages)
        if settings.view == "time":
            plans, unfit, left_out = through_time(takes, settings)
            unread, notes = [*unread, *unfit], [*notes, *left_out]
            cast = yield from casting.through_time(takes, plans)
        else:
            cast = yield from casting.of(takes)
    if not cast.roles:
        reasons = [*cast.skips, *unread]
        why = ": nothing changed" if settings.delta != "none" else ""
        if reasons:
            why = f": {printable(reasons[0].name)} {reasons[0].reason}"
        raise WeightwalkError(f"{printable(series.name)}: no tensor gives a surface{why}")
    skips = (*series.skips, *unread, *cast.skips)
    yield Progress("place", 0, 1, "layout and colours")
    with stages.time("place"):
        layout = corridor([role.plan for role in cast.roles])
        scale = _scale(cast, settings, store)
        lock = Lock(
            tuple(t.step.name for t in cast.takes),
            tuple(Unit(*key, sigma) for key, sigma in cast.units.all().items()),
            tuple(_level(role, layout) for role in cast.roles),
            scale,
            height_unit(scale),
            tuple(sorted({pool for made in cast.takes for pool in made.grids})),
        )
        steps = tuple(made.step for made in cast.takes)
        bare = Animation(
            series.name, settings, steps, tuple(made.stamp for made in cast.takes),
            Timeline(len(steps), settings.timeline), layout, lock, (), (), (),
            skips, [*notes, *cast.notes], stages, store,
        )  # fmt: skip
        return _with_cast(bare, cast)


def grown_steps(earlier: Growing, step: Step, folder: Path) -> Generator[Progress, None, Animation]:
    """Build what one more step shows, with the units, levels and colours of before.

    Parameters
    ----------
    earlier : Growing
    step : Step
        The new one.
    folder : Path
        As for `animation_steps`.

    Returns
    -------
    Animation
        Of all steps; its actors and reliefs are those of the new one alone. A field that had no
        place is not shown, and noted.
    """
    settings, lock = earlier.settings, earlier.lock
    if settings.view == "time":
        raise WeightwalkError("a still surface of all steps cannot grow: build it again")
    stages, store = Stages(), Store(folder)
    yield Progress("open", 0, 1, step.label)
    names = Names((one.name, one.shape, one.planes) for one in lock.levels)
    with ExitStack() as stack:
        units = Units(settings, {(u.name, u.shape): u.sigma for u in lock.units})
        checkpoint = stack.enter_context(open_checkpoint(step.path))
        before, gone = _references(earlier, {key_of(t) for t in checkpoint.values()}, stack)
        made, skips = take(step, checkpoint, before, names, settings)
        yield from imports(stages)
        places = {level.name: level for level in lock.levels}
        casting = Casting(settings, store, stages, units)
        levels = {name: level.level for name, level in places.items()}
        cast = yield from casting.of([made], levels, len(earlier.steps))
    steps = (*earlier.steps, step)
    placements = {name: level.placement for name, level in places.items()}
    layout = Layout(placements, {}, earlier.stops, earlier.low, earlier.high)
    bare = Animation(
        earlier.name, settings, steps, (*earlier.stamps, made.stamp),
        Timeline(len(steps), settings.timeline), layout, lock, (), (), (),
        (*earlier.skips, *gone, *skips, *cast.skips), list(cast.notes), stages, store,
        earlier.later,
    )  # fmt: skip
    return _with_cast(bare, cast)


def _references(
    earlier: Growing, keys: set[Key], stack: ExitStack
) -> tuple[list[Mapping[Key, Tensor]], list[Skip]]:
    """Return the tensors of the steps that changes are measured from, no more than are needed.

    A training may have removed its earlier checkpoints (``save_total_limit``). Where one is needed,
    the step has no changes to show; it is the reference of the next one all the same.
    """
    delta = earlier.settings.delta
    ordered = {"none": (), "first": earlier.steps, "previous": earlier.steps[::-1]}[delta]
    tables: list[Mapping[Key, Tensor]] = []
    for step in ordered:
        try:
            held = stack.enter_context(open_checkpoint(step.path))
        except CheckpointError:
            return [], [Skip(step.label, "is gone, from which later changes are measured")]
        tables.append({key_of(tensor): tensor for tensor in held.values()})
        keys -= tables[-1].keys()
        if not keys:
            break
    return (tables if delta == "first" else tables[::-1]), []


def recalled_steps(earlier: Growing, folder: Path) -> Generator[Progress, None, Animation]:
    """Build again what a scene shows, with its units, levels and colours.

    Raises
    ------
    CheckpointError
        A checkpoint has changed since, or is gone.
    """
    for step, stamp in zip(earlier.steps, earlier.stamps, strict=True):
        with open_checkpoint(step.path) as checkpoint:
            if checkpoint.stamp != stamp:
                where = printable(step.path, 1000)
                raise CheckpointError(f"{where}: the files have changed since; build it again")
    over = tuple(step for step in earlier.steps if step.name in earlier.lock.over)
    series = Series(earlier.name, earlier.settings.build.model, over, earlier.skips)
    animation = yield from animation_steps(series, earlier.settings, folder)
    for step in earlier.steps[len(over) :]:
        grown = yield from grown_steps(Growing.of(animation), step, folder)
        animation = joined(animation, grown)
    return animation


def joined(earlier: Animation, grown: Animation) -> Animation:
    """Return an animation with the step that `grown_steps` made of the one after it.

    Both have the same store.
    """
    missing = {relief.plan.name: relief for relief in grown.reliefs}
    reliefs = [_longer(relief, missing.pop(relief.plan.name, None)) for relief in earlier.reliefs]
    whole = replace(
        grown,
        layout=earlier.layout,
        actors=(*(replace(a, shown=(*a.shown, False)) for a in earlier.actors), *grown.actors),
        reliefs=(*reliefs, *missing.values()),
        notes=[*earlier.notes, *grown.notes],
        stages=earlier.stages,
        earlier=earlier.earlier,
    )
    return replace(whole, captions=_captions(whole))


def _longer(relief: Relief, grown: Relief | None) -> Relief:
    last = np.zeros_like(relief.values[:1]) if grown is None else grown.values[-1:]
    values = np.concatenate([relief.values, last])
    return replace(relief, values=values, shown=(*relief.shown, grown is not None))


def _level(role: Role, layout: Layout) -> Level:
    plan = role.plan
    shape = plan.parts[0].tensor.shape
    return Level(plan.name, role.level, layout.placements[plan.name], shape, plan.planes)


def with_skips(animation: Animation, skips: Sequence[Skip]) -> Animation:
    """Return an animation that also says what was left out since."""
    whole = replace(animation, skips=(*animation.skips, *skips))
    return replace(whole, captions=_captions(whole))


def _with_cast(bare: Animation, cast: Cast) -> Animation:
    """Return an animation with its actors, its reliefs and the legend's lines."""
    steps, lock, settings = bare.steps, bare.lock, bare.settings
    actors, reliefs = [], []
    for part in cast.parts:
        clipped = lock.scale.clipped(bare.store.arrays(part.mesh)["values"])
        shown = tuple(part.step in {-1, i} for i in range(len(steps)))
        name = part.shell.name + (f" @ {steps[part.step].name}" if part.step >= 0 else "")
        counts = part.faces, part.vertices, clipped
        actors.append(Actor(name, part.step, shown, part.mesh, part.shell, *counts))
    for role in cast.roles if settings.view == "relief" else ():
        if any(v is not None for v in role.values):
            extras = plan_provenance(role.plan, settings.build.field, bare.name)
            placement = bare.layout.placements[role.plan.name]
            unit = lock.scale, lock.height
            reliefs.append(relief_of(role.plan, placement, role.values, unit, extras))
    whole = replace(bare, actors=tuple(actors), reliefs=tuple(reliefs))
    return replace(whole, captions=_captions(whole))


def _captions(animation: Animation) -> tuple[str, ...]:
    lock, steps = animation.lock, animation.steps
    cuts = [Cut(level.level, level.placement.strip) for level in lock.levels]
    return series_captions(
        animation.settings, steps, lock.over, cuts,
        height=lock.height, grids=lock.grids, clipped=animation.later, skips=animation.skips,
    )  # fmt: skip


def _scale(cast: Cast, settings: AnimationSettings, store: Store) -> ColorScale:
    """Return the one colour scale of all steps; vectors have no vote where there are matrices."""
    strips: Mapping[bool, list[Float32]] = defaultdict(list)
    if settings.view == "relief":
        for role in cast.roles:
            strips[is_strip(role.plan)] += [v.ravel() for v in role.values if v is not None]
    else:
        seen = {p.mesh: p for p in cast.parts if p.shell.sign}
        wide = any(not is_strip(p.shell.field.plan) for p in seen.values())
        chosen = [p for p in seen.values() if not (wide and is_strip(p.shell.field.plan))]
        every = sum(p.vertices for p in chosen) // VOTES + 1
        for p in chosen:
            strips[False].append(store.arrays(p.mesh)["values"][::every])
    votes: Sequence[Float32] = strips[False] or strips[True] or [np.zeros(0, np.float32)]
    every = sum(len(v) for v in votes) // VOTES + 1 if settings.view == "relief" else 1
    together = np.concatenate([v[::every] for v in votes])
    signed = settings.build.field.signed
    return scale_for(together, diverging=signed, map=settings.build.colors)
