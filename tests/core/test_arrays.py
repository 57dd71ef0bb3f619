"""numpy's own files, read back against numpy."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from weightwalk.core.errors import CheckpointError, DTypeError
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.readers.datafile import LocalFile
from weightwalk.core.readers.zipped import Archive

RNG = np.random.default_rng(11)
KINDS = ("f8", "f4", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")


def arrays() -> dict[str, np.ndarray]:
    made = {}
    for kind in KINDS:
        array = (RNG.normal(size=(5, 7)) * 50).astype("i8" if kind[0] in "iu?" else "f8")
        made[f"layers/0/{kind}"] = array.astype(kind)
        made[f"{kind} big"] = array.astype(np.dtype(kind).newbyteorder(">"))
        made[f"{kind} turned"] = np.asfortranarray(array.astype(kind))
    cube = np.asfortranarray(RNG.normal(size=(2, 3, 4)).astype("f4"))
    return made | {"cube": cube, "scalar": np.float32(3.5), "empty": np.empty((0, 3), "f4")}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_every_kind_of_number(tmp_path: Path, save) -> None:
    made = arrays()
    save(tmp_path / "weights.npz", **made)
    for path in (tmp_path, tmp_path / "weights.npz"):
        with open_checkpoint(path) as checkpoint:
            assert list(checkpoint) == list(made)
            for name, array in made.items():
                tensor = checkpoint[name]
                assert tensor.shape == array.shape
                assert tensor.is_float == (array.dtype.kind == "f")
                np.testing.assert_array_equal(np.asarray(tensor, np.float64), array)
                np.testing.assert_array_equal(np.asarray(tensor, array.dtype), array)


def test_compressed_numbers_are_read_in_any_order(tmp_path: Path) -> None:
    array = RNG.normal(size=(300, 1000)).astype("f4")
    np.savez_compressed(tmp_path / "a.npz", w=array)
    with open_checkpoint(tmp_path / "a.npz") as checkpoint:
        for first, last in ((0, 100), (100, 200), (250, 300), (10, 20), (0, 300)):
            np.testing.assert_array_equal(checkpoint["w"].rows(first, last), array[first:last])


def test_a_single_array_has_the_name_of_its_file(tmp_path: Path) -> None:
    np.save(tmp_path / "embedding.npy", np.arange(6.0).reshape(2, 3))
    with open_checkpoint(tmp_path / "embedding.npy") as checkpoint:
        assert list(checkpoint) == ["embedding"]
        assert checkpoint.name == "embedding"
        assert checkpoint["embedding"].rows(1, 2).tolist() == [[3, 4, 5]]


def test_objects_and_texts_are_listed_and_never_unpickled(tmp_path: Path) -> None:
    things = np.array([{"a": 1}, print], object)
    records = np.zeros(3, [("a", "f4"), ("b", "i2")])
    np.savez(tmp_path / "a.npz", things=things, words=np.array(["a", "bc"]), records=records)
    with open_checkpoint(tmp_path / "a.npz") as checkpoint:
        assert "never unpickled" in checkpoint["things"].reason
        assert "texts" in checkpoint["words"].reason
        assert "records" in checkpoint["records"].reason
        with pytest.raises(DTypeError):
            np.asarray(checkpoint["things"])


def npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header.encode() + data


def described(shape: str = "(2,)", descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n"


HEADERS = {
    "negative": (npy(described("(-2,)"), bytes(8)), "whole numbers from 0"),
    "too large": (npy(described(f"({2**61},)"), bytes(8)), "more elements"),
    "99 dimensions": (npy(described("(1,)" + " + (1,)" * 98), bytes(4)), "not a Python literal"),
    "a call": (npy(described("__import__('os').getpid()"), bytes(8)), "not a Python literal"),
    "nested": (npy("(" * 5000 + ")" * 5000), "not a Python literal"),
    "cut": (npy(described(), bytes(7)), "need 8 bytes, it has 7"),
    "an order of its own": (npy(described(order="1"), bytes(8)), "in which order"),
    "an unknown dtype": (npy(described(descr="'<q\\x1b'"), bytes(8)), r"dtype <q\\x1b is unknown"),
    "a long header": (b"\x93NUMPY\2\0" + struct.pack("<I", 2**31), "would have 2,147,483,648"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_damaged_headers(tmp_path: Path, case: str) -> None:
    content, says = HEADERS[case]
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(CheckpointError, match=says):
            open_checkpoint(tmp_path / name)


def test_entries_that_leave_the_folder_or_come_twice(tmp_path: Path) -> None:
    content = npy(described(), bytes(8))
    for name in ("../a.npy", "/a.npy", "x/../../a.npy", "..\\a.npy"):
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr(name, content)
        with pytest.raises(CheckpointError, match="not a path inside"):
            open_checkpoint(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.npy", content)
    with pytest.raises(CheckpointError, match=r"a\.npy comes twice"):
        open_checkpoint(tmp_path / "a.npz")


def test_a_compressed_array_that_lies_about_itself(tmp_path: Path) -> None:
    """Wrong sums and sizes are found when the numbers are read, not before; a bomb never."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, w=np.arange(1000, dtype="f4"))
    whole = bytearray(path.read_bytes())
    crc = whole.rindex(b"PK\1\2") + 16
    whole[crc] ^= 1
    path.write_bytes(whole)
    with open_checkpoint(path) as checkpoint, pytest.raises(CheckpointError, match="checksum"):
        np.asarray(checkpoint["w"])
    whole[crc + 10] = 255  # the size: 16 MB and more out of 2 kB
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="cannot be as large"):
        open_checkpoint(path)


def test_a_directory_of_zip64_and_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for comment in (b"", b"hello", b"PK\5\6 is how an archive ends, says this comment"):
        with zipfile.ZipFile(path, "w") as archive:
            with archive.open("dir/a", "w", force_zip64=True) as file:
                file.write(b"12345")
            archive.writestr("é", b"678", zipfile.ZIP_DEFLATED)
            archive.comment = comment
        if comment.startswith(b"PK"):  # it is unclear which end is the end, and not guessed
            with pytest.raises(CheckpointError, match="zip archive is damaged"):
                Archive(LocalFile(path))
            continue
        held = Archive(LocalFile(path))
        assert [held.read(entry) for entry in held.entries.values()] == [b"12345", b"678"]
        assert list(held.entries) == ["dir/a", "é"]
