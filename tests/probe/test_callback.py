"""A real training with the real Trainer: our callback's snapshots, and what it does in need."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from weightwalk.core.errors import MissingDependencyError, SettingsError
from weightwalk.core.pooling import cell_edges, pool
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.series import find_series
from weightwalk.core.snapshot import pooled_notes
from weightwalk.core.watch import Watch

pytestmark = pytest.mark.probe

Q = "model.layers.1.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def make_callback() -> Any:
    """Return the class; the imports behind it warn of what others do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from weightwalk.training import SnapshotCallback
    return SnapshotCallback


def state(step: int = 0, *, first: bool = True) -> Any:
    return SimpleNamespace(global_step=step, is_world_process_zero=first)


def llama(**options: Any) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **heads, **options}))


# --- the real run -----------------------------------------------------------------------------


def test_the_model_learns_and_its_checkpoints_are_a_series(training_run: Path) -> None:
    scores = json.loads((training_run / "training.json").read_text())["scores"]
    assert scores["0"][1] < 0.2
    assert scores["240"][1] > 0.9
    series = find_series([str(training_run / "checkpoint-*")])
    assert [step.name for step in series.steps] == ["0", "60", "120", "180", "240"]
    watch = Watch([str(training_run / "snapshots")])
    steps, skips = watch.poll()
    assert [step.number for step in steps] == [0, 40, 80, 120, 160, 200, 240]
    assert watch.ended
    assert not skips


def test_snapshots_are_the_trainers_checkpoints(training_run: Path) -> None:
    snapshots = training_run / "snapshots"
    for step in (0, 120, 240):
        with (
            open_checkpoint(training_run / f"checkpoint-{step}") as theirs,
            open_checkpoint(snapshots / f"step-{step}.safetensors") as ours,
        ):
            assert set(ours) == set(theirs)
            assert ours.metadata["step"] == str(step)
            assert ours.config["num_attention_heads"] == theirs.config["num_attention_heads"]
            for name, tensor in theirs.items():
                np.testing.assert_array_equal(ours[name], tensor)


def test_it_takes_little_of_the_time(training_run: Path) -> None:
    """As a bound on what can go wrong; `scripts/bench` measures the 2 % that are promised."""
    assert 0 < json.loads((training_run / "training.json").read_text())["snapshots"] < 0.1


# --- what is written --------------------------------------------------------------------------


def test_chosen_tensors_in_their_own_dtype_under_the_models_own_names(
    tmp_path: Path, make_callback: Any
) -> None:
    import torch

    model = llama(tie_word_embeddings=True).to(torch.bfloat16)
    wrapped = torch.nn.Module()  # as DistributedDataParallel and torch.compile name things
    wrapped.module = torch.nn.Module()
    wrapped.module._orig_mod = model
    make_callback(tmp_path / "all").on_train_begin(None, state(), None, model=wrapped)
    make_callback(tmp_path / "some", tensors=["*q_proj*"]).on_train_begin(
        None, state(), None, model=wrapped
    )
    names = set(model.state_dict()) - {"lm_head.weight"}  # tied: written once
    with safe_open(tmp_path / "all" / "step-0.safetensors", "pt") as file:
        assert set(file.keys()) == names
        for name in names:
            value = file.get_tensor(name)
            assert value.dtype == torch.bfloat16
            assert torch.equal(value, model.state_dict()[name])
    with safe_open(tmp_path / "some" / "step-0.safetensors", "pt") as file:
        assert set(file.keys()) == {name for name in names if "q_proj" in name}


@pytest.mark.parametrize("how", ["rms", "absmax", "mean"])
def test_pooled_grids_keep_the_unit_of_the_whole_tensor(
    tmp_path: Path, make_callback: Any, how: Any
) -> None:
    import torch

    model = llama()
    with torch.no_grad():
        model.model.layers[1].self_attn.q_proj.weight[3, 5] = math.nan
    callback = make_callback(tmp_path, grid=(6, 5), pool=how)
    callback.on_train_begin(None, state(), None, model=model)
    model.save_pretrained(tmp_path / "whole")
    with (
        open_checkpoint(tmp_path / "step-0.safetensors") as small,
        open_checkpoint(tmp_path / "whole") as whole,
    ):
        notes = pooled_notes(small)
        assert set(notes) == set(small)  # every tensor is larger than the grid, vectors too
        tensor, note = whole[Q], notes[Q]
        expected = pool(tensor, cell_edges(16, 6), cell_edges(16, 5), how)
        cells = np.where(expected.nonfinite, np.nan, expected.values)
        np.testing.assert_array_equal(small[Q], cells.astype(np.float32))
        values = np.asarray(tensor, np.float64)
        assert (note.shape, note.pool, note.nan, note.inf) == ((16, 16), how, 1, 0)
        assert note.sigma == pytest.approx(np.nanstd(values))
        assert note.moments.sigma == pytest.approx(note.sigma)
        assert (note.low, note.high) == (np.nanmin(values), np.nanmax(values))
        assert small["model.norm.weight"].shape == (5,)


def test_it_writes_at_the_start_every_so_often_and_at_the_end(
    tmp_path: Path, make_callback: Any
) -> None:
    model, callback = llama(), make_callback(tmp_path, every=3)
    callback.on_train_begin(None, state(), None, model=model)
    for step in range(1, 9):
        callback.on_step_end(None, state(step), None, model=model)
    callback.on_train_end(None, state(8), None, model=model)
    written = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert written == [f"step-{step}.safetensors" for step in (0, 3, 6, 8)]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_two_trainings_into_one_folder_are_not_mixed(tmp_path: Path, make_callback: Any) -> None:
    drive(make_callback(tmp_path, every=1), llama())
    again = make_callback(tmp_path, every=2)
    again.on_train_begin(None, state(), None, model=llama())
    again.on_step_end(None, state(2), None, model=llama())
    series = find_series([str(tmp_path)])
    assert [step.name for step in series.steps] == ["0", "2"]
    assert [skip.name for skip in series.skips] == ["step 1", "step 3"]
    assert all("earlier training" in skip.reason for skip in series.skips)
    # One that is resumed goes on with its own.
    resumed = make_callback(tmp_path, every=2)
    resumed.on_train_begin(None, state(2), None, model=llama())
    resumed.on_step_end(None, state(4), None, model=llama())
    assert [step.name for step in find_series([str(tmp_path)]).steps] == ["0", "2", "4"]


# --- what must not end a training ---------------------------------------------------------------


def drive(callback: Any, model: Any) -> None:
    callback.on_train_begin(None, state(), None, model=model)
    for step in (1, 2, 3):
        callback.on_step_end(None, state(step), None, model=model)
    callback.on_train_end(None, state(3), None, model=model)


def test_other_processes_write_nothing(tmp_path: Path, make_callback: Any) -> None:
    callback = make_callback(tmp_path / "out", every=1)
    callback.on_train_begin(None, state(first=False), None, model=llama())
    callback.on_step_end(None, state(1, first=False), None, model=llama())
    assert not (tmp_path / "out").exists()


def test_an_error_is_logged_once_and_then_it_is_quiet(
    tmp_path: Path, make_callback: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("where the folder should be")
    drive(make_callback(tmp_path / "file", every=1), llama())
    (message,) = caplog.messages
    assert "no snapshots are written" in message


def test_a_write_that_fails_leaves_nothing_half_made(
    tmp_path: Path, make_callback: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "step-2.safetensors").mkdir()
    drive(make_callback(tmp_path, every=1), llama())
    found = sorted(path.name for path in tmp_path.iterdir())
    files = [f"step-{step}.safetensors" for step in (0, 1, 2)]
    assert found == ["config.json", "snapshots.json", *files]
    assert sum("no snapshots are written" in message for message in caplog.messages) == 1
    # Who follows it need not wait for ever.
    assert json.loads((tmp_path / "snapshots.json").read_text())["ended"] is True


def test_patterns_that_match_nothing_are_said(
    tmp_path: Path, make_callback: Any, caplog: pytest.LogCaptureFixture
) -> None:
    drive(make_callback(tmp_path, every=1, tensors=["nothing*"]), llama())
    (message,) = caplog.messages
    assert message.endswith("no tensor of the model matches nothing*")


@pytest.fixture
def group(tmp_path: Path) -> Iterator[None]:
    """Run in a process group of one, as a sharded training does in many."""
    from torch import distributed

    file = tmp_path / "meet"
    distributed.init_process_group("gloo", f"file://{file}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore")  # of torch, about the future of its own functions
@pytest.mark.parametrize("how", ["FSDP", "FSDP2", "DTensor", "ZeRO-3"])
def test_it_is_quiet_where_parameters_are_sharded(
    tmp_path: Path, make_callback: Any, caplog: pytest.LogCaptureFixture, group: None, how: str
) -> None:
    import torch

    model: Any = llama()
    mesh = torch.distributed.init_device_mesh("cpu", (1,))
    if how == "FSDP":
        from torch.distributed.fsdp import FullyShardedDataParallel

        model = FullyShardedDataParallel(model, device_id=torch.device("cpu"))
    elif how == "FSDP2":
        torch.distributed.fsdp.fully_shard(model, mesh=mesh)
    elif how == "DTensor":
        layer = model.lm_head
        sharded = torch.distributed.tensor.distribute_tensor(layer.weight.detach(), mesh)
        layer.weight = torch.nn.Parameter(sharded)
    else:  # what DeepSpeed marks parameters with; it is not installed
        model.lm_head.weight.ds_id = 0
    drive(make_callback(tmp_path / "out", every=1), model)
    (message,) = caplog.messages
    assert "sharded" in message
    assert not (tmp_path / "out").exists()


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"every": 0}, {"tensors": "q"}, {"grid": (0, 4)}, {"pool": "median"}]
)
def test_settings_that_make_no_sense_are_refused_before_training(
    tmp_path: Path, make_callback: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError):
        make_callback(tmp_path, **options)


def test_without_transformers_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "weightwalk.training", raising=False)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        import weightwalk.training  # noqa: F401
