"""`weightwalk probe`: a model on disk becomes files, all of them or none, or one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from weightwalk.core.flow.probe import Probe, read_probe

from .commands import Run, refused
from .small_models import TEXT, WORDS, make, picture, quiet_import, save, words

pytestmark = pytest.mark.probe


def taken(kind: str, folder: Path, **options: Any) -> Probe:
    """Return what the same model gives when it is in memory."""
    from weightwalk.probing import probe

    return probe(make(kind), words(), [TEXT], **options)


# --- what is written --------------------------------------------------------------------------


def test_a_model_becomes_files(run: Run, llama: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    status, said, error = run(
        llama, "--prompt", TEXT, "--token", "all", "--outputs", "attention,mlp", "--out", out
    )
    assert status == 0, error
    assert "small-llama: 1 step, 3 layers, 1 prompt" in said
    assert {line.partition(":")[0] for line in error.splitlines()} <= {
        "model", "probe", "files", "pictures",
    }  # fmt: skip
    assert {file.name for file in out.iterdir()} == {
        "probe.safetensors", "flow.png", "report.json",
    }  # fmt: skip
    Image.open(out / "flow.png").verify()
    found = read_probe(out / "probe.safetensors")
    expected = taken("llama", llama, token="all", outputs=("attention", "mlp"))
    assert found.info.model == "small-llama"
    assert found.info.architecture == "LlamaModel"
    assert set(found.info.versions) == {"weightwalk", "torch", "transformers"}
    assert found.info.prompts == expected.info.prompts
    for output in ("hidden", "attention", "mlp"):
        np.testing.assert_array_equal(found.layers(0, output), expected.layers(0, output))  # type: ignore[arg-type]


def test_prompts_of_a_file_and_of_ours(run: Run, llama: Path, tmp_path: Path) -> None:
    lines = "\ufeffthe cat\n\na mat\u2028and a cat\r\n"
    (tmp_path / "prompts.txt").write_text(lines, encoding="utf-8")
    assert run(llama, "--prompts", tmp_path / "prompts.txt", "--out", tmp_path / "two")[0] == 0
    with safe_open(tmp_path / "two" / "probe.safetensors", "numpy") as file:
        assert set(file.keys()) == {"prompt/0/hidden", "prompt/1/hidden"}
        texts = [prompt["text"] for prompt in json.loads(file.metadata()["prompts"])]
        assert texts == ["the cat", "a mat\u2028and a cat"]
    assert run(llama, "--out", tmp_path / "ours")[0] == 0
    assert len(read_probe(tmp_path / "ours" / "probe.safetensors").info.prompts) == 16


def test_a_commit_out_of_a_hubs_cache(run: Run, llama: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models--org--name" / "snapshots" / ("0123456789" * 4)
    folder.mkdir(parents=True)
    for file in llama.iterdir():
        (folder / file.name).symlink_to(file)
    assert run(folder, "--prompt", TEXT, "--out", tmp_path / "out")[0] == 0
    info = read_probe(tmp_path / "out" / "probe.safetensors").info
    assert (info.model, info.revision) == ("org/name", "0123456789" * 4)


def test_images(run: Run, tmp_path: Path) -> None:
    folder = save("vit", tmp_path / "eye")
    image = picture(tmp_path / "noise.png")
    assert run(folder, "--image", image, "--token", "all", "--out", tmp_path / "out")[0] == 0
    found = read_probe(tmp_path / "out" / "probe.safetensors")
    assert found.info.prompts[0].tokens[:2] == ("class", "patch 0,0")
    assert found.layers()[0].shape == (17, 16)


def test_two_models_and_the_files_they_leave(run: Run, llama: Path, tmp_path: Path) -> None:
    other = save("llama", tmp_path / "tuned", rms_norm_eps=0.1)
    first = tmp_path / "first"
    status, said, error = run(
        other, "--against", llama, "--prompt", TEXT, "--token", "-2", "--out", first
    )
    assert status in {0, 3}, error
    assert "small-llama" in said
    names = {file.name for file in first.iterdir()}
    assert {"probe.safetensors", "against.safetensors", "flow-difference.png"} <= names
    assert read_probe(first / "against.safetensors").info.model == "small-llama"
    # A probe file stands for its model on either side, with its prompts and its tokens.
    for name, pair in {
        "file against model": (first / "probe.safetensors", llama),
        "model against file": (other, first / "against.safetensors"),
    }.items():
        out = tmp_path / name
        assert run(pair[0], "--against", pair[1], "--out", out)[0] in {0, 3}
        for file in ("probe.safetensors", "against.safetensors"):
            again, before = read_probe(out / file), read_probe(first / file)
            assert again.info == before.info
            np.testing.assert_array_equal(again.layers(), before.layers())


# --- GGUF -------------------------------------------------------------------------------------


def write_gguf(path: Path, *, odd: bool = False, architecture: str = "llama") -> Path:
    """Write the small Llama as a GGUF file, in float32; `odd` adds a type that is not converted."""
    import gguf

    model = make("llama", "AutoModelForCausalLM")
    names = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
        "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
        "embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output",
    }  # fmt: skip
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_block_count(3)
    writer.add_feed_forward_length(24)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(16)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([*WORDS, "c", "t", "ca", "at"])
    writer.add_token_merges(["c a"])
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(2)
    for name, tensor in model.state_dict().items():
        parts = name.split(".")
        layer = f"blk.{parts[2]}." if "layers" in parts else ""
        array = tensor.numpy()
        if parts[-2] in {"q_proj", "k_proj"}:  # as llama.cpp has them
            array = array.reshape(2, 2, 4, 16).swapaxes(1, 2).reshape(16, 16)
        writer.add_tensor(f"{layer}{names[parts[-2]]}.weight", np.ascontiguousarray(array))
    if odd:
        writer.add_tensor("odd.weight", np.zeros((4, 32), np.int8))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file(run: Run, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "small.gguf")
    status, said, error = run(file, "--prompt", "cat", "--out", tmp_path / "out")
    assert status == 0, error
    assert "small: 1 step, 3 layers" in said
    found = read_probe(tmp_path / "out" / "probe.safetensors")
    assert found.info.model_type == "llama"
    # By the same numbers of tokens the model of which the file was made gives the same.
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="small.gguf")
    ids = torch.tensor([tokenizer("cat")["input_ids"]])
    with torch.no_grad():
        states = make("llama")(input_ids=ids, output_hidden_states=True).hidden_states
    np.testing.assert_allclose(found.layers()[0], states[1][0, -1:].numpy(), atol=1e-5)
    # The folder that holds but this file stands for it.
    assert run(tmp_path, "--prompt", "cat", "--out", tmp_path / "again")[0] == 0


def test_gguf_files_that_cannot_be_used(run: Run, tmp_path: Path) -> None:
    odd = write_gguf(tmp_path / "odd.gguf", odd=True)
    said = refused(run, tmp_path / "out", odd)
    assert "tensors of the type I8, which transformers does not convert" in said
    whole = odd.read_bytes()
    for size in (3, 40, 500, len(whole) // 2):
        (tmp_path / "cut.gguf").write_bytes(whole[:size])
        assert "cut.gguf" in refused(run, tmp_path / "out", tmp_path / "cut.gguf")
    unknown = write_gguf(tmp_path / "unknown.gguf", architecture="walrus")
    assert "walrus is not supported" in refused(run, tmp_path / "out", unknown)
    said = refused(run, tmp_path / "out", tmp_path)
    assert "there are 3 GGUF files here; give one of: cut.gguf" in said


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "file"), [("llama", "tokenizer"), ("vit", "preprocessor_config")])
def test_a_checkpoint_takes_what_it_lacks_from_the_other(run, tmp_path, kind, file) -> None:
    base, tuned = save(kind, tmp_path / "base"), save(kind, tmp_path / "tuned")
    given = ("--prompt", TEXT) if kind == "llama" else ("--image", picture(tmp_path / "a.png"))
    for path in tuned.glob(f"{file}*"):
        path.unlink()
    assert file.partition("_")[0].removeprefix("pre") in refused(
        run, tmp_path / "no", tuned, *given
    )
    for number, asked in enumerate(
        [(tuned, "--against", base), (base, "--against", tuned), (tuned, "--tokenizer", base)]
    ):
        status, _, error = run(*asked, *given, "--out", tmp_path / str(number))
        assert status == 0, error
    made = [read_probe(tmp_path / n / "probe.safetensors") for n in "012"]
    for one in made[1:]:
        for a, b in zip(made[0].layers(), one.layers(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.model
def test_a_real_encoder_gives_what_transformers_has(
    run: Run, model_folder: Path, tmp_path: Path
) -> None:
    """Each layer of BERT ends with its norm, so that all hidden states are layers' outputs."""
    transformers = quiet_import()
    import torch

    words().save_pretrained(tmp_path / "words")
    asked = ("--tokenizer", tmp_path / "words", "--prompt", TEXT, "--token", "all")
    status, _, error = run(model_folder, *asked, "--out", tmp_path / "out")
    assert status == 0, error
    probe = read_probe(tmp_path / "out" / "probe.safetensors")
    model = transformers.AutoModel.from_pretrained(model_folder, local_files_only=True).eval()
    with torch.no_grad():
        given = torch.tensor([words()(TEXT)["input_ids"]])
        states = model(given, output_hidden_states=True).hidden_states
    assert len(states) == len(probe.info.layers) + 1 == 7
    for ours, theirs in zip(probe.layers(), states[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs[0].numpy())
