"""What stands around the tensors: the model's name and its config."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from ..errors import CheckpointError
from ..location import Location, Url
from .base import parse_json
from .datafile import Place, bad
from .endings import ALL

_CONFIG_LIMIT = 16 << 20  # bytes; real ones have a few thousand

_PART = re.compile(r"-\d{5}-of-\d{5}$")  # one file of several
_GENERIC = re.compile(
    r"(?:model|pytorch_model|diffusion_pytorch_model|adapter_model|consolidated|weights)"
    r"(?:[-_.](?:\d+(?:-of-\d+)?|fp16|bf16|fp32))*",
    re.IGNORECASE,
)


def read_config(
    folder: Place, file: str = "config.json"
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Read ``config.json``, or another file of JSON, in `folder`.

    Returns
    -------
    config
        The mapping, empty where there is none that can be used.
    notes
        A sentence on why a file that is there was passed over.
    """
    path = folder / file
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


def checkpoint_name(path: Place) -> str:
    """Return a name for people; links are not followed, a hub cache gives ``"org/name"``."""
    is_file = path.is_file()
    if not isinstance(path, Path):
        url = Url(str(path))
        return url.model or _telling(url.path, is_file=is_file)
    # abspath, since resolve follows links; bytes that are not UTF-8 are replaced, since JSON and
    # Blender hold text.
    path = Path(os.fsencode(os.path.abspath(path)).decode("utf-8", "replace"))  # noqa: PTH100
    for parent in (path, *path.parents):
        if parent.name.startswith("models--"):
            return parent.name.removeprefix("models--").replace("--", "/")
    return _telling(path, is_file=is_file)


def location_name(where: Location) -> str:
    """Return what `checkpoint_name` most likely would; no other machine is asked."""
    if isinstance(where, Path):
        return checkpoint_name(where)
    from .remote.hub import from_browser

    url = Url(from_browser(where.text))
    return url.model or _telling(url.path, is_file=True)


def _telling(path: PurePath, *, is_file: bool) -> str:
    """Return the last part of a path that does not name a kind of file."""
    if is_file:
        stem = path.name.removesuffix(".json").removesuffix(".index")
        ending = max((e for e in ALL if stem.lower().endswith(e)), key=len, default="")
        stem = stem[: len(stem) - len(ending)]
        stem = _PART.sub("", stem)
        if not _GENERIC.fullmatch(stem):
            return stem
        path = path.parent
    names = (part.name for part in (path, *path.parents))
    return next((name for name in names if name and not _GENERIC.fullmatch(name)), "model")
