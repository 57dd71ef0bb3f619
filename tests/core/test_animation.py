"""A series on one scale: what is locked, what is shared, what comes and goes, what grows."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings, strategies
from safetensors.numpy import load_file, save_file
from weightwalk.core.errors import BadInputError, OutputError, WeightwalkError
from weightwalk.core.series_report import series_report
from weightwalk.core.settings import (
    AnimationOutput,
    AnimationSettings,
    FieldSettings,
    Settings,
    SettingsError,
    SurfaceSettings,
    TimelineSettings,
)
from weightwalk.core.snapshot import PooledNote, pooled_text
from weightwalk.core.timeline import Timeline

from .drifting import DOWN, NORM, Q, animate, drifting, pooled, run

__all__ = ["animate", "run"]  # fixtures

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "animation.schema.json").read_text(encoding="utf-8")
)


@pytest.fixture
def rng():
    return np.random.default_rng(5)


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
        expected = pooled(values[k] - before) / values[0].std()
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
    monkeypatch.setattr("weightwalk.core.store.np.save", _full)
    with pytest.raises(OutputError, match="No space left on device"):
        animate(folder)


def _full(*_arguments, **_options):
    raise OSError(28, "No space left on device")


def test_a_step_of_one_magnitude_does_not_take_the_others_away(run, animate, rng):
    """As Adam's first update has: no level keeps within a budget there."""
    noise = rng.standard_normal((64, 64))
    steps = [{Q: 5 * np.sign(noise)}, *({Q: noise * (1 + 0.1 * k)} for k in range(3))]
    animation = animate(
        run(*steps), pool="absmax", rows=64, cols=64, surface=SurfaceSettings(faces=8000)
    )
    assert {a.step for a in animation.actors} == {1, 2, 3}
    assert any("no level gives a surface of at most 8000 faces" in n for n in animation.notes)


def test_a_volume_that_loses_a_plane_is_another_one(run, animate, rng):
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(4)]
    steps = [{n: rng.standard_normal((8, 8)) for n in names} for _ in range(3)]
    del steps[1][names[1]]
    animation = animate(run(*steps), kind="depth", surface=SurfaceSettings(level=1.0))
    planes = {a.shell.field.plan.name: a.shell.field.plan.planes for a in animation.actors}
    assert planes == {
        "depth q": ("layer 0", "layer 1", "layer 2", "layer 3"),
        "depth q (without layer 1)": ("layer 0", "layer 2", "layer 3"),
    }


def test_a_timeline_ends_where_blenders_does():
    assert Timeline(7, TimelineSettings(frames=10_000, start=978_000)).end == 1_047_999
    with pytest.raises(SettingsError, match="Blender has 1,048,574 frames"):
        Timeline(8, TimelineSettings(frames=10_000, start=978_000))


def test_a_grid_without_signs_has_no_changes(run, animate, rng):
    folder = run(*drifting(rng, 2))
    note = pooled_text({Q: PooledNote((96, 80), "rms", 7680, 0.0, 2.0, -9.0, 9.0, 0, 0)})
    for k in (1, 2):
        file = folder / f"checkpoint-{10 * k}" / "model.safetensors"
        save_file(load_file(file), file, {"weightwalk.pooled": note})
    animation = animate(folder)
    # The unit is that of the whole tensor.
    (sigma,) = {s for a in animation.actors if Q in a.name for s in a.shell.field.sigmas}
    assert sigma == pytest.approx(2.0)
    with pytest.raises(WeightwalkError, match="was pooled by rms"):
        animate(folder, delta="first")
