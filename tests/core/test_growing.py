"""A series that grows: what was locked is kept, and what was removed meanwhile is named."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from weightwalk.core.animation import Growing
from weightwalk.core.errors import CheckpointError
from weightwalk.core.produce import grown_steps, joined, recalled_steps
from weightwalk.core.record import Record
from weightwalk.core.series import Step, find_series
from weightwalk.core.stages import finish

from .drifting import DOWN, NORM, animate, drifting, pooled, run

__all__ = ["animate", "run"]  # fixtures


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def test_a_series_that_grows_keeps_its_lock_and_equals_itself(run, animate, rng, tmp_path):
    steps = drifting(rng, 5)
    folder = run(*steps)
    for k in (4, 5):
        (folder / f"checkpoint-{10 * k}").rename(tmp_path / f"later-{k}")
    animation = first = animate(folder)
    for k in (4, 5):
        new = Step(str(10 * k), 10 * k, tmp_path / f"later-{k}")
        earlier = Record.from_json(Record.of_animation(animation).to_json()).series
        grown = finish(grown_steps(earlier, new, first.store.folder))
        assert {a.step for a in grown.actors} == {k - 1}
        animation = joined(animation, grown)
    assert animation.lock == first.lock
    assert [len(a.shown) for a in animation.actors] == [5] * len(animation.actors)
    # Weights went on growing: what is beyond the scale is counted, and said.
    beyond = sum(a.clipped for a in animation.actors if a.step > 2)
    assert beyond > 0
    assert f"beyond the colours since then: {beyond:,} values" in " ".join(animation.captions)
    assert "found over 3 of them" in " ".join(animation.captions)
    assert any("more faces at the locked level than the budget" in note for note in animation.notes)
    # The tensor that rests still has its one mesh.
    assert len({a.mesh for a in animation.actors if a.shell.field.plan.name == DOWN}) == 1
    again = tmp_path / "again"
    again.mkdir()
    recalled = finish(recalled_steps(Growing.of(animation), again))
    assert [replace(a, shell=None) for a in recalled.actors] == [
        replace(a, shell=None) for a in animation.actors
    ]
    (folder / "checkpoint-10" / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match="changed since"):
        finish(recalled_steps(Growing.of(animation), again))


@pytest.mark.parametrize("sigma", ["tensor", "all"])
@pytest.mark.parametrize("shown", list(product(["iso", "relief"], ["none", "first", "previous"])))
def test_what_is_locked_holds_for_every_later_step(run, animate, rng, shown, sigma):
    view, delta = shown
    steps = [step | {NORM: np.zeros(20)} for step in drifting(rng, 5)]
    steps[3][NORM] = rng.standard_normal(20)
    folder = run(*steps)
    series = find_series([str(folder)])
    first = animate(
        folder, view, delta, sigma=sigma, series=replace(series, steps=series.steps[:3])
    )
    grown = first
    for step in series.steps[3:]:
        new = finish(grown_steps(Growing.of(grown), step, first.store.folder))
        grown = joined(grown, new)
    assert grown.lock == first.lock
    units = {unit.name: unit.sigma for unit in first.lock.units}
    for actor in grown.actors:
        field = actor.shell.field
        assert set(field.sigmas) == {units[field.plan.parts[0].tensor.name]}
    for relief in grown.reliefs:
        (name,) = {part.tensor.name for part in relief.plan.parts}
        values = [np.float32(step[name]).astype(float) for step in steps]
        before = {"none": 0.0, "first": values[0], "previous": values[3]}[delta]
        if min(values[4].shape) == values[4].size:
            continue
        difference = values[4] - before
        means = pooled(difference) if delta != "none" else pooled(difference**2) ** 0.5
        expected = (means / units[name]).ravel()[relief.cells]
        np.testing.assert_allclose(relief.values[4], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("delta", ["first", "previous"])
def test_a_reference_that_was_removed_is_named_and_the_next_step_has_one_again(
    run, animate, rng, delta
):
    folder = run(*drifting(rng, 6))
    series = find_series([str(folder)])
    animation = animate(folder, delta=delta, series=replace(series, steps=series.steps[:3]))
    kept = animation.store.folder
    gone = {"first": 1, "previous": 2}[delta]
    (series.steps[gone].path / "model.safetensors").unlink()
    shown = []
    for step in series.steps[3:]:
        new = finish(grown_steps(Growing.of(animation), step, kept))
        shown.append(bool(new.actors))
        animation = joined(animation, new)
    if delta == "first":  # measured from the first, which is there
        assert shown == [True, True, True]
        assert not animation.skips
    else:
        assert shown == [False, True, True]
        (skip,) = animation.skips
        assert (skip.name, "is gone" in skip.reason) == ("step 30", True)
