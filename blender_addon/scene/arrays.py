"""The many numbers that data-blocks of Blender's are made of, as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import bpy
import numpy as np

# Attributes of Blender's own that say what a face is; the others are of selections.
_HIDDEN = frozenset({".corner_vert", ".edge_verts"})
# Of an attribute: the name of the value of an element, and how many numbers it has.
_KINDS: dict[str, tuple[str, int, type]] = {
    "FLOAT": ("value", 1, np.float32), "INT": ("value", 1, np.int32),
    "INT8": ("value", 1, np.int32), "BOOLEAN": ("value", 1, np.bool_),
    "FLOAT_VECTOR": ("vector", 3, np.float32), "FLOAT2": ("vector", 2, np.float32),
    "FLOAT_COLOR": ("color", 4, np.float32), "BYTE_COLOR": ("color", 4, np.float32),
    "QUATERNION": ("value", 4, np.float32), "FLOAT4X4": ("value", 16, np.float32),
    "INT32_2D": ("value", 2, np.int32), "INT16_2D": ("value", 2, np.int32),
}  # fmt: skip


def arrays_of(block: bpy.types.ID) -> Iterator[np.ndarray]:
    """Yield the many numbers that a mesh, its shape keys, or a picture are made of."""
    if isinstance(block, bpy.types.Mesh):
        if block.is_editmode:
            # Blender does not let us see what is being edited: it may be another one each time.
            yield _text(uuid4().hex)
        colors = block.color_attributes
        yield _text(colors.active_color_name, colors.render_color_index)
        starts = np.empty(len(block.polygons), np.int32)
        block.polygons.foreach_get("loop_start", starts)
        yield starts
    if isinstance(block, bpy.types.Key):
        for i in range(len(block.key_blocks)):
            yield _read(block.key_blocks[i].points, "co", 3, np.float32)
    if isinstance(block, bpy.types.Image):
        yield from _of_image(block)
    yield from attributes_of(block)


def attributes_of(owner: Any) -> Iterator[np.ndarray]:
    """Yield names and values of all attributes, but for those of a selection."""
    attributes = getattr(owner, "attributes", None)
    # What was held from a step before may be another one by now.
    for name in sorted(attributes.keys()) if hasattr(attributes, "keys") else ():
        one = owner.attributes.get(name)
        if one is None or (name.startswith(".") and name not in _HIDDEN):
            continue
        yield _text(name, one.data_type, one.domain)
        if one.data_type in _KINDS:
            yield _read(one.data, *_KINDS[one.data_type])


def _read(data: Any, name: str, width: int, kind: type) -> np.ndarray:
    values = np.zeros(len(data) * width, kind)
    try:
        data.foreach_get(name, values)
    except (AttributeError, RuntimeError, TypeError):
        return values[:0]
    return values


def _of_image(image: bpy.types.Image) -> Iterator[np.ndarray]:
    with suppress(OSError, ValueError):
        file = Path(bpy.path.abspath(image.filepath, library=image.library)).stat()
        yield _text(file.st_size, file.st_mtime_ns)
    if image.is_dirty:
        pixels = np.empty(len(image.pixels), np.float32)
        image.pixels.foreach_get(pixels)
        yield pixels
    elif image.packed_file is not None:
        yield np.frombuffer(image.packed_file.data, np.uint8)


def _text(*facts: object) -> np.ndarray:
    return np.frombuffer(repr(facts).encode("utf-8", "backslashreplace"), np.uint8)
