"""Measure what a probe adds to a plain forward pass.

Argument: a GGUF file, or nothing for a random Llama of SmolLM2-135M's shape. Prints JSON.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import torch  # noqa: E402
import transformers  # noqa: E402
from weightwalk.probing import probe  # noqa: E402

CASES = ((16, 5), (1, 32), (1, 64))  # prompts, tokens
TOKENS = ("last", "all")
ROUNDS = 15  # of all of them, in turn


class Numbers:
    """A tokenizer of numbers, so that a prompt has as many tokens as it is to have."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        """Return the tokens of a text."""
        return {"input_ids": [int(word) for word in text.split()]}

    def decode(self, tokens: list[int]) -> str:
        """Return the text of tokens."""
        return " ".join(map(str, tokens))


def load() -> Any:
    """Return the model, and its name."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        return transformers.AutoModelForCausalLM.from_pretrained(
            str(path.parent), gguf_file=path.name, local_files_only=True
        ), path.stem
    config = transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(config), "a random Llama of SmolLM2-135M's shape"


def seconds(work: Callable[[], object]) -> float:
    """Return the time that some work takes of a core."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    """Print what was measured."""
    model, name = load()
    model.eval()
    # One thread, and its own time: what else the machine does would be more than the 5 %.
    torch.set_num_threads(1)
    tokenizer = Numbers()
    results: dict[str, dict[str, float]] = {}
    gc.disable()  # a round's garbage is collected after it
    for count, length in CASES:
        prompts = [list(range(10 + i, 10 + i + length)) for i in range(count)]
        texts = [tokenizer.decode(ids) for ids in prompts]

        def plain(prompts: list[list[int]] = prompts) -> None:
            with torch.no_grad():
                for ids in prompts:
                    one = torch.tensor([ids])
                    model(input_ids=one, attention_mask=torch.ones_like(one), use_cache=False)

        jobs: dict[str, Callable[[], object]] = {"plain": plain}
        for token in TOKENS:
            jobs[token] = lambda token=token, texts=texts: probe(
                model, tokenizer, texts, token=token
            )  # type: ignore[misc]
        times: dict[str, list[float]] = {job: [] for job in jobs}
        for number in range(ROUNDS + 2):
            # In turn, and each first as often, so that a slow minute hits all of them.
            order = list(jobs)[number % 3 :] + list(jobs)[: number % 3]
            found = {job: seconds(jobs[job]) for job in order}
            gc.collect()
            if number >= 2:
                for job in jobs:
                    times[job].append(found[job])
        for token in TOKENS:
            pairs = zip(times[token], times["plain"], strict=True)
            results[f"{count} × {length} tokens, {token}"] = {
                "ratio": statistics.median(mine / theirs for mine, theirs in pairs),
                "fastest": min(times[token]) / min(times["plain"]),
                "plain": statistics.median(times["plain"]),
            }
    print(json.dumps({"model": name, "probe": results}))


main()
