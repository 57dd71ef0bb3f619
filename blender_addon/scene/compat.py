"""Every difference between Blender versions, and nothing else."""

from __future__ import annotations

import bpy

from ..core.settings import Engine


def engine_id(engine: Engine) -> str:
    """Return Blender's own word for a render engine."""
    if engine == "eevee":
        return "BLENDER_EEVEE" if bpy.app.version >= (5, 0, 0) else "BLENDER_EEVEE_NEXT"
    return {"workbench": "BLENDER_WORKBENCH", "cycles": "CYCLES"}[engine]


def use_nodes(owner: bpy.types.Material | bpy.types.World) -> bpy.types.NodeTree:
    """Return an empty node tree; since 5.0 every material and world has one from the start."""
    if bpy.app.version < (5, 0, 0):
        owner.use_nodes = True
    owner.node_tree.nodes.clear()
    return owner.node_tree


def set_input(modifier: bpy.types.NodesModifier, socket: str, value: object) -> None:
    """Give a modifier's nodes a value; since 5.2 the inputs are properties of their own."""
    if bpy.app.version >= (5, 2, 0):
        getattr(modifier.properties.inputs, socket).value = value
    else:
        modifier[socket] = value


# What chooses PNG; since 5.0 the kind of medium has to be chosen first.
PICTURE_ONLY = (
    *([("render.image_settings.media_type", "IMAGE")] if bpy.app.version >= (5, 0, 0) else []),
    ("render.image_settings.file_format", "PNG"),
)


# What chooses a movie; since 5.0 the kind of medium has to be chosen first.
MOVIE_ONLY = (
    *([("render.image_settings.media_type", "VIDEO")] if bpy.app.version >= (5, 0, 0) else []),
    ("render.image_settings.file_format", "FFMPEG"),
)
