"""Files of other programs: said to be so, never followed, never run."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Iterator

from .making import CANARY, SECRET, Case, Link
from .pickled import SYSTEM
from .zips import Entry, archive, bomb

EVIL = b"\x80\x02" + SYSTEM + b"."


def hdf5(*, size: int | None = None) -> bytes:
    """Return the start of an HDF5 file, whose root group has links to other files.

    Superblock of version 0 (addresses and lengths of 8 bytes), the root's object header of version
    1 with a link message (type 6: link type 64 is external; its value is version, file, object).
    """
    links = b""
    for name, target in ((b"w", f"../{SECRET}"), (b"x", "/etc/passwd"), (b"y", "self.h5")):
        held = b"\0" + target.encode() + b"\0/w\0"
        body = b"\x01\x08\x40" + bytes([len(name)]) + name + struct.pack("<H", len(held)) + held
        body += bytes(-len(body) % 8)
        links += struct.pack("<HHB3x", 6, len(body), 0) + body
    root = struct.pack("<BxHII4x", 1, 3, 1, len(links)) + links
    at = 96
    end = at + len(root) if size is None else size
    block = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + struct.pack("<HHI", 4, 16, 0)
    block += struct.pack("<QQQQ", 0, 2**64 - 1, end, 2**64 - 1)
    block += struct.pack("<QQII16x", 0, at, 0, 0)
    return block + root


def cases() -> Iterator[Case]:
    """Give all of them."""
    whole = hdf5()
    for name in ("model.h5", "model.weights.h5", "tf_model.h5", "model.keras", "model.safetensors"):
        yield Case(f"{name} with external links", {name: whole, "self.h5": whole}, name)
    yield Case("HDF5 that says 2^63", {"model.h5": hdf5(size=2**63)}, "model.h5")
    for length in range(0, len(whole), 12):
        yield Case(f"HDF5 cut to {length}", {"model.h5": whole[:length]}, "model.h5")
    yield Case("a folder of HDF5", {"model.h5": whole, "config.json": b"{}"})
    for what, (name, data) in _files().items():
        yield Case(what, {name: data}, name)
        yield Case(f"{what}, in a folder", {name: data}, "")
        yield Case(f"{what}, as safetensors", {"model.safetensors": data}, "model.safetensors")
    yield from _folders()


def _files() -> dict[str, tuple[str, bytes]]:
    layer = b'{"class_name": "Lambda", "config": {"function": "%s"}}' % CANARY.encode().replace(
        b'"', b'\\"'
    )
    keras = archive(Entry("config.json", layer), Entry("model.weights.h5", hdf5()))
    nest = b"\x81\xa1a" * 200_000
    squeezed = gzip.compress(bytes(10_000_000))
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        info = tarfile.TarInfo("../model.safetensors")
        tar.addfile(info)
    proto0 = pickle.dumps(print, 0).replace(b"__builtin__\nprint", b"os\nsystem")
    return {
        "Keras": ("model.keras", keras),
        "Keras with a bomb": ("model.keras", archive(bomb("config.json", b"{", 4096, b" "))),
        "Flax": ("flax_model.msgpack", nest),
        "Flax of 2^32 entries": ("flax_model.msgpack", b"\xdf\xff\xff\xff\xff\xa1a"),
        "Flax text of 2^32": ("flax_model.msgpack", b"\x81\xdb\xff\xff\xff\xffx"),
        "TensorFlow": ("saved_model.pb", b"\x08\x01\x12" + b"\xff" * 9 + b"\x01"),
        "a checkpoint of TensorFlow": (
            "model.ckpt.index",
            b"\x00" * 40 + b"\x57\xfb\x80\x8b\x24\x75\x47\xdb",
        ),
        "TFLite": ("model.tflite", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 64),
        "Core ML": ("model.mlmodel", b"\x08\x04" + b"\xff" * 64),
        "a pickle": ("model.pkl", EVIL),
        "an old pickle": ("model.pkl", b"cos\nsystem\n(S'" + CANARY.encode() + b"'\ntR."),
        "a pickle of text": ("model.pickle", proto0),
        "joblib": ("model.joblib", EVIL),
        "a gzip bomb": ("model.safetensors.gz", squeezed),
        "a pickle in gzip": ("model.pkl.gz", gzip.compress(EVIL)),
        "a tar": ("model.tar", held.getvalue()),
        "a nemo archive": ("model.nemo", held.getvalue()),
        "xz": ("model.xz", b"\xfd7zXZ\x00" + bytes(60)),
        "zstandard": ("model.zst", b"\x28\xb5\x2f\xfd" + bytes(60)),
        "7z": ("model.7z", b"7z\xbc\xaf\x27\x1c" + bytes(60)),
        "rar": ("model.rar", b"Rar!\x1a\x07\x01\x00" + bytes(60)),
        "Git LFS": ("model.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        "a web page": ("model.bin", b"<!DOCTYPE html><html><title>404</title></html>"),
        "a script": ("model.bin", b"#!/bin/sh\n" + CANARY.encode() + b"\n"),
        "Python": ("model.py", b"import os\nos.system(" + repr(CANARY).encode() + b")\n"),
        "zeros": ("model.bin", bytes(10_000)),
        "noise": ("model.bin", bytes(n * n * 167 % 251 for n in range(10_000))),
        "nothing": ("model.bin", b""),
    }


def _folders() -> Iterator[Case]:
    code = b"import os\nos.system(" + repr(CANARY).encode() + b")\n"
    names = {f"{n}.h5": b"" for n in range(3000)}
    strange = {"\x1b[2J\n.pt": b"x", "\u202etp.h5": b"x"}
    yield Case("code in the folder", {"modeling.py": code, "config.json": b'{"auto_map": {}}'})
    yield Case("three thousand files", names)
    yield Case("names that write on the terminal", strange)
    yield Case("a folder that holds itself", {"a/up": Link(".."), "a/b.txt": b""})
    yield Case("a saved model", {"saved_model.pb": b"\x08", "variables/variables.index": b"\xff"})
    yield Case("deep folders", {"/".join("d" * 60) + "/x.txt": b""})
