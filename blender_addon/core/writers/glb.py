"""GLB: glTF 2.0 in one binary file, with vertex colours, names and provenance.

The container is written here, by hand: Blender's own exporter takes ten times as long.
Sections cited are those of the glTF 2.0 specification.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import numpy as np

from ..errors import OutputError, SettingsError
from .encoding import (
    Encoded,
    Encoder,
    View,
    draco_module,
    encode_draco,
    encode_none,
    encode_quantize,
)
from .mesh_part import MeshPart
from .output import open_output

COMPRESSIONS: Mapping[str, tuple[Encoder, str | None]] = {
    "draco": (encode_draco, "KHR_draco_mesh_compression"),
    "quantize": (encode_quantize, "KHR_mesh_quantization"),
    "none": (encode_none, None),
}

_MAX_BYTES = (1 << 32) - 1  # the header's length field is a uint32
_SPOOL_BYTES = 64 << 20  # a larger binary chunk waits on the disk, beside the file
_MATERIAL = {
    "name": "Weights",
    "pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.65},
}


class Encoding:
    """Parts on their way into a GLB: Draco runs on all cores while the caller does other work.

    A context manager; at its end what has not been encoded is dropped.

    Parameters
    ----------
    parts : iterable of MeshPart
    compression : {"draco", "quantize", "none"}
        Bytes a face, about: 4 to 6, 16 to 20, 22 to 28.

    Raises
    ------
    SettingsError
        For an unknown `compression`.
    MissingDependencyError
        For "draco" without DracoPy.
    """

    def __init__(self, parts: Iterable[MeshPart], compression: str = "draco") -> None:
        if compression not in COMPRESSIONS:
            raise SettingsError(
                f"unknown GLB compression {compression!r}: choose among {', '.join(COMPRESSIONS)}"
            )
        encoder, self.extension = COMPRESSIONS[compression]
        self._pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))
        self._encoded: Iterable[tuple[MeshPart, Encoded]]
        if compression == "draco":
            draco_module()  # before any work is done
            # DracoPy lets go of the GIL; what comes out is a sixth of what goes in.
            jobs = [(part, self._pool.submit(encoder, part)) for part in parts]
            self._encoded = ((part, job.result()) for part, job in jobs)
        else:
            self._encoded = ((part, encoder(part)) for part in parts)

    def __enter__(self) -> Encoding:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()

    def drop(self) -> None:
        """Encode no more; a `write` under way in another thread fails."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def write(
        self,
        path: Path,
        asset_extras: Mapping[str, Any] | None = None,
        *,
        generator: str = "Weightwalk",
    ) -> None:
        """Write the file, once: a node a part, under a node a group.

        Parameters
        ----------
        path : Path
            Written in place; the caller writes beside the target and renames.
        asset_extras : mapping, optional
            Goes to `asset.extras`. NaN and infinities, here and in a part's extras, become strings.
        generator : str
            Goes to `asset.generator`.

        Raises
        ------
        OutputError
            If there is no part, the file would pass 4 GiB, or it cannot be written.
        """
        asset = {"version": "2.0", "generator": generator}
        with (
            open_output(path) as file,
            SpooledTemporaryFile(_SPOOL_BYTES, dir=str(path.parent)) as binary,
        ):
            document = _Document(asset | _extras(asset_extras or {}), self.extension)
            for part, encoded in self._encoded:
                for blob in document.add(part, encoded):
                    binary.write(blob)
                _check_size(path, document.binary_bytes)
            if not document.meshes:
                raise OutputError(f"cannot write {path}: there is no surface to write")
            head = document.head()
            _check_size(path, len(head) + document.binary_bytes)
            file.write(head)
            binary.seek(0)
            shutil.copyfileobj(binary, file, 1 << 20)


def write_glb(
    path: Path,
    parts: Iterable[MeshPart],
    compression: str = "draco",
    asset_extras: Mapping[str, Any] | None = None,
) -> None:
    """Encode and write in one go; see `Encoding`."""
    with Encoding(parts, compression) as encoding:
        encoding.write(path, asset_extras)


class _Document:
    """The JSON of one glTF file, built up part by part, and where its bytes go."""

    def __init__(self, asset: dict[str, Any], extension: str | None) -> None:
        self.asset = asset
        self.extension = extension
        self.binary_bytes = 0
        self.accessors: list[dict[str, Any]] = []
        self.views: list[dict[str, Any]] = []
        self.meshes: list[dict[str, Any]] = []
        self.nodes: list[dict[str, Any]] = []
        self.roots: list[int] = []
        self.groups: dict[str, list[int]] = {}

    def add(self, part: MeshPart, encoded: Encoded) -> Iterator[bytes | memoryview]:
        """Enter one part; yield what to append to the binary chunk."""
        view_of = {}
        for name, view in encoded.views.items():
            view_of[name] = self._add_view(view)
            yield view.data
            yield bytes(-len(view.data) % 4)
        accessor_of = {}
        for name, accessor in encoded.accessors.items():
            accessor_of[name] = len(self.accessors)
            where = {"bufferView": view_of[name]} if name in view_of else {}
            self.accessors.append(where | accessor)
        primitive: dict[str, Any] = {
            "indices": accessor_of.pop("indices"),
            "attributes": accessor_of,
            "material": 0,
        }
        if encoded.draco_ids:
            draco = {"bufferView": view_of["draco"], "attributes": encoded.draco_ids}
            primitive["extensions"] = {"KHR_draco_mesh_compression": draco}
        self.meshes.append({"name": part.name, "primitives": [primitive]})
        self._add_node(part, encoded.scale)

    def head(self) -> bytes:
        """Everything in the file before the binary chunk's bytes (section 4.4)."""
        document = {
            "asset": self.asset,
            "scene": 0,
            "scenes": [{"nodes": self.roots}],
            "nodes": self.nodes,
            "meshes": self.meshes,
            "materials": [_MATERIAL],
            "accessors": self.accessors,
            "bufferViews": self.views,
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

    def _add_view(self, view: View) -> int:
        entry = {"buffer": 0, "byteOffset": self.binary_bytes, "byteLength": len(view.data)}
        if view.stride:
            entry["byteStride"] = view.stride
        if view.target:
            entry["target"] = view.target
        self.views.append(entry)
        self.binary_bytes += -(-len(view.data) // 4) * 4
        return len(self.views) - 1

    def _add_node(self, part: MeshPart, scale: float) -> None:
        siblings = self._group(part.group) if part.group else self.roots
        x, y, z = (float(t) for t in part.translation)
        node: dict[str, Any] = {"name": part.name, "mesh": len(self.meshes) - 1}
        node["translation"] = [x, z, -y]
        if scale != 1:
            node["scale"] = [scale] * 3
        siblings.append(len(self.nodes))
        self.nodes.append(node | _extras(part.extras))

    def _group(self, name: str) -> list[int]:
        if name not in self.groups:
            children = self.groups[name] = []
            self.roots.append(len(self.nodes))
            self.nodes.append({"name": name, "children": children})
        return self.groups[name]


def _check_size(path: Path, size: int) -> None:
    if size > _MAX_BYTES:
        raise OutputError(
            f"cannot write {path}: a GLB file holds at most {_MAX_BYTES} bytes; "
            "ask for fewer faces or tensors, or for a stronger compression"
        )


def _extras(values: Mapping[str, Any]) -> dict[str, Any]:
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
