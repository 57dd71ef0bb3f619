"""Bytes of models on other machines, before they are read: so that reading need not wait."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .change import Change
from .location import Location
from .readers import Checkpoint, Tensor, open_checkpoint
from .readers.datafile import LocalFile
from .stages import Ticks

if TYPE_CHECKING:
    from .readers.remote import Block

_LOOK = 0.05  # seconds


def missing(tensors: Iterable[Tensor]) -> list[Block]:
    """Return what would have to be fetched to read tensors, each block once.

    It is no more than half of what may be kept: the first would be gone before they are read. What
    is left is fetched a little ahead of the reading.
    """
    parts = [part for tensor in tensors if is_far(tensor) for part in _parts(tensor)]
    if not parts:
        return []
    from .readers.remote import BLOCK, RemoteFile

    blocks: dict[Block, None] = {}
    for part in parts:
        for span in part.values.spans(0, part.size):
            if not isinstance(span.file, RemoteFile):
                continue
            limit = span.file.link.most
            for block in span.file.missing(span.begin, span.end):
                if len(blocks) * BLOCK >= limit:
                    return list(blocks)
                blocks[block] = None
    return list(blocks)


def is_far(tensor: Tensor) -> bool:
    """Return whether some of a tensor is on another machine."""
    return not all(isinstance(file, LocalFile) for part in _parts(tensor) for file in part.sources)


def _parts(tensor: Tensor) -> Iterator[Tensor]:
    yield tensor
    if isinstance(tensor, Change):
        yield from _parts(tensor.reference)


def bytes_of(blocks: Iterable[Block]) -> int:
    """Return the size of blocks."""
    return sum(block.file.length(block.number) for block in blocks)


def prefetch(tensors: Iterable[Tensor]) -> Ticks[None]:
    """Fetch what is missing of tensors; nothing happens where they lie on a disk.

    Yields
    ------
    int
        Bytes that have come; 0 from time to time while none come.

    Raises
    ------
    CheckpointError
        They cannot be had.
    """
    if blocks := missing(tensors):
        yield from fetch(blocks)


def ready(tensor: Tensor) -> Ticks[None]:
    """Do what `prefetch` does for a tensor, where ticks tell how many entries were read: none."""
    for _ in prefetch([tensor]):
        yield 0


def fetch(blocks: Iterable[Block]) -> Ticks[None]:
    """Fetch blocks, as `prefetch` does."""
    from .readers import remote

    yield from remote.fetch(blocks)


def opened(where: Location) -> Ticks[Checkpoint]:
    """Open a checkpoint as `open_checkpoint` does; what is on another machine, in a thread."""
    if isinstance(where, Path):
        return open_checkpoint(where)
    found: list[Checkpoint | BaseException] = []

    def work() -> None:
        try:
            found.append(open_checkpoint(where))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_LOOK)
        yield 0
    (result,) = found
    if isinstance(result, BaseException):
        raise result
    return result
