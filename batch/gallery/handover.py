"""A GLB as a script, for pages that are opened from a folder: those may not fetch."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

_PIECE = 3 << 20  # bytes in a line; three bytes are four characters


def first_line(sha256: str) -> str:
    """Return the line by which one knows what is in such a script."""
    return f"// {sha256}\n"


def is_of(script: Path, sha256: str, count: int) -> bool:
    """Whether the script is there already, whole, and of the GLB with this checksum and size."""
    line = first_line(sha256).encode()
    try:
        with script.open("rb") as opened:
            return opened.read(len(line)) == line and script.stat().st_size == _size(line, count)
    except OSError:
        return False


def write(glb: Path, script: Path, sha256: str) -> None:
    """Write the GLB as calls of ``weightwalk.take`` with base64."""
    with glb.open("rb") as source, script.open("wb") as target:
        target.write(first_line(sha256).encode())
        while piece := source.read(_PIECE):
            target.write(_BEFORE + b64encode(piece) + _AFTER)


_BEFORE, _AFTER = b'weightwalk.take("', b'")\n'


def _size(line: bytes, count: int) -> int:
    pieces, rest = divmod(count, _PIECE)
    text = pieces * (_PIECE // 3 * 4) + -(-rest // 3) * 4
    return len(line) + text + (pieces + (rest > 0)) * (len(_BEFORE) + len(_AFTER))
