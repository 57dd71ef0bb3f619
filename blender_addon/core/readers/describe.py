"""What stands around the tensors: the model's name, its config, and what a foreign file is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..text import printable
from .base import parse_json
from .datafile import bad

NOT_SAFETENSORS = "this is not a safetensors file"
_CONFIG_LIMIT = 16 << 20  # bytes; real ones have a few thousand

_GENERIC = re.compile(
    r"(?:model|pytorch_model|diffusion_pytorch_model|adapter_model|consolidated|weights)"
    r"(?:[-_.](?:\d+(?:-of-\d+)?|fp16|bf16|fp32))*",
    re.IGNORECASE,
)

# Opening bytes → what the file is. Only asked once a file is known not to be safetensors.
_FOREIGN: tuple[tuple[bytes | tuple[bytes, ...], str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: run `git lfs pull`"),
    (b"GGUF", "a GGUF file, a format that is not read"),
    (b"PK\x03\x04", "a zip archive (a PyTorch .pt or .bin?); convert it to safetensors"),
    (
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "a Python pickle (an old PyTorch .pt or .bin?), which can run code and is never opened",
    ),
    (b"\x89HDF", "an HDF5 file, a format that is not read"),
    (b"\x93NUMPY", "a numpy array file, a format that is not read"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"<", "a web page or XML (a download that went wrong?)"),
    (b"{", "a JSON text, not a safetensors file or the index of one"),
)
_FOREIGN_ENDINGS = (".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".npz", ".ckpt")


def what_it_is(path: Path) -> str:
    """Say what a file or folder that no reader claims is."""
    if path.is_dir():
        return _what_is_in(path)
    if not path.is_file():
        return "this is not a regular file"
    with path.open("rb") as file:
        head = file.read(64)
    if not head:
        return "the file is empty"
    for magic, what in _FOREIGN:
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(magic):
            return f"this is {what}"
    return NOT_SAFETENSORS


def _what_is_in(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    if not names:
        return "the folder is empty"
    below = [name for name in names if any((folder / name).glob("*.safetensors"))]
    if below:
        listed = ", ".join(map(printable, below[:8]))
        return f"there is no .safetensors file here, but there is in: {listed}"
    foreign = [name for name in names if name.lower().endswith(_FOREIGN_ENDINGS)]
    if foreign:
        listed = ", ".join(map(printable, foreign[:4]))
        return f"there is no .safetensors file here, only formats that are not read: {listed}"
    return "there is no .safetensors file here"


def read_config(folder: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Read ``config.json`` in `folder`.

    Returns
    -------
    config
        The mapping, empty where there is none that can be used.
    notes
        A sentence on why a file that is there was passed over.
    """
    path = folder / "config.json"
    if not path.is_file():
        return {}, ()
    try:
        if path.stat().st_size > _CONFIG_LIMIT:
            raise bad(path, f"it is larger than {_CONFIG_LIMIT >> 20} MiB")
        return parse_json(path.read_bytes(), path, "it"), ()
    except OSError as error:
        return {}, (f"passed over {bad(path, f'it cannot be read ({error.strerror})')}",)
    except CheckpointError as error:
        return {}, (f"passed over {error}",)


def checkpoint_name(path: Path) -> str:
    """Return a name for people; links are not followed, a hub cache gives ``"org/name"``."""
    is_file = path.is_file()
    # abspath, since resolve follows links; bytes that are not UTF-8 are replaced, since JSON and
    # Blender hold text.
    path = Path(os.fsencode(os.path.abspath(path)).decode("utf-8", "replace"))  # noqa: PTH100
    for parent in (path, *path.parents):
        if parent.name.startswith("models--"):
            return parent.name.removeprefix("models--").replace("--", "/")
    if is_file:
        stem = path.name.removesuffix(".json").removesuffix(".index").removesuffix(".safetensors")
        if not _GENERIC.fullmatch(stem):
            return stem
        path = path.parent
    names = (part.name for part in (path, *path.parents))
    return next((name for name in names if name and not _GENERIC.fullmatch(name)), "model")
