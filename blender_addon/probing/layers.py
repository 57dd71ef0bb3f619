"""Where a model's layers are: in the outermost list of modules that is as long as it has layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import SettingsError
from ..core.text import printable

if TYPE_CHECKING:
    import torch

_COUNTS = (
    "num_hidden_layers", "num_layers", "n_layers", "n_layer", "depth",
    "encoder_layers", "decoder_layers", "num_encoder_layers", "num_decoder_layers",
)  # fmt: skip
# Parts of names of what sees, in models that also read.
_SEEING = ("vision", "visual", "image")


@dataclass(frozen=True, eq=False)
class Layers:
    """The layers of a model.

    Attributes
    ----------
    path : str
        Of the list ("model.layers").
    modules : tuple of torch.nn.Module
    names : tuple of str
        The modules' names.
    notes : tuple of str
        Which other lists might have been meant.
    """

    path: str
    modules: tuple[torch.nn.Module, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def bare(model: Any) -> Any:
    """Return a model without what is wrapped around it (DataParallel, torch.compile)."""
    while True:
        children = dict(model.named_children())
        if len(children) != 1 or not set(children) <= {"module", "_orig_mod"}:
            return model
        (model,) = children.values()


def find_layers(model: Any, path: str = "", *, seeing: bool = False) -> Layers:
    """Find the list of a model's layers.

    Parameters
    ----------
    model : torch.nn.Module
    path : str
        Of the list; "" looks for the outermost lists as long as the config says.
    seeing : bool
        Images are to be seen: of a model that also reads, those layers.

    Raises
    ------
    SettingsError
        There is no such list; the message has those there are.
    """
    if path:
        return _layers(*_named(model, path))
    counts = set(_counts(getattr(model, "config", None)))

    def fits(modules: Any) -> bool:
        return type(modules).__name__ == "ModuleList" and len(modules) in counts

    outermost = {name: found for name, found in _lists(model, fits) if fits(found)}
    # A list of norms, one for each layer, is none of layers.
    whole = [n for n, modules in outermost.items() if any(True for _ in modules[0].children())]
    suited = [n for n in whole if seeing == any(word in n for word in _SEEING)] or whole
    if not suited:
        wanted = " or ".join(map(str, sorted(counts))) or "an unknown number of"
        raise SettingsError(f"no list of {wanted} layers was found{_there(model)}")
    others = ", ".join(n for n in whole if n != suited[0])
    note = f"the layers are {suited[0]}; there are also {others} (--layers-path)"
    return _layers(suited[0], outermost[suited[0]], (note,) if others else ())


def _layers(path: str, modules: Any, notes: tuple[str, ...] = ()) -> Layers:
    return Layers(path, tuple(modules), tuple(f"{path}.{i}" for i in range(len(modules))), notes)


def _lists(module: Any, ends: Callable[[Any], bool], name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a model's lists of modules by name, and those inside them but where it `ends`."""
    from torch.nn import ModuleList, Sequential

    for key, child in module.named_children():
        path = f"{name}.{key}".removeprefix(".")
        is_list = isinstance(child, ModuleList | Sequential) and len(child) > 0
        if is_list:
            yield path, child
        if not (is_list and ends(child)):
            yield from _lists(child, ends, path)


def _counts(config: Any) -> Iterator[int]:
    """Yield the numbers of layers that a config gives, and the configs inside it."""
    if config is None:
        return
    for name in _COUNTS:
        value = getattr(config, name, None)
        if type(value) is int and value > 0:
            yield value
    depths = getattr(config, "depths", None)  # of each stage
    if isinstance(depths, list | tuple):
        yield len(depths)
    for inner in vars(config).values():
        if hasattr(inner, "to_diff_dict"):
            yield from _counts(inner)


def _named(model: Any, path: str) -> tuple[str, Any]:
    """Return a list by its name, which may be given with or without the model's prefix."""
    from torch.nn import ModuleList, Sequential

    prefix = getattr(model, "base_model_prefix", "") or "model"
    for tried in (path, f"{prefix}.{path}", path.removeprefix(f"{prefix}.")):
        try:
            found = model.get_submodule(tried)
        except AttributeError:
            continue
        if isinstance(found, ModuleList | Sequential) and len(found):
            return tried, found
    raise SettingsError(f"{printable(path)} is no list of modules{_there(model)}")


def _there(model: Any) -> str:
    """Say which lists there are: path, length and class, the outermost only."""
    lists = dict(_lists(model, lambda _: True))
    if not lists:
        return "; there are no lists of modules in this model"
    told = [f"{name} ({len(found)} {type(found[0]).__name__})" for name, found in lists.items()]
    more = f", and {len(told) - 12} more" if len(told) > 12 else ""
    return f"; --layers-path takes one of: {', '.join(told[:12])}{more}"
