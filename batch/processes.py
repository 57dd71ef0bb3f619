"""The command `weightwalk` as it runs here, for processes that are started by it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_HERE = Path(__file__).parent
# What the command begins its own errors with.
SAID = "weightwalk: "


def own_command() -> list[str]:
    """Return the words that begin the command: Weightwalk as it runs here."""
    # Beside the packages, as in a checkout; a Weightwalk that is installed has it elsewhere.
    driver = _HERE / "driver.py"
    beside = (_HERE.parent / "blender_addon").is_dir()
    bpy = sys.modules.get("bpy")
    if bpy is not None and bpy.app.binary_path:
        script = ["--python", str(driver)] if beside else ["--python-expr", _EXPRESSION]
        return [bpy.app.binary_path, *_blender_options(bpy), *script, "--"]
    if beside:
        return [sys.executable, "-P", str(driver), "--"]
    return [sys.executable, "-P", "-m", "weightwalk"]


_EXPRESSION = (
    "import sys; from weightwalk.batch.cli import leave, main; "
    "leave(main(sys.argv[sys.argv.index('--') + 1:]))"
)


def _blender_options(bpy: object) -> list[str]:
    """Return what this Blender was started with that decides which packages it finds."""
    here = sys.argv[: sys.argv.index("--")] if "--" in sys.argv else sys.argv
    options = ["--background", "--python-exit-code", "1"]
    if bpy.app.factory_startup:  # type: ignore[attr-defined]
        options.append("--factory-startup")
    if "--python-use-system-env" in here:
        options.append("--python-use-system-env")
    return options


def child_environment(own: str, base: Path) -> dict[str, str]:
    """Return the environment of a child, whose temporary files go with its folder.

    Parameters
    ----------
    own : str
        A folder for its temporary files.
    base : Path
        The folder in which it runs.
    """
    # Blender takes relative paths from PWD, wherever it is.
    environment = os.environ | {"PWD": str(base), "TMPDIR": own, "TEMP": own, "TMP": own}
    if path := environment.get("PYTHONPATH"):
        # It may run in another folder.
        there = [os.path.abspath(entry) for entry in path.split(os.pathsep)]  # noqa: PTH100
        environment["PYTHONPATH"] = os.pathsep.join(there)
    return environment


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill a process, and what it has started where that is known."""
    with suppress(OSError):
        if sys.platform == "win32":
            child.kill()
        else:
            os.killpg(child.pid, signal.SIGKILL)


def sentence(status: int, said: str) -> str:
    """Return why a command failed, out of what it said."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith(SAID)]
    if status > 0 and ours:
        return ours[-1].removeprefix(SAID)
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        memory = ", as by a system that runs out of memory" if name == "SIGKILL" else ""
        return f"it was ended by {name}{memory}"
    last = lines[-1] if lines else "it said nothing"
    return f"it ended with status {status}: {last}"
