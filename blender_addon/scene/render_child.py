"""Run by `render` in its own process: open a .blend and render it to a picture."""

import json
import sys
from collections.abc import Iterable
from typing import Any

import bpy


def assign(scene: bpy.types.Scene, choices: Iterable[tuple[str, Any]]) -> None:
    """Set properties by their paths from the scene."""
    for path, value in choices:
        *owners, name = path.split(".")
        owner = scene
        for each in owners:
            owner = getattr(owner, each)
        setattr(owner, name, value)


def main(blend: str, picture: str, engine: str, changes: str) -> None:
    """Render the scene of a file."""
    bpy.ops.wm.open_mainfile(filepath=blend, load_ui=False, use_scripts=False)
    given = json.loads(changes)
    scene = bpy.data.scenes[given["scene"]] if given else bpy.context.scene
    if given:
        scene.camera = bpy.data.objects[given["camera"]]
    assign(scene, given.get("choices", ()))
    for name in given.get("hidden", ()):
        scene.objects[name].hide_render = True
    scene.render.engine = engine
    scene.render.filepath = picture
    scene.render.use_file_extension = False
    bpy.ops.render.render(write_still=True, scene=scene.name)


if __name__ == "__main__":
    main(*sys.argv[-4:])
