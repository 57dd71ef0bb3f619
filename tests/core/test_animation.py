"""A series on one scale: what is locked, what is shared, what comes and goes, what grows."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings, strategies
from safetensors.numpy import save_file
from weightwalk.core.animation import Growing
from weightwalk.core.errors import BadInputError, CheckpointError, OutputError, WeightwalkError
from weightwalk.core.pooling import cell_edges
from weightwalk.core.produce import animation_steps, grown_steps, joined, recalled_steps
from weightwalk.core.record import Record
from weightwalk.core.series import Step, find_series
from weightwalk.core.series_report import series_report
from weightwalk.core.settings import (
    AnimationOutput,
    AnimationSettings,
    FieldSettings,
    Selection,
    Settings,
    SettingsError,
    SurfaceSettings,
    TimelineSettings,
)
from weightwalk.core.stages import finish
from weightwalk.core.timeline import Timeline

Q = "model.layers.0.self_attn.q_proj.weight"
DOWN = "model.layers.0.mlp.down_proj.weight"
NORM = "model.layers.0.input_layernorm.weight"
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "animation.schema.json").read_text(encoding="utf-8")
)


@pytest.fixture
def run(tmp_path):
    """Return a function that writes steps, dicts of tensors, as a Trainer's folder."""

    def write(*steps):
        for k, tensors in enumerate(steps, 1):
            folder = tmp_path / "run" / f"checkpoint-{10 * k}"
            folder.mkdir(parents=True, exist_ok=True)
            save_file({n: np.float32(v) for n, v in tensors.items()}, folder / "model.safetensors")
            (folder / "trainer_state.json").write_text("{}")
        return tmp_path / "run"

    return write


@pytest.fixture
def animate(tmp_path):
    """Return a function that makes the animation of a folder."""
    made = []

    def make(folder, view="iso", delta="none", surface=None, patterns=(), **field):
        kept = tmp_path / f"kept{len(made)}"
        kept.mkdir()
        made.append(kept)
        pool = "rms" if delta == "none" else "mean"
        kind = "time" if view == "time" else "slab"
        fields = FieldSettings(**{"kind": kind, "pool": pool, "rows": 8, "cols": 8} | field)
        cut = surface or SurfaceSettings(faces=400)
        build = Settings(folder, Selection(patterns), fields, cut)
        chosen = AnimationSettings((str(folder),), build, view, delta)
        return finish(animation_steps(find_series(chosen.targets), chosen, kept))

    return make


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def drifting(rng, steps=4, shape=(24, 20)):
    """A matrix whose deviation grows twelvefold, and one that rests."""
    start, still = rng.standard_normal(shape), rng.standard_normal(shape)
    return [
        {Q: start * (1 + 4 * k) + k * rng.standard_normal(shape), DOWN: still} for k in range(steps)
    ]


def pooled(change, grid=8):
    """The mean of a matrix's entries under each cell, by numpy alone."""
    rows, cols = (cell_edges(n, grid)[:-1] for n in change.shape)
    sums = np.add.reduceat(np.add.reduceat(change, rows, axis=0), cols, axis=1)
    counts = np.outer(np.diff([*rows, change.shape[0]]), np.diff([*cols, change.shape[1]]))
    return sums / counts


def test_level_unit_and_colours_are_one_over_all_steps(run, animate, rng):
    steps = drifting(rng)
    animation = animate(run(*steps))
    every = np.concatenate([np.float32(step[Q]).ravel() for step in steps]).astype(float)
    actors = [a for a in animation.actors if a.shell.field.plan.name == Q]
    (sigma,) = {sigma for a in actors for sigma in a.shell.field.sigmas}
    assert sigma == pytest.approx(every.std(), rel=1e-9)
    levels = [a.shell.level for a in actors]
    assert max(levels) - min(levels) < 1e-6 * max(levels)
    # No step has more than the budget, and the one with most has nearly all of it.
    faces = [a.faces for a in actors]
    assert 0.8 * 400 < max(faces) <= 400
    # Small weights at the start lie below the one level: they must not look as large as later ones.
    assert len(actors) < 4 or faces[0] < 0.5 * max(faces)
    assert animation.lock.over == ("10", "20", "30", "40")
    assert "the same at all 4 steps, found over all" in " ".join(animation.captions)


def test_what_does_not_change_has_one_mesh(run, animate, rng):
    animation = animate(run(*drifting(rng)))
    meshes = [a.mesh for a in animation.actors if a.shell.field.plan.name == DOWN]
    assert len(meshes) == 4
    assert len(set(meshes)) == 1
    files = [a.shell.field.plan.parts[0].tensor.file.parent.name for a in animation.actors]
    assert set(files) == {f"checkpoint-{10 * k}" for k in (1, 2, 3, 4)}
    parts = [animation.exhibit(a).part for a in animation.actors if a.mesh == meshes[0]]
    one, other = parts[:2]
    np.testing.assert_array_equal(one.vertices, other.vertices)


@pytest.mark.parametrize("delta", ["first", "previous"])
def test_changes_are_those_that_numpy_finds(run, animate, rng, delta):
    steps = drifting(rng)
    animation = animate(run(*steps), "relief", delta)
    (relief,) = (r for r in animation.reliefs if r.plan.name == Q)
    values = [np.float32(step[Q]).astype(np.float64) for step in steps]
    assert relief.shown == (True, True, True, True)
    assert not relief.values[0].any()
    for k in (1, 2, 3):
        before = values[0] if delta == "first" else values[k - 1]
        expected = pooled(values[k] - before) / before.std()
        np.testing.assert_allclose(
            relief.values[k], expected.ravel()[relief.cells], rtol=1e-5, atol=1e-7
        )
        moved = relief.part.vertices + relief.offsets(k)
        np.testing.assert_allclose(moved[:, 1], -relief.height * relief.values[k], rtol=1e-6)
    # What rests has no change, and no sheet.
    assert [r.plan.name for r in animation.reliefs] == [Q]
    assert any("did not change" in note for note in animation.notes)


def test_change_has_a_pair_of_surfaces_and_none_where_there_is_none(run, animate, rng):
    animation = animate(run(*drifting(rng)), delta="first")
    signs = {(a.step, a.shell.sign) for a in animation.actors}
    assert {step for step, _ in signs} <= {1, 2, 3}
    assert {(3, 1), (3, -1)} <= signs
    for actor in animation.actors:
        values = animation.exhibit(actor).surface.values
        assert (actor.shell.sign * values >= actor.shell.level * 0.999).all()


def test_the_time_view_is_a_worldline_for_a_weight_that_moved(run, animate):
    still = np.linspace(-1, 1, 64).reshape(8, 8)
    steps = [{Q: still.copy()} for _ in range(5)]
    for k in (3, 4):
        steps[k][Q][5, 2] += 2.0
    surface = SurfaceSettings(level=0.5)
    animation = animate(run(*steps), "time", "first", surface=surface)
    (actor,) = animation.actors
    assert actor.shown == (True,) * 5
    exhibit = animation.exhibit(actor)
    planes, rows, cols = np.unravel_index(exhibit.surface.cells, actor.shell.field.plan.shape)
    assert set(zip(rows.tolist(), cols.tolist(), strict=True)) == {(5, 2)}
    assert set(planes.tolist()) == {3, 4}
    assert actor.shell.field.plan.planes == tuple(f"step {10 * k}" for k in range(1, 6))


def test_what_comes_goes_and_changes_shape_is_told_and_shown_while_it_is_there(run, animate, rng):
    steps = drifting(rng)
    del steps[0][DOWN]
    steps[3][Q] = rng.standard_normal((30, 20))
    for step in steps:
        step[NORM] = np.arange(5.0)
    for step in steps[1:3]:
        step["extra"] = rng.standard_normal((6, 6))
    animation = animate(run(*steps), surface=SurfaceSettings(level=0.01))
    at = {}
    for actor in animation.actors:
        at.setdefault(actor.shell.field.plan.name, []).append(actor.step)
    del at[NORM]
    assert at == {Q: [0, 1, 2], DOWN: [1, 2, 3], "extra": [1, 2], f"{Q} (30x20)": [3]}
    said = "; ".join(animation.notes)
    assert f"{DOWN} is there only at step 20 to 40" in said
    assert "extra is there only at step 20 to 30" in said
    assert f"{Q} as 30 × 20 is there only at step 40" in said


def test_what_was_chosen_by_name_is_shown_where_it_is(run, animate, rng):
    steps = drifting(rng)
    del steps[1][DOWN]
    folder = run(*steps)
    animation = animate(folder, patterns=(Q, DOWN), surface=SurfaceSettings(level=0.01))
    assert [a.step for a in animation.actors if a.shell.field.plan.name == DOWN] == [0, 2, 3]
    assert [a.step for a in animation.actors if a.shell.field.plan.name == Q] == [0, 1, 2, 3]
    with pytest.raises(BadInputError, match="no step has a tensor that is called or matches 'z"):
        animate(folder, patterns=(Q, "z*"))


def test_nan_from_a_step_on_is_shown_and_the_step_is_named(run, animate, rng):
    steps = drifting(rng)
    for step in steps[2:]:
        step[Q][:4, :4] = np.nan
    steps[3][DOWN] = np.full((24, 20), np.nan)
    for view in ("iso", "relief"):
        animation = animate(run(*steps), view)
        marks = [(a.shell.field.plan.name, a.step) for a in animation.actors if not a.shell.sign]
        assert sorted(marks) == [(DOWN, 3), (Q, 2), (Q, 3)]
        said = "; ".join(animation.notes)
        assert f"{Q}: not finite from step 30 on (16 NaN and 0 infinite entries)" in said
        assert f"{DOWN}: not finite from step 40 on" in said


def test_a_step_that_breaks_off_is_left_out_and_named(run, animate, rng):
    folder = run(*drifting(rng))
    broken = folder / "checkpoint-20" / "model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-100])
    animation = animate(folder)
    assert [step.name for step in animation.steps] == ["10", "30", "40"]
    (skip,) = animation.skips
    assert skip.name == "step 20"
    assert "cut" in skip.reason


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
    assert any("more than the budget" in note and "Relock" in note for note in animation.notes)
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


@pytest.mark.parametrize("view", ["iso", "relief", "time"])
@pytest.mark.parametrize("delta", ["none", "first"])
def test_every_report_fits_the_schema(run, animate, rng, view, delta):
    steps = drifting(rng)
    steps[3][Q][0, 0] = np.inf
    steps[1][NORM] = np.ones(20)
    animation = animate(run(*steps), view, delta)
    report = series_report(animation, AnimationOutput(Path("out")), [], {"weightwalk": "0"})
    report = json.loads(json.dumps(report, allow_nan=False))
    jsonschema.validate(report, SCHEMA)
    assert [step["name"] for step in report["steps"]] == ["10", "20", "30", "40"]
    assert report["steps"][-1]["last_frame"] == report["timeline"]["end"] == 48


def test_one_field_is_in_memory_at_a_time(run, animate, rng, monkeypatch):
    """Of 40 fields nothing stays but what lies on the disk, and some votes for the colours."""
    monkeypatch.setattr("weightwalk.core.produce.VOTES", 1000)
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(10)]
    steps = [{n: rng.standard_normal((96, 96)) for n in names} for _ in range(4)]
    folder = run(*steps)
    options = {"surface": SurfaceSettings(faces=20_000), "rows": 96, "cols": 96}
    animate(folder, patterns=(names[0],), **options)  # imports
    peaks = []
    for patterns in ((names[0],), tuple(names)):
        tracemalloc.start()
        animation = animate(folder, patterns=patterns, **options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    arrays = sum(f.stat().st_size for f in animation.store.folder.iterdir())
    assert peaks[1] - peaks[0] < 0.25 * arrays


def test_requests_that_contradict_themselves(run, rng):
    build = Settings(Path("x"))
    for options, words in (
        ({"delta": "first"}, "change has a sign"),
        ({"view": "time"}, "go together"),
        ({"view": "relief", "build": Settings(Path("x"), field=FieldSettings("depth"))}, "relief"),
        ({"targets": ()}, "no folder"),
    ):
        with pytest.raises(SettingsError, match=words):
            AnimationSettings(**{"targets": ("x",), "build": build} | options)
    with pytest.raises(SettingsError, match="frames: 0"):
        TimelineSettings(frames=0)


def test_nothing_to_show_is_one_sentence(run, animate):
    still = {Q: np.ones((4, 4))}
    for delta, words in (("none", "is constant"), ("first", "no tensor gives a surface")):
        with pytest.raises(WeightwalkError, match=words):
            animate(run(still, still), delta=delta)
    with pytest.raises(BadInputError, match="no tensor matches 'nope'"):
        animate(run(still, still), patterns=("nope",))


@given(
    steps=strategies.integers(1, 30),
    frames=strategies.integers(1, 40),
    start=strategies.integers(0, 500),
    shown=strategies.data(),
)
@settings(max_examples=60, deadline=None)
def test_a_timeline_gives_every_frame_to_one_step(steps, frames, start, shown):
    timeline = Timeline(steps, TimelineSettings(frames, start, 24))
    of = [timeline.step_at(f) for f in range(timeline.start, timeline.end + 1)]
    assert of == [k for k in range(steps) for _ in range(frames)]
    for k in range(steps):
        middle = timeline.middle(k)
        assert {timeline.step_at(frame) for frame in middle} == {k}
        assert frames == 1 or np.mean(middle) == timeline.first(k) + frames / 2
    there = shown.draw(strategies.lists(strategies.booleans(), min_size=steps, max_size=steps))
    now, state = dict(timeline.changes(there)), None
    for frame in range(timeline.start, timeline.end + 1):
        state = now.get(frame, state)
        assert state == there[timeline.step_at(frame)]


def test_a_full_disk_is_one_sentence(run, animate, rng, tmp_path, monkeypatch):
    folder = run(*drifting(rng))
    monkeypatch.setattr("weightwalk.core.store.np.savez", _full)
    with pytest.raises(OutputError, match="No space left on device"):
        animate(folder)


def _full(*_arguments, **_arrays):
    raise OSError(28, "No space left on device")
