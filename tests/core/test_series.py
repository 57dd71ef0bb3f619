"""Training runs on disk: which checkpoints they have, in which order, and as they grow."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk.core.errors import BadInputError, CheckpointError, SeriesError
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.series import Series, find_series
from weightwalk.core.snapshot import (
    MARKER,
    POOLED_KEY,
    STEP_KEY,
    VERSION_KEY,
    pooled_notes,
)
from weightwalk.core.watch import Watch

TENSORS = {"a.weight": np.zeros((3, 4), np.float32), "b.weight": np.ones(4, np.float32)}


def save(path: Path, tensors: dict[str, np.ndarray] = TENSORS, **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata or None)
    return path


def checkpoint(run: Path, step: int | None, *, state: bool = True) -> Path:
    """Write what a Trainer writes at a step, or at the end, as far as it matters here."""
    folder = run if step is None else run / f"checkpoint-{step}"
    save(folder / "model.safetensors", format="pt")
    (folder / "tokenizer.json").write_text("{}")
    if state:
        (folder / "trainer_state.json").write_text(json.dumps({"global_step": step or 90}))
    return folder


def snapshot(folder: Path, step: int) -> Path:
    marks = {STEP_KEY: str(step), VERSION_KEY: "1"}
    return save(folder / f"step-{step}.safetensors", **marks)


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-4])
    return path


def names(series: Series) -> list[str]:
    return [step.name for step in series.steps]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a Trainer's folder with three checkpoints, and what else lies in one."""
    folder = tmp_path / "run"
    for step in (90, 5, 20):
        checkpoint(folder, step)
    (folder / "runs").mkdir()
    (folder / "tmp-checkpoint-7").mkdir()
    (folder / "training_args.bin").write_bytes(b"")
    return folder


# --- what a series is -------------------------------------------------------------------------


def test_a_trainers_folder_is_sorted_by_number_and_the_final_model_is_last(run: Path) -> None:
    assert names(find_series([str(run)])) == ["5", "20", "90"]
    checkpoint(run, None)
    series = find_series([str(run)])
    assert (series.name, series.path, series.skips) == ("run", run, ())
    assert [(s.name, s.number, s.label) for s in series.steps] == [
        ("5", 5, "step 5"), ("20", 20, "step 20"), ("90", 90, "step 90"),
        ("final", 90, "final, step 90"),
    ]  # fmt: skip
    for step in series.steps:
        with open_checkpoint(step.path) as opened:
            assert set(opened) == set(TENSORS)


def test_snapshots_are_meant_where_checkpoints_are_too(run: Path) -> None:
    for step in (100, 0, 10):
        snapshot(run, step)
    assert names(find_series([str(run)])) == ["0", "10", "100"]
    assert names(find_series([str(run / "checkpoint-*")])) == ["5", "20", "90"]


def test_a_pattern_passes_over_what_is_no_checkpoint(run: Path) -> None:
    assert names(find_series([str(run / "*")])) == ["5", "20", "90"]
    assert names(find_series([str(run / "checkpoint-*" / "*.safetensors")])) == ["5", "20", "90"]


def test_files_in_the_order_of_the_steps_that_they_tell_else_as_given(tmp_path: Path) -> None:
    late = save(tmp_path / "early-1.safetensors", step="700")
    early = save(tmp_path / "late-2.safetensors", step="30")
    assert names(find_series([str(late), str(early)])) == ["30", "700"]
    last = save(tmp_path / "last.safetensors")
    assert names(find_series([str(last), str(late), str(early)])) == ["last", "700", "30"]


def test_steps_of_the_same_number_get_names_of_their_own(tmp_path: Path) -> None:
    paths = [str(checkpoint(tmp_path / run, 5)) for run in ("one", "two")]
    series = find_series([*paths, paths[0]])
    assert names(series) == ["5 (one)", "5 (two)"]
    assert [step.label for step in series.steps] == ["step 5 (one)", "step 5 (two)"]


def test_a_path_with_the_characters_of_a_pattern_is_a_path(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint(tmp_path / "run [a]", step)
    assert names(find_series([str(tmp_path / "run [a]")])) == ["1", "2"]


def test_metadata_of_all_shards(tmp_path: Path) -> None:
    save(tmp_path / "model-00001-of-00002.safetensors", {"a": np.zeros(2)}, step="3", who="one")
    save(tmp_path / "model-00002-of-00002.safetensors", {"b": np.zeros(2)}, step="4")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index = json.dumps({"weight_map": shards})
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with open_checkpoint(tmp_path) as opened:
        assert opened.metadata == {"step": "4", "who": "one"}
    with pytest.raises(SeriesError, match="this is one checkpoint"):
        find_series([str(tmp_path)])
    with pytest.raises(SeriesError, match="one shard of a checkpoint"):
        find_series([str(tmp_path / "*.safetensors")])


# --- what is none -----------------------------------------------------------------------------


def test_what_cannot_be_opened_is_left_out_and_named(run: Path) -> None:
    cut(run / "checkpoint-20" / "model.safetensors")
    (run / "checkpoint-50").mkdir()
    series = find_series([str(run)])
    assert names(series) == ["5", "90"]
    broken, empty = series.skips
    assert (broken.name, empty.name) == ("step 20", "step 50")
    assert broken.reason.startswith("model.safetensors: ")
    assert "cut" in broken.reason
    assert empty.reason == "the folder is empty"


def two_models(tmp_path: Path) -> list[Path]:
    one = {**TENSORS, "c.weight": np.zeros(1)}
    two = {"a.weight": np.zeros((3, 5)), "b.weight": np.zeros(4), "d.weight": np.zeros(1)}
    return [save(tmp_path / "x-1.safetensors", one), save(tmp_path / "x-2.safetensors", two)]


def one_and_broken(tmp_path: Path) -> list[Path]:
    checkpoint(tmp_path, 5)
    cut(checkpoint(tmp_path, 7) / "model.safetensors")
    return [tmp_path]


REFUSED: dict[str, tuple[Callable[[Path], list[Path]], str]] = {
    "nothing there": (lambda t: [t / "nothing"], "nothing: there is no such file or folder"),
    "one of two": (lambda t: [checkpoint(t, 1), t / "x"], "x: there is no such file or folder"),
    "empty": (lambda t: [t], "there is no checkpoint of a training run"),
    "no match": (lambda t: [t / "*.safetensors"], "no checkpoint matches this pattern"),
    "one checkpoint": (lambda t: [checkpoint(t, 7).parent], "checkpoint-7 is one checkpoint"),
    "a model": (lambda t: [checkpoint(t, None)], "this is one checkpoint.*`weightwalk mesh`"),
    "one file": (lambda t: [save(t / "a.safetensors")], "a.safetensors is one checkpoint"),
    "the same twice": (lambda t: [checkpoint(t, 1)] * 2, "checkpoint-1 is one checkpoint"),
    "the others broken": (one_and_broken, "checkpoint-5 is one.*left out: step 7: model.safe"),
    "another model": (
        two_models,
        "x-1.* and .*x-2.*: of 3 and 3 tensors 1 have.*; only the first has c.weight; only the "
        "second has d.weight; the shape differs of a.weight",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_series_is_said_in_a_sentence(tmp_path: Path, case: str) -> None:
    make, says = REFUSED[case]
    with pytest.raises(SeriesError, match=says) as error:
        find_series([str(path) for path in make(tmp_path)])
    assert "\n" not in str(error.value)


def test_a_single_file_that_is_no_checkpoint_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x80\x02")
    with pytest.raises(CheckpointError, match="pickle"):
        find_series([str(tmp_path / "a.bin")])


@pytest.mark.parametrize("target", ["", "\0", "a\0*", "[", "*" * 300, "\udcff*"])
def test_targets_that_are_no_paths(target: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError):
        find_series([target])


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a.weight": 1}', '{"a.weight": {"shape": "3"}}', "[" * 100_000]
)
def test_broken_notes_on_pooling_are_refused(tmp_path: Path, text: str) -> None:
    path = save(tmp_path / "a.safetensors", **{POOLED_KEY: text})
    with open_checkpoint(path) as opened, pytest.raises(CheckpointError, match="metadata"):
        pooled_notes(opened)


# --- as it grows ------------------------------------------------------------------------------


def polled(watch: Watch) -> tuple[list[str], list[str]]:
    steps, skips = watch.poll()
    return [step.name for step in steps], [skip.name for skip in skips]


def test_checkpoints_are_given_when_the_trainer_has_written_its_state(tmp_path: Path) -> None:
    watch = Watch([str(tmp_path / "run")])
    assert polled(watch) == ([], [])
    assert watch.series is None
    folder = checkpoint(tmp_path / "run", 5, state=False)
    assert polled(watch) == ([], [])
    (folder / "trainer_state.json").write_text('{"global_st')
    assert polled(watch) == ([], [])
    (folder / "trainer_state.json").write_text('{"global_step": 5}')
    assert polled(watch) == (["5"], [])
    assert polled(watch) == ([], [])
    for step in (20, 10):
        checkpoint(tmp_path / "run", step)
    assert polled(watch) == (["10", "20"], [])
    assert watch.series is not None
    assert names(watch.series) == ["5", "10", "20"]
    assert not watch.ended


def test_without_state_when_at_rest_for_two_polls(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, 5, state=False)
    watch = Watch([str(tmp_path)])
    assert polled(watch) == ([], [])
    (folder / "optimizer.pt").write_bytes(b"more")
    assert polled(watch) == ([], [])
    assert polled(watch) == (["5"], [])


def test_a_shard_that_grows_holds_back_what_comes_after(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, 5) / "model.safetensors"
    content = whole.read_bytes()
    checkpoint(tmp_path, 9)
    watch = Watch([str(tmp_path)])
    for size in (4, 60, len(content) - 1):
        whole.write_bytes(content[:size])
        assert polled(watch) == ([], [])
    whole.write_bytes(content)
    assert polled(watch) == (["5", "9"], [])


def test_one_that_stays_broken_is_given_up_once_a_later_one_is_complete(tmp_path: Path) -> None:
    watch = Watch([str(tmp_path)])
    cut(checkpoint(tmp_path, 5) / "model.safetensors")
    assert [polled(watch) for _ in range(3)] == [([], [])] * 3
    checkpoint(tmp_path, 9)
    assert polled(watch) == (["9"], ["step 5"])
    assert polled(watch) == ([], [])


def test_checkpoints_that_the_training_removes_are_no_fault(tmp_path: Path) -> None:
    watch = Watch([str(tmp_path / "run")])
    for step in (5, 6):
        checkpoint(tmp_path / "run", step)
    assert polled(watch) == (["5", "6"], [])
    checkpoint(tmp_path / "run", 7, state=False)
    assert polled(watch) == ([], [])
    for step in (5, 6, 7):
        shutil.rmtree(tmp_path / "run" / f"checkpoint-{step}")
    checkpoint(tmp_path / "run", 8)
    assert polled(watch) == (["8"], [])
    shutil.rmtree(tmp_path / "run")
    assert polled(watch) == ([], [])


def test_a_training_that_goes_back_in_time_is_passed_over_until_it_is_ahead(tmp_path: Path) -> None:
    watch = Watch([str(tmp_path)])
    checkpoint(tmp_path, 10)
    assert polled(watch) == (["10"], [])
    checkpoint(tmp_path, 7)
    assert polled(watch) == ([], ["step 7"])
    checkpoint(tmp_path, 12)
    assert polled(watch) == (["12"], [])


def test_the_end_is_the_final_model_and_not_that_of_an_earlier_training(tmp_path: Path) -> None:
    checkpoint(tmp_path, None)
    old = tmp_path / "model.safetensors"
    os.utime(old, (1_000_000_000, 1_000_000_000))
    checkpoint(tmp_path, 5)
    watch = Watch([str(tmp_path)])
    assert [polled(watch) for _ in range(3)] == [(["5"], []), ([], []), ([], [])]
    assert not watch.ended
    save(old)
    assert polled(watch) == ([], [])
    (tmp_path / "train.log").write_text("a log that grows is no part of the model")
    assert polled(watch) == (["final"], [])
    assert watch.ended


def test_snapshots_are_given_at_once_and_end_where_the_training_says_so(tmp_path: Path) -> None:
    watch = Watch([str(tmp_path)])
    snapshot(tmp_path, 0)
    (tmp_path / MARKER).write_text('{"ended": false}')
    assert polled(watch) == (["0"], [])
    save(tmp_path / "step-5.safetensors")  # another program's: may still be growing
    assert polled(watch) == ([], [])
    assert polled(watch) == (["5"], [])
    checkpoint(tmp_path, 3)  # whole checkpoints among snapshots are not what is followed
    snapshot(tmp_path, 10)
    (tmp_path / MARKER).write_text('{"ended": true, "step": 10}')
    assert not watch.ended
    assert polled(watch) == (["10"], [])
    assert watch.ended


def test_a_step_of_another_model_is_passed_over(tmp_path: Path) -> None:
    watch = Watch([str(tmp_path / "*.safetensors")])
    save(tmp_path / "epoch1.safetensors")
    assert [polled(watch), polled(watch)] == [([], []), (["1"], [])]
    save(tmp_path / "epoch2.safetensors", {"other": np.zeros(3)})
    assert [polled(watch), polled(watch)] == [([], []), ([], ["step 2"])]
