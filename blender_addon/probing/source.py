"""What lies on disk: which model it is, whether it can be probed, and how large it is."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from ..core.errors import CheckpointError, MissingDependencyError, SettingsError
from ..core.readers import Checkpoint, open_checkpoint
from ..core.readers.base import parse_json
from ..core.readers.datafile import bad
from ..core.readers.describe import checkpoint_name
from ..core.series import natural
from ..core.text import printable
from .taking import told

_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
_FLOATS = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_TOKENIZER = (
    "tokenizer*", "vocab*", "merges.txt", "*.spm", "*.model", "*.tiktoken", "tekken.json",
)  # fmt: skip
_CONFIGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Source:
    """A model on disk.

    Attributes
    ----------
    folder : Path
    gguf : str or None
        Name of the GGUF file in it.
    config : dict
        Its ``config.json``; of a GGUF file empty.
    """

    folder: Path
    gguf: str | None
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file or the folder."""
        return self.folder / self.gguf if self.gguf else self.folder

    @property
    def name(self) -> str:
        """The model's name for people."""
        return checkpoint_name(self.path).removesuffix(".gguf")

    @property
    def revision(self) -> str:
        """The commit of a model in a hub's cache, "" elsewhere."""
        place = Path(os.path.abspath(self.folder))  # noqa: PTH100 (a snapshot is links)
        for folder in (place, *place.parents):
            if folder.parent.name == "snapshots" and re.fullmatch(r"[0-9a-f]{40}", folder.name):
                return folder.name
        return ""

    @property
    def has_tokenizer(self) -> bool:
        """Whether there are files of one; transformers would make up an empty one."""
        return bool(self.gguf) or any(any(self.folder.glob(glob)) for glob in _TOKENIZER)

    @property
    def has_processor(self) -> bool:
        """Whether there are files of what makes a picture fit for the model."""
        return any(self.folder.glob("*processor_config.json"))


def find_source(path: Path, *, trust_remote_code: bool) -> Source:
    """Find the model that a path stands for.

    Raises
    ------
    CheckpointError
        There is none, or it is damaged.
    SettingsError
        It brings code of its own, and that is not to be run.
    """
    try:
        is_folder = path.is_dir()
        if not is_folder and not path.exists():
            raise bad(path, f"there is no such file or folder{_hub(path)}")
        if not is_folder:
            return _of_file(path)
        if not (path / "config.json").is_file():
            return _of_gguf_in(path)
        config = parse_json((path / "config.json").read_bytes(), path / "config.json", "it")
        if not trust_remote_code:
            _refuse_code(path, config)
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError | SettingsError):
            raise
        raise bad(path, f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    return Source(path, None, config)


def find_words(path: Path, *, trust_remote_code: bool) -> Source:
    """Find where a tokenizer or an image processor is: a model, or a folder with nothing else.

    Raises
    ------
    CheckpointError
        There is none.
    SettingsError
        It brings code of its own, and that is not to be run.
    """
    if not path.is_dir() or (path / "config.json").is_file():
        return find_source(path, trust_remote_code=trust_remote_code)
    if not trust_remote_code:
        _refuse_code(path, {})
    return Source(path, None)


def _hub(path: Path) -> str:
    """Say what to do where a path is the name of a model on a hub."""
    named = not path.is_absolute() and len(path.parts) == 2 and ".." not in path.parts
    how = f"hf download {path.as_posix()} --local-dir DIR"
    return f"; nothing is downloaded here, so fetch it first: {printable(how)}" if named else ""


def _of_file(path: Path) -> Source:
    if path.name.endswith(".safetensors"):
        what = "these are weights alone; give the folder that has the config.json, too"
        raise bad(path, what)
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise bad(path, "this is neither a model's folder nor a GGUF file")
    return Source(path.parent, path.name)


def _of_gguf_in(folder: Path) -> Source:
    files = sorted(p.name for p in folder.iterdir() if p.name.lower().endswith(".gguf"))
    if len(files) == 1:
        return _of_file(folder / files[0])
    if files:
        names = ", ".join(map(printable, files[:6]))
        raise bad(folder, f"there are {len(files)} GGUF files here; give one of: {names}")
    if (folder / "adapter_config.json").is_file():
        what = "this is an adapter; merge it into its model first (PEFT's merge_and_unload)"
        raise bad(folder, what)
    checkpoints = [path.name for path in folder.glob("checkpoint-*") if path.is_dir()]
    if checkpoints:
        some = printable(", ".join(sorted(checkpoints, key=natural)[-6:]))
        raise bad(folder, f"this is a training's folder; give one of its checkpoints: {some}")
    raise bad(folder, "there is no config.json here, which says what the model is")


def _refuse_code(folder: Path, config: dict[str, Any]) -> None:
    for name in _CONFIGS:
        content = config
        if name != "config.json":
            if not (folder / name).is_file():
                continue
            content = parse_json((folder / name).read_bytes(), folder / name, "it")
        if "auto_map" in content:
            raise SettingsError(
                f"{printable(folder, 1000)}: the model brings Python code of its own ({name} has "
                "auto_map), which is run only with --trust-remote-code"
            )


def weights_of(source: Source, dtype: str) -> tuple[int, str]:
    """Return how many bytes a model takes in memory, and the dtype that it has there.

    Only headers are read. `dtype` is "auto" or a dtype's name.

    Raises
    ------
    CheckpointError
        A file is damaged, or transformers cannot convert it.
    MissingDependencyError
        To read it takes another package.
    """
    if source.gguf:
        chosen = "float32" if dtype == "auto" else dtype
        return _elements_of_gguf(source.path) * _BYTES[chosen], chosen
    pickles = list(source.folder.glob("pytorch_model*.bin"))
    if pickles and not any(source.folder.glob("*.safetensors")):
        return sum(file.stat().st_size for file in pickles), "as stored"
    with open_checkpoint(source.folder) as checkpoint:
        _check_layers(source, checkpoint)
        if "quantization_config" in source.config:
            return sum(t.nbytes for t in checkpoint.values()), "as quantised"
        chosen = _own_dtype(source.config) if dtype == "auto" else dtype
        if chosen not in _BYTES:
            floats = (_FLOATS[t.dtype] for t in checkpoint.values() if t.dtype in _FLOATS)
            chosen = next(floats, "float32")
        return sum(prod(t.shape) for t in checkpoint.values()) * _BYTES[chosen], chosen


def _check_layers(source: Source, checkpoint: Checkpoint) -> None:
    """Raise `CheckpointError` where transformers would make far more layers than there are."""
    layers = [tensor.layer for tensor in checkpoint.values() if tensor.layer is not None]
    there, told_of = max(layers, default=-1) + 1, source.config.get("num_hidden_layers")
    if isinstance(told_of, int) and there and told_of > 2 * there:
        what = f"its config says that it has {told_of:,} layers, and there are weights of {there}"
        raise bad(source.path, what)


def _own_dtype(config: dict[str, Any]) -> str:
    inner = config.get("text_config")
    for each in (config, inner if isinstance(inner, dict) else {}):
        for key in ("dtype", "torch_dtype"):
            if isinstance(each.get(key), str):
                return str(each[key])
    return ""


def _elements_of_gguf(path: Path) -> int:
    try:
        import gguf
    except ImportError:
        raise MissingDependencyError(
            "to read a GGUF file takes the package gguf: pip install 'weightwalk[probe]'"
        ) from None
    import numpy as np

    try:
        tensors = gguf.GGUFReader(path).tensors
        types = {tensor.tensor_type for tensor in tensors}
        elements = sum(int(tensor.n_elements) for tensor in tensors)
    except Exception as error:
        raise bad(path, f"this GGUF file is damaged or was cut ({told(error)})") from error
    for kind in sorted(types):
        block, size = gguf.GGML_QUANT_SIZES[kind]
        try:
            # As transformers does it; float types are taken as they are.
            gguf.dequantize(np.zeros((1, size * max(256 // block, 1)), np.uint8), kind)
        except NotImplementedError:
            what = f"it has tensors of the type {kind.name}, which transformers does not convert"
            raise bad(path, what) from None
    return elements
