"""A process that makes units of work for another: `weightwalk worker`, which no person starts.

Orders come on the standard input, one a line; each is answered by one line on the standard output,
and while it is made by lines that tell the work done. Blender may write there, too: ours are
marked. The process ends with its standard input, which is when the one that started it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from contextlib import suppress
from queue import SimpleQueue
from time import monotonic
from typing import Any

from ..core.units import perform

MARK = b"weightwalk-worker "
# Seconds between two lines that tell the work done.
PULSE = 0.2
INTERRUPTED = 130


def run(_chosen: argparse.Namespace) -> int:
    """Make what is ordered until it is enough, and return the exit status."""
    orders: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    try:
        while True:
            _say(_performed(orders.get()))
    except (KeyboardInterrupt, BrokenPipeError):
        return INTERRUPTED


def _listen(orders: SimpleQueue[str]) -> None:
    with suppress(OSError), open(0, "rb", closefd=False) as lines:
        for line in lines:
            orders.put(line.decode("ascii"))
    # Also in the middle of an order: nobody waits for it any more.
    os.kill(os.getpid(), signal.SIGTERM)


def _performed(order: str) -> dict[str, Any]:
    """Make an order; return what there is to say of it."""
    work, done, last = perform(order), 0, monotonic()
    try:
        while True:
            try:
                done += next(work)
            except StopIteration as end:
                reply: dict[str, str] = end.value
                return {"end": reply}
            if monotonic() - last >= PULSE:
                last = monotonic()
                _say({"done": done})
    except MemoryError:
        return {"broken": "there was not enough memory"}
    except Exception as error:
        return {"broken": f"{type(error).__name__}: {error}"}


def _say(what: dict[str, Any]) -> None:
    # Past Python's buffers, in one piece.
    os.write(1, MARK + json.dumps(what).encode() + b"\n")
