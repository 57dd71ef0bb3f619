"""What building a choice will cost, from headers alone, and what memory there is for it."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from .fetching import is_far
from .fields import Plan
from .settings import FieldSettings, Settings

# Measured on two cores with Blender 4.5 and 5.2, on all-MiniLM-L6-v2 and on 1 GB of F32: within a
# factor of two of what building the surfaces and the scene took there.
SECONDS = 0.1
SECONDS_AN_ENTRY = 4e-9
SECONDS_A_FIELD = 1e-3
SECONDS_A_SLAB_CELL = 2e-7
SECONDS_A_VOLUME_CELL = 1.3e-7
SECONDS_A_FACE = 5e-7
# Meshes in Python and in Blender; 100 to 133 were measured. Drawing takes more, of the GPU's.
BYTES_A_FACE = 130
# All that is held at a time while a field is pooled, searched and cut, for each of its cells.
BYTES_A_SLAB_CELL = 105
BYTES_A_VOLUME_CELL = 36

# Faces of a cell of random fields, by the share of cells beyond the level. Weights give about as
# many: those that are less random than their cells have fewer.
_SHARES = (0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_SLAB = (0.0, 0.13, 1.7, 6.0, 10.7, 13.0, 13.3, 4.9)
_POOLED_SLAB = (0.0, 0.08, 0.8, 2.7, 4.8, 7.2, 8.7, 4.6)
_SIGNED_SLAB = (0.0, 0.13, 1.7, 6.3, 12.2, 18.8, 28.5, 32.4)
_LARGEST_SLAB = (0.0, 0.09, 1.0, 3.5, 6.5, 9.8, 14.0, 24.0)
_VOLUME = (0.0, 0.08, 0.8, 2.6, 3.6, 2.8, 1.2, 0.5)
_SIGNED_VOLUME = (0.0, 0.08, 0.8, 2.5, 4.2, 5.7, 6.7, 7.1)
# From so many entries a cell on, a slab's neighbouring cells differ little.
_MANY = 8
# Faces along a slab's rim, for each cell of it, where all cells are beyond the level.
_RIM = 9.5
# How much the root mean square differs from cell to cell of real matrices, in σ.
_SPREAD = 0.16


@dataclass(frozen=True)
class Estimate:
    """What building will cost.

    Attributes
    ----------
    fields, tensors : int
    faces : int
        At most, about.
    seconds : float
        On a machine like the one where it was measured.
    bytes_read : int
        From the model's files.
    bytes_far : int
        Of the tensors that are on another machine, of which some may have been fetched before.
    memory : int
        Bytes that the process grows by.
    """

    fields: int
    tensors: int
    faces: int
    seconds: float
    bytes_read: int
    memory: int
    bytes_far: int = 0

    def sentence(self) -> str:
        """Return one line for the panel."""
        what = _count(self.tensors, "tensor")
        if self.fields != self.tensors:
            what += f" in {_count(self.fields, 'field')}"
        faces = f"{round(self.faces, -2):,}"
        for word, unit in (("billion", 1e9), ("M", 1e6)):
            if self.faces >= 0.095 * unit:
                faces = f"{self.faces / unit:.1f} {word}"
                break
        time = f"{max(round(self.seconds), 1)} s"
        for word, unit in (("hours", 3600), ("min", 60)):
            if self.seconds >= 1.5 * unit:
                time = f"{self.seconds / unit:.0f} {word}"
                break
        far = f", and to fetch up to {size_text(self.bytes_far)}" if self.bytes_far else ""
        return f"{what} → {faces} faces · about {time}{far} · {size_text(self.memory)}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def size_text(count: float) -> str:
    """Return a number of bytes for people."""
    for unit, size, digits in (("TB", 1e12, 1), ("GB", 1e9, 1), ("MB", 1e6, 0), ("KB", 1e3, 0)):
        if count >= 0.95 * size:
            return f"{count / size:.{digits}f} {unit}"
    return f"{count:.0f} B"


def estimate(plans: Sequence[Plan], settings: Settings) -> Estimate:
    """Estimate what building the surfaces and the scene will cost.

    Parameters
    ----------
    plans : sequence of Plan
    settings : Settings

    Returns
    -------
    Estimate
    """
    faces_of = cache(lambda shape, entries: _faces(shape, entries, settings))
    tensors: dict[str, int] = {}
    far: dict[str, int] = {}
    faces = entries = volume = slab = largest = read = 0
    for plan in plans:
        shape, held = plan.shape, 0
        for part in plan.parts:
            tensors[part.tensor.name] = part.tensor.nbytes
            if is_far(part.tensor):
                far[part.tensor.name] = part.tensor.nbytes
            held += part.entries
            read += part.tensor.nbytes
        cells = shape[0] * shape[1] * shape[2]
        faces += faces_of(shape, held)
        entries += held
        if plan.kind == "slab":
            slab += cells
            largest = max(largest, cells * BYTES_A_SLAB_CELL)
        else:
            volume += cells
            largest = max(largest, cells * BYTES_A_VOLUME_CELL)
    if settings.field.sigma == "all":
        read, entries = read + sum(tensors.values()), 2 * entries
    seconds = SECONDS + SECONDS_A_FIELD * len(plans) + SECONDS_AN_ENTRY * entries
    seconds += SECONDS_A_SLAB_CELL * slab + SECONDS_A_VOLUME_CELL * volume + SECONDS_A_FACE * faces
    memory = faces * BYTES_A_FACE + largest
    return Estimate(len(plans), len(tensors), faces, seconds, read, memory, sum(far.values()))


def _faces(shape: tuple[int, int, int], entries: int, settings: Settings) -> int:
    """Return about how many faces a field gives, by its cells alone."""
    field, surface = settings.field, settings.surface
    cells, each = math.prod(shape), entries / max(math.prod(shape), 1)
    budget = surface.budget(field.kind)
    share = 1.0  # also of a vector, which may lie anywhere
    if surface.quantile is not None:
        share = 1.0 - surface.quantile
    elif surface.level is not None and min(shape[1:]) > 1:
        share = _beyond(surface.level, each, field)
    table = _table(field, pooled=each >= _MANY)
    # A budget takes the level with most faces if it must.
    each_cell = float(np.interp(share, _SHARES, table)) if budget is None else max(table)
    rim = _RIM * share * 2 * (shape[1] + shape[2]) if field.kind == "slab" else 0.0
    faces = int(cells * each_cell + rim)
    return faces if budget is None else min(faces, budget)


def _table(field: FieldSettings, *, pooled: bool) -> tuple[float, ...]:
    if field.kind != "slab":
        return _SIGNED_VOLUME if field.signed else _VOLUME
    if field.signed:
        return _LARGEST_SLAB if pooled and field.pool == "absmax" else _SIGNED_SLAB
    return _POOLED_SLAB if pooled else _SLAB


def _beyond(level: float, each: float, field: FieldSettings) -> float:
    """Return the share of cells beyond a level, of weights that are nearly normal."""
    single = math.erfc(level / math.sqrt(2))
    if field.pool == "absmax":
        return float(1.0 - (1.0 - min(single, 1.0)) ** max(each, 1.0))
    if field.pool == "mean":
        return math.erfc(level / math.sqrt(2 * (1 / max(each, 1.0) + _SPREAD**2 / 4)))
    if each < 2:
        return single
    return 0.5 * math.erfc((level - 1.0) / math.sqrt(1 / each + 2 * _SPREAD**2))


_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Return how many bytes a process can still take without swapping, or None if unknown."""
    try:
        if sys.platform == "win32":
            return _windows_memory()
        if sys.platform == "darwin":
            return _mac_memory()
        return _linux_memory()
    except (OSError, ValueError, AttributeError, LookupError):
        return None


def _linux_memory() -> int:
    lines = _MEMINFO.read_text("ascii").splitlines()
    numbers = dict(line.split(":", 1) for line in lines)
    free = int(numbers["MemAvailable"].split()[0]) * 1024
    limit = _CGROUP / "memory.max"
    if limit.exists() and (most := limit.read_text("ascii").strip()) != "max":
        used = int((_CGROUP / "memory.current").read_text("ascii"))
        stat = dict(
            line.split() for line in (_CGROUP / "memory.stat").read_text("ascii").splitlines()
        )
        # The page cache counts as used, and gives way.
        free = min(free, int(most) - used + int(stat.get("inactive_file", 0)))
    return max(free, 0)


def _windows_memory() -> int | None:
    """Ask GlobalMemoryStatusEx: a 64-byte structure whose third number is what is free."""
    if sys.platform != "win32":
        return None
    status = (ctypes.c_uint64 * 8)()
    # dwLength and dwMemoryLoad, 32 bits each, come before seven 64-bit numbers.
    status[0] = ctypes.sizeof(status)
    if not ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return int(status[2])


def _mac_memory() -> int | None:
    """Ask host_statistics64 for its pages: free, active, inactive and wired ones come first."""
    system = ctypes.CDLL(None)
    counts = (ctypes.c_uint32 * 64)()
    length = ctypes.c_uint32(38)  # HOST_VM_INFO64_COUNT
    system.mach_host_self.restype = ctypes.c_uint32
    host, flavor = ctypes.c_uint32(system.mach_host_self()), 4  # HOST_VM_INFO64
    if system.host_statistics64(host, flavor, ctypes.byref(counts), ctypes.byref(length)):
        return None
    return (counts[0] + counts[2]) * os.sysconf("SC_PAGE_SIZE")
