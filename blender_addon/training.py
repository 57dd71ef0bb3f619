"""What a model's weights and its layers' outputs are while it learns.

For `weightwalk animate` and `weightwalk flow`:

>>> from weightwalk.training import FlowCallback, SnapshotCallback
>>> snapshots = SnapshotCallback("snapshots", every=50)
>>> probes = FlowCallback("probes", tokenizer, every=50)
>>> trainer = Trainer(model, arguments, callbacks=[snapshots, probes])

It needs transformers and torch, and neither Blender nor a particular Python.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, get_args
from uuid import uuid4

import numpy as np
import numpy.typing as npt

from .core.errors import MissingDependencyError, SettingsError, WeightwalkError
from .core.flow.probe import Output, write_probe
from .core.flow.settings import DEFAULT_PROMPTS, check_probing
from .core.pooling import cell_edges, matrix_shape, pool
from .core.settings import Pooling
from .core.snapshot import (
    MARKER,
    POOLED_KEY,
    RUN_KEY,
    STEP_KEY,
    VERSION_KEY,
    PooledNote,
    pooled_text,
)

try:
    from transformers import TrainerCallback
except ImportError:
    raise MissingDependencyError(
        "weightwalk.training is for the Trainer of transformers, which is not installed: "
        "pip install 'transformers[torch]'"
    ) from None

if TYPE_CHECKING:
    import torch

__all__ = ["FlowCallback", "SnapshotCallback"]

_logger = logging.getLogger(__name__)


class _EveryCallback(TrainerCallback):
    """Writes ``step-<N>.safetensors`` at the start, every so many steps, and at the end.

    Only the first process writes. An error, and parameters that are sharded over processes (FSDP,
    ZeRO-3), are logged once; from then on it is quiet, and the training goes on.

    Attributes
    ----------
    seconds : float
        Time that it has taken from the training so far.
    """

    writes = "files"  # for people

    def __init__(self, directory: str | os.PathLike[str], every: int | Sequence[int]) -> None:
        steps = (every,) if isinstance(every, int) else tuple(every)
        for step in steps:
            if step < 1:
                raise SettingsError(f"every: {step} is less than 1 step")
        self.directory = Path(directory)
        self.every = every if isinstance(every, int) else steps
        self.seconds = 0.0
        self._quiet = False
        self._last: int | None = None
        self._run = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write before the first step."""
        self._last = None
        self._safely(state, lambda: self._begin(kwargs["model"], state.global_step))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write if it is time."""
        step: int = state.global_step
        if step in self.every if isinstance(self.every, tuple) else step % self.every == 0:
            self._safely(state, lambda: self._write(kwargs["model"], step))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write after the last step, and say that it was the last one, also after an error."""
        step: int = state.global_step
        self._safely(state, lambda: self._write(kwargs["model"], step))
        if self._run and state.is_world_process_zero:
            with suppress(OSError):  # what kept it from writing may still do
                self._mark(step, ended=True)

    def _put(self, model: torch.nn.Module, step: int, path: Path) -> None:
        """Write what is to be seen of a model into a file."""
        raise NotImplementedError

    def _safely(self, state: Any, work: Callable[[], None]) -> None:
        """Do some work that must not end the training, if it is this process's."""
        if self._quiet or not state.is_world_process_zero:
            return
        begin = perf_counter()
        try:
            work()
        except Exception as error:  # whatever it is, the training matters more
            told = str(error) if isinstance(error, WeightwalkError) else ""
            self._stop(told or f"{type(error).__name__}: {error}")
        self.seconds += perf_counter() - begin

    def _stop(self, why: str) -> None:
        self._quiet = True
        _logger.warning(
            "from here on no %s are written to %s: %s", self.writes, self.directory, why
        )

    def _begin(self, model: torch.nn.Module, step: int) -> None:
        if why := _sharded(model):
            self._stop(why)
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        self._run = self._run_before() if step else ""
        if not self._run:
            # Who reads the folder later leaves out what an earlier training wrote into it.
            self._run = uuid4().hex
        config: Any = getattr(_bare(model), "config", None)
        if hasattr(config, "to_json_string"):
            self._replace("config.json", config.to_json_string())
        self._mark(step, ended=False)
        self._write(model, step)

    def _run_before(self) -> str:
        """Return the run of a training that is resumed."""
        try:
            marker = json.loads((self.directory / MARKER).read_text(encoding="utf-8"))
            return str(marker.get(RUN_KEY, ""))
        except (OSError, ValueError, AttributeError):
            return ""

    def _mark(self, step: int, *, ended: bool) -> None:
        """Tell those who follow the training whether it goes on."""
        marker = {"format": "weightwalk snapshots", "version": 1, RUN_KEY: self._run}
        text = json.dumps(marker | {"ended": ended, "step": step})
        self._replace(MARKER, text)

    def _replace(self, name: str, text: str) -> None:
        temporary = self.directory / f".{name}.{os.getpid()}"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.directory / name)

    def _write(self, model: torch.nn.Module, step: int) -> None:
        """Write a file under another name, and rename it when it is complete."""
        if step == self._last:
            return
        temporary = self.directory / f".step-{step}.{os.getpid()}"
        try:
            self._put(model, step, temporary)
            temporary.replace(self.directory / f"step-{step}.safetensors")
        finally:
            temporary.unlink(missing_ok=True)
        self._last = step


class SnapshotCallback(_EveryCallback):
    """Writes the weights at the start, every so many steps, and at the end.

    Only the first process writes. An error, and parameters that are sharded over processes (FSDP,
    ZeRO-3), are logged once; from then on it is quiet, and the training goes on. Weights that are
    tied are written once, in their own dtype.

    Parameters
    ----------
    directory : str or path-like
        For ``step-<N>.safetensors``; made when it is not there. A ``config.json`` beside them tells
        the model's heads.
    every : int or sequence of int
        Steps of the optimizer from one snapshot to the next, or after which steps.
    tensors : sequence of str
        Shell patterns over names as in the model's ``state_dict``; none for all tensors.
    grid : (int, int) or None
        Rows and columns to which a larger tensor is pooled, seen as a matrix; None writes all
        entries. The metadata keep the standard deviation of the whole tensor.
    pool : {"rms", "absmax", "mean"}
        How the entries under a cell become one value; "rms" loses the sign that deltas need.

    Attributes
    ----------
    seconds : float
        Time that it has taken from the training so far.
    """

    writes = "snapshots"

    def __init__(
        self,
        directory: str | os.PathLike[str],
        every: int | Sequence[int] = 100,
        tensors: tuple[str, ...] | list[str] = (),
        grid: tuple[int, int] | None = None,
        pool: Pooling = "rms",
    ) -> None:
        super().__init__(directory, every)
        if isinstance(tensors, str):
            raise SettingsError(f"tensors: {tensors!r} is one text; give a list of patterns")
        if grid is not None and (
            not isinstance(grid, tuple | list) or len(grid) != 2 or min(grid) < 1
        ):
            raise SettingsError(f"grid: {grid} is not rows and columns, each at least 1")
        if pool not in get_args(Pooling):
            raise SettingsError(f"pool: {pool!r} is not one of {', '.join(get_args(Pooling))}")
        self.tensors = tuple(tensors)
        self.grid = grid
        self.pool: Pooling = pool

    def _put(self, model: torch.nn.Module, step: int, path: Path) -> None:
        from safetensors.torch import save_file

        notes: dict[str, PooledNote] = {}
        kept = {name: self._kept(name, value, notes) for name, value in self._chosen(model)}
        if not kept:
            raise SettingsError(f"no tensor of the model matches {', '.join(self.tensors)}")
        metadata = {"format": "pt", STEP_KEY: str(step), VERSION_KEY: "1", RUN_KEY: self._run}
        if notes:
            metadata[POOLED_KEY] = pooled_text(notes)
        save_file(kept, path, metadata)

    def _chosen(self, model: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield the tensors to be written under the names of the model itself, each once."""
        state = {n: v for n, v in model.state_dict().items() if hasattr(v, "data_ptr")}
        wrapped = all(name.startswith("module.") for name in state)  # DistributedDataParallel
        seen = set()
        for name, value in state.items():
            bare = (name.removeprefix("module.") if wrapped else name).replace("_orig_mod.", "")
            same = (value.data_ptr(), value.shape, value.stride(), value.dtype)
            if same in seen and value.numel():
                continue
            if not self.tensors or any(fnmatchcase(bare, p) for p in self.tensors):
                seen.add(same)
                yield bare, value

    def _kept(self, name: str, value: torch.Tensor, notes: dict[str, PooledNote]) -> torch.Tensor:
        """Return what is written of a tensor: all of it, or its pooled grid."""
        import torch

        rows, cols = matrix_shape(tuple(value.shape))
        if self.grid is None or not value.is_floating_point() or not value.numel():
            fits = True
        else:
            fits = rows <= self.grid[0] and cols <= self.grid[1]
        if fits or self.grid is None:
            kept = value.detach().to("cpu").contiguous()
            whole = kept.untyped_storage().nbytes() == kept.nbytes
            return kept if whole else kept.clone()  # a view would be refused as shared memory
        flat = _Flat(tuple(value.shape), value.detach().to("cpu", torch.float32).numpy().ravel())
        pooled = pool(
            flat, cell_edges(rows, self.grid[0]), cell_edges(cols, self.grid[1]), self.pool
        )
        notes[name] = PooledNote.of(flat.shape, self.pool, pooled)
        cells = np.where(pooled.nonfinite, np.nan, pooled.values).astype(np.float32)
        return torch.from_numpy(cells[0] if rows == 1 else cells)


class FlowCallback(_EveryCallback):
    """Probes fixed prompts at the start, every so many steps, and at the end.

    The training goes on as if it was not there: weights become the same to the last bit. Only the
    first process probes. An error, and parameters that are sharded over processes (FSDP, ZeRO-3),
    are logged once; from then on it is quiet.

    Parameters
    ----------
    directory : str or path-like
        For ``step-<N>.safetensors``, which are probe files: a folder for itself, made when it is
        not there.
    tokenizer : callable
        The model's; of a processor, its tokenizer is taken.
    prompts : sequence of str
    every : int or sequence of int
        Steps of the optimizer from one probe to the next, or after which steps.
    token : "last", "all" or int
        Which tokens are kept; an index may be negative.
    outputs : sequence of str
        "hidden", and besides "attention", "mlp", "router" or "router_weight".
    layers_path : str
        The list of layers in the model, such as "model.layers"; "" to find it.

    Attributes
    ----------
    seconds : float
        Time that it has taken from the training so far.
    """

    writes = "probes"

    def __init__(
        self,
        directory: str | os.PathLike[str],
        tokenizer: Any,
        prompts: Sequence[str] = DEFAULT_PROMPTS,
        every: int | Sequence[int] = 100,
        *,
        token: str | int = "last",
        outputs: Sequence[Output] = ("hidden",),
        layers_path: str = "",
    ) -> None:
        from transformers import ProcessorMixin

        super().__init__(directory, every)
        a_processor = isinstance(tokenizer, ProcessorMixin)
        self.tokenizer = getattr(tokenizer, "tokenizer", None) if a_processor else tokenizer
        if not callable(self.tokenizer):
            raise SettingsError("tokenizer: there is none, and prompts have to be cut into tokens")
        if isinstance(prompts, str):
            raise SettingsError(f"prompts: {prompts!r} is one text; give a list of prompts")
        if not prompts:
            raise SettingsError("prompts: there are none")
        for number, prompt in enumerate(prompts, 1):
            if not prompt.strip():
                raise SettingsError(f"prompt {number} is empty")
        check_probing(token, tuple(outputs))
        self.prompts = tuple(prompts)
        self.token = token
        self.outputs = tuple(outputs)
        self.layers_path = layers_path

    def _put(self, model: torch.nn.Module, step: int, path: Path) -> None:
        from .probing import probe

        bare = _bare(model)
        loaded_from = str(getattr(getattr(bare, "config", None), "name_or_path", ""))
        probed = probe(
            bare, self.tokenizer, self.prompts, token=self.token, outputs=self.outputs,
            layers_path=self.layers_path, name=Path(loaded_from).name, step=step, run=self._run,
        )  # fmt: skip
        write_probe(path, probed)


class _Flat:
    """An array as `pool` reads it."""

    def __init__(self, shape: tuple[int, ...], entries: npt.NDArray[np.float32]) -> None:
        self.shape = shape
        self._entries = entries

    def flat(self, start: int, stop: int, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        return self._entries[start:stop].astype(dtype)


def _bare(model: torch.nn.Module) -> Any:
    """Return a model out of what wraps it: to call the wrapper, all processes are needed."""
    for name in ("module", "_orig_mod") * 2:  # DistributedDataParallel, torch.compile
        model = getattr(model, name, model)
    return model


def _sharded(model: torch.nn.Module) -> str:
    """Say why this process does not hold the whole parameters, or ""."""
    # By names, since what shards them need not be installed.
    for module in model.modules():
        kinds = {kind.__name__ for kind in type(module).__mro__}
        if kinds & {"FullyShardedDataParallel", "FSDPModule"}:
            return "the parameters are sharded (FSDP)"
    for parameter in model.parameters():
        if hasattr(parameter, "ds_id"):
            return "the parameters are sharded (DeepSpeed ZeRO-3)"
        if type(parameter).__name__ in {"DTensor", "FlatParameter"} or hasattr(
            parameter.data, "device_mesh"
        ):
            return "the parameters are sharded (DTensor)"
        if parameter.device.type == "meta":
            return "the parameters are not in memory (offloaded)"
    return ""
