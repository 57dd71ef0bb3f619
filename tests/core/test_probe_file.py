"""Probe files: what is written is read back, by others too, and nothing else is taken for one."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hn
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from weightwalk.core.errors import CheckpointError, SettingsError
from weightwalk.core.flow.probe import (
    OUTPUTS,
    PROBE_KEY,
    Probe,
    ProbeInfo,
    Prompt,
    alike,
    read_info,
    read_probe,
    write_probe,
)
from weightwalk.core.flow.settings import ProbeSettings

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)


def info(prompts: int = 1, layers: int = 3, tokens: int = 2, **options: Any) -> ProbeInfo:
    words = tuple(f"token {i}" for i in range(tokens + 1))
    given = tuple(
        Prompt(f"prompt {i}", "", words, tuple(range(1, tokens + 1))) for i in range(prompts)
    )
    names = tuple(f"layers.{i}" for i in range(layers))
    return ProbeInfo("small", "", "llama", "LlamaModel", "float32", "cpu", names, given, **options)


def numbers(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def simple(prompts: int = 1, **options: Any) -> Probe:
    values = {(i, "hidden"): tuple(i + numbers(3, 2, 5)) for i in range(prompts)}
    return Probe(info(prompts, **options), values)  # type: ignore[arg-type]


@st.composite
def probes(draw: st.DrawFn) -> Probe:
    """Draw any probe: several prompts and outputs, layers alike or not, NaN and ∞ among values."""
    layers, count = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    outputs = ["hidden", *draw(st.lists(st.sampled_from(OUTPUTS[1:]), unique=True))]
    prompts, values = [], {}
    for i in range(count):
        tokens = draw(st.lists(TEXTS, min_size=1, max_size=5))
        kept = sorted(draw(st.sets(st.integers(0, len(tokens) - 1), min_size=1)))
        prompts.append(Prompt(draw(TEXTS), draw(TEXTS), tuple(tokens), tuple(kept)))
        for output in outputs:
            sizes = [(len(kept), draw(st.integers(1, 4))) for _ in range(layers)]
            if draw(st.booleans()):
                sizes = sizes[:1] * layers
            whole = st.integers(-1, 200).map(np.float32)
            some = {"elements": whole} if output == "router" else {}
            values[i, output] = tuple(draw(hn.arrays(np.float32, size, **some)) for size in sizes)
    told = [draw(TEXTS) for _ in range(6)]
    step = draw(st.none() | st.integers(0, 10**9))
    run = draw(TEXTS)
    versions = draw(st.dictionaries(TEXTS, TEXTS, max_size=3))
    notes = tuple(draw(st.lists(TEXTS, max_size=3)))
    names = tuple(draw(TEXTS) for _ in range(layers))
    return Probe(ProbeInfo(*told, names, tuple(prompts), step, run, versions, notes), values)  # type: ignore[arg-type]


@settings(deadline=None)
@given(probes())
def test_what_is_written_is_read_back(probe: Probe) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.safetensors"
        write_probe(path, probe)
        again = read_probe(path)
        assert read_info(path) == again.info == probe.info
    assert again.values.keys() == probe.values.keys()
    for key, layers in probe.values.items():
        for layer, same in zip(layers, again.values[key], strict=True):
            assert same.dtype == np.float32
            np.testing.assert_array_equal(layer, same)


def test_others_read_it(tmp_path: Path) -> None:
    path = tmp_path / "probe.safetensors"
    values = {
        (0, "hidden"): tuple(numbers(3, 2, 5)),
        (0, "router"): (np.ones((2, 2), np.float32),) * 3,
    }
    write_probe(path, Probe(info(step=7, run="abc"), values))  # type: ignore[arg-type]
    tensors = load_file(path)
    assert {n: (t.dtype, t.shape) for n, t in tensors.items()} == {
        "hidden": (np.float32, (3, 2, 5)), "router": (np.int32, (3, 2, 2)),
    }  # fmt: skip
    np.testing.assert_array_equal(tensors["hidden"], numbers(3, 2, 5))
    with safe_open(path, "numpy") as file:
        told = file.metadata()
    assert (told[PROBE_KEY], told["model"], told["step"]) == ("1", "small", "7")
    assert told["weightwalk.run"] == "abc"
    assert json.loads(told["layers"]) == ["layers.0", "layers.1", "layers.2"]
    assert json.loads(told["prompts"])[0]["positions"] == [1, 2]


def test_several_prompts_and_layers_of_different_sizes(tmp_path: Path) -> None:
    path = tmp_path / "probe.safetensors"
    write_probe(path, simple(2))
    assert set(load_file(path)) == {"prompt/0/hidden", "prompt/1/hidden"}
    sizes = ((64, 8), (16, 16), (4, 32))
    write_probe(path, Probe(info(), {(0, "hidden"): tuple(numbers(*size) for size in sizes)}))
    assert set(load_file(path)) == {"hidden/0", "hidden/1", "hidden/2"}
    assert tuple(layer.shape for layer in read_probe(path).layers()) == sizes


# --- files made to hurt -----------------------------------------------------------------------


def changed(path: Path, tensors: dict[str, Any] | None = None, **metadata: str | None) -> Path:
    """Write a probe file with other metadata, or with other tensors."""
    write_probe(path, simple(2))
    with safe_open(path, "numpy") as file:
        told = dict(file.metadata())
    kept = load_file(path) if tensors is None else tensors
    told |= {key.replace("__", "."): value for key, value in metadata.items() if value is not None}
    for key, value in metadata.items():
        if value is None:
            del told[key.replace("__", ".")]
    save_file(kept, path, told)
    return path


TWO = {"prompt/0/hidden": numbers(3, 2, 5), "prompt/1/hidden": numbers(3, 2, 5)}
PROMPT = {"text": "a", "image": "", "tokens": ["a", "b", "c"], "positions": [1, 2]}


def asked(**entries: Any) -> dict[str, str | None]:
    """Return two prompts as metadata, with other entries."""
    return {"prompts": json.dumps([PROMPT | entries] * 2)}


DESCRIPTION = "the description of this probe file cannot be read"
METADATA: dict[str, tuple[dict[str, str | None], str]] = {
    "none": ({"weightwalk__probe": None}, "this is no probe file; `weightwalk probe MODEL"),
    "later": ({"weightwalk__probe": "2"}, "this probe file is of version 2; 1 is known"),
    "much later": ({"weightwalk__probe": "9" * 5000}, "is of version 9"),
    "no version": ({"weightwalk__probe": "\x1bnew"}, r"of version \\x1bnew"),
    "foreign digits": ({"weightwalk__probe": "١"}, "is of version"),
    "no model": ({"model": None}, DESCRIPTION),
    "no layers": ({"layers": "[]"}, DESCRIPTION),
    "no prompts": ({"prompts": "[]"}, DESCRIPTION),
    "layers is an object": ({"layers": "{}"}, DESCRIPTION),
    "layers are numbers": ({"layers": "[1, 2, 3]"}, DESCRIPTION),
    "not JSON": ({"prompts": "[{"}, DESCRIPTION),
    "nested deeply": ({"prompts": "[" * 100_000}, DESCRIPTION),
    "a prompt is a text": ({"prompts": '["a", "b"]'}, DESCRIPTION),
    "a prompt with more": (asked(x=1), DESCRIPTION),
    "a token that is none": (asked(positions=[3]), DESCRIPTION),
    "a token before all": (asked(positions=[-1]), DESCRIPTION),
    "no token": (asked(positions=[]), DESCRIPTION),
    "half a token": (asked(positions=[0.5]), DESCRIPTION),
    "a step in words": ({"step": "seven"}, DESCRIPTION),
    "versions is a list": ({"versions": "[]"}, DESCRIPTION),
    "more prompts than are there": (
        {"prompts": json.dumps([PROMPT] * 3)}, "the hidden outputs of prompt 3 are missing",
    ),
    "other tokens than are there": (
        asked(positions=[1]),
        r"has the shape \(3, 2, 5\), not \(3 layers, 1 tokens, features\)",
    ),
    "more layers than are there": ({"layers": '["a", "b", "c", "d"]'}, r"not \(4 layers"),
}  # fmt: skip
TENSORS: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({"other": numbers(3)}, "the hidden outputs of prompt 1 are missing"),
    "one prompt": ({"prompt/0/hidden": numbers(3, 2, 5)}, "outputs of prompt 2 are missing"),
    "one dimension": (TWO | {"prompt/1/hidden": numbers(30)}, r"the shape \(30,\)"),
    "no features": (TWO | {"prompt/1/hidden": numbers(3, 2, 0)}, r"the shape \(3, 2, 0\)"),
    "a layer less": (
        {"prompt/0/hidden/0": numbers(2, 5), "prompt/0/hidden/1": numbers(2, 5)},
        "prompt/0/hidden is not there as",
    ),
    "a layer without features": (
        {f"prompt/0/hidden/{i}": numbers(2, i) for i in range(3)}, "is not there as",
    ),
}  # fmt: skip


def refused(path: Path, says: str) -> None:
    with pytest.raises(CheckpointError, match=says) as error:
        read_probe(path)
    assert str(error.value).isprintable()
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("name", METADATA)
def test_metadata_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    metadata, says = METADATA[name]
    refused(changed(tmp_path / "probe.safetensors", **metadata), says)


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    tensors, says = TENSORS[name]
    refused(changed(tmp_path / "probe.safetensors", tensors), says)


def test_files_that_were_cut(tmp_path: Path) -> None:
    path = tmp_path / "probe.safetensors"
    write_probe(path, simple(2))
    whole = path.read_bytes()
    for size in (0, 5, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(path, "cut|empty|not a safetensors file")


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damage_is_one_sentence_or_none(data: st.DataObject) -> None:
    """A header's byte is another one: the file is refused, or reads as a probe."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "probe.safetensors"
        write_probe(path, simple(2))
        whole = bytearray(path.read_bytes())
        (length,) = struct.unpack("<Q", whole[:8])
        whole[data.draw(st.integers(0, 8 + length - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(whole)
        try:
            assert read_probe(path).layers()[0].shape == (2, 5)
        except CheckpointError as error:
            assert str(error).isprintable()


# --- what is asked of a probe -----------------------------------------------------------------


def test_what_was_not_probed() -> None:
    probe = simple(2)
    assert probe.outputs == ("hidden",)
    with pytest.raises(CheckpointError, match=r"no mlp of prompt 1 \(prompts: 1 to 2; outputs: hi"):
        probe.layers(0, "mlp")
    with pytest.raises(CheckpointError, match="no hidden of prompt 3"):
        probe.layers(2)


def test_which_probes_can_be_compared() -> None:
    assert alike(info(2, step=1), info(2, step=2)) == ""
    assert alike(info(layers=3), info(layers=4)) == "3 layers and 4 layers"
    assert alike(info(2), info(3)) == "2 prompts and 3 prompts"
    assert "prompt 1 is another one, or is cut" in alike(info(tokens=2), info(tokens=3))
    whole = info(tokens=2)
    (prompt,) = whole.prompts
    last = replace(whole, prompts=(replace(prompt, positions=(1,)),))
    assert alike(whole, last) == "of prompt 1 other tokens were kept"


def test_requests_that_contradict_themselves(tmp_path: Path) -> None:
    for options, says in (
        ({"prompts": ("a", "\t")}, "prompt 2 is empty"),
        ({"token": "first"}, "'first' is not last, all or a number"),
        ({"outputs": ("heads",)}, "outputs: 'heads'"),
        ({"device": "abacus"}, "device: 'abacus'"),
        ({"prompts": ("a",), "images": (tmp_path,)}, "not both"),
    ):
        with pytest.raises(SettingsError, match=says):
            ProbeSettings(tmp_path, **options)  # type: ignore[arg-type]


# --- without torch ----------------------------------------------------------------------------

WITHOUT = """
import sys
sys.modules |= {"torch": None, "transformers": None}
from weightwalk.batch.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_probe_files_need_no_torch_and_models_say_so(tmp_path: Path) -> None:
    for step in (1, 2):
        write_probe(tmp_path / f"{step}.safetensors", simple(2, step=step))

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT, "probe", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    done = run(second, "--against", first, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "flow-difference.png").exists()
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    done = run(model, "--out", tmp_path / "none")
    assert done.returncode == 2
    (said,) = done.stderr.splitlines()
    assert said == (
        "weightwalk: probing takes torch and transformers: pip install 'weightwalk[probe]', "
        "or build the container's image with PROBE=yes"
    )
    assert not (tmp_path / "none").exists()
