"""Pickles opcode by opcode, and torch files around them."""

from __future__ import annotations

import pickle
import struct

from .making import CANARY
from .zips import Entry, archive

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001


def name(module: str, attribute: str) -> bytes:
    """Return what looks a name up."""
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


def text(content: str) -> bytes:
    """Return a text."""
    data = content.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def plain(content: object) -> bytes:
    """Return a plain object (numbers, lists, dictionaries), without header and end."""
    return pickle.dumps(content, 2)[2:-1]


def group(*parts: bytes) -> bytes:
    """Return a tuple."""
    return b"(" + b"".join(parts) + b"t"


def call(what: bytes, *arguments: bytes) -> bytes:
    """Return a call."""
    return what + group(*arguments) + b"R"


SYSTEM = call(name("os", "system"), text(CANARY))


def storage(
    key: str = "0", numel: object = 6, dtype: str = "FloatStorage", legacy: bool = False
) -> bytes:
    """Return the persistent id that stands for a storage."""
    parts = (text("storage"), name("torch", dtype), text(key), text("cpu"), plain(numel))
    return group(*parts, *[b"N"] * legacy) + b"Q"


def tensor(
    where: bytes | None = None,
    offset: object = 0,
    shape: object = (2, 3),
    stride: object = (3, 1),
    rebuild: bytes = name("torch._utils", "_rebuild_tensor_v2"),
) -> bytes:
    """Return a tensor's call."""
    hooks = call(name("collections", "OrderedDict"))
    where = storage() if where is None else where
    return call(rebuild, where, plain(offset), plain(shape), plain(stride), b"\x89", hooks)


def state(tensors: dict[str, bytes]) -> bytes:
    """Return a whole pickle: a dictionary of names to what was given."""
    items = b"".join(text(key) + value for key, value in tensors.items())
    return b"\x80\x02}(" + items + b"u."


NUMBERS = struct.pack("<6f", *(0.5 * n for n in range(6)))
USUAL = state({"layers.0.self_attn.q_proj.weight": tensor(), "b": tensor(shape=(6,), stride=(1,))})


def torch_zip(
    pickled: bytes = USUAL, *more: Entry, storages: dict[str, bytes] | None = None
) -> bytes:
    """Return a torch file as written since 1.6."""
    held = {"0": NUMBERS} if storages is None else storages
    return archive(
        Entry("archive/data.pkl", pickled),
        Entry("archive/byteorder", b"little"),
        *(Entry(f"archive/data/{key}", data) for key, data in held.items()),
        Entry("archive/version", b"3\n"),
        *more,
    )


LEGACY = state({"w": tensor(storage(legacy=True))})


def torch_legacy(
    pickled: bytes = LEGACY,
    *,
    magic: object = MAGIC,
    protocol: object = PROTOCOL,
    system: object = None,
    keys: bytes | None = None,
    storages: bytes | None = None,
) -> bytes:
    """Return a torch file as written before 1.6: pickles, then the storages."""
    usual = {
        "protocol_version": PROTOCOL,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    heads = [magic, protocol, usual if system is None else system]
    out = b"".join(pickle.dumps(head, 2) for head in heads) + pickled
    out += pickle.dumps(["0"], 2) if keys is None else keys
    return out + (struct.pack("<q", 6) + NUMBERS if storages is None else storages)
