"""What a person sets once, and the folder that is the extension's own."""

from __future__ import annotations

import json
from pathlib import Path

import bpy

from ..core.location import HIDDEN, is_url
from ..core.settings import MIN_FACES, SLAB_FACES

PACKAGE = __package__.rpartition(".")[0]
MOST_RECENT = 10
COLORS = [
    ("ember", "Ember", "Indigo, red, pale yellow"),
    ("ice", "Ice", "Deep blue, cyan, white"),
    ("gray", "Grey", "Dark to light, for print"),
]


class WeightwalkPreferences(bpy.types.AddonPreferences):
    """Defaults for a model that is loaded into a new scene."""

    bl_idname = PACKAGE

    faces: bpy.props.IntProperty(
        name="Faces a tensor",
        description="Budget of triangles for each plate, for scenes to come",
        default=SLAB_FACES,
        min=MIN_FACES,
        max=100_000_000,
    )
    colors: bpy.props.EnumProperty(
        name="Colour map",
        description="For magnitudes, in scenes to come; signed values are blue and red",
        items=COLORS,
    )
    models: bpy.props.StringProperty(
        name="Models",
        description="Folder in which Load Model Weights begins; empty for Blender's last one",
        subtype="DIR_PATH",
    )
    cache: bpy.props.StringProperty(
        name="Cache folder",
        description="Where the list of recent models, files in passing and what was fetched lie; "
        "empty for the extension's own folder",
        subtype="DIR_PATH",
    )
    walk_speed: bpy.props.FloatProperty(
        name="Walk speed",
        description="For scenes to come, in metres a second; a layer is some 10 metres deep",
        default=20.0,
        min=0.1,
        max=100.0,
        unit="VELOCITY",
    )

    def draw(self, _context: bpy.types.Context) -> None:
        """Draw them."""
        column = self.layout.column()
        column.use_property_split = True
        for name in ("faces", "colors", "walk_speed", "models", "cache"):
            column.prop(self, name)


def preferences(context: bpy.types.Context) -> WeightwalkPreferences | None:
    """Return the person's preferences; None where this is not an extension, as in a test."""
    addon = context.preferences.addons.get(PACKAGE)
    return addon.preferences if addon else None


def cache_folder(context: bpy.types.Context) -> Path:
    """Return the folder of what is kept between sessions, made when it is not there."""
    chosen = preferences(context)
    if chosen is not None and chosen.cache:
        folder = Path(bpy.path.abspath(chosen.cache))
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    try:
        return Path(bpy.utils.extension_path_user(PACKAGE, path="cache", create=True))
    except ValueError:  # not an extension
        return Path(bpy.utils.user_resource("CONFIG", path="weightwalk", create=True))


def recent_models(context: bpy.types.Context) -> list[str]:
    """Return the paths of models that were loaded before, the last one first."""
    try:
        paths = json.loads((cache_folder(context) / "recent.json").read_text("utf-8"))
        return [str(path) for path in paths][:MOST_RECENT]
    except (OSError, ValueError, TypeError):
        return []


def remember_model(context: bpy.types.Context, path: str) -> None:
    """Put a model on top of the recent ones; a disk that cannot be written does not matter."""
    if is_url(path) and path.endswith(HIDDEN):
        return  # it could not be opened again
    paths = [path, *(p for p in recent_models(context) if p != path)][:MOST_RECENT]
    try:
        text = json.dumps(paths).encode("utf-8", "backslashreplace")
        (cache_folder(context) / "recent.json").write_bytes(text)
    except OSError:
        pass
