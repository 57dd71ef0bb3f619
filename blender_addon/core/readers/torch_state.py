"""Which of the tensors in a PyTorch file are the model's weights.

A file holds them bare, or under a name such as ``state_dict``, beside the optimiser's numbers,
averaged copies, and whatever else a training run keeps.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

from ..text import printable
from .shapes import MAX_TENSORS
from .torch_machine import Pairs
from .torch_objects import Stored

_MAX_DEPTH = 64
_MAX_NAME = 4096  # characters: a pickle of a megabyte could give a thousand names of a megabyte

_Path = tuple[str, ...]
_Leaves = list[tuple[_Path, Stored]]

# What programs call the place of a model's weights.
_WRAPPERS = frozenset(
    (
        *("state_dict", "model_state_dict", "net_state_dict", "network_state_dict"),
        *("module_state_dict", "model_state", "model_weights", "model", "base_model", "module"),
        *("net", "network", "weights", "params", "parameters"),
        *("ema", "ema_model", "model_ema", "ema_state_dict", "state_dict_ema", "params_ema"),
        "ema_model_state_dict",
    )
)
_OF_OPTIMISER = re.compile(
    r"optim|^opt(?:_|$)|sched|^(?:grad_)?scaler|^rng|^exp_avg|momentum|^grads?$"
)
_AVERAGED = re.compile(r"(?:^|_)(?:ema|swa|avg|average|averaged|shadow)(?:_|$)")
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel, and of torch.compile


@dataclass(frozen=True)
class State:
    """The weights of a file.

    Attributes
    ----------
    tensors
        By name, in the file's order.
    place
        Where in the file they are, such as ``"state_dict"``, or "".
    left_out
        Place of other tensors → how many.
    """

    tensors: dict[str, Stored]
    place: str
    left_out: dict[str, int]


def find_state(root: Any, *, strip: bool) -> State:
    """Find the weights.

    The set with the most numbers is taken, but for an optimiser's, and an averaged one where there
    is another. Where its place has no name that says that it is a whole model, the sets beside it
    are taken, too, with their places as the beginnings of names.

    Parameters
    ----------
    root
        What the pickle is.
    strip
        Whether ``module.`` and ``_orig_mod.`` are removed where all names begin so.

    Raises
    ------
    ValueError
        There are none, too many, or two of one name.
    """
    leaves: _Leaves = []
    for leaf in _walk(root):
        leaves.append(leaf)
        if len(leaves) > MAX_TENSORS:
            raise ValueError(f"it has more than {MAX_TENSORS:,} tensors")
    if not leaves:
        raise ValueError("there are no tensors in it")
    base, chosen = _choose(leaves)
    chosen_ids = {path for path, _ in chosen}
    others = Counter(
        ".".join(path[: _common(path, base) + 1]) for path, _ in leaves if path not in chosen_ids
    )
    base = _narrowed(base, chosen)
    names = [".".join(path[len(base) :]) for path, _ in chosen]
    tensors = {}
    for name, (_, tensor) in zip(_stripped(names) if strip else names, chosen, strict=True):
        if name in tensors:
            raise ValueError(f"it has {printable(name)} twice")
        tensors[name] = tensor
    return State(tensors, ".".join(base), dict(others))


def _walk(root: Any) -> Iterator[tuple[_Path, Stored]]:
    """Yield all tensors and where they are; each container once, as they may hold each other."""
    if type(root) is Stored:
        yield ("tensor",), root
        return
    seen = {id(root)}
    stack: list[tuple[Iterator[tuple[str, Any]], _Path]] = [(_children(root), ())]
    while stack:
        inside, path = stack[-1]
        for key, value in inside:
            if len(key) > _MAX_NAME or sum(map(len, path)) + len(key) > _MAX_NAME:
                raise ValueError(f"it has names of more than {_MAX_NAME:,} characters")
            if type(value) is Stored:
                yield (*path, key), value
            elif _has_children(value) and id(value) not in seen:
                if len(path) == _MAX_DEPTH:
                    raise ValueError("it is nested too deeply")
                seen.add(id(value))
                stack.append((_children(value), (*path, key)))
                break
        else:
            stack.pop()


def _has_children(value: Any) -> bool:
    return type(value) in (Pairs, list, tuple) and bool(value)


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if type(value) is Pairs:
        for item in value:
            if type(item) in (tuple, list) and len(item) == 2 and type(item[0]) in (str, int):
                yield str(item[0]), item[1]
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):
            yield str(index), item


def _choose(leaves: _Leaves) -> tuple[_Path, _Leaves]:
    """Return the place that is the model, and the tensors below it."""
    sizes: Counter[_Path] = Counter()
    for path, tensor in leaves:
        sizes[path[:-1]] += prod(tensor.shape)
    best = max(
        sizes,
        key=lambda path: (not _is(_OF_OPTIMISER, path), not _is(_AVERAGED, path), sizes[path]),
    )
    base = best
    while base and base[-1].lower() not in _WRAPPERS:
        base = base[:-1]
    averaged, of_optimiser = _is(_AVERAGED, best), _is(_OF_OPTIMISER, best)

    def belongs(path: _Path) -> bool:
        inside = path[len(base) : -1]
        return (
            path[: len(base)] == base
            and (averaged or not _is(_AVERAGED, inside))
            and (of_optimiser or not _is(_OF_OPTIMISER, inside))
        )

    return base, [leaf for leaf in leaves if belongs(leaf[0])]


def _is(pattern: re.Pattern[str], path: _Path) -> bool:
    return any(pattern.search(part.lower()) for part in path)


def _narrowed(base: _Path, chosen: _Leaves) -> _Path:
    """Go down while all tensors are in one place whose names are those of a state_dict."""
    first = chosen[0][0]
    dotted = any("." in path[-1] for path, _ in chosen)
    while dotted and len(first) > len(base) + 1:
        further = first[: len(base) + 1]
        if any(path[: len(further)] != further or len(path) == len(further) for path, _ in chosen):
            break
        base = further
    return base


def _common(path: _Path, base: _Path) -> int:
    pairs = zip(path, base, strict=False)
    return next((n for n, (one, other) in enumerate(pairs) if one != other), len(base))


def _stripped(names: list[str]) -> list[str]:
    while True:
        prefix = next((p for p in _PREFIXES if all(name.startswith(p) for name in names)), "")
        if not prefix:
            return names
        names = [name.removeprefix(prefix) for name in names]
