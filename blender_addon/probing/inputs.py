"""Texts and images → what a model takes, and names of their tokens."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import SettingsError
from ..core.text import printable
from .taking import told


@dataclass(frozen=True, eq=False)
class Given:
    """A prompt as a model takes it.

    Attributes
    ----------
    text, image : str
        The text or the name of the image; the other one is "".
    what : str
        For messages: "prompt 2".
    inputs : dict of str to torch.Tensor
    tokens : tuple of str
        Empty for an image: what its tokens are the model decides.
    """

    text: str
    image: str
    what: str
    inputs: dict[str, Any]
    tokens: tuple[str, ...] = ()


def accepted(model: Any) -> set[str]:
    """Return the names of what a model takes."""
    parameters = inspect.signature(model.forward).parameters
    if set(parameters) & {"input_ids", "pixel_values"}:
        return set(parameters)
    # One that passes on whatever it is given.
    passed = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return {"input_ids", "attention_mask"} if passed else set(parameters)


def give_texts(
    model: Any, tokenizer: Any, prompts: Sequence[str], *, decoding: bool
) -> Iterator[Given]:
    """Cut prompts into tokens, one at a time, so that none is padded.

    `decoding` says that the layers are those of a decoder after an encoder: it is given the token
    with which an answer begins.

    Raises
    ------
    SettingsError
        The model takes no texts, there is no tokenizer, or a prompt cannot be used.
    """
    names = accepted(model)
    if getattr(model, "main_input_name", "input_ids") != "input_ids" or "input_ids" not in names:
        raise SettingsError(f"{_takes(model)}, not texts")
    if tokenizer is None:
        raise SettingsError("there is no tokenizer to cut the prompts into tokens")
    device, most = _device(model), _most_tokens(model)
    for number, text in enumerate(prompts, 1):
        what = f"prompt {number}"
        if not text.strip():
            raise SettingsError(f"{what} is empty")
        ids = [int(i) for i in tokenizer(text)["input_ids"]]
        _check_ids(model, ids, most, what)
        inputs = _text_inputs(model, names, ids, device)
        if decoding:
            ids = inputs["decoder_input_ids"][0].tolist()
        yield Given(text, "", what, inputs, tuple(_named(tokenizer, i) for i in ids))


def _text_inputs(model: Any, names: set[str], ids: list[int], device: Any) -> dict[str, Any]:
    import torch

    tokens = torch.tensor([ids], device=device)
    inputs: dict[str, Any] = {"input_ids": tokens}
    if "attention_mask" in names:
        inputs["attention_mask"] = torch.ones_like(tokens)
    if "use_cache" in names:
        inputs["use_cache"] = False
    config = getattr(model, "config", None)
    if "decoder_input_ids" in names and getattr(config, "is_encoder_decoder", False):
        # Nothing of an answer is there yet: the token with which each begins.
        for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
            begin = getattr(config, name, None)
            if isinstance(begin, int):
                break
        else:
            raise SettingsError("the config does not say with which token the decoder begins")
        inputs["decoder_input_ids"] = torch.tensor([[begin]], device=device)
    return inputs


def _check_ids(model: Any, ids: list[int], most: int | None, what: str) -> None:
    """Raise `SettingsError` for what would be an error deep inside, on a GPU a fatal one."""
    from torch.nn import Embedding

    if not ids:
        raise SettingsError(f"{what} has no tokens")
    words = model.get_input_embeddings() if hasattr(model, "get_input_embeddings") else None
    if isinstance(words, Embedding) and not 0 <= min(ids) <= max(ids) < words.num_embeddings:
        count = f"{words.num_embeddings:,}"
        raise SettingsError(
            f"{what} has the token {max(ids):,}, and the model knows {count}: the tokenizer is "
            "another model's"
        )
    if most and len(ids) > most:
        raise SettingsError(f"{what} has {len(ids):,} tokens; the model takes {most:,}")


def _most_tokens(model: Any) -> int | None:
    """Return how many positions a model has learned, None where it can take any number."""
    from torch.nn import Embedding, ModuleList

    inside = [model]
    while inside:
        for name, child in inside.pop().named_children():
            if isinstance(child, Embedding) and name in {"wpe", "position_embeddings"}:
                return int(child.num_embeddings)
            if not isinstance(child, ModuleList):  # what layers have of their own is small
                inside.append(child)
    return None


def _named(tokenizer: Any, token: int) -> str:
    """Return a token as text, as its own name where it is part of a letter or says nothing."""
    text = str(tokenizer.decode([token]))
    if "\ufffd" in text or not text:
        return str(tokenizer.convert_ids_to_tokens([token])[0])
    return text


def give_images(model: Any, processor: Any, images: Sequence[Path]) -> Iterator[Given]:
    """Cut images into patches, one at a time.

    Raises
    ------
    SettingsError
        The model takes no images, or an image cannot be used.
    """
    if "pixel_values" not in accepted(model):
        raise SettingsError(f"{_takes(model)}, not images")
    if processor is None:
        raise SettingsError("there is no image processor to cut the images into patches")
    for number, path in enumerate(images, 1):
        try:
            pixels = processor(images=opened(path), return_tensors="pt")["pixel_values"]
        except SettingsError:
            raise
        except Exception as error:
            raise SettingsError(f"{printable(path, 1000)}: {told(error)}") from error
        dtype = getattr(model, "dtype", pixels.dtype)
        inputs = {"pixel_values": pixels.to(_device(model), dtype)}
        yield Given("", Path(path).name, f"image {number}", inputs)


def opened(path: Path) -> Any:
    """Return an image as RGB, turned as its camera says.

    Raises
    ------
    SettingsError
        There is none, or it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise SettingsError(f"{printable(path, 1000)}: there is no such file") from None
    except Exception as error:  # of Pillow and its many formats
        what = "this is no image that can be read"
        raise SettingsError(f"{printable(path, 1000)}: {what} ({told(error)})") from None


def patches(model: Any, inputs: dict[str, Any], count: int) -> tuple[str, ...]:
    """Return names of an image's tokens: "class", "patch 3,5" (row, column, from 0).

    Parameters
    ----------
    model : torch.nn.Module
    inputs : dict of str to torch.Tensor
    count : int
        Tokens in the first layer's output: of a model that merges patches, fewer than at first.
    """
    size = getattr(getattr(model, "config", None), "patch_size", None)
    high, wide = size if isinstance(size, list | tuple) else (size, size)
    if not (isinstance(high, int) and isinstance(wide, int) and min(high, wide) > 0):
        return tuple(f"token {i}" for i in range(count))
    rows, cols = (
        n // s for n, s in zip(inputs["pixel_values"].shape[-2:], (high, wide), strict=True)
    )
    while rows * cols > count and rows > 1 and cols > 1:
        rows, cols = -(-rows // 2), -(-cols // 2)
    before = count - rows * cols
    if not 0 <= before <= 16:  # a class, registers
        return tuple(f"token {i}" for i in range(count))
    extra = ["class", *(f"extra {i}" for i in range(1, before))][:before]
    return (*extra, *(f"patch {r},{c}" for r in range(rows) for c in range(cols)))


def _takes(model: Any) -> str:
    main = getattr(model, "main_input_name", "input_ids")
    what = {"input_ids": "texts", "pixel_values": "images"}.get(main, printable(main))
    how = {"input_ids": " (--prompt)", "pixel_values": " (--image)"}.get(main, "")
    return f"{type(model).__name__} takes {what}{how}"


def _device(model: Any) -> Any:
    # Parameters that are kept elsewhere until they are needed have no device.
    found = (parameter.device for parameter in model.parameters())
    return next((device for device in found if device.type != "meta"), "cpu")
