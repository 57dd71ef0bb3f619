"""Several requests at a time, while the one who asks stays free to do other things, or to stop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue

from ...stages import Ticks
from .source import AbandonedError

THREADS = 6
_LOOK = 0.05  # seconds between two looks whether somebody still waits

# It is given what is set when nobody waits any more, and what to tell the bytes that come.
Job = Callable[[threading.Event, Callable[[int], None]], None]


def at_once(jobs: Iterable[Job]) -> Ticks[None]:
    """Do jobs in a few threads; what the first one raises ends all.

    The threads are daemons and no pool: the end of the process does not wait for them, should they
    wait for a server. Closed before its end, it begins no further job.

    Yields
    ------
    int
        Bytes that have come; 0 from time to time while none come.
    """
    waiting = deque(jobs)
    stop = threading.Event()
    told: SimpleQueue[int | Exception | None] = SimpleQueue()

    def work() -> None:
        try:
            while not stop.is_set():
                waiting.popleft()(stop, told.put)
        except (IndexError, AbandonedError):
            told.put(None)
        except Exception as error:
            told.put(error)
        else:
            told.put(None)

    at_work = min(THREADS, len(waiting))
    for _ in range(at_work):
        threading.Thread(target=work, daemon=True).start()
    try:
        while at_work:
            try:
                news = told.get(timeout=_LOOK)
            except Empty:
                yield 0
                continue
            if isinstance(news, Exception):
                raise news
            if news is None:
                at_work -= 1
            else:
                yield news
    finally:
        stop.set()
