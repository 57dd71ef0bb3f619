"""A file on another machine: blocks of it, several at a time, when they are needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Event
from typing import NamedTuple
from uuid import uuid4

import numpy as np

from ...errors import CheckpointError
from ...stages import Ticks, finish
from ..datafile import Array, DataFile, Place, bad
from .blocks import Blocks
from .source import BLOCK, AbandonedError, Attempts, DroppedError, Patience, Source
from .threads import THREADS, at_once

# Blocks of one request, and blocks that reading asks for ahead.
_RUN = 32
_AHEAD = 64


class Block(NamedTuple):
    """One block of a file."""

    file: RemoteFile
    number: int


class Link:
    """What the files of one address share.

    Parameters
    ----------
    blocks : Blocks
        Those on the disk.
    patience : Patience
    """

    def __init__(self, blocks: Blocks, patience: Patience) -> None:
        self.blocks, self.patience = blocks, patience
        self._last: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def most(self) -> int:
        """Bytes that may be fetched before they are read: more might be gone again by then."""
        return self.blocks.limit // 2 if self.blocks.works else 0

    def get(self, key: str, number: int, length: int) -> bytes | None:
        """Return a block that was kept: one of the last ones in memory, or one on the disk."""
        with self._lock:
            if (block := self._last.get((key, number))) is not None:
                self._last.move_to_end((key, number))
                return block
        block = self.blocks.get(key, number, length)
        if block is not None:
            self._remember(key, number, block)
        return block

    def put(self, key: str, number: int, block: bytes) -> None:
        """Keep a block on the disk, or for a while in memory where that fails."""
        if not self.blocks.put(key, number, block):
            self._remember(key, number, block)

    def holds(self, key: str, number: int) -> bool:
        """Return whether a block need not be fetched."""
        return (key, number) in self._last or self.blocks.holds(key, number)

    def _remember(self, key: str, number: int, block: bytes) -> None:
        with self._lock:
            self._last[key, number] = block
            while len(self._last) > _AHEAD:
                self._last.popitem(last=False)


class RemoteFile(DataFile):
    """A file on another machine, of which blocks are fetched and kept.

    Parameters
    ----------
    path : Place
    source : Source
    link : Link
    address : str
        Its whole URL.
    """

    def __init__(self, path: Place, source: Source, link: Link, address: str) -> None:
        self.path, self.source, self.link = path, source, link
        self.size = source.size
        self.stamp = (source.size, source.tag)
        # What nothing tells from a later state of it is of no use to another session.
        self._key = f"{address}\n{source.size}\n{source.tag or uuid4()}"
        if source.first:
            self.keep(0, source.first)

    @property
    def count(self) -> int:
        """Number of blocks."""
        return -(-self.size // BLOCK)

    def length(self, number: int) -> int:
        """Return the bytes of a block: the last one is shorter."""
        return min(BLOCK, self.size - number * BLOCK)

    def keep(self, number: int, block: bytes) -> None:
        """Keep a block for later."""
        self.link.put(self._key, number, block)

    def missing(self, begin: int, end: int) -> Iterator[Block]:
        """Yield the blocks of some bytes that would have to be fetched."""
        for number in range(begin // BLOCK, min(-(-end // BLOCK), self.count)):
            if not self.link.holds(self._key, number):
                yield Block(self, number)

    def _read_into(self, offset: int, arrays: Iterator[Array], end: int) -> None:
        window: dict[int, bytes] = {}
        for array in arrays:
            view = memoryview(array.view(np.uint8).data)
            if offset + view.nbytes > self.size:
                raise bad(self.path, "the file ends before what is to be read")
            while view.nbytes:
                number, skip = divmod(offset, BLOCK)
                if number not in window:
                    window = self._window(number, max(end, offset + view.nbytes))
                piece = window[number][skip : skip + view.nbytes]
                view[: len(piece)] = piece
                view = view[len(piece) :]
                offset += len(piece)

    def _window(self, number: int, end: int) -> dict[int, bytes]:
        """Return a block, with those that follow where they have to be fetched anyway."""
        block = self.link.get(self._key, number, self.length(number))
        if block is not None:
            return {number: block}
        window: dict[int, bytes] = {}

        def keep(block: Block, content: bytes) -> None:
            window[block.number] = content

        ahead = self.missing((number + 1) * BLOCK, min(end, (number + _AHEAD) * BLOCK))
        finish(fetch([Block(self, number), *ahead], keep))
        return window


def fetch(
    wanted: Iterable[Block], also: Callable[[Block, bytes], None] | None = None
) -> Ticks[None]:
    """Fetch and keep blocks of files, several at a time.

    Closed before its end, it fetches no more.

    Parameters
    ----------
    wanted
        The blocks; of each file in order.
    also
        Called with each block, out of some thread.

    Yields
    ------
    int
        Bytes that have come; 0 from time to time while none come.

    Raises
    ------
    CheckpointError
        A file cannot be had.
    """
    yield from at_once(partial(_fetch, run, also) for run in _runs(list(wanted)))


def _runs(blocks: list[Block]) -> list[list[Block]]:
    """Put blocks that lie one after the other together, so that there is work for all threads."""
    most = min(max(len(blocks) // THREADS, 4), _RUN)
    runs: list[list[Block]] = []
    for block in blocks:
        last = runs[-1][-1] if runs else None
        follows = last is not None and last == (block.file, block.number - 1)
        if follows and len(runs[-1]) < most:
            runs[-1].append(block)
        else:
            runs.append([block])
    return runs


def _fetch(
    run: list[Block],
    also: Callable[[Block, bytes], None] | None,
    stop: Event,
    tell: Callable[[int], None],
) -> None:
    """Fetch blocks that lie one after the other, and where that fails, what is left of them."""
    file, number = run[0]
    last = run[-1].number
    attempts = Attempts(file.path, file.link.patience, stop)
    held, position = bytearray(), number * BLOCK
    end = last * BLOCK + file.length(last)
    while position < end:
        before = position
        try:
            for piece in file.source.parts(position, end):
                held += piece
                position += len(piece)
                while number <= last and len(held) >= file.length(number):
                    length = file.length(number)
                    _deliver(Block(file, number), bytes(held[:length]), also)
                    tell(length)
                    attempts.succeeded()
                    del held[:length]
                    number += 1
                if stop.is_set():
                    raise AbandonedError
            if position == before:
                raise DroppedError("the server gives no bytes")
        except DroppedError as error:
            attempts.failed(error)
        except OSError as error:
            what = f"cannot be read any more ({error.strerror or error})"
            raise bad(file.path, what) from None


def _deliver(block: Block, content: bytes, also: Callable[[Block, bytes], None] | None) -> None:
    block.file.keep(block.number, content)
    if also is not None:
        also(block, content)


def heads(places: Iterable[Callable[[], RemoteFile]]) -> Ticks[None]:
    """Open files and fetch their first blocks, several at a time.

    Parameters
    ----------
    places
        What opens each of them. What fails is passed over: it is said when the file is needed.
    """

    def head(open_it: Callable[[], RemoteFile], stop: Event, tell: Callable[[int], None]) -> None:
        try:
            first = list(open_it().missing(0, 1))
            if first:
                _fetch(first, None, stop, tell)
        except (OSError, CheckpointError):
            pass

    yield from at_once(partial(head, place) for place in places)
