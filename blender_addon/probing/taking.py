"""One pass of a model, with hooks that keep what its layers put out, and all as it was before."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import SettingsError, WeightwalkError
from ..core.flow.probe import Float32, Output
from ..core.text import printable
from .layers import Layers
from .parts import choices, experts_of, part_of

if TYPE_CHECKING:
    import torch

Token = str | int
Kept = dict[tuple[Output, int], "torch.Tensor"]
Values = dict[Output, tuple[Float32, ...]]


def told(error: BaseException) -> str:
    """Return another library's error as the end of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    name = type(error).__name__
    if not lines:
        return name
    short = isinstance(error, LookupError) or len(lines[-1]) < 12
    return printable(f"{name}: {lines[-1]}" if short else lines[-1], 300)


@contextmanager
def rng_as_found(devices: Sequence[Any] = ()) -> Iterator[None]:
    """Put all random number generators back: torch's of the CPU and of devices, numpy's, Python's.

    Parameters
    ----------
    devices : sequence of torch.device
    """
    import torch

    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    others = []
    for device in devices:
        if device.type in {"cuda", "mps"}:
            back = getattr(torch, device.type)
            where = (device,) if device.type == "cuda" else ()
            others.append((back.set_rng_state, back.get_rng_state(*where), where))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        for put, state, where in others:
            put(state, *where)


@contextmanager
def as_found(modules: Sequence[Any], devices: Sequence[Any]) -> Iterator[None]:
    """Have a model answer as it does in use, and leave it as it was in training, if it was.

    Training mode of each module, random number generators and the gradient mode are restored.

    Parameters
    ----------
    modules : sequence of torch.nn.Module
        All of the model.
    devices : sequence of torch.device
        Where it runs.
    """
    import torch

    training = [module for module in modules if module.training]
    # A weight that autocast has cast without gradients would be taken for the next training step.
    caching = torch.is_autocast_cache_enabled()
    with rng_as_found(devices):
        try:
            # Not by eval() and train(): some modules do more then than to remember it.
            for module in training:
                module.training = False
            torch.set_autocast_cache_enabled(False)
            # inference_mode would make what a model keeps for later passes unfit for training.
            with torch.no_grad():
                yield
        finally:
            torch.set_autocast_cache_enabled(caching)
            for module in training:
                module.training = True


def _with_numbers(layers: Sequence[Any]) -> tuple[Any, ...]:
    """Return the devices of layers that have random number generators of their own."""
    import torch

    if not (torch.cuda.is_initialized() or torch.backends.mps.is_available()):
        return ()
    first = (next(iter(layer.parameters()), None) for layer in layers)
    return tuple({parameter.device for parameter in first if parameter is not None})


@dataclass(frozen=True, eq=False)
class Taking:
    """What is to be kept of a pass.

    Attributes
    ----------
    model : torch.nn.Module
    layers : Layers
    outputs : tuple of str
    token : "last", "all" or int
    """

    model: Any
    layers: Layers
    outputs: tuple[Output, ...]
    token: Token
    # Found once: to walk through a model takes a while.
    modules: tuple[Any, ...] = field(init=False)
    devices: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "modules", tuple(self.model.modules()))
        object.__setattr__(self, "devices", _with_numbers(self.layers.modules))

    def run(self, inputs: dict[str, Any], what: str) -> tuple[Values, int]:
        """Run the model.

        Parameters
        ----------
        inputs : dict of str to torch.Tensor
        what : str
            For messages: "prompt 2".

        Returns
        -------
        values : dict of str to tuple of (ndarray of float32, shape (tokens, features))
        count : int
            Tokens in the first layer's output.

        Raises
        ------
        SettingsError
            There is no such token, or an output that the layers do not have.
        WeightwalkError
            The model failed.
        """
        kept: Kept = {}
        counts: list[int] = []
        with ExitStack() as stack:
            for index, layer in enumerate(self.layers.modules):
                hook = self._hidden(kept, index, counts, what)
                stack.callback(layer.register_forward_hook(hook).remove)
            for output in self._parts():
                self._hook_parts(stack, kept, output, what)
            try:
                stack.enter_context(as_found(self.modules, self.devices))
                self.model(**inputs)
            except (WeightwalkError, MemoryError):
                raise
            except Exception as error:
                raise WeightwalkError(f"the model fails on {what}: {told(error)}") from error
            return self._gathered(kept), counts[0]

    def _parts(self) -> list[Output]:
        """Return what is asked for of the parts of layers; a router gives its weights, too."""
        asked = {"router" if output == "router_weight" else output for output in self.outputs}
        return [output for output in ("attention", "mlp", "router") if output in asked]

    def _hidden(
        self, kept: Kept, index: int, counts: list[int], what: str
    ) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _given: Any, output: Any) -> None:
            found = _sequence(output, self.layers.names[index])
            if ("hidden", index) in kept:
                name = self.layers.names[index]
                raise SettingsError(f"{name} runs more than once in a pass, as layers do not")
            counts.append(found.shape[0])
            kept["hidden", index] = self._rows(found, what)

        return hook

    def _hook_parts(self, stack: ExitStack, kept: Kept, output: Output, what: str) -> None:
        parts = [part_of(layer, output) for layer in self.layers.modules]
        if not any(part is not None for part in parts):
            inside = ", ".join(name for name, _ in self.layers.modules[0].named_children())
            kind = type(self.layers.modules[0]).__name__
            raise SettingsError(f"no {output} was found in {kind}, which consists of: {inside}")
        for index, part in enumerate(parts):
            if part is None:
                continue
            take = self._choices if output == "router" else self._added
            hook = take(kept, output, index, what)
            stack.callback(part.register_forward_hook(hook).remove)

    def _added(
        self, kept: Kept, output: Output, index: int, what: str
    ) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _given: Any, given: Any) -> None:
            name = f"{output} of {self.layers.names[index]}"
            kept[output, index] = self._rows(_sequence(given, name, flat=True), what)

        return hook

    def _choices(
        self, kept: Kept, _output: Output, index: int, what: str
    ) -> Callable[[Any, Any, Any], None]:
        config = getattr(self.model, "config", None)

        def hook(_module: Any, _given: Any, given: Any) -> None:
            indices, weights = choices(given, experts_of(config))
            kept["router", index] = self._rows(indices, what)
            kept["router_weight", index] = self._rows(weights, what)

        return hook

    def _rows(self, found: torch.Tensor, what: str) -> torch.Tensor:
        """Return a copy of the tokens that are kept: a layer may go on writing into its output."""
        if self.token == "all":
            return found.detach().clone()
        index = position(self.token, found.shape[0], what)
        return found[index : index + 1].detach().clone()

    def _gathered(self, kept: Kept) -> Values:
        """Return what was kept as arrays, all outputs in one transfer where they are alike."""
        names = self.layers.names
        values: Values = {}
        outputs: list[Output] = ["hidden", *self._parts()]
        outputs += ["router_weight"] if "router" in outputs else []
        for output in outputs:
            there = {index: tensor for (o, index), tensor in kept.items() if o == output}
            gone = [name for i, name in enumerate(names) if i not in there]
            if gone and (output == "hidden" or not there):
                raise SettingsError(f"{output} of {gone[0]} does not run in a pass of this model")
            arrays = dict(zip(there, _arrays(list(there.values())), strict=True))
            # A layer without such a part adds nothing, and chooses no expert.
            like = next(iter(arrays.values()))
            none = np.full_like(like, -1.0 if output == "router" else 0.0)
            values[output] = tuple(arrays.get(index, none) for index in range(len(names)))
        return values


def position(token: Token, count: int, what: str) -> int:
    """Return where a token is among so many.

    Raises
    ------
    SettingsError
        There are fewer.
    """
    index = -1 if isinstance(token, str) else token
    if not -count <= index < count:
        tokens = f"{count} token{'s' * (count != 1)}"
        raise SettingsError(f"there is no token {index} in {what}, which has {tokens}")
    return index % count


def _sequence(output: Any, name: str, *, flat: bool = False) -> torch.Tensor:
    """Return the first tensor of (batch, token, feature) in an output, as (token, feature).

    With `flat` also one of (token, feature).
    """
    import torch

    several: Any = output
    if torch.is_tensor(output):
        several = (output,)
    elif hasattr(output, "values"):
        several = output.values()
    for tensor in several if isinstance(several, tuple | list) else tuple(several):
        if torch.is_tensor(tensor) and tensor.is_floating_point():
            if tensor.ndim == 3 and tensor.shape[0] == 1 and tensor.numel():
                return tensor[0]
            if flat and tensor.ndim == 2 and tensor.numel():
                return tensor
    raise SettingsError(f"the output of {name} is no tensor of (1, token, feature)")


def _arrays(tensors: list[torch.Tensor]) -> list[Float32]:
    import torch

    first = tensors[0]
    if all(t.shape == first.shape and t.device == first.device for t in tensors):
        return list(torch.stack(tensors).float().cpu().numpy())
    return [tensor.float().cpu().numpy() for tensor in tensors]
