"""Keep Blender apart: its words from the standard output, and signals from its start."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO


@contextmanager
def silence() -> Iterator[None]:
    """Drop what is written to Python's standard output and to that of C, such as "Saved copy"."""
    with redirect_stdout(StringIO()):
        try:
            kept = os.dup(1)
        except OSError:  # a windowed Blender may have none
            yield
            return
        try:
            with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 (a name, not a path)
                os.dup2(nowhere.fileno(), 1)
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


@contextmanager
def held_signals() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: an import of Blender that it breaks may crash.

    A mask will not do: threads that are there already would take the signal, and Python's main
    thread would be interrupted all the same.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that C installed cannot be put back by Python
                signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
