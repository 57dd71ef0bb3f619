"""Runs the command `weightwalk` inside Blender, from a checkout, with the same arguments.

    blender --background --python-exit-code 1 --python batch/driver.py -- mesh MODEL --out DIR …

The exit status is the command's: Blender passes on what sys.exit is given. Also runs in a plain
Python, as ``python batch/driver.py -- …``.
"""

from __future__ import annotations

import importlib.util
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The container's image has what its Blender lacks beside the code.
PACKAGES = ROOT / "python"
# What is imported, and the name to install it by. DracoPy is asked for only where Draco is.
NEEDED = {"numpy": "numpy", "safetensors": "safetensors", "skimage": "scikit-image"}
BAD_INPUT = 2
INTERRUPTED = 130


def main() -> int:
    """Run what stands after ``--`` on the command line and return the exit status."""
    try:
        # Blender in the background ignores Ctrl-C otherwise.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if PACKAGES.is_dir():
            sys.path.append(str(PACKAGES))
        missing = [name for module, name in NEEDED.items() if not importlib.util.find_spec(module)]
        if missing:
            print(_how_to_get(missing), file=sys.stderr)
            return BAD_INPUT
        _load("weightwalk", ROOT / "blender_addon")
        _load("weightwalk.batch", ROOT / "batch")
        from weightwalk.batch.cli import leave
        from weightwalk.batch.cli import main as run

        leave(run(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []))
    except KeyboardInterrupt:
        return INTERRUPTED


def _load(name: str, folder: Path) -> None:
    """Make `folder` the package `name`, whatever of that name may be installed."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None, folder
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _how_to_get(missing: list[str]) -> str:
    """Return one sentence for a person."""
    names = " ".join(missing)
    return (
        f"weightwalk: {' and '.join(missing)} cannot be imported by the Python in {sys.prefix}: "
        "install the Weightwalk extension in this Blender and enable it, which brings what is "
        f"needed, or install {names} for that Python"
    )


if __name__ == "__main__":
    sys.exit(main())
