"""Which files a model is: the shards of an index, or one of the files in a folder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from ..text import printable
from .base import Tensor, parse_json
from .datafile import Place, bad, look_ahead, open_file
from .foreign import what_it_is
from .shapes import MAX_TENSORS

_INDEX_LIMIT = 64_000_000  # bytes; the largest models have a quarter of it

Metadata = dict[str, str]
Notes = tuple[str, ...]
Listing = tuple[list[Tensor], Metadata, Notes]
LoadShard = Callable[[Place, Mapping[str, Any]], tuple[dict[str, Tensor], Metadata]]


def load_index(path: Place, config: Mapping[str, Any], load_shard: LoadShard) -> Listing:
    """Follow an index's ``weight_map``: tensors in its order, only the shards that it names.

    Parameters
    ----------
    path
        Of the index, a JSON file.
    load_shard
        Lists the tensors of a shard by name, and its metadata; of two shards, the later counts.

    Raises
    ------
    CheckpointError
        The index is damaged; a shard or a tensor is missing, or is not below the index's folder.
    """
    data = open_file(path)
    if data.size > _INDEX_LIMIT:
        raise bad(path, f"the index is larger than {_INDEX_LIMIT // 1_000_000} MB")
    text = data.read(0, data.size)
    # Before it is parsed, which takes twenty times its size.
    if text.count(b'":') > MAX_TENSORS + 1000 or text.count(b"[") > 1000:
        raise bad(path, f"the index has more than {MAX_TENSORS:,} names, or lists of things")
    index = parse_json(text, path, "the index")
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not all(type(v) is str for v in weight_map.values()):
        raise bad(path, "the index has no weight_map of tensor names to file names")
    if not weight_map:
        raise bad(path, "the index names no tensor")
    named = dict.fromkeys(weight_map.values())
    look_ahead(path.parent / shard for shard in named)
    places = {shard: below(path, shard, "shard") for shard in named}
    loaded: dict[object, tuple[dict[str, Tensor], Metadata]] = {}
    shards = {}
    for shard, place in places.items():
        key = _identity(place)
        if key not in loaded:
            loaded[key] = load_shard(place, config)
        shards[shard] = loaded[key]
    tensors = []
    for name, shard in weight_map.items():
        tensor = shards[shard][0].get(name)
        if tensor is None:
            raise bad(path, f"tensor {printable(name)} is not in its shard {printable(shard)}")
        tensors.append(tensor)
    metadata: Metadata = {}
    for _, of_shard in shards.values():
        metadata |= of_shard
    return tensors, metadata, ()


def _identity(place: Place) -> object:
    """Return what two spellings of one file, or links to it, have in common."""
    if not isinstance(place, Path):
        return str(place)
    info = place.stat()
    return (info.st_dev, info.st_ino) if info.st_ino else str(place.resolve())


def claimed(path: Place, is_ours: Callable[[str], bool], begins: Callable[[bytes], bool]) -> bool:
    """Whether a path is of a format: by its name, its first 16 bytes, or the names in a folder."""
    if path.is_dir():
        return any(is_ours(entry.name) for entry in path.iterdir())
    if is_ours(path.name):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return begins(file.read(16))


def below(path: Place, name: str, what: str) -> Place:
    """Return the file that `path` calls `name`, which must lie below its folder.

    The name decides, links are not followed: a hub-cache snapshot is links into ``../../blobs``.

    Parameters
    ----------
    what
        What the file is, for the error: ``"shard"``.

    Raises
    ------
    CheckpointError
        The name leaves the folder, or there is no such file.
    """
    parts = PureWindowsPath(name)  # knows both kinds of slash, and drives
    if not parts.name or parts.drive or parts.root or ".." in parts.parts or "\0" in name:
        raise bad(path, f"{what} {printable(name)} is not a path inside the model's folder")
    file = path.parent / name
    if not file.exists():
        raise bad(path, f"{what} {printable(name)} is missing")
    return file


def choose_in(folder: Place, names: Iterable[str], preferred: Collection[str]) -> Place:
    """Return the one file that a folder stands for.

    Parameters
    ----------
    names
        Of the files of one format: indices, or files where there is no index.
    preferred
        Names that are taken before others, the first of them first.

    Raises
    ------
    CheckpointError
        There is none, or it is unclear which one is meant.
    """
    names = sorted(names)
    for name in preferred:
        if name in names:
            return folder / name
    if len(names) == 1:
        return folder / names[0]
    if not names:
        raise bad(folder, what_it_is(folder))
    listed = ", ".join(map(printable, names[:6])) + (", …" if len(names) > 6 else "")
    raise bad(folder, f"there are {len(names)} checkpoints here; open one of: {listed}")
