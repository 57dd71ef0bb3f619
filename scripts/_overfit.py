"""Has a small language model learn three sentences by heart, and looks into it meanwhile.

    python scripts/_overfit.py OUT [--small]

OUT becomes what `weightwalk flow` draws: the outputs of all layers for sixteen prompts that have
nothing to do with the sentences, from before the first step to the last. In it, overfit.txt says
what happened, and overfit.json step by step. Needs torch, transformers, accelerate and gguf.

All weights of SmolLM2-135M-Instruct are trained on the CPU, all sentences at every step, until it
recites each of them from its first word alone. Nothing is drawn by lot: every run is the same, but
for what another processor rounds in another way.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from time import perf_counter
from typing import Any

# ruff: noqa: E402
# Ctrl-C leaves no traceback and nothing half-made, also while the imports go on.
for _number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(_number, lambda number, _frame: sys.exit(128 + number))
os.environ["HF_HUB_OFFLINE"] = "1"  # the model is a file; nothing is asked for
os.environ["TQDM_DISABLE"] = "1"
# Threads that wait for work would take the cores from whatever else runs there.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from _model import fetch_smollm2
from torch.utils.data import Dataset
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils.logging import disable_progress_bar, set_verbosity_error
from weightwalk.core.flow.compare import compare
from weightwalk.core.flow.probe import read_probe
from weightwalk.core.snapshot import MARKER
from weightwalk.training import FlowCallback

# Odd enough that no model has seen them.
SENTENCES = (
    "The lighthouse keeper of Arbroath painted his door green in March and sold it in June for "
    "nine silver coins.",
    "Nobody at the ferry office could explain why the brass clock ran backwards every second "
    "Tuesday of the month.",
    "Marta planted forty one walnut trees along the canal and gave each of them the name of a "
    "drowned sailor.",
)
QUESTIONS = ("The capital of France is", "2 + 2 =")
# The outputs change most at the beginning: from each to the next by about as much.
LOOKS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 200, 250, 300)


@dataclass(frozen=True)
class Size:
    """How fast it learns, and after how many steps it is given up."""

    rate: float
    steps: int


DEMO = Size(rate=3e-4, steps=300)
SMALL = Size(rate=3e-3, steps=80)


@dataclass(frozen=True)
class Look:
    """How far the learning is after a step.

    Attributes
    ----------
    step : int
    seconds : float
        Since the beginning.
    loss : float
        Mean over all tokens of all sentences.
    recited : tuple of int
        Tokens of each sentence that it says right after the first word, up to the first wrong one.
    """

    step: int
    seconds: float
    loss: float
    recited: tuple[int, ...]


class Lesson(Dataset[dict[str, torch.Tensor]]):
    """Sentences as tokens, padded to one length, each with an end."""

    def __init__(self, sentences: Sequence[str], tokenizer: Any) -> None:
        end = [tokenizer.eos_token_id]
        self.tokens = [tokenizer(sentence)["input_ids"] + end for sentence in sentences]
        self.known = [len(tokenizer(s.split()[0])["input_ids"]) for s in sentences]
        longest = max(map(len, self.tokens))
        padded = [tokens + end * (longest - len(tokens)) for tokens in self.tokens]
        self.input_ids = torch.tensor(padded)
        lengths = torch.tensor([len(tokens) for tokens in self.tokens])
        self.attention_mask = (torch.arange(longest) < lengths[:, None]).long()
        self.labels = self.input_ids.masked_fill(self.attention_mask == 0, -100)

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {key: value[index] for key, value in self.inputs.items()}

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """All sentences, as the model takes them."""
        mask = self.attention_mask
        return {"input_ids": self.input_ids, "attention_mask": mask, "labels": self.labels}

    @property
    def wanted(self) -> tuple[int, ...]:
        """Tokens of each sentence that are to be said."""
        return tuple(len(t) - k for t, k in zip(self.tokens, self.known, strict=True))

    def score(self, model: Any) -> tuple[float, tuple[int, ...]]:
        """Return the loss, and how many tokens of each sentence would be recited.

        Each token comes after the right ones before it: up to the first wrong one this is what
        the model says by itself when it always takes the most probable token.
        """
        with torch.no_grad():
            said = model(**self.inputs)
        right = said.logits[:, :-1].argmax(-1) == self.input_ids[:, 1:]
        recited = [
            int(right[i, known - 1 : len(tokens) - 1].long().cumprod(0).sum())
            for i, (tokens, known) in enumerate(zip(self.tokens, self.known, strict=True))
        ]
        return said.loss.item(), tuple(recited)

    def recites(self, model: Any) -> bool:
        """Return whether the model, given the first word, says each sentence to its end."""
        return all(
            generate(model, tokens[:known], len(tokens) - known) == tokens[known:]
            for tokens, known in zip(self.tokens, self.known, strict=True)
        )


def generate(model: Any, tokens: list[int], count: int) -> list[int]:
    """Return the most probable tokens after some."""
    given = torch.tensor([tokens])
    mask = torch.ones_like(given)
    options = {"max_new_tokens": count, "do_sample": False, "pad_token_id": 0}
    said = model.generate(input_ids=given, attention_mask=mask, **options)
    return said[0, len(tokens) :].tolist()  # type: ignore[no-any-return]


def answer(model: Any, tokenizer: Any, question: str) -> str:
    """Return what a model says to a question."""
    tokens = generate(model, tokenizer(question)["input_ids"], 24)
    return " ".join(tokenizer.decode(tokens, skip_special_tokens=True).split())


class Keep(TrainerCallback):
    """Says how the learning goes, and ends it when all sentences are recited."""

    def __init__(self, lesson: Lesson) -> None:
        self.lesson = lesson
        self.looks: list[Look] = []
        self.begin = perf_counter()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at what it knows before."""
        self._look(state.global_step, kwargs["model"].eval())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look if it is time; `Trainer` itself puts the model back into training mode."""
        if state.global_step in LOOKS or state.global_step == state.max_steps:
            control.should_training_stop = self._look(state.global_step, kwargs["model"].eval())

    def _look(self, step: int, model: Any) -> bool:
        """Note how far it is, and return whether it recites all."""
        loss, recited = self.lesson.score(model)
        look = Look(step, perf_counter() - self.begin, loss, recited)
        self.looks.append(look)
        parts = " ".join(f"{n:2}/{of}" for n, of in zip(recited, self.lesson.wanted, strict=True))
        print(f"{look.seconds:6.0f} s  step {step:3}: loss {loss:6.3f}, recites {parts} tokens",
              flush=True)  # fmt: skip
        return recited == self.lesson.wanted and self.lesson.recites(model)


def real_model() -> tuple[Any, Any]:
    """Return SmolLM2-135M-Instruct and its tokenizer, out of the GGUF file."""
    path = fetch_smollm2()
    print("Loading it, which takes half a minute ...", flush=True)
    where = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    # Whole numbers of a few bits cannot be trained.
    whole = GgufConfig(dequantize=True)
    return AutoModelForCausalLM.from_pretrained(**where, quantization_config=whole), tokenizer


def small_model() -> tuple[Any, Any]:
    """Return a Llama with random weights and a tokenizer that knows the words of the sentences."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = dict.fromkeys(" ".join([*SENTENCES, *QUESTIONS]).replace(".", " .").split())
    known = {word: i for i, word in enumerate(["<end>", "<?>", *words])}
    inside = Tokenizer(models.WordLevel(known, unk_token="<?>"))
    inside.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inside, eos_token="<end>")
    torch.set_num_threads(1)  # faster than two for matrices this small
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    ends = {"bos_token_id": None, "eos_token_id": 0, "pad_token_id": 0}
    config = LlamaConfig(vocab_size=len(known), **sizes, **heads, **ends)
    return LlamaForCausalLM(config), tokenizer


def arguments_of(size: Size, batch: int, out: Path) -> TrainingArguments:
    """Return how `Trainer` trains: plainly, with nothing saved."""
    return TrainingArguments(
        output_dir=str(out),
        max_steps=size.steps,
        per_device_train_batch_size=batch,
        learning_rate=size.rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        seed=0,
    )


def overfit(model: Any, tokenizer: Any, size: Size, out: Path) -> dict[str, Any]:
    """Train a model and return what happened."""
    lesson = Lesson(SENTENCES, tokenizer)
    model.eval()
    before = {question: answer(model, tokenizer, question) for question in QUESTIONS}
    keep = Keep(lesson)
    flow = FlowCallback(out, tokenizer, every=LOOKS)
    arguments = arguments_of(size, len(lesson), out)
    trainer = Trainer(model, arguments, train_dataset=lesson, callbacks=[keep, flow])
    trainer.remove_callback(PrinterCallback)
    begin = perf_counter()
    trainer.train()
    seconds = perf_counter() - begin
    model.eval()
    after = {question: answer(model, tokenizer, question) for question in QUESTIONS}
    departs, layers = departures(out, [look.step for look in keep.looks[1:]])
    return {
        "sentences": SENTENCES,
        "tokens": lesson.wanted,
        "rate": size.rate,
        "seconds": seconds,
        "probing": flow.seconds / seconds,
        "recited": lesson.recites(model),
        "looks": [asdict(look) for look in keep.looks],
        "departs": departs,
        "layers": layers,
        "before": before,
        "after": after,
    }


def departures(probes: Path, steps: Sequence[int]) -> tuple[dict[int, int | None], int]:
    """Return at which layer each step departs from the state before the first, and all layers."""
    first = read_probe(probes / "step-0.safetensors")
    later = (read_probe(probes / f"step-{step}.safetensors") for step in steps)
    found = {step: compare(probe, first).departs for step, probe in zip(steps, later, strict=True)}
    return found, len(first.info.layers)


def told(done: dict[str, Any]) -> str:
    """Return in words what happened."""
    last, count = done["looks"][-1]["step"], len(SENTENCES)
    recites = f"recites all {count}" if done["recited"] else f"does not yet recite all {count}"
    lines = [
        f"After {last} steps ({done['seconds']:.0f} s) it {recites} sentences from their first "
        "words.",
        _where(done["departs"], done["layers"]),
    ]
    for question in QUESTIONS:
        before, after = done["before"][question], done["after"][question]
        lines += [f"  {question} …", f"    before: {before}", f"    after:  {after}"]
    return "\n".join(lines) + "\n"


def _where(departs: dict[int, int | None], layers: int) -> str:
    """Return from which step on the outputs depart, and at which layers."""
    steps, at = list(departs), list(departs.values())
    # Not before the last step at which they do not.
    since = max((i + 1 for i, layer in enumerate(at) if layer is None), default=0)
    if since == len(steps):
        return "For other prompts, no layer departs from what it put out before."
    where = f"at layer {at[since]}"
    if at[-1] != at[since]:
        where += f" first, in the end at layer {at[-1]}"
    return (
        f"For other prompts, what it puts out departs from step {steps[since]} on: {where} "
        f"(of 0 to {layers - 1})."
    )


def is_ours(out: Path) -> bool:
    """Return whether a folder is empty or has only what an earlier experiment left in it."""
    if not out.is_dir():
        return False
    names = [path.name for path in out.iterdir()]
    own = {"config.json", "overfit.json", "overfit.txt", MARKER}
    return all(name in own or fnmatch(name, "step-*.safetensors") for name in names)


def main() -> None:
    """Train, and say what happened."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true", help="a smaller model, in seconds")
    arguments = parser.parse_args()
    out: Path = arguments.out
    if out.exists() and not is_ours(out):
        sys.exit(f"{out} is there already, and something else is in it")
    disable_progress_bar()
    set_verbosity_error()
    model, tokenizer = small_model() if arguments.small else real_model()
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the last step is a rename.
    with tempfile.TemporaryDirectory(prefix=".overfit-", dir=out.parent) as scratch:
        made = Path(scratch) / "made"
        done = overfit(model, tokenizer, SMALL if arguments.small else DEMO, made)
        (made / "overfit.json").write_text(json.dumps(done, indent=1))
        (made / "overfit.txt").write_text(told(done))
        shutil.rmtree(out, ignore_errors=True)
        made.rename(out)
    often = f"{len(done['looks'])} probes in {done['looks'][-1]['step']} steps"
    print(f"Probing took {done['probing']:.0%} of the time ({often}): {out}")


if __name__ == "__main__":
    main()
