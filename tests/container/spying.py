"""A script that Blender in the container runs as it starts: it answers what a test asks."""

import importlib.util
import sys

import bpy

FOLDER = "/spy"


def register() -> None:
    """Run what the window tests run inside Blender, once there is a window."""
    if bpy.app.background:
        return  # Blender's installer
    sys.argv.append(f"{FOLDER}/socket")
    spec = importlib.util.spec_from_file_location("inside", f"{FOLDER}/inside.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["inside"] = module
    spec.loader.exec_module(module)
