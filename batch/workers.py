"""Processes on this machine that make units of work, each one at a time.

They are told what to do by lines of text and put what they make into files: no array goes through
a pipe, nothing is forked, and one that crashes takes nothing with it but the unit it was at.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, NamedTuple

from ..core.crew import raise_said
from ..core.errors import OutputError, OutputFolderError, WeightwalkError
from ..core.shelf import Shelf
from ..core.stages import Ticks
from ..core.text import printable
from ..core.units import Order
from .processes import child_environment, kill_group, own_command, sentence
from .worker import MARK

# How often a unit may bring down the process that makes it.
TRIES = 3
# Seconds that processes have to tidy up.
PATIENCE = 3.0
# Seconds between two looks at what has come.
LOOK = 0.05
# Bytes of what a process has said that are looked at.
TOLD = 1 << 14


@contextmanager
def local_crew(count: int, shared: Path | None, staging: Path) -> Iterator[Workers]:
    """Give so many processes, which are gone at the end whatever happens.

    Parameters
    ----------
    count : int
    shared : Path or None
        The folder for what they make, which stays; None puts it into `staging`.
    staging : Path
        A folder for temporary files.
    """
    room = staging / "workers"
    room.mkdir()
    folder = shared_folder(shared or staging / "units")
    workers = Workers(count, folder, room)
    try:
        yield workers
    finally:
        workers.stop()
        Shelf(folder, workers.run).sweep()


def shared_folder(folder: Path) -> Path:
    """Make a folder for what is made and return it as an absolute one.

    Raises
    ------
    OutputFolderError
        With the system's reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        where = printable(folder, 1000)
        raise OutputFolderError(f"cannot write into {where}: {error.strerror}") from error
    return folder.absolute()  # not resolved: another machine may have other links


class _Worker:
    """One process, and what it is at.

    Attributes
    ----------
    order : Order or None
    done : int
        Work that it has told of, of this order.
    """

    def __init__(self, room: Path, news: SimpleQueue[News]) -> None:
        self.order: Order | None = None
        self.done = 0
        self._words = room / "said.txt"
        posix = os.name == "posix"
        try:
            own = room / "tmp"
            own.mkdir(parents=True)
            with self._words.open("wb") as said:
                self.process = subprocess.Popen(
                    [*own_command(), "worker"],
                    env=child_environment(str(own), Path.cwd()),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    # Ctrl-C in the terminal reaches us alone.
                    start_new_session=posix,
                )
        except OSError as error:
            raise OutputError(f"cannot start a worker: {error.strerror or error}") from error
        threading.Thread(target=self._listen, args=(news,), daemon=True).start()

    def _listen(self, news: SimpleQueue[News]) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                _, mark, said = line.partition(MARK)
                if mark:
                    news.put(News(self, json.loads(said)))
        news.put(News(self, None))

    def begin(self, order: Order) -> None:
        """Tell it what to do next; where it is gone, that is news soon."""
        self.order, self.done = order, 0
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.write(order.text.encode("ascii") + b"\n")
            self.process.stdin.flush()

    def told(self, done: int) -> int:
        """Take note of the work done so far, and return how much of it is new."""
        before, self.done = self.done, done
        return done - before

    def why_it_ended(self) -> str:
        """Return a sentence on a process that has ended."""
        status = self.process.wait()
        with self._words.open("rb") as said:
            said.seek(max(self._words.stat().st_size - TOLD, 0))
            return sentence(status, said.read().decode("utf-8", "replace"))

    def dismiss(self) -> None:
        """Let it end: it does as soon as nobody can tell it anything any more."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def end(self, seconds: float) -> None:
        """Wait for its end so long, then end it."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        if self.process.poll() is None:
            kill_group(self.process)
            self.process.wait()


class News(NamedTuple):
    """What a worker says; None where it says nothing any more."""

    worker: _Worker
    said: dict[str, Any] | None


class Workers:
    """A crew of processes on this machine; see `core.crew.Crew`.

    Parameters
    ----------
    count : int
    folder : Path
        For what they make; absolute.
    room : Path
        For their temporary files, and what they say.
    """

    def __init__(self, count: int, folder: Path, room: Path) -> None:
        self.folder, self.run = folder, secrets.token_hex(6)
        self.doing = f"{count} worker{'s' * (count != 1)}"
        self.waits = False
        self.notes: list[str] = []
        self._count, self._room = count, room
        self._staff: list[_Worker] = []
        self._hired = 0
        self._news: SimpleQueue[News] = SimpleQueue()
        self._broken: Counter[str] = Counter()

    def work(self, orders: Sequence[Order]) -> Ticks[None]:
        """Have units made; processes are started as far as there is work for them."""
        waiting = deque(orders)
        while waiting or any(worker.order for worker in self._staff):
            self._hand_out(waiting)
            try:
                news = self._news.get(timeout=LOOK)
            except Empty:
                yield 0
            else:
                yield self._look_at(news, waiting)

    def _hand_out(self, waiting: deque[Order]) -> None:
        idle = [worker for worker in self._staff if not worker.order]
        while waiting and (idle or len(self._staff) < self._count):
            worker = idle.pop() if idle else self._hire()
            worker.begin(waiting.popleft())

    def _hire(self) -> _Worker:
        self._hired += 1
        worker = _Worker(self._room / str(self._hired), self._news)
        self._staff.append(worker)
        return worker

    def _look_at(self, news: News, waiting: deque[Order]) -> int:
        """Act on news, and return the work that is done by them."""
        worker, said = news
        order = worker.order
        if said is None:
            self._staff.remove(worker)
            worker.dismiss()
            why = worker.why_it_ended()
        elif "done" in said:
            return worker.told(said["done"])
        else:
            why = said.get("broken", "")
        worker.order = None
        if order is None:
            return 0
        if why:
            self._once_more(order, why)
            waiting.appendleft(order)
            return -worker.done
        assert said is not None
        raise_said(said["end"])
        return worker.told(order.unit.work)

    def _once_more(self, order: Order, why: str) -> None:
        """Take note of a unit whose worker broke, and raise where it is not the first."""
        self._broken[order.unit.key] += 1
        tries, name = self._broken[order.unit.key], printable(order.unit.name)
        if tries == TRIES:
            raise WeightwalkError(f"{name}: {TRIES} workers broke on it; of the last one: {why}")
        self.notes.append(f"{name}: a worker broke on it, another one made it: {why}")

    def stop(self) -> None:
        """End all processes, and let them tidy up."""
        try:
            for worker in self._staff:
                worker.dismiss()
            until = monotonic() + PATIENCE
            for worker in self._staff:
                worker.end(max(until - monotonic(), 0.1))
        finally:
            for worker in self._staff:
                worker.end(0)
