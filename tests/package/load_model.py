"""Runs inside a Blender whose profile has the extension: press its button, print what came of it.

Arguments: MODEL, after ``--``. As a module (bpy), it is also given the zip to install first, and
then takes nothing from site-packages but what Blender itself has.
"""

import json
import sys

MODEL, *rest = sys.argv[sys.argv.index("--") + 1 :]
if rest:
    archive, blender_alone = rest
    sys.path.append(blender_alone)

import bpy  # noqa: E402

if rest:
    bpy.ops.extensions.package_install_files(
        filepath=archive, repo="user_default", enable_on_install=True
    )
before = set(bpy.data.objects)
status = bpy.ops.weightwalk.load_model(filepath=MODEL)
made = [thing for thing in bpy.data.objects if thing not in before and thing.type == "MESH"]

import DracoPy  # noqa: E402
import gguf  # noqa: E402
import PIL  # noqa: E402
import safetensors  # noqa: E402
import scipy  # noqa: E402
import skimage  # noqa: E402

modules = (DracoPy, gguf, PIL, safetensors, scipy, skimage)
wheels = {module.__name__: module.__file__ for module in modules}
faces = sum(len(thing.data.polygons) for thing in made)
print("RESULT", json.dumps({"status": list(status), "faces": faces, "wheels": wheels}), flush=True)
# Blender 4.5 as a module can hang at its end with classes left registered.
bpy.ops.preferences.addon_disable(module="bl_ext.user_default.weightwalk")
