"""Frozen dataclasses ↔ what JSON can hold, by their type hints; no type is taken on trust."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path, PurePath
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import BadInputError
from .location import Location, Url, stored

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Return dicts, lists, strings, numbers and None: the same content for JSON."""
    if isinstance(value, PurePath | Url):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def from_plain(kind: type[T], content: object) -> T:
    """Return a dataclass out of what `to_plain` gave of it; keys with a default may be absent.

    Raises
    ------
    ValueError
        The content is not of that kind; or what the dataclass itself raises.
    """
    made: T = _read(kind, content, kind.__name__)
    return made


def versioned_text(value: Any, version: int) -> str:
    """Return what a scene keeps of a dataclass: JSON in ASCII, with a version."""
    return json.dumps({"version": version} | to_plain(value), allow_nan=False)


def from_versioned(kind: type[T], text: str, version: int, damaged: str) -> T:
    """Return what `versioned_text` wrote.

    Raises
    ------
    BadInputError
        It was written by a newer version, or else "what the scene says about its" `damaged`.
    """
    found: object = None
    try:
        content: dict[str, Any] = json.loads(text)
        found = content.pop("version")
        if type(found) is int and found == version:
            return from_plain(kind, content)
    # Settings out of range end here, too: their own words would not say where they are from.
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        found = None
    if type(found) is int and found > version:
        raise BadInputError("the scene was made by a newer Weightwalk; update this one")
    raise BadInputError(f"what the scene says about its {damaged}")


_hints = cache(get_type_hints)


def _read(kind: Any, content: Any, where: str) -> Any:
    """Return content as a type hint has it: the few that our dataclasses use."""
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _read_fields(kind, content, where)
    if kind in (Path, Location) and isinstance(content, str):
        return Path(content) if kind is Path else stored(content)
    if origin is UnionType or origin is Union:
        (given,) = (k for k in inner if k is not NoneType)
        return None if content is None else _read(given, content, where)
    if (origin, type(content)) in {(tuple, list), (dict, dict)}:
        return _read_several(origin, inner, content, where)
    if kind is float:
        if type(content) in (int, float) and math.isfinite(content):
            return float(content)
    elif type(content) is kind or (origin is Literal and content in inner):
        return content
    raise ValueError(f"{where} is not what it should be")


def _read_several(origin: Any, inner: tuple[Any, ...], content: Any, where: str) -> Any:
    """Return a tuple or a dict, each of its items as its own type hint has it."""
    if origin is dict:
        of_key, of_value = inner
        return {_read(of_key, k, where): _read(of_value, v, where) for k, v in content.items()}
    every = inner[:1] * len(content) if inner[-1] is Ellipsis else inner
    # `strict` raises a ValueError of its own.
    return tuple(_read(k, c, where) for k, c in zip(every, content, strict=True))


def _read_fields(kind: Any, content: Any, where: str) -> Any:
    if not isinstance(content, dict):
        raise ValueError(f"{where} is not an object")
    hints = _hints(kind)
    absent = {
        f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING
    } - set(content)
    if absent or not set(content) <= set(hints):
        raise ValueError(f"{where} lacks keys or has others")
    return kind(**{key: _read(hints[key], item, key) for key, item in content.items()})
