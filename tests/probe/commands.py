"""Running `weightwalk probe`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]


def refused(run: Run, out: Path, *arguments: object, status: int = 2) -> str:
    """Return the one sentence with which the command ends; nothing is left behind."""
    found, said, error = run(*arguments, "--out", out)
    assert found == status, error
    lines = [
        line for line in error.splitlines() if not line.startswith(("model:", "probe:", "files:"))
    ]
    assert len(lines) == 1, error
    assert lines[0].startswith("weightwalk: ")
    assert "Traceback" not in error + said
    assert len(lines[0]) < 800
    assert not out.exists()
    return lines[0]
