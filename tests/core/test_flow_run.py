"""Probe files on disk as the steps of a run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk.core.errors import CheckpointError, SeriesError, SettingsError
from weightwalk.core.flow.probe import write_probe
from weightwalk.core.flow.run import find_run
from weightwalk.core.flow.settings import FlowSettings
from weightwalk.core.flow.units import reference_units
from weightwalk.core.flow.words import token_values
from weightwalk.core.series import find_series
from weightwalk.core.snapshot import MARKER, RUN_KEY
from weightwalk.core.watch import Watch

from .flowing import probe_of, random_probe, write


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def steps(run):
    return [probe.info.step for probe in run.probes]


def test_steps_are_in_order_however_they_are_named(tmp_path, rng):
    paths = write(tmp_path / "run", *(random_probe(rng, n) for n in (100, 9, 20)))
    given = [[tmp_path / "run"], [tmp_path / "run" / "*.safetensors"], paths, paths[::-1]]
    for targets in given:
        run = find_run([str(t) for t in targets])
        assert steps(run) == [9, 20, 100]
        assert run.labels == ("step 9", "step 20", "step 100")
        assert run.files[0].name == "step-9.safetensors"
        assert (run.name, run.skips) == ("little", ())


def test_without_steps_names_or_arguments_give_the_order(tmp_path, rng):
    for name in ("b10", "b9", "a"):
        write_probe(tmp_path / f"{name}.safetensors", random_probe(rng))
    assert find_run([str(tmp_path)]).labels == ("a", "b9", "b10")
    named = [str(tmp_path / f"{name}.safetensors") for name in ("b10", "a")]
    assert find_run(named).labels == ("b10", "a")


def test_values_come_back(tmp_path, rng):
    probe = random_probe(rng, 3)
    write(tmp_path, probe)
    (read,) = find_run([str(tmp_path)]).probes
    for i in range(12):
        np.testing.assert_array_equal(read.layers(i), probe.layers(i))


def test_weights_in_the_folder_are_passed_over_and_named_ones_refused(tmp_path, rng):
    write(tmp_path, random_probe(rng, 1))
    save_file({"w": np.ones((3, 3), np.float32)}, tmp_path / "model.safetensors")
    assert steps(find_run([str(tmp_path)])) == [1]
    assert not find_run([str(tmp_path)]).skips
    with pytest.raises(CheckpointError, match="no probe file"):
        find_run([str(tmp_path / "model.safetensors")])
    (tmp_path / "step-1.safetensors").unlink()
    with pytest.raises(SeriesError, match="there is no probe file"):
        find_run([str(tmp_path)])


def test_what_is_broken_is_a_skip_in_a_series_and_an_error_alone(tmp_path, rng):
    paths = write(tmp_path, *(random_probe(rng, n) for n in range(3)))
    paths[1].write_bytes(paths[1].read_bytes()[:-50])
    run = find_run([str(tmp_path)])
    assert steps(run) == [0, 2]
    (skip,) = run.skips
    assert skip.name == "step-1.safetensors"
    assert str(tmp_path) not in skip.reason
    with pytest.raises(CheckpointError, match=r"step-1\.safetensors"):
        find_run([str(paths[1])])
    for path in paths:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(SeriesError, match="none of the 3 files"):
        find_run([str(tmp_path)])


@pytest.mark.parametrize(
    ("other", "why"),
    [({"layers": 5}, "4 layers and 5"), ({"features": 21}, "20 features and 21"),
     ({"prompts": 3}, "12 prompts and 3"), ({"tokens": ("x",)}, "cut into other tokens")],
)  # fmt: skip
def test_other_models_and_prompts_are_no_series(tmp_path, rng, other, why):
    write(tmp_path, random_probe(rng, 1), random_probe(rng, 2, **other))
    with pytest.raises(SeriesError, match=why) as caught:
        find_run([str(tmp_path)])
    assert "step-1.safetensors" in str(caught.value)
    assert "step-2.safetensors" in str(caught.value)


def test_probes_of_an_earlier_training_are_left_out(tmp_path, rng):
    write(tmp_path, random_probe(rng, 0, run="new"), random_probe(rng, 50, run="old"))
    (tmp_path / MARKER).write_text(json.dumps({RUN_KEY: "new", "ended": False}))
    run = find_run([str(tmp_path)])
    assert steps(run) == [0]
    assert "earlier training" in run.skips[0].reason


@pytest.mark.parametrize("target", ["nowhere", "*.bin", "no\0thing"])
def test_what_is_not_there_is_named(tmp_path, target):
    with pytest.raises(SeriesError):
        find_run([str(tmp_path / target)])


def test_a_live_timeline_takes_a_probe_at_once(tmp_path, rng):
    write(tmp_path, random_probe(rng, 0), random_probe(rng, 5))
    given, skips = Watch([str(tmp_path)]).poll()
    assert [step.number for step in given] == [0, 5]
    assert not skips
    assert len(find_series([str(tmp_path)]).steps) == 2


def test_references_are_what_they_are_said_to_be(tmp_path, rng):
    write(tmp_path / "run", random_probe(rng, 0), random_probe(rng, 7, scale=3.0))
    (base,) = write(tmp_path / "base", random_probe(rng, 0, scale=10.0, model="base"))
    run = find_run([str(tmp_path / "run")])
    expected = {
        FlowSettings(): (1.0, "step 0"),
        FlowSettings(reference="run"): (5**0.5, "all 2 steps"),
        FlowSettings(reference_file=base): (10, "base, step 0"),
    }
    for settings, (sigma, of) in expected.items():
        units = reference_units(run, settings)
        assert units.of == of
        np.testing.assert_allclose(units.sigmas, [sigma] * 4, rtol=0.25)


def test_only_tokens_that_were_kept_can_be_shown():
    probe = probe_of([np.arange(6.0).reshape(3, 2)] * 2)
    assert token_values(probe, FlowSettings(token=-3))[0].tolist() == [0, 1]
    assert token_values(probe, FlowSettings(token=2))[0].tolist() == [4, 5]
    for token in (3, -4):
        with pytest.raises(SettingsError, match="3 tokens were kept"):
            token_values(probe, FlowSettings(token=token))
    with pytest.raises(CheckpointError, match="prompt 2"):
        token_values(probe, FlowSettings(prompt=1))
    with pytest.raises(CheckpointError, match="outputs: hidden"):
        token_values(probe, FlowSettings(output="mlp"))


def test_probes_larger_than_memory(tmp_path):
    """Holes in a file cost no disk, and would cost memory."""
    first, other = write(tmp_path, probe_of([[[1.0]]], 0), probe_of([[[1.0]]], 1))
    with other.open("r+b") as file:
        file.truncate(1 << 42)
    with pytest.raises(SeriesError, match=r"larger than the .*B of memory that are free"):
        find_run([str(first), str(other)])
