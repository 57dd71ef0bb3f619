"""A script in a Blender of its own, which can be stopped at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import bpy

from ..core.errors import OutputError
from ..core.stages import Ticks


def last_words(said: str) -> str:
    """Return the last line of what a Blender said."""
    words = [line for line in said.splitlines() if line.strip()]
    return words[-1] if words else "it said nothing"


def run(script: Path, job: dict[str, Any], room: Path) -> Ticks[tuple[int, str]]:
    """Run a script in a Blender of its own, which ends when the generator is closed.

    Parameters
    ----------
    script : Path
        Run by its path, with that of the job's file as its last argument.
    job : dict
        For JSON.
    room : Path
        A folder for the job's file and for what Blender says.

    Returns
    -------
    int, str
        The exit status, and what it said.
    """
    # In a file, because a command line is too short for thousands of frames.
    order = room / "job.json"
    try:
        order.write_text(json.dumps(job), encoding="utf-8")
        words = (room / "said.txt").open("w+b")
    except OSError as error:
        raise OutputError(f"cannot write into {room.parent}: {error.strerror}") from error
    with words:
        child = subprocess.Popen(
            [*_blender(script), str(order)],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            env=_environment(room),
        )
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    status = child.wait(timeout=0.02)
                    break
                yield 0
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        words.seek(0)
        return status, words.read().decode("utf-8", "replace")


def _blender(script: Path) -> list[str]:
    """Return the command that runs a script, up to its own arguments."""
    if bpy.app.binary_path:
        return [
            bpy.app.binary_path, "--background", "--factory-startup", "--python-exit-code", "1",
            "--python", str(script), "--",
        ]  # fmt: skip
    # Without -P the modules beside it would hide others of the same name.
    return [sys.executable, "-P", str(script)]


def _environment(room: Path) -> dict[str, str]:
    """Let Workbench and EEVEE draw without a display where there is none.

    A Blender that is killed leaves its temporary folder behind: it goes with the room.
    """
    environment = os.environ | {"TMPDIR": str(room), "TEMP": str(room), "TMP": str(room)}
    if not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
        environment.setdefault("EGL_PLATFORM", "surfaceless")
    return environment
