"""Probes of models that are in memory: what is taken is what flows, and nothing is left behind."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from weightwalk.core.errors import SettingsError, WeightwalkError
from weightwalk.core.flow.probe import read_probe, write_probe

from .small_models import CONFIGS, TEXT, make, picture, quiet_import, words

pytestmark = pytest.mark.probe


@pytest.fixture(scope="module")
def probe() -> Any:
    quiet_import()
    from weightwalk.probing import probe

    return probe


def given(kind: str, tmp_path: Path) -> dict[str, Any]:
    """Return what a model of that kind is asked."""
    if kind not in {"vit", "swin"}:
        return {"tokenizer": words(), "prompts": [TEXT]}
    size = CONFIGS[kind]["image_size"]
    processor = quiet_import().ViTImageProcessor(size={"height": size, "width": size})
    image = picture(tmp_path / "noise.png")
    return {"tokenizer": None, "prompts": [], "images": [image], "processor": processor}


def reference(model: Any) -> list[Any]:
    """Return the hidden states that transformers gives itself, from the embedding on."""
    import torch

    ids = torch.tensor([words()(TEXT)["input_ids"]])
    with torch.no_grad():
        return [s[0].numpy() for s in model(input_ids=ids, output_hidden_states=True).hidden_states]


# --- what is taken ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "layers", "tokens"),
    [
        ("gpt2", "h", 6), ("llama", "layers", 6), ("bert", "encoder.layer", 6),
        ("mixtral", "layers", 6), ("vit", "layers", 17), ("t5", "encoder.block", 6),
        ("opt", "decoder.layers", 6), ("bloom", "h", 6),
    ],
)  # fmt: skip
def test_layers_are_found_and_a_probe_is_read_back(
    probe: Any, tmp_path: Path, kind: str, layers: str, tokens: int
) -> None:
    found = probe(make(kind), **given(kind, tmp_path), token="all")
    assert found.info.layers == tuple(f"{layers}.{i}" for i in range(3))
    assert found.info.prompts[0].positions == tuple(range(tokens))
    assert [layer.shape for layer in found.layers()] == [(tokens, 16)] * 3
    write_probe(tmp_path / "probe.safetensors", found)
    again = read_probe(tmp_path / "probe.safetensors")
    assert again.info == found.info
    np.testing.assert_array_equal(again.layers(), found.layers())


@pytest.mark.parametrize("head", ["AutoModel", "AutoModelForCausalLM"])
def test_a_blocks_output_is_not_the_last_hidden_state(probe: Any, head: str) -> None:
    import torch

    model = make("llama", head)
    taken = probe(model, words(), [TEXT], token="all").layers()
    states = reference(model)
    np.testing.assert_array_equal(taken[:-1], states[1:-1])
    assert not np.allclose(taken[-1], states[-1])
    norm = getattr(model, "model", model).norm
    with torch.no_grad():
        np.testing.assert_array_equal(norm(torch.tensor(taken[-1])).numpy(), states[-1])


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_layers_agree_with_transformers(probe: Any, kind: str) -> None:
    """GPT-2's last one is normalised once more; BERT's are all its blocks' own."""
    model = make(kind)
    taken = probe(model, words(), [TEXT], token="all").layers()
    until = None if kind == "bert" else -1
    np.testing.assert_array_equal(taken[:until], reference(model)[1:until])


@pytest.mark.parametrize(
    "kind",
    [
        "llama",
        "gpt2",
        "mixtral",
        "vit",
        "t5",
        "opt",
        "gemma2",
        "glm4",
        "afmoe",
        "bloom",
        "deepseek_v3",
    ],
)
def test_attention_and_mlp_are_what_a_block_adds(probe: Any, tmp_path: Path, kind: str) -> None:
    asked = given(kind, tmp_path)
    found = probe(make(kind), **asked, token="all", outputs=("hidden", "attention", "mlp"))
    hidden, attention, mlp = (
        np.array(found.layers(0, output)) for output in ("hidden", "attention", "mlp")
    )
    assert np.abs(attention).max() > 0 < np.abs(mlp).max()
    np.testing.assert_allclose(hidden[1:], (hidden[:-1] + attention[1:] + mlp[1:]), atol=1e-5)


def test_what_is_added_before_a_norm(probe: Any) -> None:
    """BERT's parts hold the adding and the norm; what they add is taken before both."""
    import torch

    model = make("bert")
    found = probe(model, words(), [TEXT], token="all", outputs=("attention", "mlp"))
    before = torch.tensor(reference(model)[0])
    layer = model.encoder.layer[0]
    with torch.no_grad():
        inside = layer.attention.output.LayerNorm(
            before + torch.tensor(found.layers(0, "attention")[0])
        )
        after = layer.output.LayerNorm(inside + torch.tensor(found.layers(0, "mlp")[0]))
    np.testing.assert_allclose(found.layers()[0], after.numpy(), atol=1e-6)


@pytest.mark.parametrize("token", ["last", "all"])
def test_layers_that_write_into_what_they_are_given(probe: Any, token: str) -> None:
    model = make("llama")
    expected = probe(model, words(), [TEXT], token=token).layers()[:2]
    model.layers[2].register_forward_pre_hook(lambda _module, given: given[0].zero_())
    found = probe(model, words(), [TEXT], token=token).layers()[:2]
    np.testing.assert_array_equal(found, expected)


def test_routers(probe: Any) -> None:
    import torch

    model = make("mixtral")
    logits: list[Any] = []
    hooks = [
        layer.mlp.gate.register_forward_hook(lambda _m, _i, out: logits.append(out[0]))
        for layer in model.layers
    ]
    found = probe(model, words(), [TEXT], token="all", outputs=("router",))
    for hook in hooks:
        hook.remove()
    assert found.outputs == ("hidden", "router", "router_weight")
    for layer, given_by in enumerate(logits):
        weights, chosen = torch.topk(given_by.softmax(-1), 2)
        np.testing.assert_array_equal(found.layers(0, "router")[layer], chosen.numpy())
        expected = (weights / weights.sum(-1, keepdim=True)).numpy()
        np.testing.assert_allclose(found.layers(0, "router_weight")[layer], expected, rtol=1e-6)


def test_a_layer_without_router_chooses_no_expert(probe: Any) -> None:
    found = probe(make("deepseek_v3"), words(), [TEXT], outputs=("router_weight",))
    chosen, weights = found.layers(0, "router"), found.layers(0, "router_weight")
    assert (chosen[0] == -1).all()
    assert (weights[0] == 0).all()
    assert all((layer >= 0).all() for layer in chosen[1:])


def test_routers_that_give_logits_alone(probe: Any) -> None:
    found = probe(make("switch_transformers"), words(), [TEXT], token="all", outputs=("router",))
    assert {layer.shape for layer in found.layers(0, "router")} == {(6, 1)}
    assert all((weights > 0.25).all() for weights in found.layers(0, "router_weight"))


def test_layers_of_different_sizes_are_kept(probe: Any, tmp_path: Path) -> None:
    found = probe(make("swin"), **given("swin", tmp_path), token="all")
    assert [layer.shape for layer in found.layers()] == [(64, 16), (16, 32), (16, 32)]
    assert found.info.prompts[0].tokens[-1] == "patch 7,7"
    assert any("differ in their tokens" in note for note in found.info.notes)
    write_probe(tmp_path / "probe.safetensors", found)
    again = read_probe(tmp_path / "probe.safetensors")
    for layer, same in zip(found.layers(), again.layers(), strict=True):
        np.testing.assert_array_equal(layer, same)


def test_patches_have_names(probe: Any, tmp_path: Path) -> None:
    (prompt,) = probe(make("vit"), **given("vit", tmp_path)).info.prompts
    assert (prompt.text, prompt.image) == ("", "noise.png")
    assert prompt.tokens[:3] == ("class", "patch 0,0", "patch 0,1")
    assert prompt.tokens[-1] == "patch 3,3"
    assert prompt.positions == (16,)


def test_encoder_first_and_the_decoder_by_its_path(probe: Any) -> None:
    model, tokenizer = make("t5"), words()
    found = probe(model, tokenizer, [TEXT])
    assert "there are also decoder.block" in found.info.notes[0]
    found = probe(model, tokenizer, [TEXT], layers_path="decoder.block")
    assert found.info.layers == ("decoder.block.0", "decoder.block.1")
    assert found.info.prompts[0].tokens == ("[PAD]",)  # with which an answer begins
    assert any("the decoder was given" in note for note in found.info.notes)


def test_several_prompts_are_run_one_by_one(probe: Any) -> None:
    model, tokenizer = make("gpt2"), words()
    texts = [TEXT, "the mat", "a cat and a cat slept on the mat ."]
    together = probe(model, tokenizer, texts, token=-2)
    for i, text in enumerate(texts):
        alone = probe(model, tokenizer, [text], token=-2)
        assert together.info.prompts[i] == alone.info.prompts[0]
        np.testing.assert_array_equal(together.layers(i), alone.layers())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_dtypes_become_float32_as_they_are(probe: Any, dtype: str) -> None:
    import torch

    model = make("llama").to(getattr(torch, dtype))
    found = probe(model, words(), [TEXT], token="all")
    assert found.info.dtype == dtype
    for layer in found.layers():
        assert layer.dtype == np.float32
        tensor = torch.tensor(layer)
        assert torch.equal(tensor.to(getattr(torch, dtype)).float(), tensor)


def test_what_is_not_finite_is_kept(probe: Any) -> None:
    import torch

    model = make("llama")
    with torch.no_grad():
        model.layers[1].mlp.down_proj.weight[3] = torch.nan
    found = probe(model, words(), [TEXT], token="all")
    assert np.isfinite(found.layers()[0]).all()
    assert np.isnan(found.layers()[1][:, 3]).all()


def test_a_model_with_a_head_that_is_wrapped(probe: Any) -> None:
    import torch

    model = make("llama", "AutoModelForCausalLM")
    found = probe(torch.nn.DataParallel(model), words(), [TEXT], name="mine", step=7, run="r")
    assert found.info.layers[0] == "model.layers.0"
    assert (found.info.model, found.info.step, found.info.run) == ("mine", 7, "r")
    plain = probe(make("llama"), words(), [TEXT], layers_path="model.layers")
    np.testing.assert_array_equal(found.layers(), plain.layers())


def test_a_model_that_is_not_of_transformers(probe: Any) -> None:
    import torch

    class Mine(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(16, 8)
            self.blocks = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))

        def forward(self, input_ids: Any) -> Any:
            return self.blocks(self.embed(input_ids)) if self.runs else None

        runs = True

    with pytest.raises(SettingsError, match=r"takes one of: blocks \(2 Linear\)"):
        probe(Mine(), words(), [TEXT])
    found = probe(Mine(), words(), [TEXT], layers_path="blocks")
    assert found.info.layers == ("blocks.0", "blocks.1")
    Mine.runs = False
    with pytest.raises(SettingsError, match=r"blocks\.0 does not run in a pass"):
        probe(Mine(), words(), [TEXT], layers_path="blocks")


# --- nothing is left behind -------------------------------------------------------------------


def state_of(model: Any) -> tuple[Any, ...]:
    """Return all of a model that a probe must not change."""
    import torch

    numpy = np.random.get_state(legacy=False)["state"]
    return (
        [module.training for module in model.modules()],
        [len(module._forward_hooks) for module in model.modules()],
        [None if p.grad is None else p.grad.clone().tolist() for p in model.parameters()],
        [p.requires_grad for p in model.parameters()],
        [buffer.is_inference() for buffer in model.buffers()],
        torch.get_rng_state().tolist(),
        random.getstate(),
        (numpy["key"].tolist(), numpy["pos"]),
        torch.is_grad_enabled(),
        torch.is_autocast_cache_enabled(),
    )


class Restless:
    """A hook that draws random numbers, as a model may, and fails at its second call if told to."""

    def __init__(self, *, fails: bool) -> None:
        self.fails, self.calls = fails, 0

    def __call__(self, module: Any, _given: Any) -> None:
        import torch

        self.calls += 1
        assert not module.training
        torch.rand(3), np.random.rand(3), random.random()
        if self.fails and self.calls == 2:
            raise RuntimeError("first line\n\nthe block \x1b[31mbroke")


@pytest.mark.parametrize("fails", [False, True])
def test_all_is_as_it_was(probe: Any, fails: bool) -> None:
    model = make("llama", "AutoModelForCausalLM", attention_dropout=0.5)
    tokenizer, inputs = words(), words()(TEXT, return_tensors="pt")
    model.train()
    model.model.layers[1].mlp.eval()  # a part that is frozen, say
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    model.model.layers[2].register_forward_pre_hook(Restless(fails=fails))
    before = state_of(model)
    if fails:
        with pytest.raises(WeightwalkError, match=r"fails on prompt 2: the block \\x1b\[31mbroke"):
            probe(model, tokenizer, [TEXT, TEXT], outputs=("attention", "mlp"))
    else:
        probe(model, tokenizer, [TEXT, TEXT], outputs=("attention", "mlp"))
    assert state_of(model) == before


def test_training_goes_on_as_without_it(probe: Any) -> None:
    """Dropout draws the same numbers, and the weights become the same to the last bit."""
    import torch

    tokenizer, inputs = words(), words()(TEXT, return_tensors="pt")

    def trained(*, probing: bool) -> list[Any]:
        model = make("gpt2", "AutoModelForCausalLM", resid_pdrop=0.5).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        torch.manual_seed(2)
        for _ in range(3):
            with torch.autocast("cpu", torch.bfloat16):
                if probing:
                    probe(model, tokenizer, [TEXT])
                loss = model(**inputs, labels=inputs["input_ids"]).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return [p.detach().clone() for p in model.parameters()]

    with_it, without = trained(probing=True), trained(probing=False)
    assert all(torch.equal(a, b) for a, b in zip(with_it, without, strict=True))


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"prompts": ["the", " "]}, "prompt 2 is empty"),
        ({"prompts": []}, "neither a prompt nor an image"),
        ({"tokenizer": None}, "no tokenizer"),
        ({"token": 6}, "no token 6 in prompt 1, which has 6 tokens"),
        ({"token": -7}, "no token -7 in prompt 1"),
        ({"prompts": [TEXT, "cat"], "token": 1}, "no token 1 in prompt 2, which has 1 token$"),
        ({"token": "first"}, "not last, all or a number"),
        ({"layers_path": "blocks"}, r"blocks is no list .* layers \(3 LlamaDecoderLayer\)"),
        ({"outputs": ("router",)}, "no router was found in LlamaDecoderLayer"),
        ({"outputs": ("heads",)}, "outputs: 'heads'"),
        ({"images": ["x.png"]}, r"LlamaModel takes texts \(--prompt\), not images"),
    ],
)
def test_bad_requests(probe: Any, asked: dict[str, Any], says: str) -> None:
    usual = {"tokenizer": words(), "prompts": [TEXT]}
    with pytest.raises(SettingsError, match=says):
        probe(make("llama"), **usual | asked)


def test_images_and_texts_are_not_mixed_up(probe: Any, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ViTModel takes images \(--image\), not texts"):
        probe(make("vit"), words(), [TEXT])
    asked = given("vit", tmp_path)
    (tmp_path / "noise.png").write_bytes(b"no image")
    with pytest.raises(SettingsError, match="no image that can be read"):
        probe(make("vit"), **asked)


def test_layers_that_run_again_and_again(probe: Any) -> None:
    with pytest.raises(SettingsError, match=r"no list of 3 layers .*albert_layer_groups"):
        probe(make("albert"), words(), [TEXT])
    with pytest.raises(SettingsError, match="runs more than once"):
        probe(make("albert"), words(), [TEXT], layers_path="encoder.albert_layer_groups")


def test_more_than_a_model_takes(probe: Any) -> None:
    with pytest.raises(SettingsError, match="prompt 1 has 70 tokens; the model takes 64"):
        probe(make("gpt2"), words(), ["cat " * 70])
    with pytest.raises(SettingsError, match="tokenizer is another model's"):
        probe(make("gpt2", vocab_size=4), words(), [TEXT])
