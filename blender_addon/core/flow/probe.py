"""A probe: what each layer of a model put out for some prompts; as a file, `docs/probe.md`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ..errors import CheckpointError, OutputError
from ..plain import from_plain
from ..readers import Checkpoint, open_checkpoint, printable
from ..readers.datafile import bad
from ..snapshot import RUN_KEY, STEP_KEY

Float32 = npt.NDArray[np.float32]

PROBE_KEY = "weightwalk.probe"  # of a file's metadata: the format's version
VERSION = 1

# What can be taken of a layer. The first is the output of the whole block; attention and mlp are
# what these add to it; router has the chosen experts' numbers, router_weight their weights.
Output = Literal["hidden", "attention", "mlp", "router", "router_weight"]
OUTPUTS: tuple[Output, ...] = get_args(Output)


@dataclass(frozen=True)
class Prompt:
    """What a model was given.

    Attributes
    ----------
    text : str
        "" for an image.
    image : str
        Name of the file; "" for a text.
    tokens : tuple of str
        All of them as texts; of an image, its patches.
    positions : tuple of int
        Which of the tokens were kept.
    """

    text: str
    image: str
    tokens: tuple[str, ...]
    positions: tuple[int, ...]

    @property
    def name(self) -> str:
        """The text, or the image's name, for people."""
        return self.text or self.image


@dataclass(frozen=True)
class ProbeInfo:
    """All of a probe but its numbers.

    Attributes
    ----------
    model : str
        For people: name of the folder or file.
    revision : str
        The commit of a model out of a hub's cache; "" where it is not known.
    model_type, architecture : str
        As in the model's config ("llama"), and the class that ran ("LlamaModel").
    dtype, device : str
        In which it ran ("float32", "cpu").
    layers : tuple of str
        The modules whose outputs these are ("layers.0").
    prompts : tuple of Prompt
    step : int or None
        Of the training.
    run : str
        An id of the training, or "".
    versions : dict of str to str
        Of what made it.
    notes : tuple of str
        What has to be known besides.
    """

    model: str
    revision: str
    model_type: str
    architecture: str
    dtype: str
    device: str
    layers: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    step: int | None = None
    run: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What tells it from others: "step 500", or the model's name."""
        return self.model if self.step is None else f"step {self.step}"


@dataclass(frozen=True, eq=False)
class Probe:
    """Outputs of a model's layers.

    Attributes
    ----------
    info : ProbeInfo
    values : mapping of (int, str) to tuple of (ndarray of float32, shape (tokens, features))
        For the index of a prompt and an output: an array a layer. Layers of most models are alike;
        where they are not (Swin), tokens and features may differ from layer to layer. Of router
        and router_weight the last axis has the chosen experts, the first choice first.
    """

    info: ProbeInfo
    values: Mapping[tuple[int, Output], tuple[Float32, ...]]

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What of each layer is there."""
        there = {output for _, output in self.values}
        return tuple(output for output in OUTPUTS if output in there)

    def layers(self, prompt: int = 0, output: Output = "hidden") -> tuple[Float32, ...]:
        """Return an output of each layer, shape (tokens, features) each.

        Raises
        ------
        CheckpointError
            There is no such prompt, or this output was not probed.
        """
        try:
            return self.values[prompt, output]
        except KeyError:
            count = len(self.info.prompts)
            there = ", ".join(self.outputs)
            raise CheckpointError(
                f"{printable(self.info.model)}: there is no {output} of prompt {prompt + 1} "
                f"(prompts: 1 to {count}; outputs: {there})"
            ) from None


def write_probe(path: Path, probe: Probe) -> None:
    """Write a probe as a safetensors file.

    Raises
    ------
    OutputError
        With the system's reason.
    """
    from safetensors.numpy import save

    tensors: dict[str, npt.NDArray[Any]] = {}
    for (prompt, output), layers in probe.values.items():
        name = output if len(probe.info.prompts) == 1 else f"prompt/{prompt}/{output}"
        kept = [layer.astype(_dtype(output)) for layer in layers]
        if len({layer.shape for layer in kept}) == 1:
            tensors[name] = np.stack(kept)
        else:
            tensors |= {f"{name}/{i}": np.ascontiguousarray(a) for i, a in enumerate(kept)}
    try:
        # Not `save_file`, whose files only their owner can read.
        path.write_bytes(save(tensors, _metadata(probe.info)))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _dtype(output: Output) -> npt.DTypeLike:
    return np.int32 if output == "router" else np.float32


def _metadata(info: ProbeInfo) -> dict[str, str]:
    """Return what goes beside the tensors; lists and objects as JSON."""
    plain = asdict(info)
    step, run = plain.pop("step"), plain.pop("run")
    metadata = {PROBE_KEY: str(VERSION)}
    for key, value in plain.items():
        metadata[key] = value if isinstance(value, str) else json.dumps(value)
    if step is not None:
        metadata[STEP_KEY] = str(step)
    if run:
        metadata[RUN_KEY] = run
    return metadata


def read_info(path: Path) -> ProbeInfo:
    """Read all of a probe file but its numbers.

    Raises
    ------
    CheckpointError
        It is no probe file, of a later version, cut, or damaged.
    """
    with open_checkpoint(path) as file:
        return _info(file)


def read_probe(path: Path) -> Probe:
    """Read a probe file into memory.

    Raises
    ------
    CheckpointError
        It is no probe file, of a later version, cut, or damaged.
    """
    with open_checkpoint(path) as file:
        info = _info(file)
        values: dict[tuple[int, Output], tuple[Float32, ...]] = {}
        for prompt in range(len(info.prompts)):
            for output in OUTPUTS:
                layers = _layers(file, info, prompt, output)
                if layers:
                    values[prompt, output] = layers
            if (prompt, "hidden") not in values:
                raise bad(path, f"the hidden outputs of prompt {prompt + 1} are missing")
    return Probe(info, values)


def is_probe(file: Checkpoint) -> bool:
    """Return whether an opened file says that it is a probe."""
    return PROBE_KEY in file.metadata


def refuse_probe(file: Checkpoint) -> None:
    """Raise `CheckpointError` where weights are wanted, and an opened file is a probe."""
    if is_probe(file):
        what = "this is a probe file, without weights; `weightwalk flow` draws what is in it"
        raise bad(file.path, what)


def _info(file: Checkpoint) -> ProbeInfo:
    path, metadata = file.path, file.metadata
    if not is_probe(file):
        raise bad(path, "this is no probe file; `weightwalk probe MODEL --out DIR` makes one")
    version = metadata[PROBE_KEY]
    if not (version.isascii() and version.isdecimal()) or int(version[:9]) > VERSION:
        raise bad(path, f"this probe file is of version {printable(version)}; {VERSION} is known")
    texts = ("model", "revision", "model_type", "architecture", "dtype", "device")
    try:
        step = metadata.get(STEP_KEY)
        content: dict[str, Any] = {key: metadata[key] for key in texts}
        content |= {
            key: json.loads(metadata[key]) for key in ("layers", "prompts", "versions", "notes")
        }
        info = from_plain(
            ProbeInfo, content | {"step": None if step is None else int(step),
                                  "run": metadata.get(RUN_KEY, "")}
        )  # fmt: skip
        if not (info.layers and info.prompts):
            raise ValueError
        for prompt in info.prompts:
            if not prompt.positions or not set(prompt.positions) <= set(range(len(prompt.tokens))):
                raise ValueError
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        raise bad(path, "the description of this probe file cannot be read") from None
    return info


def _layers(file: Checkpoint, info: ProbeInfo, prompt: int, output: Output) -> tuple[Float32, ...]:
    """Return an output of each layer of a prompt, or nothing where it was not probed."""
    name = output if len(info.prompts) == 1 else f"prompt/{prompt}/{output}"
    count, tokens = len(info.layers), len(info.prompts[prompt].positions)
    if name in file:
        tensor = file[name]
        if len(tensor.shape) != 3 or tensor.shape[:2] != (count, tokens) or not tensor.shape[2]:
            expected = f"({count} layers, {tokens} tokens, features)"
            raise bad(file.path, f"{name} has the shape {tensor.shape}, not {expected}")
        return tuple(np.asarray(tensor, np.float32))
    names = [f"{name}/{i}" for i in range(count)]
    there = [each for each in names if each in file]
    if not there:
        return ()
    if len(there) != count or any(len(file[n].shape) != 2 or 0 in file[n].shape for n in names):
        raise bad(file.path, f"{name} is not there as (tokens, features) for each layer")
    return tuple(np.asarray(file[each], np.float32) for each in names)


def alike(first: ProbeInfo, other: ProbeInfo) -> str:
    """Say why two probes cannot be compared, or ""."""
    if len(first.layers) != len(other.layers):
        return f"{len(first.layers)} layers and {len(other.layers)} layers"
    if len(first.prompts) != len(other.prompts):
        return f"{len(first.prompts)} prompts and {len(other.prompts)} prompts"
    for number, (a, b) in enumerate(zip(first.prompts, other.prompts, strict=True), 1):
        if (a.name, a.tokens) != (b.name, b.tokens):
            return f"prompt {number} is another one, or is cut into other tokens"
        if a.positions != b.positions:
            return f"of prompt {number} other tokens were kept"
    return ""
