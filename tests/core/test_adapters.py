"""LoRA adapters: ΔW by its definition and by PEFT itself, and what is said where there is none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import weightwalk
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from weightwalk.core.errors import DTypeError
from weightwalk.core.plans import make_plans, select
from weightwalk.core.readers import products
from weightwalk.core.readers.adapter_settings import base_config
from weightwalk.core.readers.name_patterns import matches
from weightwalk.core.settings import FieldSettings, Selection

PREFIX = "base_model.model."
Q = "model.layers.3.self_attn.q_proj"
UP = "model.layers.3.mlp.up_proj"
SETTINGS = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "base_model_name_or_path": None}


def write(folder, tensors, **settings):
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(SETTINGS | settings))
    return folder


def pair(module=Q, shape=(12, 20), rank=4, kind=np.float32):
    """A, B and their tensors; `shape` is (out, in, …)."""
    rng = np.random.default_rng(rank)
    a = rng.normal(size=(rank, *shape[1:])).astype(kind)
    b = rng.normal(size=(shape[0], rank, *(1 for _ in shape[2:]))).astype(kind)
    return a, b, {f"{PREFIX}{module}.lora_A.weight": a, f"{PREFIX}{module}.lora_B.weight": b}


def defined(a, b, scale):
    """ΔW as the LoRA paper has it, in double precision and then rounded."""
    whole = scale * np.einsum("or,r...->o...", b.reshape(len(b), -1).astype("f8"), a.astype("f8"))
    return whole.astype("f4")


def test_the_update_stands_before_a_and_b_and_is_placed_as_the_weight(tmp_path):
    a, b, tensors = pair()
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text('{"num_attention_heads": 3, "hidden_size": 12}')
    write(tmp_path / "adapter", tensors, base_model_name_or_path=str(base))
    with weightwalk.open(tmp_path / "adapter") as checkpoint:
        assert list(checkpoint) == [f"{Q}.delta_weight", *tensors]
        update = checkpoint[f"{Q}.delta_weight"]
        assert (update.layer, update.role, update.dtype) == (3, "q", "ΔW r=4")
        assert update.nbytes == a.nbytes + b.nbytes
        np.testing.assert_array_max_ulp(np.asarray(update), defined(a, b, 6 / 4), 1)
        assert [checkpoint[n].role for n in tensors] == ["q.lora_a", "q.lora_b"]
        np.testing.assert_array_equal(np.asarray(checkpoint[next(iter(tensors))]), a)
        (plan,), _ = make_plans(select(checkpoint, Selection())[0], FieldSettings("heads"))
        assert plan.planes == ("head 0", "head 1", "head 2")


@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, 6 / 4),
        ({"use_rslora": True}, 6 / 2),
        ({"alpha_pattern": {"q_proj": 10}}, 10 / 4),
        ({"alpha_pattern": {"_proj": 10, "k_proj": 9}}, 6 / 4),  # a word begins after a point
        ({"alpha_pattern": {r".*\.[3-5]\.self_attn\.(q|k)_proj": 10, "q_proj": 9}}, 10 / 4),
        ({"alpha_pattern": {"^self_attn.q_proj": 10, "^model.layers.3.self_attn.q_proj": 2}}, 0.5),
        ({"r": 8, "rank_pattern": {"q_proj": 4}, "use_rslora": True}, 6 / 2),
        ({"r": 8, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {Q: 0.5}}, 0.5 / 4),
    ],
)
def test_the_scale_follows_rank_and_alpha(tmp_path, settings, scale):
    a, b, tensors = pair()
    with weightwalk.open(write(tmp_path / "m", tensors, **settings)) as checkpoint:
        update = np.asarray(checkpoint[f"{Q}.delta_weight"])
    np.testing.assert_array_max_ulp(update, defined(a, b, scale), 1)


@pytest.mark.parametrize("case", ["Linear", "Conv1D", "Embedding", "Conv2d", "F16", "F64"])
@pytest.mark.parametrize("panel", [1 << 20, 50, 1])
def test_every_kind_of_layer_and_any_block(tmp_path, monkeypatch, case, panel):
    shape = (6, 5, 3, 3) if case == "Conv2d" else (12, 20)
    a, b, tensors = pair(shape=shape, kind={"F16": "f2", "F64": "f8"}.get(case, "f4"))
    expected = defined(a, b, 1.5)
    if case in ("Conv1D", "Embedding"):
        expected = expected.T
    if case == "Embedding":
        tensors = {PREFIX + Q + ".lora_embedding_A": a, PREFIX + Q + ".lora_embedding_B": b}
    monkeypatch.setattr(products, "_PANEL", panel)
    folder = write(tmp_path / "m", tensors, fan_in_fan_out=case == "Conv1D")
    with weightwalk.open(folder) as checkpoint:
        update = checkpoint[f"{Q}.delta_weight"]
        assert update.shape == expected.shape
        np.testing.assert_array_max_ulp(np.asarray(update), expected, 1)
        np.testing.assert_array_max_ulp(update.flat(7, 31), expected.ravel()[7:31], 1)
        np.testing.assert_array_equal(update.rows(2, 4), np.asarray(update)[2:4])


def unread(checkpoint, name=f"{Q}.delta_weight"):
    with pytest.raises(DTypeError) as caught:
        np.asarray(checkpoint[name])
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"r": 8}, "its A has the rank 4, adapter_config.json says 8"),
        ({"alpha_pattern": {"(a+)+b": 1}}, "(a+)+b in alpha_pattern is not followed"),
        ({"alpha_pattern": {"(?=q)": 1}}, "in alpha_pattern is not followed"),
    ],
)
def test_what_contradicts_itself_is_not_multiplied(tmp_path, settings, said):
    _, _, tensors = pair()
    with weightwalk.open(write(tmp_path / "m", tensors, **settings)) as checkpoint:
        assert said in unread(checkpoint)
        assert all(checkpoint[name].decodable for name in tensors)


def test_a_and_b_that_do_not_fit_make_no_update(tmp_path):
    a, b, tensors = pair()
    names = list(tensors)
    with weightwalk.open(write(tmp_path / "1", {names[0]: a, names[1]: b[:, :3]})) as checkpoint:
        assert "its A has the rank 4, its B the shape [12, 3]" in unread(checkpoint)
    with weightwalk.open(write(tmp_path / "2", {names[0]: a.astype("i4"), names[1]: b})) as other:
        assert "its A cannot be read" in unread(other)
    lone = {**pair(UP)[2], names[0]: a}
    with weightwalk.open(write(tmp_path / "3", lone)) as checkpoint:
        assert [n for n in checkpoint if "delta" in n] == [f"{UP}.delta_weight"]
        assert "1 of A and B" in checkpoint.notes[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_dora": True}, "updates by DoRA are not supported"),
        ({"use_qalora": True}, "QA-LoRA"),
        ({"target_parameters": ["mlp.experts.down_proj"]}, "target_parameters"),
        ({"peft_type": "ADALORA"}, "ADALORA"),
        ({"peft_type": "\x1b[1m"}, "\\x1b"),
    ],
)
def test_another_update_than_the_product_is_said_to_be_unknown(tmp_path, settings, said):
    _, _, tensors = pair()
    with weightwalk.open(write(tmp_path / "m", tensors, **settings)) as checkpoint:
        assert list(checkpoint) == list(tensors)
        (note,) = checkpoint.notes
        assert said in note
        assert note.isprintable()


def test_magnitudes_betray_dora(tmp_path):
    _, _, tensors = pair()
    tensors[f"{PREFIX}{Q}.lora_magnitude_vector"] = np.ones(12, np.float32)
    with weightwalk.open(write(tmp_path / "m", tensors)) as checkpoint:
        assert "DoRA" in checkpoint.notes[0]
        assert set(checkpoint) == set(tensors)


def test_weights_that_training_began_by_changing_are_noted(tmp_path):
    _, _, tensors = pair()
    with weightwalk.open(write(tmp_path / "m", tensors, init_lora_weights="pissa")) as checkpoint:
        assert "init_lora_weights is pissa" in checkpoint.notes[0]
        assert f"{Q}.delta_weight" in checkpoint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "not known without an adapter_config.json"),
        ("{", "it is not JSON"),
        ("{}", "it has no peft_type"),
        ('{"peft_type": "LORA", "r": true, "lora_alpha": 1}', "does not say r and lora_alpha"),
        ('{"peft_type": "LORA", "r": 4, "lora_alpha": 1e999}', "does not say r and lora_alpha"),
        ('{"peft_type": "LORA", "r": 4, "lora_alpha": 1, "alpha_pattern": [1]}', "alpha_pattern"),
        ('{"peft_type": "LORA", "r": 4, "lora_alpha": 1, "rank_pattern": {"q": "4"}}', "rank_pa"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_without_its_configuration_an_adapter_is_a_and_b(tmp_path, text, said):
    _, _, tensors = pair()
    folder = write(tmp_path / "m", tensors)
    config = folder / "adapter_config.json"
    config.write_text(text) if text is not None else config.unlink()
    with weightwalk.open(folder) as checkpoint:
        assert list(checkpoint) == list(tensors)
        assert said in checkpoint.notes[0]


def test_a_base_model_beside_its_adapter_is_opened_first_and_says_so(tmp_path):
    _, _, tensors = pair()
    folder = write(tmp_path / "m", tensors)
    save_file({f"{Q}.weight": np.ones((12, 20), "f4")}, folder / "model.safetensors")
    with weightwalk.open(folder) as checkpoint:
        assert list(checkpoint) == [f"{Q}.weight"]
        assert "open adapter_model.safetensors" in checkpoint.notes[0]
    with weightwalk.open(folder / "adapter_model.safetensors") as checkpoint:
        assert f"{Q}.delta_weight" in checkpoint
        assert not checkpoint.notes


def test_other_adapters_in_folders_within_are_told(tmp_path):
    _, _, tensors = pair()
    write(tmp_path / "m", tensors)
    write(tmp_path / "m" / "second", pair(UP)[2])
    with weightwalk.open(tmp_path / "m") as checkpoint:
        assert checkpoint.notes == (f"{tmp_path / 'm'}: there are other adapters in: second",)
    with weightwalk.open(tmp_path / "m" / "second") as checkpoint:
        assert next(iter(checkpoint)) == f"{UP}.delta_weight"
        assert not checkpoint.notes


def test_of_two_adapters_in_one_file_the_default_is_meant(tmp_path):
    a, b, _ = pair()
    tensors = {
        f"{Q}.lora_{letter}.{adapter}.weight": array * factor
        for adapter, factor in (("default", np.float32(1)), ("other", np.float32(2)))
        for letter, array in (("A", a), ("B", b))
    }
    with weightwalk.open(write(tmp_path / "m", tensors)) as checkpoint:
        update = np.asarray(checkpoint[f"{Q}.delta_weight"])
        np.testing.assert_array_max_ulp(update, defined(a, b, 1.5), 1)
        assert "2 of A and B" in checkpoint.notes[0]
        assert len(checkpoint) == 5


def test_the_base_model_is_looked_for_on_this_machine_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    share = Path("\\\\host\\share")
    share.mkdir()
    (share / "config.json").write_text('{"hidden_size": 1}')
    assert (share / "config.json").is_file()
    assert base_config(str(share), tmp_path) == {}
    assert base_config("a\0b", tmp_path) == {}
    for name in ("", "no/such", "../..", "x" * 5000):
        assert base_config(name, tmp_path) == {}
    share.rename("base")
    assert base_config("base", tmp_path / "elsewhere") == {"hidden_size": 1}


SIGNS = ["a", "b", ".", "\\.", "\\d", "\\w", "[ab]", "[^a]", "[a-b]", "(", "(?:", ")", "|", "*"]
SIGNS += ["+", "?", "^", "$", "1", "-", "]"]


@given(
    st.lists(st.sampled_from(SIGNS), max_size=8).map("".join),
    st.text(st.sampled_from("ab.1"), max_size=8),
)
def test_patterns_match_as_in_peft(pattern, name):
    try:
        found = matches(pattern, name)
    except ValueError:
        return  # refused: the update that needs it is not shown
    assert found == bool(re.match(rf"(.*\.)?({pattern})$", name))


@pytest.mark.parametrize("pattern", ["(a|a)" * 160 + "x", ".*" * 490 + "x", "[a-a]+" * 160 + "x"])
def test_no_pattern_takes_long(pattern):
    assert not matches(pattern, "a." * 450)
    with pytest.raises(ValueError, match="too long"):
        matches("a" * 1001, "a")


@pytest.mark.probe
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks for it
@pytest.mark.parametrize("kind", ["patterns", "Conv1D", "BF16"])
def test_updates_are_those_of_peft(tmp_path, kind):
    import peft
    import torch
    import transformers

    torch.manual_seed(0)
    if kind == "Conv1D":
        config = transformers.GPT2Config(
            n_embd=48, n_head=3, n_layer=1, vocab_size=99, bos_token_id=0, eos_token_id=0
        )
        model = transformers.GPT2LMHeadModel(config)
        chosen = {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}
    else:
        config = transformers.LlamaConfig(
            hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, vocab_size=64,
        )  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
        chosen = {"target_modules": ["q_proj", "k_proj", "down_proj"]}
    if kind == "patterns":
        chosen |= {
            "rank_pattern": {"k_proj": 3, r"layers\.0\.self_attn\.q_proj": 5},
            "alpha_pattern": {r".*\.[1-9]\.mlp\.down_proj": 64, "model.layers.0.mlp.down_proj": 7},
            "use_rslora": True,
        }
    config.save_pretrained(tmp_path / "base")
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, lora_alpha=20, **chosen))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter)
    adapted.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    if kind == "BF16":
        adapted.to(torch.bfloat16)
    adapted.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    made = {
        f"{name}.delta_weight": module.get_delta_weight("default").detach().float().numpy()
        for name, module in adapted.base_model.model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    with weightwalk.open(tmp_path / "adapter") as checkpoint:
        assert {n for n in checkpoint if n.endswith("delta_weight")} == set(made) != set()
        for name, expected in made.items():
            near = 2**-8 if kind == "BF16" else 1e-6  # PEFT rounds to the type of A and B
            largest = np.abs(expected).max()
            np.testing.assert_allclose(
                np.asarray(checkpoint[name]), expected, rtol=near, atol=1e-6 * largest
            )
        heads = [t for t in checkpoint.values() if t.names.heads]
        assert {t.role for t in heads} == ({"qkv", "o"} if kind == "Conv1D" else {"q", "k"})
