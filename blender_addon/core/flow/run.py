"""Probe files on disk → the steps of one run, in order."""

from __future__ import annotations

import glob
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import CheckpointError, SeriesError
from ..estimate import available_memory, size_text
from ..model import Progress
from ..plans import Skip
from ..readers import open_checkpoint, printable
from ..series import natural, read_json, reason
from ..snapshot import MARKER, RUN_KEY
from ..stages import finish
from .probe import Probe, alike, is_probe, read_probe


@dataclass(frozen=True, eq=False)
class FlowRun:
    """Probes of one model, or of one training.

    Attributes
    ----------
    name : str
        For people: the model's.
    path : Path
        The folder that holds the files, or the file.
    probes : tuple of Probe
        In order, one or more, of the same prompts and of layers of the same shapes.
    skips : tuple of Skip
        What cannot be used, and why.
    files : tuple of Path
        Where each probe was read from; of a probe that was just made, nothing.
    since : str
        What was taken away from every probe: the label of another one, or "" for nothing.
    """

    name: str
    path: Path
    probes: tuple[Probe, ...]
    skips: tuple[Skip, ...] = ()
    files: tuple[Path, ...] = ()
    since: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """What tells the steps apart: "step 500", or their names; "step 500 − step 0"."""
        labels = [printable(probe.info.label, 60) for probe in self.probes]
        if len(set(labels)) < len(labels) and len(self.files) == len(labels):
            labels = [printable(file.stem, 60) for file in self.files]
        seen: dict[str, int] = {}
        for i, label in enumerate(labels):
            seen[label] = seen.get(label, 0) + 1
            labels[i] = label if seen[label] == 1 else f"{label} ({seen[label]})"
        return tuple(f"{label} − {self.since}" if self.since else label for label in labels)


@dataclass(frozen=True)
class _Found:
    """What looks like probe files.

    Attributes
    ----------
    path : Path
    files : tuple of Path
    named : bool
        They were named one by one: what is no probe is a mistake, and is not passed over.
    """

    path: Path
    files: tuple[Path, ...]
    named: bool


def find_run(targets: Sequence[str]) -> FlowRun:
    """Read probe files.

    Parameters
    ----------
    targets : sequence of str
        Files; or a folder; or a pattern with ``*``, ``?`` or ``[…]``. In the latter two, all
        ``.safetensors`` files that are probes count. They are put in order by the training step
        where all have different ones; else by name, or as they were given.

    Returns
    -------
    FlowRun
        Of several files, those that cannot be read are among its skips, and so are those of an
        earlier training into the same folder.

    Raises
    ------
    SeriesError
        A target is not there, there is no probe file, or two of them are not of the same prompts
        and layers.
    CheckpointError
        The only file is damaged or no probe file.
    """
    return finish(find_run_steps(targets))


def find_run_steps(targets: Sequence[str]) -> Generator[Progress, None, FlowRun]:
    """Do what `find_run` does, a file at a time."""
    found = _locate(targets)
    size, free = 0, available_memory()
    probes: list[tuple[Path, Probe]] = []
    skips: list[Skip] = []
    for i, file in enumerate(found.files):
        yield Progress("open", i, len(found.files), printable(file.name))
        try:
            if not found.named and not _claims(file):
                continue
            size += file.stat().st_size if file.is_file() else 0
            _check_memory(found, size, free)
            probe = _read(file)
        except CheckpointError as error:
            if found.named and len(found.files) == 1:
                raise
            skips.append(Skip(printable(file.name), reason(error, file)))
            continue
        if probes and (apart := difference(probes[0][1], probe)):
            both = f"{printable(probes[0][0], 1000)} and {printable(file, 1000)}"
            raise SeriesError(f"{both} cannot be shown together: {apart}")
        probes.append((file, probe))
    if not probes:
        raise SeriesError(_nothing(found, skips))
    steps = [probe.info.step for _, probe in probes]
    if None not in steps and len(set(steps)) == len(steps):
        probes.sort(key=lambda pair: pair[1].info.step or 0)
    files, ordered = zip(*probes, strict=True)
    return FlowRun(printable(ordered[0].info.model), found.path, ordered, tuple(skips), files)


def _check_memory(found: _Found, size: int, free: int | None) -> None:
    """Raise `SeriesError` where probes, all of which are held, do not fit into memory."""
    if free is not None and size > free:
        raise SeriesError(
            f"{printable(found.path, 1000)}: these probes are larger than the "
            f"{size_text(free)} of memory that are free; take fewer of them, or keep fewer tokens"
        )


def difference(first: Probe, other: Probe) -> str:
    """Say why two probes cannot be shown together, or ""."""
    apart = alike(first.info, other.info)
    if apart:
        return apart
    for number, (a, b) in enumerate(zip(first.layers(), other.layers(), strict=True)):
        if a.shape != b.shape:
            return f"layer {number} has {a.shape[-1]} features and {b.shape[-1]} features"
    return ""


def read_alike(file: Path, run: FlowRun) -> Probe:
    """Read a probe that a run is compared with.

    Raises
    ------
    CheckpointError
        It cannot be read, or is no probe.
    SeriesError
        It is not of the run's prompts and layers.
    """
    probe = read_probe(file)
    if apart := difference(run.probes[0], probe):
        raise SeriesError(
            f"{printable(file, 1000)} cannot be compared with {printable(run.name)}: {apart}"
        )
    return probe


def _locate(targets: Sequence[str]) -> _Found:
    """Find files by their names."""
    if len(targets) == 1 and os.path.isdir(targets[0]):  # noqa: PTH112 (that may raise)
        folder = Path(targets[0])
        return _Found(folder, _in_folder(folder), named=False)
    files: dict[str, Path] = {}
    named = False
    for target in targets:
        exact = os.path.lexists(target)
        named |= exact
        there = [target] if exact else _matching(target)
        files |= {os.path.abspath(name): Path(name) for name in there}  # noqa: PTH100
    parents = {os.path.dirname(name) for name in files}  # noqa: PTH120
    folder = Path(os.path.commonpath(parents)) if parents else Path()
    return _Found(folder, tuple(files.values()), named)


def _in_folder(folder: Path) -> tuple[Path, ...]:
    try:
        names = [entry.name for entry in folder.iterdir() if entry.name.endswith(".safetensors")]
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
        raise SeriesError(f"{printable(folder, 1000)}: {what}") from None
    return tuple(folder / name for name in sorted(names, key=natural))


def _matching(pattern: str) -> list[str]:
    if not glob.has_magic(pattern) or "\0" in pattern:
        raise SeriesError(f"{printable(pattern, 1000)}: there is no such file or folder")
    found = [n for n in glob.glob(pattern) if n.endswith(".safetensors")]  # noqa: PTH207
    if not found:
        raise SeriesError(f"{printable(pattern, 1000)}: no probe file matches this pattern")
    return sorted(found, key=natural)


def _claims(file: Path) -> bool:
    """Return whether a file says that it is a probe.

    Raises
    ------
    CheckpointError
        It cannot be opened, so that nobody knows.
    """
    with open_checkpoint(file) as opened:
        return is_probe(opened)


def _read(file: Path) -> Probe:
    probe = read_probe(file)
    own = probe.info.run
    latest = (read_json(file.parent / MARKER) or {}).get(RUN_KEY) if own else own
    if latest not in {None, own}:
        what = "it is of an earlier training, which wrote into the same folder"
        raise CheckpointError(f"{printable(file, 1000)}: {what}")
    return probe if probe.info.model else _named(probe, file)


def _named(probe: Probe, file: Path) -> Probe:
    """Return a probe that has a name: its folder's."""
    folder = Path(os.path.abspath(file)).parent.name  # noqa: PTH100
    return replace(probe, info=replace(probe.info, model=printable(folder or file.stem)))


def _nothing(found: _Found, skips: list[Skip]) -> str:
    where = printable(found.path, 1000)
    if not skips:
        return f"{where}: there is no probe file; `weightwalk probe MODEL --out DIR` makes one"
    left_out = "; ".join(f"{skip.name}: {skip.reason}" for skip in skips[:4])
    return f"{where}: none of the {len(skips)} files can be used ({left_out})"
