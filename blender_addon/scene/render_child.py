"""Run by `render` in its own process: open a .blend and render it to a picture."""

import sys

import bpy

BLEND, PICTURE, ENGINE = sys.argv[-3:]
bpy.ops.wm.open_mainfile(filepath=BLEND, load_ui=False, use_scripts=False)
bpy.context.scene.render.engine = ENGINE
bpy.context.scene.render.filepath = PICTURE
bpy.context.scene.render.use_file_extension = False
bpy.ops.render.render(write_still=True)
