"""A training run on disk → its checkpoints in order."""

from __future__ import annotations

import glob
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

from .errors import CheckpointError, SeriesError
from .flow.probe import is_probe, refuse_probe
from .kinship import Shapes, differences
from .location import Location, Url, is_url, location
from .model import Progress
from .plans import Skip
from .readers import READERS, open_checkpoint, printable
from .snapshot import MARKER, RUN_KEY, VERSION_KEY
from .stages import finish

FINAL = "final"
TRAINER_STATE = "trainer_state.json"

Kind = Literal["checkpoints", "snapshots", "list"]

_CHECKPOINT = re.compile(r"checkpoint-(\d{1,15})")
_SNAPSHOT = re.compile(r"step-(\d{1,15})\.safetensors")
_SHARD = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
_ENDINGS = re.compile(r"(\.safetensors)?(\.index\.json)?$")
_HASH = re.compile(r"[0-9a-f]{40}")  # a hub cache names its folders so; that is no number
# Files whose folder tells more than they do: `step1000/model.safetensors`.
_PLAIN = re.compile(r"(model|adapter_model|pytorch_model|diffusion_pytorch_model|weights)")
_JSON_LIMIT = 64 << 20  # bytes; the log of a long training has some millions


@dataclass(frozen=True)
class Step:
    """One checkpoint of a series.

    Attributes
    ----------
    name : str
        The training step as a text ("500"), "final", or the file's name; unique in its series.
    number : int or None
        The training step.
    path : Path or Url
        What `open_checkpoint` takes.
    """

    name: str
    number: int | None
    path: Location

    @property
    def folder(self) -> Path:
        """The path of one that is on a disk."""
        assert isinstance(self.path, Path)
        return self.path

    @property
    def label(self) -> str:
        """How people call it: "step 500", "final, step 1500"."""
        if self.number is None:
            return self.name
        if self.name.startswith(str(self.number)):
            return f"step {self.name}"
        return f"{self.name}, step {self.number}"


@dataclass(frozen=True)
class Series:
    """Checkpoints of one training run.

    Attributes
    ----------
    name : str
        For people.
    path : Path or Url
        The folder that holds them, or a URL for those that were named one by one.
    steps : tuple of Step
        In order.
    skips : tuple of Skip
        What looked like a checkpoint and cannot be used, and why.
    """

    name: str
    path: Location
    steps: tuple[Step, ...]
    skips: tuple[Skip, ...]


@dataclass(frozen=True)
class Run:
    """What of a training run is on disk, by names alone: none of it has been opened.

    Attributes
    ----------
    path : Path or Url
        The folder that holds it, or a URL for what was named one by one.
    kind : {"checkpoints", "snapshots", "list"}
        A Trainer's folder, a folder of snapshots, or what was named one by one or by a pattern.
    steps : tuple of Step
        In the order in which they were given.
    """

    path: Location
    kind: Kind
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        if isinstance(self.path, Url) and not self.path.model:
            paths = [str(step.path.path) for step in self.steps if isinstance(step.path, Url)]
            return PurePath(os.path.commonpath(paths)).name
        name = self.path.model if isinstance(self.path, Url) else self.path.name
        return _text(name) or "training"


def find_series(targets: Sequence[str]) -> Series:
    """Find the checkpoints of a training run; only headers are read.

    Parameters
    ----------
    targets : sequence of str
        One of these.

        - The output folder of a Hugging Face ``Trainer``: its ``checkpoint-<step>/`` by number,
          then the final model, which lies in the folder itself.
        - A folder of snapshots, ``step-<step>.safetensors``, as `weightwalk.training` writes them.
          Where a folder has snapshots and checkpoints, these are the snapshots: somebody took them
          in order to see more steps than there are checkpoints. ``FOLDER/checkpoint-*`` means
          the others.
        - A pattern with ``*``, ``?`` or ``[…]`` of files or folders.
        - Several checkpoints, of which a folder is always one; each may be a URL, such as
          ``hf://org/name@step1000``.

        Patterns and several checkpoints are put in order by the training step, which is the
        metadata ``step`` of a file or the last number in its name, if all have different ones; else
        the order is that of the names and of the arguments.

    Returns
    -------
    Series
        Two steps or more. What cannot be opened is among its skips.

    Raises
    ------
    SeriesError
        A target is not there, there are less than two usable checkpoints, or two of them are of
        different models: fewer than half of the tensors are the same in name and shape.
    CheckpointError
        The only target is a file that is no checkpoint, or a probe file.
    """
    return finish(find_series_steps(targets))


def find_series_steps(targets: Sequence[str]) -> Generator[Progress, None, Series]:
    """Do what `find_series` does, a checkpoint at a time."""
    run = locate(targets)
    steps: list[Step] = []
    skips: list[Skip] = []
    first: Look | None = None
    for i, step in enumerate(run.steps):
        yield Progress("series", i, len(run.steps), printable(step.name))
        try:
            opened = look(step)
        except CheckpointError as error:
            skips.append(Skip(step.label, reason(error, step.path)))
            continue
        first = first or opened
        if apart := differences(first.shapes, opened.shapes):
            both = f"{printable(first.step.path, 1000)} and {printable(step.path, 1000)}"
            raise SeriesError(f"{both} are not of one training run: {apart}")
        steps.append(opened.step)
    if len(steps) < 2:
        for step in steps:
            with open_checkpoint(step.path) as checkpoint:
                refuse_probe(checkpoint)
        raise SeriesError(_too_few(run, steps, skips))
    return Series(run.name, run.path, ordered(steps, run.kind), tuple(skips))


def locate(targets: Sequence[str], kind: Kind | None = None) -> Run:
    """Find what looks like checkpoints, by names alone; in a folder only of one kind, if given.

    Raises
    ------
    SeriesError
        A target is not there.
    CheckpointError
        The only target is a file that is no checkpoint.
    """
    if len(targets) == 1 and os.path.isdir(targets[0]):  # noqa: PTH112 (that may raise)
        return _in_folder(Path(targets[0]), kind)
    if any(map(is_url, targets)):
        return Run(Url(next(filter(is_url, targets))), "list", _named(targets))
    paths: dict[str, Path] = {}
    for target in targets:
        there = [target] if os.path.lexists(target) else _matching(target)
        paths |= {os.path.abspath(name): Path(name) for name in there}  # noqa: PTH100
    found = list(paths.values())
    parents = {os.path.dirname(name) for name in paths}  # noqa: PTH120
    if len(found) == 1 and len(targets) == 1 and targets[0] == str(found[0]):
        open_checkpoint(found[0]).close()
    folder = Path(os.path.commonpath(parents)) if parents else Path()
    return Run(folder, "list", tuple(_step(path) for path in found))


def _named(targets: Sequence[str]) -> tuple[Step, ...]:
    """Return the steps that are named one by one; no pattern is among them."""
    return tuple(_step(location(target)) for target in dict.fromkeys(targets))


def _in_folder(folder: Path, kind: Kind | None) -> Run:
    """Find the steps in a folder that is the only target."""
    shown = Path(os.path.abspath(folder))  # noqa: PTH100 (resolve follows links)
    names = _names(folder)
    snapshots = [name for name in names if _SNAPSHOT.fullmatch(name)]
    if snapshots and kind != "checkpoints":
        return Run(shown, "snapshots", _by_number(folder, snapshots))
    checkpoints = [n for n in names if _CHECKPOINT.fullmatch(n) and (folder / n).is_dir()]
    own = (Step(FINAL, _global_step(folder), folder),) if _is_claimed(folder) else ()
    return Run(shown, "checkpoints", (*_by_number(folder, checkpoints), *own))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise SeriesError(f"{printable(folder, 1000)}: {what}") from None


def _by_number(folder: Path, names: list[str]) -> tuple[Step, ...]:
    return tuple(sorted((_step(folder / n) for n in names), key=lambda step: step.number or 0))


def _matching(pattern: str) -> list[str]:
    """Return the checkpoints that match a pattern, in the order that people expect.

    Other files match as well where the pattern is short (`run/*`), and are passed over; a folder
    that is called like a checkpoint stays, so that its fault is named.
    """
    if not glob.has_magic(pattern) or "\0" in pattern:
        raise SeriesError(f"{printable(pattern, 1000)}: there is no such file or folder")
    found = [
        name
        for name in glob.glob(pattern)  # noqa: PTH207 (that takes no absolute pattern)
        if _CHECKPOINT.fullmatch(Path(name).name) or _is_claimed(Path(name))
    ]
    if not found:
        raise SeriesError(f"{printable(pattern, 1000)}: no checkpoint matches this pattern")
    return sorted(found, key=natural)


def _is_claimed(path: Path) -> bool:
    try:
        return any(reader.claims(path) for reader in READERS)
    except OSError:
        return False


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that puts names in the order that people expect: 9 before 10."""
    parts = re.split(r"(\d+)", text)
    return [(int(part[:300]), part) if part.isdecimal() else (-1, part) for part in parts]


def _step(path: Location) -> Step:
    """Return a step named and numbered by its path."""
    stem = _ENDINGS.sub("", path.name)
    if stem != path.name and _PLAIN.fullmatch(stem):
        # What `./model.safetensors` lies in has a name, too.
        stem = _whole(path).parent.name or stem
    numbers = [] if _HASH.fullmatch(stem) else re.findall(r"\d+", stem)
    number = int(numbers[-1]) if numbers and len(numbers[-1]) < 16 else None
    return Step(printable(_text(stem)) if number is None else str(number), number, path)


def _whole(path: Location) -> PurePath:
    """Return all that names a checkpoint, links not followed."""
    return path.path if isinstance(path, Url) else Path(os.path.abspath(path))  # noqa: PTH100


def _text(name: str) -> str:
    """Return a file's name as text: bytes that are not UTF-8 are replaced."""
    return os.fsencode(name).decode("utf-8", "replace")


def _global_step(folder: Path) -> int | None:
    """Return the step at which a Trainer saved a folder, if it says so."""
    state = read_json(folder / TRAINER_STATE) or {}
    number = state.get("global_step")
    return number if type(number) is int and number >= 0 else None


def read_json(path: Path) -> dict[str, object] | None:
    """Return a JSON object out of a file, or None where there is none, or none yet."""
    try:
        if path.stat().st_size > _JSON_LIMIT:
            return None
        parsed = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


@dataclass(frozen=True)
class Look:
    """What opening a checkpoint told.

    Attributes
    ----------
    step : Step
        With the number that its metadata have.
    shapes : mapping of str to tuple of int
        Of each tensor.
    whole : bool
        It was written under another name and renamed when it was complete.
    """

    step: Step
    shapes: Shapes
    whole: bool


def look(step: Step) -> Look:
    """Open a step's checkpoint.

    Raises
    ------
    CheckpointError
        It cannot be used.
    """
    if _SHARD.search(step.path.name):
        what = "this is one shard of a checkpoint; its folder or its index stands for all of them"
        raise CheckpointError(f"{printable(step.path, 1000)}: {what}")
    with open_checkpoint(step.path) as checkpoint:
        if not checkpoint:
            raise CheckpointError(f"{printable(step.path, 1000)}: there is no tensor in it")
        own = checkpoint.metadata.get(RUN_KEY)
        latest: object = own
        if own and isinstance(step.path, Path):
            latest = (read_json(step.path.parent / MARKER) or {}).get(RUN_KEY)
        if latest not in {None, own}:
            what = "it is of an earlier training, which wrote into the same folder"
            raise CheckpointError(f"{printable(step.path, 1000)}: {what}")
        told = checkpoint.metadata.get("step", "")
        if told.isascii() and told.isdecimal() and len(told) < 16 and step.name != FINAL:
            step = replace(step, name=str(int(told)), number=int(told))
        shapes = {tensor.name: tensor.shape for tensor in checkpoint.values()}
        whole = VERSION_KEY in checkpoint.metadata or is_probe(checkpoint)
        return Look(step, shapes, whole)


def reason(error: CheckpointError, path: Location) -> str:
    """Return what an error says, without the path of the checkpoint before it."""
    text, where = str(error), printable(path, 1000)
    for before in (f"{where}: ", f"{where}{os.sep}"):
        text = text.removeprefix(before)
    return text


def ordered(steps: Iterable[Step], kind: Kind) -> tuple[Step, ...]:
    """Put opened steps in order and make their names unique."""
    steps = list(steps)
    if kind == "list":
        numbers = {step.number for step in steps}
        if None not in numbers and len(numbers) == len(steps):
            steps.sort(key=lambda step: step.number or 0)
    else:
        steps.sort(key=lambda step: (step.name == FINAL, step.number or 0))
    return _unique(steps)


def _unique(steps: list[Step]) -> tuple[Step, ...]:
    """Return the steps with what tells them apart in their paths after names that are not unique.

    ``a/checkpoint-5`` and ``b/checkpoint-5`` become "5 (a)" and "5 (b)".
    """
    alike: Mapping[str, list[Step]] = defaultdict(list)
    for step in steps:
        alike[step.name].append(step)
    names: dict[Location, str] = {}
    for name, group in alike.items():
        parts = [_whole(step.path).parts[::-1] for step in group]
        for depth in range(max(map(len, parts)) if len(group) > 1 else 0):
            at = [part[min(depth, len(part) - 1)] for part in parts]
            if max(Counter(at).values()) == 1:
                told = (printable(_text(_ENDINGS.sub("", part))) for part in at)
                pairs = zip(group, told, strict=True)
                names |= {step.path: f"{name} ({part})" for step, part in pairs}
                break
        else:
            numbered = enumerate(group[1:], 2)
            names |= {step.path: f"{name} ({number})" for number, step in numbered}
    return tuple(replace(step, name=names.get(step.path, step.name)) for step in steps)


def _too_few(run: Run, steps: list[Step], skips: list[Skip]) -> str:
    where = printable(run.path, 1000)
    left_out = "; ".join(f"{printable(skip.name)}: {skip.reason}" for skip in skips[:4])
    if not run.steps:
        what = "there is no checkpoint of a training run (checkpoint-500, step-500.safetensors)"
        return f"{where}: {what}"
    if not steps:
        return f"{where}: none of the {len(skips)} checkpoints can be used ({left_out})"
    alone = "this" if steps[0].path == run.path else printable(steps[0].path.name)
    what = f"{alone} is one checkpoint, and a series has two or more; `weightwalk mesh` shows one"
    return f"{where}: {what}" + (f" (left out: {left_out})" if left_out else "")
