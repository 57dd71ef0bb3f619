"""Where the tests find what they start: Chromium, and the command inside a Blender."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).resolve().parent.parent / "batch" / "driver.py"
BLENDER = ["--background", "--factory-startup", "--python-exit-code", "1", "--python", str(DRIVER)]
# Blender as a module and a real one: parameters of a fixture that returns `by_driver`.
BLENDERS = [
    pytest.param("module", marks=pytest.mark.bpy),
    pytest.param("blender", marks=pytest.mark.blender),
]


def by_driver(request: pytest.FixtureRequest) -> list[str]:
    """Return the start of a command line in the Blender that is the fixture's parameter."""
    if request.param == "module":
        return [sys.executable, str(DRIVER), "--"]
    return [request.getfixturevalue("blender"), *BLENDER, "--"]


def chromium() -> str | None:
    """Return the browser's command, None where there is no browser."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    return os.environ.get("WEIGHTWALK_CHROMIUM") or found
