"""Formats that are not read: one sentence says what it is and what makes a file of it that is."""

from __future__ import annotations

from pathlib import Path

import pytest
from weightwalk.core.errors import CheckpointError
from weightwalk.core.readers import open_checkpoint

HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(100)
FILES = {
    "model.h5": (HDF5, r"Keras model; .*tf2onnx.convert --keras"),
    "model.keras": (b"PK\3\4" + bytes(60), r"Keras model; .*tf2onnx.convert --keras"),
    "tf_model.h5": (HDF5, r"transformers 4.*from_tf=True"),
    "flax_model.msgpack": (b"\x81\xa1a\x01", r"transformers 4.*from_flax=True"),
    "state.msgpack": (b"\x81\xa1a\x01", r"Flax.*flax\.serialization"),
    "saved_model.pb": (b"\x08\x01", r"SavedModel.*tf2onnx.convert --saved-model"),
    "frozen.pb": (b"\x0a\x01", r"tf2onnx.convert --graphdef"),
    "model.ckpt.index": (b"\0" * 60, r"tf2onnx.convert --checkpoint"),
    "model.tflite": (b"\x1c\0\0\0TFL3", r"tf2onnx.convert --tflite"),
    "model.mlmodel": (b"\x08\4", "Core ML"),
    "model.pdparams": (b"\x80\2}.", "paddle2onnx"),
    "model.bin": (b"\6\0\0\0\x10\0TransformerSpec\0", "CTranslate2"),
    "ggml-model.bin": (b"lmgg" + bytes(20), r"convert_llama_ggml_to_gguf\.py"),
    "weights": (b"\x93NUMPZ", "not a checkpoint of a known format"),
    "a.bin": (b"<html>404</html>", "web page"),
    "pytorch_model.bin": (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
    "b.bin": (b"0123456789", "not a PyTorch file"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_program(tmp_path: Path, name: str) -> None:
    content, says = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^[^\n]*{name}: this is [^\n]*{says}[^\n]*$"):
        open_checkpoint(tmp_path / name)


FOLDERS = {
    "SavedModel": (("saved_model.pb", "variables/variables.index"), "--saved-model FOLDER"),
    "DCP": ((".metadata", "__0_0.distcp"), "format_utils dcp_to_torch FOLDER"),
    "DeepSpeed": (("zero_to_fp32.py", "latest", "global_step5/x"), r"python zero_to_fp32\.py"),
    "Orbax": (("_CHECKPOINT_METADATA", "d/x"), "orbax-checkpoint"),
    "Core ML": (("Manifest.json", "Data/x"), "Core ML"),
    "Keras": (("config.json", "model.weights.h5"), "model.weights.h5 is a Keras model"),
    "components": (
        ("unet/a.safetensors", "vae/b.bin"),
        "no checkpoint here, but there is in: unet",
    ),
    "nothing": (("README.md",), "there is no checkpoint here$"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_of_another_program(tmp_path: Path, case: str) -> None:
    names, says = FOLDERS[case]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match=says):
        open_checkpoint(tmp_path)
