"""Keep what Blender itself says out of the standard output, which is for results."""

from __future__ import annotations

import os
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
