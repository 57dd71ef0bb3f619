"""How the arrays of one part become the accessors and bytes of a glTF primitive.

Three ways: as they are (`none`), in 8 and 16 bits (`quantize`, KHR_mesh_quantization), or packed
(`draco`, KHR_draco_mesh_compression). Colours are 16-bit in all three: glTF's are linear, and of
8-bit linear codes too few lie in the dark to tell neighbouring sRGB codes apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..color import decode_srgb
from ..errors import MissingDependencyError, OutputError
from .mesh_part import MeshPart

Array = NDArray[Any]

_BYTE, _SHORT, _USHORT, _UINT, _FLOAT = 5120, 5122, 5123, 5125, 5126
_COMPONENTS = {"float32": _FLOAT, "int16": _SHORT, "int8": _BYTE}
_VERTICES, _INDICES = 34962, 34963  # bufferView.target: ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER

# 14 bits: steps of 1/16,000 of the bounding box's longest edge. Level 1 is the fastest that
# predicts (0.4 µs and 4 to 6 bytes a face); 2 to 8 gain nothing, 10 gains a tenth for 2.5 times
# the time.
_DRACO = {"quantization_bits": 14, "normal_quantization_bits": 8, "compression_level": 1}
_DRACO_COLOR_ID = 0
_EDGEBREAKER = b"DRACO\x02\x02\x01\x01"  # bitstream 2.2, triangles, edgebreaker


@dataclass(frozen=True)
class View:
    """Bytes for one bufferView, with its `target` and, for padded vertex data, its `stride`."""

    data: bytes | memoryview
    target: int | None = None
    stride: int | None = None


@dataclass(frozen=True)
class Encoded:
    """One part, ready for the file.

    Attributes
    ----------
    accessors : dict of str to dict
        "indices", "POSITION", "NORMAL", "COLOR_0": the JSON of the accessor, less its bufferView.
    views : dict of str to View
        By the same names; for Draco one view, "draco", holds all.
    draco_ids : dict of str to int
        Draco's unique id by attribute; empty without Draco.
    scale : float
        Metres for one unit of POSITION.
    """

    accessors: dict[str, dict[str, Any]]
    views: dict[str, View]
    draco_ids: dict[str, int]
    scale: float = 1.0


Encoder = Callable[[MeshPart], Encoded]


def encode_none(part: MeshPart) -> Encoded:
    """Keep float32 positions and normals as they are."""
    return _plain(part, y_up(part.vertices), _unit(y_up(part.normals)), 1.0)


def encode_quantize(part: MeshPart, reach: float = 0.0) -> Encoded:
    """Positions in 16 bits, normals in 8, both signed and normalised (KHR_mesh_quantization).

    One scale for the three axes, about the part's own origin: so the node's translation stays
    what it was, and normals need no correction. It is at least `reach`, in metres.
    """
    scale = max(float(np.abs(part.vertices).max()), reach) or 1.0
    positions = np.rint(y_up(part.vertices) * np.float64(32767 / scale)).astype(np.int16)
    normals = np.rint(_unit(y_up(part.normals)) * np.float32(127)).astype(np.int8)
    return _plain(part, positions, normals, scale)


def encode_target(
    part: MeshPart,
    scale: float,
    offsets: NDArray[np.float32],
    normals: NDArray[np.float32],
    colors: NDArray[np.uint8],
) -> Encoded:
    """One morph target of a part that `encode_quantize` encoded: what is added at full weight.

    Parameters
    ----------
    part : MeshPart
    scale : float
        That of the encoded part; no smaller than any offset.
    offsets, normals : ndarray of float32, shape (n, 3)
        From the part's vertices, in metres; and the directions there.
    colors : ndarray of uint8, shape (n, 4)
        sRGB-encoded.
    """
    moved = np.rint(y_up(offsets) * np.float64(32767 / scale)).astype(np.int16)
    turned = np.rint(_unit(y_up(normals)) * 127) - np.rint(_unit(y_up(part.normals)) * 127)
    light = (_linear(colors).astype(np.float64) - _linear(part.colors)) * (32767 / 65535)
    arrays = {
        "POSITION": moved,
        "NORMAL": np.clip(turned, -127, 127).astype(np.int8),
        "COLOR_0": np.rint(light).astype(np.int16),
    }
    accessors = {
        name: _accessor(
            _COMPONENTS[array.dtype.name], f"VEC{array.shape[1]}", len(array),
            array if name == "POSITION" else None,
        )
        for name, array in arrays.items()
    }  # fmt: skip
    return Encoded(accessors, {name: _vertex_view(array) for name, array in arrays.items()}, {})


def encode_draco(part: MeshPart) -> Encoded:
    """All in one Draco buffer (KHR_draco_mesh_compression).

    Draco merges vertices that are equal in all, leaves out those without a face and faces
    without three different ones, and splits vertices where the surface is not a manifold; the
    accessors tell what it kept.

    Raises
    ------
    OutputError
        If Draco refuses the mesh, which it does when no face has three different vertices.
    """
    draco = draco_module()
    try:
        packed: bytes = _pack(draco, part)
    except draco.EncodingFailedException as error:
        raise OutputError(
            f"Draco cannot pack surface {part.name!r}: every face is degenerate"
        ) from error
    vertices, faces = _draco_counts(draco, packed)
    accessors = {
        "indices": _accessor(_UINT, "SCALAR", 3 * faces),
        "POSITION": _accessor(_FLOAT, "VEC3", vertices, y_up(part.vertices)),
        "NORMAL": _accessor(_FLOAT, "VEC3", vertices),
        "COLOR_0": _accessor(_USHORT, "VEC4", vertices),
    }
    return Encoded(accessors, {"draco": View(packed)}, _draco_ids())


def draco_module() -> Any:
    """Import DracoPy, which reaches Blender with the extension and Python with pip.

    Raises
    ------
    MissingDependencyError
        With how to get it or do without.
    """
    try:
        import DracoPy
    except ImportError as error:
        raise MissingDependencyError(
            "GLB with Draco compression needs DracoPy: inside Blender, install the Weightwalk "
            'extension; elsewhere, pip install "DracoPy>=2.2"; or choose the compression '
            "'quantize' or 'none'"
        ) from error
    return DracoPy


def _plain(part: MeshPart, positions: Array, normals: Array, scale: float) -> Encoded:
    n = len(positions)
    # 65535 itself restarts primitives in some graphics APIs, so glTF forbids it as an index.
    short = n <= 65535
    indices = part.faces.astype("<u2" if short else "<u4")
    accessors = {
        "indices": _accessor(_USHORT if short else _UINT, "SCALAR", indices.size),
        "POSITION": _accessor(_COMPONENTS[positions.dtype.name], "VEC3", n, positions),
        "NORMAL": _accessor(_COMPONENTS[normals.dtype.name], "VEC3", n),
        "COLOR_0": _accessor(_USHORT, "VEC4", n),
    }
    views = {
        "indices": View(indices.tobytes(), _INDICES),
        "POSITION": _vertex_view(positions),
        "NORMAL": _vertex_view(normals),
        "COLOR_0": _vertex_view(_linear(part.colors)),
    }
    return Encoded(accessors, views, {}, scale)


def _accessor(
    component: int, kind: str, count: int, positions: Array | None = None
) -> dict[str, Any]:
    """Give an accessor's JSON; integers but for indices are fractions of their range."""
    accessor: dict[str, Any] = {"componentType": component, "type": kind, "count": count}
    if kind != "SCALAR" and component != _FLOAT:
        accessor["normalized"] = True
    if positions is not None:
        accessor["min"] = positions.min(axis=0).tolist()
        accessor["max"] = positions.max(axis=0).tolist()
    return accessor


def _vertex_view(values: Array) -> View:
    """Pad every vertex to a multiple of 4 bytes, as glTF asks."""
    n, width = values.shape
    size = values.dtype.itemsize
    padded = np.zeros((n, -(-width * size // 4) * 4 // size), values.dtype.newbyteorder("<"))
    padded[:, :width] = values
    return View(padded.tobytes(), _VERTICES, padded.strides[0])


def y_up(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blender's (x, y, z) as glTF's (x, z, -y): a rotation, so windings keep their sense."""
    turned = vectors[:, (0, 2, 1)]
    np.negative(turned[:, 2], out=turned[:, 2])
    return turned


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bring vectors to length one; those without a direction point up (glTF allows no zero)."""
    length = np.sqrt(np.einsum("ni,ni->n", vectors, vectors, dtype=np.float64))
    lost = ~(np.isfinite(length) & (length > 0))
    length[lost] = 1
    directions: NDArray[np.float32] = (vectors / length[:, None]).astype(np.float32)
    directions[lost] = (0, 1, 0)
    return directions


@cache
def _linear_table() -> NDArray[np.uint16]:
    """Table from sRGB code (8 bits) to linear light (16 bits)."""
    table: NDArray[np.uint16] = np.rint(decode_srgb(np.arange(256) / 255) * 65535).astype(np.uint16)
    return table


def _linear(colors: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Bring sRGB codes to linear light, in fractions of 65535."""
    light: NDArray[np.uint16] = _linear_table()[colors]
    light[:, 3] = colors[:, 3].astype(np.uint16) * 257  # alpha is no light: 255 is 65535
    return light


def _pack(draco: Any, part: MeshPart) -> Any:
    return draco.encode(
        y_up(part.vertices),
        part.faces,
        normals=_unit(y_up(part.normals)).astype(np.float64),  # DracoPy takes no other
        generic_attributes={_DRACO_COLOR_ID: _linear(part.colors)},  # its `colors` are 8-bit
        **_DRACO,
    )


@cache
def _draco_ids() -> dict[str, int]:
    """Which unique ids DracoPy gives: read from one triangle, as they depend on its version."""
    draco = draco_module()
    corners = np.eye(3, dtype=np.float32)
    colors = np.zeros((3, 4), np.uint8)
    part = MeshPart("", "", corners, corners, np.array([[0, 1, 2]], np.int32), colors)
    kinds = {"POSITION": 0, "NORMAL": 1, "COLOR_0": 4}  # GeometryAttribute::Type; 4 is GENERIC
    attributes = draco.decode(_pack(draco, part)).attributes
    ids = {attribute["attribute_type"]: attribute["unique_id"] for attribute in attributes}
    return {name: ids[kind] for name, kind in kinds.items()}


def _draco_counts(draco: Any, packed: bytes) -> tuple[int, int]:
    """Vertices and faces that a decoder will find in a Draco buffer.

    In draco/compression/mesh: 11 bytes of header, one for the kind of traversal, then both counts
    as varints. With all attributes on the one connectivity, as at our level, no seam adds
    vertices later. A buffer of another make is decoded, which takes a quarter of the encoding.
    """
    if packed[: len(_EDGEBREAKER)] != _EDGEBREAKER:
        mesh = draco.decode(packed)
        return len(mesh.points), len(mesh.faces)
    vertices, at = _varint(packed, 12)
    faces, _ = _varint(packed, at)
    return vertices, faces


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a little-endian base-128 number; return it and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift, last = at + 1, shift + 7, data[at] < 0x80
        if last:
            return value, at
