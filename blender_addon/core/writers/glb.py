"""GLB: glTF 2.0 in one binary file, with vertex colours, names and provenance."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

from ..errors import SettingsError
from ..stages import finish
from .document import SPOOL_BYTES, Document, extras, place_of
from .encoding import (
    Encoded,
    Encoder,
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


def encoder_of(compression: str) -> tuple[Encoder, str | None]:
    """Return what encodes a part, and the glTF extension that its readers need.

    Raises
    ------
    SettingsError
        For an unknown `compression`.
    MissingDependencyError
        For "draco" without DracoPy, before any work is done.
    """
    if compression not in COMPRESSIONS:
        raise SettingsError(
            f"unknown GLB compression {compression!r}: choose among {', '.join(COMPRESSIONS)}"
        )
    if compression == "draco":
        draco_module()
    return COMPRESSIONS[compression]


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
        encoder, self.extension = encoder_of(compression)
        self._pool = ThreadPoolExecutor(min(os.cpu_count() or 1, 8))
        self._encoded: Iterable[tuple[MeshPart, Encoded]]
        if compression == "draco":
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
        with (
            open_output(path) as file,
            SpooledTemporaryFile(SPOOL_BYTES, dir=str(path.parent)) as binary,
        ):
            asset = {"generator": generator} | extras(asset_extras or {})
            document = Document(path, binary, asset, self.extension)
            for part, encoded in self._encoded:
                node: dict[str, Any] = {"mesh": document.add_mesh(part.name, encoded)}
                node |= place_of(part.translation) | extras(part.extras)
                if encoded.scale != 1:
                    node["scale"] = [encoded.scale] * 3
                document.add_node(part.name, part.group, node)
            finish(document.write(file))


def write_glb(
    path: Path,
    parts: Iterable[MeshPart],
    compression: str = "draco",
    asset_extras: Mapping[str, Any] | None = None,
) -> None:
    """Encode and write in one go; see `Encoding`."""
    with Encoding(parts, compression) as encoding:
        encoding.write(path, asset_extras)
