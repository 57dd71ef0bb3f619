"""What `weightwalk probe` refuses: one sentence each, and nothing is left behind."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from .commands import Run, refused
from .small_models import TEXT, change_config, picture, save

pytestmark = pytest.mark.probe


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--prompt", ""], "prompt 1 is empty"),
        (["--prompt", "the", "--prompts", "p.txt"], "--prompt or --prompts"),
        (["--prompts", "nowhere.txt"], "nowhere.txt: No such file"),
        (["--prompt", TEXT, "--token", "9"], "no token 9 in prompt 1, which has 6 tokens"),
        (["--token", "first"], "'first' is not last, all or a number"),
        (["--outputs", "heads"], "'heads' is not one of attention, mlp, router"),
        (["--outputs", "router"], "no router was found in LlamaDecoderLayer"),
        (["--layers-path", "h"], "h is no list of modules"),
        (["--image", "nowhere.png"], "nowhere.png: there is no such file"),
        (["--export", "mp4"], "does not move"),
        (["--against", "nowhere"], "nowhere: there is no such file or folder"),
    ],
)
def test_bad_arguments(
    run: Run, llama: Path, tmp_path: Path, arguments: list[str], says: str
) -> None:
    assert says in refused(run, tmp_path / "out", llama, *arguments)


def without_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def without_a_layer(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    file = folder / "model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if "layers.1.mlp" not in n}, file)


def of_other_sizes(folder: Path) -> None:
    change_config(folder, hidden_size=32)


def too_large(folder: Path) -> None:
    """Write a file of 4 TB that takes no room on the disk."""
    header = {"w": {"dtype": "F16", "shape": [1 << 41], "data_offsets": [0, 1 << 42]}}
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + (1 << 42))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no tokenizer": (without_tokenizer, "there is no tokenizer here"),
    "a damaged tokenizer": (
        lambda f: (f / "tokenizer.json").write_text("{"),
        "the tokenizer cannot be loaded",
    ),
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json here"),
    "no JSON": (lambda f: (f / "config.json").write_text("{]"), "config.json: it is not JSON"),
    "unknown": (lambda f: change_config(f, model_type="walrus"), "of the type walrus"),
    "no type": (lambda f: change_config(f, model_type=None), "does not say of which model_type"),
    "nonsense": (lambda f: change_config(f, num_hidden_layers="x\x1b"), "cannot be loaded"),
    "remote code": (
        lambda f: change_config(f, auto_map={"AutoModel": "code.Model"}),
        "run only with --trust-remote-code",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no checkpoint here"),
    "cut": (cut, "the file was cut"),
    "a layer less": (without_a_layer, "3 weights of the layers are not in it"),
    "other sizes": (of_other_sizes, "has the shape (16, 16), and its config says (16, 32)"),
    "many layers": (
        lambda f: change_config(f, num_hidden_layers=100_000),
        "says that it has 100,000 layers, and there are weights of 3",
    ),
    "too large": (too_large, "takes 8.8 TB as float32, and "),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_models(run: Run, tmp_path: Path, name: str) -> None:
    damage, says = DAMAGES[name]
    folder = save("llama", tmp_path / "model")
    damage(folder)
    said = refused(run, tmp_path / "out", folder, "--prompt", TEXT)
    assert says in said
    assert said.isprintable()


def test_code_in_the_folder_runs_when_it_is_trusted(run: Run, tmp_path: Path) -> None:
    folder = save("llama", tmp_path / "model")
    mark = tmp_path / "ran"
    (folder / "code.py").write_text(
        f"open({str(mark)!r}, 'w').close()\n"
        "from transformers import LlamaConfig, LlamaModel\n"
        "class Config(LlamaConfig):\n    model_type = 'walrus'\n"
        "class Model(LlamaModel):\n    config_class = Config\n"
    )
    mapped = {"AutoConfig": "code.Config", "AutoModel": "code.Model"}
    change_config(folder, model_type="walrus", auto_map=mapped)
    refused(run, tmp_path / "out", folder)
    assert not mark.exists()
    status, _, error = run(
        folder, "--prompt", TEXT, "--trust-remote-code", "--out", tmp_path / "out"
    )
    assert status == 0, error
    assert mark.exists()


def test_texts_for_eyes_and_images_for_readers(run: Run, llama: Path, tmp_path: Path) -> None:
    eye, image = save("vit", tmp_path / "eye"), picture(tmp_path / "noise.png")
    assert "eye takes images (--image)" in refused(run, tmp_path / "out", eye)
    assert "takes texts (--prompt)" in refused(run, tmp_path / "out", llama, "--image", image)


def test_what_cannot_be_is_said_before_a_model_is_loaded(
    run: Run, llama: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for more in (("--out", tmp_path / "file"), ("--against", "nowhere", "--out", tmp_path / "out")):
        status, _, error = run(llama, "--prompt", TEXT, *more)
        assert (status, len(error.splitlines())) == (2, 1)  # no progress
    assert not (tmp_path / "out").exists()


def test_prompts_that_are_cut_differently(run: Run, llama: Path, tmp_path: Path) -> None:
    other = save("llama", tmp_path / "other")
    path = other / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["vocab"]["cats"] = content["model"]["vocab"].pop("cat")
    path.write_text(json.dumps(content))
    said = refused(run, tmp_path / "out", other, "--against", llama, "--prompt", TEXT)
    assert "prompt 1 is another one, or is cut into other tokens" in said
    deep = save("llama", tmp_path / "deep", num_hidden_layers=4)
    said = refused(run, tmp_path / "out", deep, "--against", llama, "--prompt", TEXT)
    assert "4 layers and 3 layers" in said


def test_a_probe_file_has_its_prompts(run: Run, llama: Path, tmp_path: Path) -> None:
    assert run(llama, "--prompt", TEXT, "--out", tmp_path / "one")[0] == 0
    file = tmp_path / "one" / "probe.safetensors"
    assert "has its prompts already" in refused(run, tmp_path / "out", file, "--prompt", "cat")
    weights = llama / "model.safetensors"
    assert "these are weights alone" in refused(run, tmp_path / "out", weights)
    file.write_bytes(file.read_bytes()[:-4])
    assert "the file was cut" in refused(run, tmp_path / "out", file)


def test_a_model_that_fails(run: Run, tmp_path: Path) -> None:
    """Work that fails is not bad input: the status says so."""
    folder = save("llama", tmp_path / "model")
    (folder / "code.py").write_text(
        "from transformers import LlamaModel\n"
        "class Model(LlamaModel):\n"
        "    def forward(self, input_ids=None, **_):\n"
        "        raise ValueError('broken on purpose')\n"
    )
    change_config(folder, auto_map={"AutoModel": "code.Model"})
    asked = (folder, "--prompt", TEXT, "--trust-remote-code")
    said = refused(run, tmp_path / "out", *asked, status=1)
    assert said == "weightwalk: the model fails on prompt 1: broken on purpose"


def test_folders_that_are_no_models_say_what_to_do(run, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(run, tmp_path / "out", "HuggingFaceTB/SmolLM2-135M")
    assert "hf download HuggingFaceTB/SmolLM2-135M --local-dir DIR" in said
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").write_text("{}")
    assert "merge_and_unload" in refused(run, tmp_path / "out", tmp_path / "lora")
    for step in (90, 100):
        (tmp_path / "run" / f"checkpoint-{step}").mkdir(parents=True)
    said = refused(run, tmp_path / "out", tmp_path / "run")
    assert said.endswith("give one of its checkpoints: checkpoint-90, checkpoint-100")


@pytest.mark.model
def test_a_real_model_without_tokenizer(run: Run, model_folder: Path, tmp_path: Path) -> None:
    said = refused(run, tmp_path / "out", model_folder)
    assert "all-MiniLM-L6-v2: there is no tokenizer here" in said
