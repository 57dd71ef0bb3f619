"""A real training with the real Trainer, probed meanwhile: what is written, what is untouched."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from weightwalk.core.errors import SettingsError
from weightwalk.core.flow.probe import read_probe
from weightwalk.core.watch import Watch

pytestmark = pytest.mark.probe

WORDS = ("the", "cat", "sat", "on", "a", "mat", "and", "saw", "two", "dogs", "run", "to", "town")
PROMPTS = ("the cat sat on", "two dogs run to town")
STEPS = 30


@pytest.fixture(scope="module")
def make_callback() -> Any:
    """Return the class; the imports behind it warn of what others do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from weightwalk.training import FlowCallback
    return FlowCallback


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    known = {word: i for i, word in enumerate(["<?>", *WORDS])}
    inside = Tokenizer(models.WordLevel(known, unk_token="<?>"))
    inside.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inside)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Spare the threads, which are slower than none where the matrices are this small."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def llama(**options: Any) -> Any:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    sizes = {"vocab_size": 16, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "attention_dropout": 0.2}
    ends = {"bos_token_id": None, "eos_token_id": None}
    return LlamaForCausalLM(LlamaConfig(**{**sizes, **heads, **ends, **options}))


def gpt2() -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    dropouts = {"resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.2}
    ends = {"bos_token_id": None, "eos_token_id": None}
    sizes = {"vocab_size": 16, "n_positions": 32, "n_embd": 16, "n_layer": 3, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, **dropouts, **ends))


def noisy() -> Any:
    """Return a model that draws random numbers whether it is trained or not."""
    import torch

    model = llama()
    model.model.embed_tokens.register_forward_hook(
        lambda module, inputs, output: output + 0.1 * torch.randn_like(output)
    )
    return model


def train(model: Any, out: Path, callbacks: list[Any], **options: Any) -> Any:
    import torch
    from transformers import PrinterCallback, Trainer, TrainingArguments

    tokens = torch.randint(1, 16, (24, 9), generator=torch.Generator().manual_seed(2))
    rows = [{"input_ids": row, "labels": row} for row in tokens]
    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=STEPS,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        **{"save_strategy": "no", "seed": 3} | options,
    )
    trainer = Trainer(model, arguments, train_dataset=rows, callbacks=callbacks)
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=out if (out / "trainer_state.json").exists() else None)
    return model


def drive(callback: Any, model: Any, steps: int = 3) -> None:
    callback.on_train_begin(None, state(), None, model=model)
    for step in range(1, steps + 1):
        callback.on_step_end(None, state(step), None, model=model)
    callback.on_train_end(None, state(steps), None, model=model)


def state(step: int = 0, *, first: bool = True) -> Any:
    return SimpleNamespace(global_step=step, is_world_process_zero=first)


def same(a: Any, b: Any) -> bool:
    import torch

    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(n == m and torch.equal(v, w) for (n, v), (m, w) in pairs)


# --- the training is as if it was not there -----------------------------------------------------


CHECKPOINTING = {
    "activation_checkpointing": True,
    "activation_checkpointing_kwargs": {"use_reentrant": False},
}


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (llama, {}),
        (gpt2, {"gradient_accumulation_steps": 3}),
        (gpt2, CHECKPOINTING),
        (llama, CHECKPOINTING | {"gradient_accumulation_steps": 2}),
        (noisy, {}),
    ],
    ids=["llama", "gpt2-accumulated", "gpt2-checkpointed", "llama-both", "noisy"],
)
def test_the_weights_become_the_same_to_the_last_bit(
    tmp_path: Path,
    make_callback: Any,
    tokenizer: Any,
    make: Callable[[], Any],
    options: dict[str, Any],
) -> None:
    callback = make_callback(tmp_path / "probes", tokenizer, PROMPTS, every=7, outputs=("mlp",))
    without = train(make(), tmp_path / "a", [], **options)
    probed = train(make(), tmp_path / "b", [callback], **options)
    assert same(without, probed)
    other = train(make(), tmp_path / "c", [], **options | {"seed": 4})
    assert not same(without, other)  # so that chance has a part in it
    written = sorted(path.name for path in (tmp_path / "probes").glob("*.safetensors"))
    assert written == sorted(f"step-{step}.safetensors" for step in (0, 7, 14, 21, 28, 30))
    assert callback.seconds > 0


# --- what is written ----------------------------------------------------------------------------


def test_it_is_followed_while_the_training_goes_on(
    tmp_path: Path, make_callback: Any, tokenizer: Any
) -> None:
    from transformers import TrainerCallback

    watch = Watch([str(tmp_path / "probes")])
    seen: list[tuple[int, list[int | None], bool]] = []

    class Follow(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            steps, skips = watch.poll()
            assert not skips
            if steps:
                seen.append((state.global_step, [step.number for step in steps], watch.ended))

    callback = make_callback(tmp_path / "probes", tokenizer, PROMPTS, every=[1, 2, 16])
    train(llama(), tmp_path / "out", [callback, Follow()])
    assert seen == [(1, [0, 1], False), (2, [2], False), (16, [16], False)]
    steps, skips = watch.poll()
    assert [step.number for step in steps] == [STEPS]
    assert watch.ended
    assert not skips
    assert not [path for path in (tmp_path / "probes").iterdir() if path.name.startswith(".")]


def layers_of(model: Any, tokenizer: Any, prompt: str) -> Any:
    """Return what a Llama's layers put out, (layer, token, feature)."""
    import torch

    taken: list[Any] = []
    hooks = [
        layer.register_forward_hook(lambda module, inputs, output: taken.append(output))
        for layer in model.model.layers
    ]
    with torch.no_grad():
        model(**tokenizer(prompt, return_tensors="pt"))
    for hook in hooks:
        hook.remove()
    return torch.cat(taken).numpy()


def test_the_files_are_probes_of_the_model_at_that_step(
    tmp_path: Path, make_callback: Any, tokenizer: Any
) -> None:
    callback = make_callback(tmp_path / "probes", tokenizer, PROMPTS, every=STEPS, token="all")
    before = llama().eval()
    after = train(llama(), tmp_path / "out", [callback]).eval()
    marker = json.loads((tmp_path / "probes" / "snapshots.json").read_text())
    for step, model in ((0, before), (STEPS, after)):
        probe = read_probe(tmp_path / "probes" / f"step-{step}.safetensors")
        assert (probe.info.step, probe.info.run) == (step, marker["weightwalk.run"])
        for i, prompt in enumerate(PROMPTS):
            assert probe.info.prompts[i].text == prompt
            assert probe.info.prompts[i].tokens == tuple(prompt.split())
            expected = layers_of(model, tokenizer, prompt)
            np.testing.assert_array_equal(np.stack(probe.layers(i)), expected)


def test_a_resumed_training_goes_on_with_its_probes(
    tmp_path: Path, make_callback: Any, tokenizer: Any
) -> None:
    probes = tmp_path / "probes"
    whole = train(llama(), tmp_path / "whole", [])
    first = make_callback(probes, tokenizer, PROMPTS, every=10)
    train(llama(), tmp_path / "out", [first], save_strategy="steps", save_steps=20)
    second = make_callback(probes, tokenizer, PROMPTS, every=10)
    resumed = train(llama(), tmp_path / "out" / "checkpoint-20", [second])
    assert same(whole, resumed)
    runs = {read_probe(path).info.run for path in probes.glob("*.safetensors")}
    assert len(runs) == 1
    # One that begins anew does not.
    drive(make_callback(probes, tokenizer, PROMPTS, every=1), llama(), 1)
    assert read_probe(probes / "step-1.safetensors").info.run not in runs


# --- what must not end a training ---------------------------------------------------------------


class Broken:
    """A tokenizer that fails after some calls."""

    def __init__(self, tokenizer: Any, calls: int) -> None:
        self.inside = tokenizer
        self.left = calls

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("it broke")
        return self.inside(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inside, name)


def test_an_error_is_logged_once_and_the_training_goes_on(
    tmp_path: Path, make_callback: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken(tokenizer, 4)
    callback = make_callback(tmp_path / "probes", broken, PROMPTS, every=1)
    model = train(llama(), tmp_path / "b", [callback])
    assert same(train(llama(), tmp_path / "a", []), model)
    (message,) = [text for text in caplog.messages if "no probes are written" in text]
    assert "it broke" in message
    left = {path.name for path in (tmp_path / "probes").iterdir()} - {"config.json"}
    assert "step-0.safetensors" in left
    assert "step-30.safetensors" not in left
    assert not [name for name in left if name.startswith(".")]
    # Nothing more comes, and who follows it need not wait for ever.
    assert json.loads((tmp_path / "probes" / "snapshots.json").read_text())["ended"]


def test_a_model_that_cannot_be_probed_is_said(
    tmp_path: Path, make_callback: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = llama().train()
    drive(make_callback(tmp_path, tokenizer, PROMPTS, every=1, layers_path="model.floors"), model)
    (message,) = caplog.messages
    assert "model.floors" in message
    assert model.training
    assert not list(tmp_path.glob("*.safetensors"))


def test_it_is_quiet_where_parameters_are_sharded(
    tmp_path: Path, make_callback: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = llama()
    model.lm_head.weight.ds_id = 0  # what DeepSpeed marks parameters with
    drive(make_callback(tmp_path / "probes", tokenizer, PROMPTS, every=1), model)
    (message,) = caplog.messages
    assert "sharded" in message
    assert not (tmp_path / "probes").exists()


def test_other_processes_do_nothing(tmp_path: Path, make_callback: Any, tokenizer: Any) -> None:
    callback = make_callback(tmp_path / "probes", tokenizer, PROMPTS, every=1)
    callback.on_train_begin(None, state(first=False), None, model=llama())
    callback.on_step_end(None, state(1, first=False), None, model=llama())
    assert not (tmp_path / "probes").exists()


def test_the_wrapper_of_several_processes_is_not_called(
    tmp_path: Path, make_callback: Any, tokenizer: Any
) -> None:
    import torch

    wrapped = torch.nn.Module()  # as DistributedDataParallel and torch.compile name things
    wrapped.module = torch.nn.Module()
    wrapped.module._orig_mod = llama()
    drive(make_callback(tmp_path, tokenizer, PROMPTS, every=1), wrapped)
    assert read_probe(tmp_path / "step-3.safetensors").info.model_type == "llama"


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"every": 0},
        {"every": [4, -1]},
        {"prompts": ()},
        {"prompts": "the cat"},
        {"prompts": ["the cat", " "]},
        {"token": "first"},
        {"outputs": ("logits",)},
        {"tokenizer": None},
    ],
)
def test_settings_that_make_no_sense_are_refused_before_training(
    tmp_path: Path, make_callback: Any, tokenizer: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError):
        make_callback(**{"directory": tmp_path / "probes", "tokenizer": tokenizer} | options)
    assert not (tmp_path / "probes").exists()
