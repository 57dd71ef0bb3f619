"""Render a flight through a saved scene, and make a GIF and an MP4 of its frames.

Arguments: BLEND FOLDER FRAMES. Runs where weightwalk and bpy are installed; writes result.json.
"""

import json
import os
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import bpy
from weightwalk.core.settings import RenderSettings
from weightwalk.core.writers.gif import write_gif
from weightwalk.scene.movie import movie_steps
from weightwalk.scene.render import configure, frames_steps


def flying(blend: Path, folder: Path, frames: int) -> tuple[Path, int]:
    """Save the scene with a camera that comes nearer; return the file, and the faces shown."""
    bpy.ops.wm.open_mainfile(filepath=str(blend), load_ui=False)
    scene = bpy.context.scene
    configure(scene, RenderSettings(width=960, height=540))
    camera = scene.camera
    ahead = -camera.matrix_world.to_3x3().col[2] * camera.location.length * 0.3
    for frame, location in ((1, camera.location.copy()), (frames, camera.location + ahead)):
        camera.location = location
        camera.keyframe_insert("location", frame=frame)
    path = folder / "flight.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    shown = [o for o in scene.objects if o.type == "MESH" and not o.hide_render]
    return path, sum(len(o.data.polygons) for o in shown)


def seconds(work: Generator[Any, None, Any]) -> float:
    """Do some work and return the wall time that it took."""
    begin = time.perf_counter()
    for _ in work:
        pass
    return time.perf_counter() - begin


def main() -> None:
    """Measure, write FOLDER/result.json."""
    blend, folder, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    flight, faces = flying(blend, folder, count)
    frames = range(1, count + 1)
    pictures = [folder / "frames" / f"{frame:04d}.png" for frame in frames]
    # With the start of the process that renders and the reading of the scene.
    render = seconds(frames_steps(flight, folder / "frames", frames, "workbench", digest="bench"))
    stages = {
        "frames": render,
        "gif": seconds(write_gif(folder / "flight.gif", pictures, 1 / 24)),
        "mp4": seconds(movie_steps(pictures, folder / "flight.mp4", 24)),
    }
    size = {kind: (folder / f"flight.{kind}").stat().st_size for kind in ("gif", "mp4")}
    size["png"] = sum(picture.stat().st_size for picture in pictures)
    result = {"stages": stages, "frames": count, "faces": faces, "bytes": size}
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    sys.stdout.flush()
    # Blender 4.5 as a module can hang at its end.
    os._exit(0)


main()
