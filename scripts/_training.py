"""Trains a small Llama and keeps its checkpoints; used by the demo and the tests.

    python scripts/_training.py OUT [--small]

OUT becomes what a Trainer leaves behind: checkpoint-<step>/ and the final model. OUT/snapshots has
what `weightwalk.training` writes meanwhile. Needs torch, transformers and accelerate.

The model sees walks around a ring of numbers, such as 61 0 3 6 9 (of 64), and says which number
comes next; it has to find the stride out by itself. It begins with noise. To know who is whose
neighbour, the embeddings become waves along the ring; to look one and two numbers back, queries and
keys become stripes; and weight decay takes away what is of no use, so that these stand out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

# One thread is faster than two for matrices this small.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch.utils.data import Dataset
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils.logging import disable_progress_bar
from weightwalk.training import SnapshotCallback

LENGTH = 8  # numbers in a walk; the first two cannot be foretold
STRIDE = 4  # at most, in either direction
BATCH = 32
# From step to step the weights change by about the same amount.
SAVED = (20, 40, 60, 85, 115, 150, 190, 240, 300, 370, 450, 550, 670, 800, 950, 1120, 1300)


@dataclass(frozen=True)
class Size:
    """How large the model is, how long it is trained, and when it is saved."""

    ring: int
    hidden: int
    heads: int
    layers: int
    steps: int
    saved: tuple[int, ...]
    every: int


DEMO = Size(ring=64, hidden=48, heads=3, layers=3, steps=1500, saved=SAVED, every=50)
SMALL = Size(ring=16, hidden=16, heads=2, layers=2, steps=240, saved=(60, 120, 180, 240), every=40)


def make_model(size: Size, seed: int = 0) -> LlamaForCausalLM:
    """Return a Llama with random weights."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size.ring,
            hidden_size=size.hidden,
            intermediate_size=2 * size.hidden,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            max_position_embeddings=32,
            bos_token_id=None,
            eos_token_id=None,
        )
    )


class Walks(Dataset[dict[str, torch.Tensor]]):
    """All walks around a ring, over and over: every start with every stride."""

    def __init__(self, ring: int) -> None:
        strides = torch.arange(-STRIDE, STRIDE + 1)[:, None, None]
        starts = torch.arange(ring)[None, :, None]
        self.walks = ((starts + strides * torch.arange(LENGTH)) % ring).reshape(-1, LENGTH)

    def __len__(self) -> int:
        return len(self.walks)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        labels = self.walks[index].clone()
        labels[:2] = -100
        return {"input_ids": self.walks[index], "labels": labels}

    def score(self, model: LlamaForCausalLM) -> tuple[float, float]:
        """Return loss and accuracy of a model over all walks."""
        labels = self.walks.clone()
        labels[:, :2] = -100
        was_training = model.training
        with torch.no_grad():
            said = model.eval()(input_ids=self.walks, labels=labels)
        model.train(was_training)
        right = said.logits[:, 1:-1].argmax(-1) == self.walks[:, 2:]
        return said.loss.item(), right.float().mean().item()


class Keep(TrainerCallback):
    """Has the Trainer save at chosen steps, and says how well the model knows the ring by then."""

    def __init__(self, size: Size, walks: Walks) -> None:
        self.size = size
        self.walks = walks
        self.scores: dict[int, tuple[float, float]] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Score the noise."""
        self._score(state.global_step, kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save now, if this is one of the steps."""
        control.should_save = state.global_step in self.size.saved
        if control.should_save or state.global_step == state.max_steps:
            self._score(state.global_step, kwargs["model"])

    def _score(self, step: int, model: LlamaForCausalLM) -> None:
        self.scores[step] = loss, right = self.walks.score(model)
        print(f"  step {step:4}: loss {loss:5.2f}, {right:4.0%} right", flush=True)


def train(out: Path, size: Size, *, save_only_model: bool) -> Mapping[str, Any]:
    """Train a model; return seconds, the share that the snapshots took, and (loss, right) by step.

    The model before the first step is checkpoint-0, which a Trainer does not save by itself.
    """
    model, walks = make_model(size), Walks(size.ring)
    keep = Keep(size, walks)
    snapshots = SnapshotCallback(out / "snapshots", every=size.every)
    arguments = TrainingArguments(
        output_dir=str(out),
        max_steps=size.steps,
        per_device_train_batch_size=BATCH,
        learning_rate=4e-3,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.1},
        warmup_steps=20,
        weight_decay=0.8,
        adam_beta2=0.98,
        save_strategy="no",
        save_only_model=save_only_model,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
        seed=0,
    )
    trainer = Trainer(model, arguments, train_dataset=walks, callbacks=[keep, snapshots])
    trainer.remove_callback(PrinterCallback)
    trainer.save_model(str(out / "checkpoint-0"))
    trainer.state.save_to_json(str(out / "checkpoint-0" / "trainer_state.json"))
    begin = perf_counter()
    trainer.train()
    seconds = perf_counter() - begin
    trainer.save_model()
    trainer.save_state()
    return {"seconds": seconds, "snapshots": snapshots.seconds / seconds, "scores": keep.scores}


def main() -> None:
    """Train into a folder, and say what was learned."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--small", action="store_true", help="a smaller model, in seconds")
    arguments = parser.parse_args()
    disable_progress_bar()
    out: Path = arguments.out
    if any(out.glob("*")):
        sys.exit(f"{out} is there already and not empty")
    size = SMALL if arguments.small else DEMO
    print(f"Training a Llama of {size.layers} layers for {size.steps} steps ...", flush=True)
    done = train(out, size, save_only_model=not arguments.small)
    share = f"snapshots took {done['snapshots']:.1%} of the time"
    print(f"Trained in {done['seconds']:.0f} s ({share}): {out}")
    (out / "training.json").write_text(json.dumps(done, indent=1))


if __name__ == "__main__":
    main()
