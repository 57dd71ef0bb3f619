"""Run by `render` and `frames` in its own process: open a .blend and render it to pictures.

It is run by its path, so it imports nothing of ours.
"""

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bpy

# The exit status that means: the file system did not take a picture.
NOT_TAKEN = 28
# The exit status that means: there is no GPU that Cycles can use.
NO_GPU = 29
# What Cycles can use of a GPU, the best first.
GPUS = ("OPTIX", "CUDA", "HIP", "ONEAPI", "METAL")
# Workbench draws all triangles again for each sample, and that is what takes it long. Twice the
# width and height and the mean of each four pixels need one pass: as good, in half the time.
FINER = 2
MEANT_BY_FINER = ("5", "8")
MOST_PIXELS = 8192


def assign(scene: bpy.types.Scene, choices: Iterable[tuple[str, Any]]) -> None:
    """Set properties by their paths from the scene."""
    for path, value in choices:
        *owners, name = path.split(".")
        owner = scene
        for each in owners:
            owner = getattr(owner, each)
        setattr(owner, name, value)


def main(job: str) -> None:
    """Do what a file says: see `render.render_steps`, `frames.frames_steps` and `gpu.check`."""
    given = json.loads(Path(job).read_text(encoding="utf-8"))
    if "gpu" in given:
        _use_gpu()
        return
    bpy.ops.wm.open_mainfile(filepath=given["blend"], load_ui=False, use_scripts=False)
    scene = _prepared(given["changes"], given["engine"])
    if "picture" in given:
        scene.render.filepath = given["picture"]
        bpy.ops.render.render(write_still=True, scene=scene.name)
    else:
        _frames(scene, given["frames"], Path(job).parent)


def _prepared(changes: dict[str, Any], engine: str) -> bpy.types.Scene:
    """Return the file's scene, with all that is to be other than in the file."""
    scene = bpy.data.scenes[changes["scene"]] if changes else bpy.context.scene
    if changes:
        scene.camera = bpy.data.objects[changes["camera"]]
    assign(scene, changes.get("choices", ()))
    for name in changes.get("hidden", ()):
        scene.objects[name].hide_render = True
    scene.render.engine = engine
    if engine == "CYCLES" and scene.cycles.device == "GPU":
        _use_gpu()
    scene.render.use_file_extension = False
    if not scene.render.use_stamp:
        # Also without a stamp in the picture they are in the file, paths and dates among them.
        stamps = [name for name in dir(scene.render) if name.startswith("use_stamp_")]
        assign(scene, [(f"render.{name}", False) for name in stamps])
    return scene


def _use_gpu() -> None:
    """Let Cycles use the GPUs of the best kind that is there, and no CPU beside them.

    Where there is none, Cycles would use the CPU and not say so: the process ends instead.
    """
    preferences = bpy.context.preferences.addons["cycles"].preferences
    preferences.refresh_devices()
    there = {device.type for device in preferences.devices}
    kind = next((kind for kind in GPUS if kind in there), None)
    if kind is None:
        print("there is no GPU that Cycles can use")
        sys.exit(NO_GPU)
    preferences.compute_device_type = kind
    for device in preferences.devices:
        device.use = device.type == kind


def _frames(scene: bpy.types.Scene, frames: list[tuple[int, str]], room: Path) -> None:
    """Render frames one by one; each has its own name only when it is complete."""
    parent = os.getppid()
    finer = _make_finer(scene)
    for frame, picture in frames:
        # Whoever wanted them may be gone without having been able to say so.
        if os.getppid() != parent:
            return
        drawn, small = room / "drawn.png", room / "small.png"
        drawn.unlink(missing_ok=True)
        scene.frame_set(frame)
        scene.render.filepath = str(drawn)
        bpy.ops.render.render(write_still=True, scene=scene.name)
        if not _is_complete(drawn):
            sys.exit(NOT_TAKEN)
        if finer:
            small.unlink(missing_ok=True)
            _shrink(drawn, small)
            if not _is_complete(small):
                sys.exit(NOT_TAKEN)
        (small if finer else drawn).replace(picture)


def _make_finer(scene: bpy.types.Scene) -> bool:
    """Have Workbench draw finer pictures in place of several samples, where that is the same."""
    render, settings = scene.render, scene.render.image_settings
    settings.color_mode = "RGBA" if render.film_transparent else "RGB"
    settings.color_depth = "8"
    size = [s * render.resolution_percentage // 100 for s in _resolution(render)]
    if (
        render.engine != "BLENDER_WORKBENCH"
        or scene.display.render_aa not in MEANT_BY_FINER
        or render.film_transparent
        or render.use_border
        or FINER * max(size) > MOST_PIXELS
    ):
        return False
    scene.display.render_aa = "OFF"
    render.resolution_x, render.resolution_y = (FINER * s for s in size)
    render.resolution_percentage = 100
    # The mean of four has no use for noise, and it makes the files large.
    render.dither_intensity = 0.0
    settings.compression = 0
    return True


def _resolution(render: bpy.types.RenderSettings) -> tuple[int, int]:
    return render.resolution_x, render.resolution_y


def _shrink(drawn: Path, small: Path) -> None:
    """Make each square of pixels one pixel, their mean."""
    image = bpy.data.images.load(str(drawn))
    try:
        width, height = image.size
        image.scale(width // FINER, height // FINER)
        image.filepath_raw, image.file_format = str(small), "PNG"
        image.save()
    except RuntimeError as error:
        print(error)
    finally:
        bpy.data.images.remove(image)


def _is_complete(picture: Path) -> bool:
    """Return whether a PNG ends as it should; Blender says nothing where a disk is full."""
    return picture.exists() and picture.read_bytes()[-8:-4] == b"IEND"


if __name__ == "__main__":
    main(sys.argv[-1])
