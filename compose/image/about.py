"""Run in Blender: prints its version, its Python's tag, what to bring, and that Python's path."""

import importlib.util
import sys

import bpy

version = "{}.{}".format(*bpy.app.version)
tag = "cp{}{}".format(*sys.version_info)
# Most Blenders have numpy; Debian's may not.
option = "" if importlib.util.find_spec("numpy") else "--with-numpy"
print("\nABOUT", version, tag, sys.executable, option, flush=True)
