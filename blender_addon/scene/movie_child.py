"""Run by `movie` in its own process: pictures to a movie, by Blender's sequencer and FFmpeg.

It is run by its path, so it imports nothing of ours.
"""

import json
import sys
from pathlib import Path

import bpy


def main(job: str) -> None:
    """Do what a file says: see `movie.movie_steps`."""
    given = json.loads(Path(job).read_text(encoding="utf-8"))
    scene = bpy.context.scene
    for owner, name, value in given["choices"]:
        target = scene.path_resolve(owner) if owner else scene
        setattr(target, name, value)
    _lay(scene, [Path(picture) for picture in given["pictures"]])
    bpy.ops.render.render(animation=True, scene=scene.name)


def _lay(scene: bpy.types.Scene, pictures: list[Path]) -> None:
    """Lay pictures of one folder on a strip, one a frame, pixel on pixel."""
    editor = scene.sequence_editor_create()
    strip = editor.strips.new_image("Frames", str(pictures[0]), 1, 1, fit_method="ORIGINAL")
    for picture in pictures[1:]:
        strip.elements.append(picture.name)
    strip.colorspace_settings.name = "sRGB"
    scene.frame_start, scene.frame_end = 1, len(pictures)
    image = bpy.data.images.load(str(pictures[0]))
    render, transform = scene.render, strip.transform
    render.resolution_x, render.resolution_y = (side - side % 2 for side in image.size)
    # What is too much by a pixel lies half on each side: all of it goes to the right and the top.
    transform.offset_x, transform.offset_y = (side % 2 / 2.0 for side in image.size)
    transform.filter = "NEAREST"


if __name__ == "__main__":
    main(sys.argv[-1])
