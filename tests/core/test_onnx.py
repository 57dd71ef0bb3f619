"""ONNX models, written field by field after onnx.proto."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from weightwalk.core.errors import CheckpointError
from weightwalk.core.readers import open_checkpoint

from ..hostile.protobufs import FLOATS, INT32S, data, external, model, packed_floats, tensor, whole

RNG = np.random.default_rng(3)
# TensorProto.DataType → numpy dtype.
KINDS = {
    **{1: "f4", 2: "u1", 3: "i1", 4: "u2", 5: "i2", 6: "i4", 7: "i8", 9: "?", 10: "f2"},
    **{11: "f8", 12: "u4", 13: "u8"},
}


def write(folder: Path, content: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content)
    return path


def test_initialisers_of_every_kind_of_number(tmp_path: Path) -> None:
    made = {
        f"kind {kind}": (RNG.normal(size=(3, 5)) * 40).astype("i8").astype(numpy)
        for kind, numpy in KINDS.items()
    }
    parts = (
        tensor(name, (3, 5), kind, raw=array.tobytes())
        for kind, (name, array) in zip(KINDS, made.items(), strict=True)
    )
    bf16 = RNG.integers(0, 0x7F00, (4, 2)).astype("<u2")
    half = tensor("bf16", (4, 2), 16, raw=bf16.tobytes())
    properties = data(14, data(1, "format") + data(2, "mine"))
    for path in (write(tmp_path, model(*parts, half, tail=properties)), tmp_path):
        with open_checkpoint(path) as checkpoint:
            assert list(checkpoint) == [*made, "bf16"]
            for name, array in made.items():
                np.testing.assert_array_equal(np.asarray(checkpoint[name], array.dtype), array)
                assert checkpoint[name].is_float == (array.dtype.kind == "f")
            wanted = (bf16.astype("<u4") << 16).view("<f4")
            np.testing.assert_array_equal(np.asarray(checkpoint["bf16"]), wanted)
            assert checkpoint.metadata == {"producer_name": "test", "format": "mine"}


def test_numbers_that_are_fields_of_the_message(tmp_path: Path) -> None:
    run = tensor("run", (3,), 1, packed_floats(FLOATS, 1.0, -2.5, 0.5), raw=None)
    halves = tensor("halves", (2,), 10, data(INT32S, b"\x80\x78\x01"), raw=None)
    with open_checkpoint(write(tmp_path, model(run, halves))) as checkpoint:
        assert np.asarray(checkpoint["run"]).tolist() == [1.0, -2.5, 0.5]
        assert "one by one" in checkpoint["halves"].reason


def test_numbers_in_another_file_below_the_folder_only(tmp_path: Path) -> None:
    array = RNG.normal(size=(2, 3)).astype("<f4")
    (tmp_path / "m" / "more").mkdir(parents=True)
    for place in ("m/more/w.bin", "outside.bin"):
        (tmp_path / place).write_bytes(bytes(64) + array.tobytes())
    folder = tmp_path / "m"
    path = write(folder, model(external(location="more/w.bin", offset="64", length="24")))
    with open_checkpoint(path) as checkpoint:
        np.testing.assert_array_equal(np.asarray(checkpoint["w"]), array)
        assert checkpoint["w"].file.name == "w.bin"
    (folder / "link.bin").symlink_to("../outside.bin")
    (folder / "up").symlink_to("..")
    for place, says in (
        ("../outside.bin", "not a path inside"),
        ("up/outside.bin", "a link out of the folder"),
        ("link.bin", "a link out of the folder"),
        ("gone.bin", "is missing"),
    ):
        with pytest.raises(CheckpointError, match=says):
            open_checkpoint(write(folder, model(external(location=place, offset="64"))))
    with pytest.raises(CheckpointError, match=r"ends at byte 89 of more/w\.bin of 88"):
        open_checkpoint(write(folder, model(external(location="more/w.bin", offset="65"))))


def test_a_cache_of_links_into_its_blobs_is_followed(tmp_path: Path) -> None:
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    repo = tmp_path / "models--org--name"
    (repo / "blobs").mkdir(parents=True)
    (repo / "blobs" / "0").write_bytes(model(external(location="w.bin")))
    (repo / "blobs" / "1").write_bytes(array.tobytes())
    snapshot = repo / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for number, name in enumerate(("model.onnx", "w.bin")):
        (snapshot / name).symlink_to(f"../../blobs/{number}")
    with open_checkpoint(snapshot) as checkpoint:
        np.testing.assert_array_equal(np.asarray(checkpoint["w"]), array)


DAMAGED = {
    "not one": (b"hello, world", "not an ONNX model"),
    "empty": (b"", "the file is empty"),
    "cut": (model(tensor())[:-20], "the file was cut"),
    "no initialiser": (model(), "has no initialisers; numbers inside of its nodes"),
    "twice": (model(tensor(), tensor()), "has w twice"),
    "a wrong size": (model(tensor(raw=bytes(23))), "need 24 bytes, it has 23"),
    "its numbers twice": (model(tensor("w", (2, 3), 1, packed_floats(FLOATS, 1.0))), "twice"),
    "a negative dimension": (model(tensor(dims=(-1, 6))), "negative dimension"),
    "a large shape": (model(tensor(dims=(2**40, 2**40))), "more elements"),
    "an unknown dtype": (model(tensor(kind=99)), "dtype 99 is unknown"),
    "a length of 2^63": (whole(1, 8) + data(7, b"", 2**63), "the file was cut"),
    "an endless number": (b"\xff" * 30, "too long"),
    "a million parts": (model(tensor(), graph=whole(1, 5) * 600_000), "500,000 parts"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_models(tmp_path: Path, case: str) -> None:
    content, says = DAMAGED[case]
    with pytest.raises(CheckpointError, match=says):
        open_checkpoint(write(tmp_path, content))


def test_a_large_model_is_not_read_to_list_it(tmp_path: Path) -> None:
    """Ten tensors of 10 GB, which are holes on the disk."""
    size = 10 << 30
    head = data(2, "g")
    parts = []
    for number in range(10):
        fields = whole(1, size // 4) + whole(2, 1) + data(8, f"w{number}")
        inside = fields + data(9, b"", size)
        parts.append(data(5, inside, len(inside) + size))
    total = len(head) + sum(len(part) + size for part in parts)
    with (tmp_path / "model.onnx").open("wb") as file:
        file.write(whole(1, 8) + data(7, b"", total) + head)
        for number, part in enumerate(parts):
            file.write(part)
            file.seek(size - 4, 1)
            file.write(struct.pack("<f", number))
    with open_checkpoint(tmp_path / "model.onnx") as checkpoint:
        assert [t.flat(t.size - 1, t.size).item() for t in checkpoint.values()] == list(range(10))
