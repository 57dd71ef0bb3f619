"""A model that is in memory → a probe."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import SettingsError
from ..core.flow.probe import Float32, Output, Probe, ProbeInfo, Prompt
from ..core.flow.settings import check_probing
from ..core.model import Progress
from ..core.stages import finish
from ..core.text import printable
from ..version import VERSION
from .inputs import Given, give_images, give_texts, patches
from .layers import Layers, bare, find_layers
from .taking import Taking, Token, position


def probe(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    images: Sequence[str | Path] = (),
    processor: Any = None,
    token: Token = "last",
    outputs: Sequence[Output] = ("hidden",),
    layers_path: str = "",
    name: str = "",
    step: int | None = None,
    run: str = "",
) -> Probe:
    """Take what each layer of a model puts out for some prompts.

    The model may have any head, and be in training: training mode of each module, gradients, random
    number generators and hooks are left as they were, also after an error.

    Parameters
    ----------
    model : torch.nn.Module
        Of transformers, or another one that takes ``input_ids``, with `layers_path`.
    tokenizer : PreTrainedTokenizer or None
        None for images.
    prompts : sequence of str
        Each is run by itself, without padding.
    images : sequence of path
        Instead of prompts, for a vision model.
    processor : image processor or None
    token : "last", "all" or int
        Which tokens are kept; an index may be negative.
    outputs : sequence of str
        Of `weightwalk.core.flow.probe.OUTPUTS`; "hidden" is always taken.
    layers_path : str
        The list of layers, such as "model.layers"; "" to find it.
    name : str
        The model's, for people; "" for its class.
    step : int or None
        Of the training.
    run : str
        An id of the training.

    Returns
    -------
    Probe
        Values are float32, whatever the model's dtype.

    Raises
    ------
    SettingsError
        There is no such list of layers, token or output, a prompt is empty, or the model takes
        something else.
    WeightwalkError
        The model failed; the message has its reason.
    """
    return finish(
        taking_steps(
            model, tokenizer, prompts, images=[Path(image) for image in images],
            processor=processor, token=token, outputs=tuple(outputs), layers_path=layers_path,
            name=name, step=step, run=run,
        )
    )  # fmt: skip


def taking_steps(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    images: Sequence[Path],
    processor: Any,
    token: Token,
    outputs: tuple[Output, ...],
    layers_path: str,
    name: str,
    step: int | None = None,
    run: str = "",
) -> Generator[Progress, None, Probe]:
    """Do what `probe` does, a prompt at a time; between two of them all is as it was found."""
    check_probing(token, outputs)
    if not prompts and not images:
        raise SettingsError("there is neither a prompt nor an image")
    model = bare(model)
    layers = find_layers(model, layers_path, seeing=bool(images))
    decoding = _is_decoder(model, layers)
    if images:
        every = list(give_images(model, processor, images))
    else:
        every = list(give_texts(model, tokenizer, prompts, decoding=decoding))
    if isinstance(token, int):
        for given in every:
            if given.tokens:
                position(token, len(given.tokens), given.what)  # before any work is done
    taking = Taking(model, layers, outputs, token)
    found: list[Prompt] = []
    values: dict[tuple[int, Output], tuple[Float32, ...]] = {}
    for number, given in enumerate(every):
        yield Progress("probe", number, len(every), printable(given.text or given.image, 80))
        taken, count = taking.run(given.inputs, given.what)
        values |= {(number, output): arrays for output, arrays in taken.items()}
        found.append(_prompt(model, given, count, token))
    info = _info(model, layers, tuple(found), name)
    notes = list(info.notes)
    if len({len(layer) for layer in values[0, "hidden"]}) > 1:
        notes.append("the layers differ in their tokens; the names are those of the first layer")
    if decoding:
        notes.append("the decoder was given the token with which an answer begins, and no more")
    return Probe(replace(info, step=step, run=run, notes=tuple(notes)), values)


def _is_decoder(model: Any, layers: Layers) -> bool:
    """Return whether these layers come after an encoder."""
    paired = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    return bool(paired) and "decoder" in layers.path.split(".")


def _prompt(model: Any, given: Given, count: int, token: Token) -> Prompt:
    tokens = given.tokens or patches(model, given.inputs, count)
    if len(tokens) != count:  # a model that adds some, or merges them
        tokens = tuple(f"token {i}" for i in range(count))
    if token == "all":
        positions = tuple(range(len(tokens)))
    else:
        positions = (position(token, len(tokens), given.what),)
    return Prompt(given.text, given.image, tokens, positions)


def _info(model: Any, layers: Layers, prompts: tuple[Prompt, ...], name: str) -> ProbeInfo:
    import torch

    parameter = next(iter(model.parameters()), None)
    dtype = getattr(model, "dtype", None if parameter is None else parameter.dtype)
    versions = {"weightwalk": VERSION, "torch": str(torch.__version__)}
    if hasattr(model, "config"):
        import transformers

        versions["transformers"] = transformers.__version__
    return ProbeInfo(
        model=name or type(model).__name__,
        revision="",
        model_type=str(getattr(getattr(model, "config", None), "model_type", "")),
        architecture=type(model).__name__,
        dtype=str(dtype).removeprefix("torch."),
        device=str(parameter.device) if parameter is not None else "cpu",
        layers=layers.names,
        prompts=prompts,
        versions=versions,
        notes=layers.notes,
    )
