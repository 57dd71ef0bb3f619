"""Numbers that do not lie in C order: transposed, sliced and repeated views of a run of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from .datafile import Array
from .values import Raw, Span, Values

_PANEL = 64 << 20  # bytes of a panel, as they are in the file
_RUN = 1 << 21  # bytes that are rather read at once than in pieces
_SPARSE = 4  # times as many bytes as are needed may be read,
_LONGEST = 16 << 20  # up to so many
_CHUNK = 1 << 18  # numbers decoded at a time


@dataclass(frozen=True)
class Strides:
    """Where the numbers of a tensor are in a run of numbers.

    Entry (i, j, …) is number ``offset + i * steps[0] + j * steps[1] + …``.
    """

    offset: int
    shape: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def stop(self) -> int:
        """The number after the last one."""
        if 0 in self.shape:
            return self.offset
        ends = ((n - 1) * step for n, step in zip(self.shape, self.steps, strict=True))
        return self.offset + sum(ends) + 1

    @property
    def contiguous(self) -> bool:
        """Whether the numbers lie in C order, without gaps."""
        width = 1
        for n, step in zip(reversed(self.shape), reversed(self.steps), strict=True):
            if n != 1 and step != width:
                return 0 in self.shape
            width *= n
        return True

    def part(self, axis: int, first: int, last: int) -> Strides:
        """Return the entries ``[first, last)`` of an axis."""
        shape = (*self.shape[:axis], last - first, *self.shape[axis + 1 :])
        return Strides(self.offset + first * self.steps[axis], shape, self.steps)


class Strided(Values):
    """A tensor whose numbers lie in a file in another order, or with gaps.

    They are read a panel at a time, some entries of one axis with all of those behind it, of at
    most 64 MiB or one entry of the first axes; the panel read last is kept until its end was read.

    Parameters
    ----------
    base : Raw
        The run of numbers, all of it.
    strides : Strides
        No step is negative, and each number is in the run.
    """

    def __init__(self, base: Raw, strides: Strides) -> None:
        self.base, self.strides = base, strides
        self.is_float, self.reason, self.native = base.is_float, base.reason, base.native
        self.size = prod(strides.shape)
        width, most = 1, max(_PANEL * 8 // base.dtype.bits, 1)
        axis = len(strides.shape) - 1
        while axis > 0 and width * strides.shape[axis] <= most:
            width *= strides.shape[axis]
            axis -= 1
        self.axis, self.width = axis, width
        self.height = max(most // max(width, 1), 1)
        self._last: tuple[int, int, Array] | None = None

    def fill(self, out: Array, start: int) -> None:
        """Copy from one panel after the other."""
        done = 0
        while done < len(out):
            first, panel = self._made(start + done)
            raw = panel[start + done - first :][: len(out) - done]
            self._decode(raw, out[done : done + len(raw)])
            done += len(raw)
            if start + done == self.size:
                self._last = None

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield the bytes of the panels, with what lies between their numbers."""
        while start < stop:
            _, last, block = self._block(start)
            yield from self.base.spans(block.offset, block.stop)
            start = last

    def _decode(self, raw: Array, out: Array) -> None:
        decode = self.base.dtype.decode
        if out.dtype == raw.dtype:
            decode = None
        for begin in range(0, len(out), _CHUNK):
            piece = raw[begin : begin + _CHUNK]
            with np.errstate(over="ignore", invalid="ignore"):
                out[begin : begin + _CHUNK] = piece if decode is None else decode(piece)

    def _made(self, entry: int) -> tuple[int, Array]:
        """Return the panel that has an entry, and its first entry."""
        held = self._last  # one look: threads may share the tensor
        if held is None or not held[0] <= entry < held[1]:
            first, last, block = self._block(entry)
            storage = self.base.dtype.storage
            assert storage is not None
            panel: Array = np.empty(block.shape, storage)
            self._gather(block, panel)
            held = self._last = first, last, panel.reshape(-1)
        return held[0], held[2]

    def _block(self, entry: int) -> tuple[int, int, Strides]:
        """Return first and last entry of the panel that has an entry, and where it is."""
        block, axis, shape = self.strides, self.axis, self.strides.shape
        number, rest = divmod(entry, self.width)
        *lead, row = (int(n) for n in np.unravel_index(number, shape[: axis + 1]))
        for before, index in enumerate(lead):
            block = block.part(before, index, index + 1)
        begin = row // self.height * self.height
        end = min(begin + self.height, shape[axis])
        first = entry - rest - (row - begin) * self.width
        return first, first + (end - begin) * self.width, block.part(axis, begin, end)

    def _gather(self, block: Strides, out: Array) -> None:
        """Read entries: as one run of bytes where that is not much more than they are."""
        item = out.itemsize
        count = block.stop - block.offset
        if count * item <= max(_RUN, min(_SPARSE * out.nbytes, _LONGEST)) or count == 1:
            run: Array = np.empty(count, out.dtype)
            self.base.data.read_into(self.base.offset + block.offset * item, iter((run,)))
            steps = tuple(step * item for step in block.steps)
            out[...] = np.lib.stride_tricks.as_strided(run, block.shape, steps, writeable=False)
            return
        spread = [(n - 1) * step for n, step in zip(block.shape, block.steps, strict=True)]
        axis = int(np.argmax(spread))
        middle = block.shape[axis] // 2
        left = (slice(None),) * axis
        self._gather(block.part(axis, 0, middle), out[(*left, slice(None, middle))])
        self._gather(block.part(axis, middle, block.shape[axis]), out[(*left, slice(middle, None))])
