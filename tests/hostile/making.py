"""What the corpus is made with: a case, the cuts and flipped bits of a valid one, and pieces."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REFUSED = "refused"  # an error of one line that names the file
UNREADABLE = "unreadable"  # opens, but tensors that are packed say why they cannot be unpacked
PROMISE = "promise"  # opens or is refused; what opens can be read, in bounded time and memory

# Shell commands that leave a file behind. They are in the corpus, and none must ever run.
CANARY = 'touch "$WEIGHTWALK_CANARY"'
# A file beside the folder of each case, which nothing has reason to open.
SECRET = "secret.bin"
SECRET_BYTES = b"secret: " + bytes(range(120))

INTEGERS = (
    *(0, 1, 2, 3, 4, 7, 8, 31, 32, 33, 64, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**20),
    *(2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**60, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
)


@dataclass(frozen=True)
class Link:
    """A symbolic link to be made."""

    target: str


Content = bytes | Link | None  # None is a named pipe
Files = Mapping[str, Content]


@dataclass(frozen=True)
class Case:
    """A folder with something bad in it.

    Attributes
    ----------
    name
        For people; unique in its format.
    files
        Paths in the folder → contents.
    opened
        What is opened: a path in the folder, or "" for the folder.
    expect
        REFUSED, UNREADABLE or PROMISE.
    says
        A regular expression that the error (or the tensor's reason) matches.
    """

    name: str
    files: Files
    opened: str = ""
    expect: str = REFUSED
    says: str = ""

    def write(self, folder: Path) -> Path:
        """Make the files in a new folder and return the path to open."""
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Link):
                path.symlink_to(content.target)
            elif content is None:
                os.mkfifo(path)
            else:
                path.write_bytes(content)
        return folder / self.opened


def one(
    file: str, contents: Mapping[str, bytes | tuple[bytes, str]], expect: str = REFUSED
) -> Iterator[Case]:
    """Give cases of one file each: name → contents, or contents and what the error says."""
    for name, content in contents.items():
        data, says = content if isinstance(content, tuple) else (content, "")
        yield Case(name, {file: data}, file, expect, says)


def damaged(
    name: str, files: Files, file: str, *, opened: str | None = None, cut: str = REFUSED
) -> Iterator[Case]:
    """Cut one of the files at up to 60 places, and flip a bit of it at up to 150.

    Parameters
    ----------
    cut
        What is expected of those that are cut.
    """
    data = files[file]
    assert isinstance(data, bytes)
    opened = file if opened is None else opened
    size = len(data)
    steps = range(size) if size <= 60 else [*range(0, 20), *range(20, size, size // 40 + 1)]
    for length in {*steps, size - 1}:
        yield Case(f"{name} cut to {length}", {**files, file: data[:length]}, opened, cut)
    chance = random.Random(name)
    places = range(size) if size <= 150 else sorted(chance.sample(range(size), 150))
    for place in places:
        flipped = bytearray(data)
        bit = chance.randrange(8)
        flipped[place] ^= 1 << bit
        files = {**files, file: bytes(flipped)}
        yield Case(f"{name} bit {bit} of byte {place}", files, opened, PROMISE)


def packed(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """Return a safetensors file of any header: an object, or text as it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def stored(tensors: Mapping[str, tuple[str, tuple[int, ...], bytes]], **metadata: str) -> bytes:
    """Return a valid safetensors file of name → (dtype, shape, bytes)."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    data = b""
    for name, (dtype, shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    return packed(header, data)


def floats(*shape: int) -> tuple[str, tuple[int, ...], bytes]:
    """Return an F32 tensor for `stored`."""
    size = 1
    for n in shape:
        size *= n
    return "F32", shape, struct.pack(f"<{size}f", *(0.1 * (i % 13) - 0.5 for i in range(size)))
