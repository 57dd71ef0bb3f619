"""What gives the bytes of a file on another machine, and how patiently they are asked for."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from threading import Event

from ..datafile import bad

BLOCK = 1 << 18  # bytes: what is asked for and kept, at least


@dataclass(frozen=True)
class Patience:
    """How long one waits for a server, in seconds.

    Attributes
    ----------
    stall : float
        While nothing comes.
    block : float
        While a block comes, however slowly.
    attempts : int
        For a block, before it is given up.
    pause : float
        Before the second attempt; twice as long before each further one, and as long as the server
        asks for.
    longest : float
        No pause is longer than this.
    absent : int
        Attempts to open something where nobody answers at that address.
    """

    stall: float = 20.0
    block: float = 60.0
    attempts: int = 6
    pause: float = 0.5
    longest: float = 60.0
    absent: int = 3


class DroppedError(Exception):
    """Bytes did not come, but may if one asks again; after `wait` seconds, says the server.

    Where `absent`, there is no such host or it takes no connection.
    """

    def __init__(self, why: str, wait: float = 0.0, *, absent: bool = False) -> None:
        super().__init__(why)
        self.wait, self.absent = wait, absent


class AbandonedError(Exception):
    """Nobody waits for the bytes any more."""


class Source(ABC):
    """A file on another machine.

    Attributes
    ----------
    size : int
        In bytes.
    tag : str
        Names this state of its content, as an entity tag does; "" where the server has none.
    first : bytes
        Its first bytes, where opening it has brought them.
    """

    size: int
    tag: str
    first: bytes = b""

    @abstractmethod
    def parts(self, begin: int, end: int) -> Iterator[bytes]:
        """Yield the bytes from `begin` up to `end`, in pieces as they come; or the first of them.

        Raises
        ------
        DroppedError
            Another attempt may do.
        OSError, CheckpointError
            None will: it is gone, has changed, or the server does not do what it should.
        """


class Attempts:
    """Counts attempts at something, and waits between them.

    Parameters
    ----------
    where : object
        What is asked for, for the error.
    patience : Patience
    stop : Event or None
        Ends the waiting; None where something is opened.
    """

    def __init__(self, where: object, patience: Patience, stop: Event | None = None) -> None:
        self._where, self._patience = where, patience
        self._opens = stop is None
        self._stop = stop or Event()
        self._failed = 0

    def succeeded(self) -> None:
        """Begin to count anew."""
        self._failed = 0

    def failed(self, error: DroppedError) -> None:
        """Wait before the next attempt.

        Raises
        ------
        CheckpointError
            There have been enough.
        AbandonedError
            Nobody waits any more.
        """
        self._failed += 1
        most = self._patience.absent if self._opens and error.absent else self._patience.attempts
        if self._failed >= most:
            raise bad(self._where, f"{error}; given up after {self._failed} attempts")
        # Not all at the same moment: what failed together would fail together again.
        pause = self._patience.pause * 2 ** (self._failed - 1) * random.uniform(1.0, 1.5)
        if self._stop.wait(min(max(pause, error.wait), self._patience.longest)):
            raise AbandonedError
