"""The JSON of one glTF 2.0 file, built up piece by piece, and the binary file around it.

Written by hand: Blender's own exporter takes ten times as long. Sections cited are those of the
glTF 2.0 specification.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import OutputError
from ..stages import Ticks
from .encoding import Encoded, View

MAX_BYTES = (1 << 32) - 1  # the header's length field is a uint32
SPOOL_BYTES = 64 << 20  # a larger binary chunk waits on the disk, beside the file

_COPIED = 1 << 22  # bytes in one step
_MATT = {"metallicFactor": 0.0, "roughnessFactor": 0.65}
_SOLID = {"name": "Weights", "pbrMetallicRoughness": _MATT}
_SHEET = {"name": "Sheets", "pbrMetallicRoughness": _MATT, "doubleSided": True}


class Document:
    """One glTF file on its way.

    Parameters
    ----------
    path : Path
        Of the file, to be named when it grows too large.
    binary : binary file
        Takes the binary chunk, piece by piece.
    asset : mapping
        Beyond the version.
    extension : str or None
        That every mesh needs.
    """

    def __init__(
        self, path: Path, binary: IO[bytes], asset: Mapping[str, Any], extension: str | None
    ) -> None:
        self.path, self.binary = path, binary
        self.extension = extension
        self.binary_bytes = 0
        self.asset = {"version": "2.0", **asset}
        self.lists: dict[str, list[dict[str, Any]]] = {}
        self.roots: list[int] = []
        self.groups: dict[str, list[int]] = {}

    def add(self, kind: str, entry: dict[str, Any]) -> int:
        """Append to one of the top-level lists, "meshes" say; return the index."""
        entries = self.lists.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def add_view(self, view: View) -> int:
        """Append bytes to the binary chunk; return the index of their bufferView."""
        size = len(view.data)
        entry = {"buffer": 0, "byteOffset": self.binary_bytes, "byteLength": size}
        if view.stride:
            entry["byteStride"] = view.stride
        if view.target:
            entry["target"] = view.target
        self.binary_bytes += -(-size // 4) * 4
        _check_size(self.path, self.binary_bytes)
        self.binary.write(view.data)
        self.binary.write(bytes(-size % 4))
        return self.add("bufferViews", entry)

    def add_accessors(self, encoded: Encoded) -> tuple[dict[str, int], dict[str, int]]:
        """Append encoded arrays; return the indices of accessors and of bufferViews by name."""
        views = {name: self.add_view(view) for name, view in encoded.views.items()}
        accessors = {}
        for name, accessor in encoded.accessors.items():
            where = {"bufferView": views[name]} if name in views else {}
            accessors[name] = self.add("accessors", where | accessor)
        return accessors, views

    def add_mesh(
        self, name: str, encoded: Encoded, targets: Sequence[Mapping[str, int]] = (),
    ) -> int:  # fmt: skip
        """Append a mesh of one primitive; return its index.

        Parameters
        ----------
        name : str
        encoded : Encoded
        targets : sequence of mapping
            Morph targets: accessors by attribute. Who has some is an open sheet, seen from both
            sides.
        """
        accessors, views = self.add_accessors(encoded)
        primitive: dict[str, Any] = {
            "indices": accessors.pop("indices"),
            "attributes": accessors,
            "material": self._material(_SHEET if targets else _SOLID),
        }
        if encoded.draco_ids:
            draco = {"bufferView": views["draco"], "attributes": encoded.draco_ids}
            primitive["extensions"] = {"KHR_draco_mesh_compression": draco}
        if targets:
            primitive["targets"] = list(targets)
        return self.add("meshes", {"name": name, "primitives": [primitive]})

    def add_node(self, name: str, group: str, content: Mapping[str, Any]) -> int:
        """Append a node under that of its group, or where `group` is "" at the root."""
        node = self.add("nodes", {"name": name, **content})
        (self._group(group) if group else self.roots).append(node)
        return node

    def write(self, file: IO[bytes]) -> Ticks[None]:
        """Write head and binary chunk, some at a time.

        Raises
        ------
        OutputError
            There is no mesh, or the file would pass 4 GiB.
        """
        if "meshes" not in self.lists:
            raise OutputError(f"cannot write {self.path}: there is no surface to write")
        head = self._head()
        _check_size(self.path, len(head) + self.binary_bytes)
        file.write(head)
        self.binary.seek(0)
        while some := self.binary.read(_COPIED):
            file.write(some)
            yield 0

    def _head(self) -> bytes:
        """Everything in the file before the binary chunk's bytes (section 4.4)."""
        document = {
            "asset": self.asset,
            "scene": 0,
            "scenes": [{"nodes": self.roots}],
            **self.lists,
            "buffers": [{"byteLength": self.binary_bytes}],
        }
        if self.extension:
            document["extensionsUsed"] = document["extensionsRequired"] = [self.extension]
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        # A tensor's name may hold half of a surrogate pair, which UTF-8 cannot.
        body = text.encode("utf-8", "replace")
        body += b" " * (-len(body) % 4)
        total = 12 + 8 + len(body) + 8 + self.binary_bytes
        # A total past 32 bits is refused by the caller, which needs the true length to say so.
        header = struct.pack("<4sII", b"glTF", 2, total & 0xFFFFFFFF)
        json_chunk = struct.pack("<I4s", len(body), b"JSON")
        binary_chunk = struct.pack("<I4s", self.binary_bytes, b"BIN\0")
        return header + json_chunk + body + binary_chunk

    def _material(self, material: dict[str, Any]) -> int:
        known = self.lists.get("materials", [])
        return known.index(material) if material in known else self.add("materials", material)

    def _group(self, name: str) -> list[int]:
        if name not in self.groups:
            children = self.groups[name] = []
            self.roots.append(self.add("nodes", {"name": name, "children": children}))
        return self.groups[name]


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise OutputError(
            f"cannot write {path}: a GLB file holds at most {MAX_BYTES} bytes; "
            "ask for fewer faces or tensors, or for a stronger compression"
        )


def place_of(translation: Sequence[float]) -> dict[str, Any]:
    """Return a node's translation, out of one in Blender's axes."""
    x, y, z = (float(t) for t in translation)
    return {"translation": [x, z, -y]}


def extras(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the member "extras", or nothing where there are none."""
    return {"extras": _json_safe(values)} if values else {}


def _json_safe(value: Any) -> Any:
    """Turn a value into what JSON can hold; NaN and infinities into "NaN" and "±Infinity"."""
    if isinstance(value, Mapping):
        return {str(key): _json_safe(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _json_safe(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [_json_safe(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else ''}Infinity"
    return value if isinstance(value, str | int | float | bool | None) else str(value)
