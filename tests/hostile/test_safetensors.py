"""Headers, indices and paths made to hurt, each with what is said about it."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from weightwalk.core.errors import CheckpointError
from weightwalk.core.readers import open_checkpoint, printable

from .making import packed


def entry(dtype: Any = "U8", shape: Any = (1,), offsets: Any = (0, 1)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def assert_refused(path: Path, says: str) -> None:
    with pytest.raises(CheckpointError, match=says) as error:
        open_checkpoint(path)
    message = str(error.value)
    assert message.isprintable()
    assert "Error" not in message
    assert len(message) < 1500


TWO = {"a": entry(), "b": entry(offsets=[1, 2])}
HEADERS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the file is empty"),
    "five bytes": (b"12345", "not a safetensors file"),
    "header over the file's end": (packed(TWO, length=5000), "header has 5,000 bytes.*cut"),
    "header over the cap": (packed(TWO, length=100_000_001), "at most 100,000,000 bytes"),
    "header of 2**64 - 1": (packed(TWO, length=2**64 - 1), "at most 100,000,000"),
    "no header": (packed(b""), "the header"),
    "not JSON": (packed(b"{nothing}"), "header is not JSON"),
    "not UTF-8": (packed(b'{"\xff": 1}'), "header is not JSON"),
    "half a surrogate pair": (packed(b'{"\\ud800": 1}'), "header is not JSON"),
    "not an object": (packed(b"[1, 2]"), "not a JSON object"),
    "nested deeply": (packed(b'{"a":' + b"[" * 200_000), "nested too deeply"),
    "a number of 5,000 digits": (packed(b'{"a":' + b"9" * 5000 + b"}"), "header is not JSON"),
    "a name twice": (
        packed(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2), b"x"),
        "the header has a twice",
    ),
    "metadata is a list": (packed({"__metadata__": [1]}), "__metadata__"),
    "metadata holds a number": (packed({"__metadata__": {"a": 1}}), "__metadata__"),
    "entry is a number": (packed({"a": 3}), "entry is not an object"),
    "no dtype": (packed({"a": {"shape": [1], "data_offsets": [0, 1]}}, b"x"), "dtype None"),
    "dtype is a list": (packed({"a": entry(dtype=["F32"])}, b"x"), "dtype .* is unknown"),
    "unknown dtype": (packed({"a": entry(dtype="F3\x1b[2J")}, b"x"), r"F3\\x1b\[2J is unknown"),
    "shape is a number": (packed({"a": entry(shape=1)}, b"x"), "shape is not a list"),
    "negative shape": (packed({"a": entry(shape=[-1, -1])}, b"x"), "shape is not a list"),
    "shape of truths": (packed({"a": entry(shape=[True])}, b"x"), "shape is not a list"),
    "shape of fractions": (packed({"a": entry(shape=[1.0])}, b"x"), "shape is not a list"),
    "shape overflows": (packed({"a": entry(shape=[2**32, 2**32])}, b"x"), "more elements"),
    "empty but huge": (packed({"a": entry(shape=[0, 2**62], offsets=[0, 0])}), "more elements"),
    "99 dimensions": (packed({"a": entry(shape=[1] * 99)}, b"x"), "99 dimensions"),
    "wrong shape": (packed({"a": entry(shape=[2])}, b"x"), "need 2 bytes.*give 1"),
    "half a byte": (packed({"a": entry("F4", [3], [0, 1])}, b"x"), "need 1.5 bytes"),
    "one offset": (packed({"a": entry(offsets=[0])}, b"x"), "not two whole numbers"),
    "offsets are texts": (packed({"a": entry(offsets=["0", "1"])}, b"x"), "not two whole"),
    "reversed offsets": (packed({"a": entry(offsets=[1, 0])}, b"x"), "negative or reversed"),
    "negative offsets": (packed({"a": entry(offsets=[-1, 0])}, b"x"), "negative or reversed"),
    "out of range": (packed({"a": entry("U8", [9], [0, 9])}, b"x"), "only 1: the file was cut"),
    "far out of range": (
        packed({"a": entry("U8", [1], [2**80, 2**80 + 1])}, b"x"),
        "the file was cut",
    ),
    "overlap": (packed({"a": entry(), "b": entry()}, b"x"), "b overlaps"),
    "hole": (packed({"a": entry(), "b": entry(offsets=[2, 3])}, b"xyz"), "b leaves a hole"),
    "hole at the start": (packed({"b": entry(offsets=[1, 2])}, b"xy"), "b leaves a hole"),
    "bytes left": (packed(TWO, b"xyz"), "1 bytes after the last tensor"),
    "cut": (packed(TWO, b"x"), "b ends at byte 2 of the data, but there are only 1"),
    "a name that writes on the terminal": (
        packed({"\x1b[31m\nfine: \u202e": entry(dtype="?")}, b"x"),
        r"\\x1b\[31m\\nfine: \\u202e",
    ),
    "a name of a megabyte": (packed({"n" * 10**6: entry(dtype="?")}, b"x"), "1,000,000 charac"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
    "HTML": (b"<!DOCTYPE html><html><title>404</title></html>", "web page"),
    "GGUF": (b"GGUF\x03\x00\x00\x00" + bytes(64), "GGUF"),
    "pickle": (pickle.dumps({"w": list(range(99))}), "pickle.*never opened"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_damaged_files(tmp_path: Path, case: str) -> None:
    content, says = HEADERS[case]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert_refused(path, f"^{path}: .*{says}")
    assert_refused(tmp_path, f"^{path}: .*{says}")


def test_a_zip_is_named_under_any_ending(tmp_path: Path) -> None:
    for name, says in (("model.safetensors", "a zip archive"), ("a.bin", "without data.pkl")):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("readme.txt", "hello")
        assert_refused(tmp_path / name, says)


def test_paths_that_are_no_checkpoint(tmp_path: Path) -> None:
    assert_refused(tmp_path / "nothing", "no such file or folder")
    assert_refused(tmp_path / "a\0b", "cannot be the path")
    assert_refused(tmp_path, "the folder is empty")
    (tmp_path / "config.json").write_text("{}")
    assert_refused(tmp_path, "no checkpoint here")
    assert_refused(tmp_path / "config.json", "a JSON text")
    assert_refused(tmp_path / "config.json" / "x", "no such file or folder")
    (tmp_path / "model.bin").write_bytes(b"x")
    assert_refused(tmp_path, r"model\.bin: this is not a PyTorch file")
    (tmp_path / "model.bin").unlink()
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "model.safetensors").write_bytes(b"")
    assert_refused(tmp_path, "but there is in: unet")
    (tmp_path / "loop.safetensors").symlink_to("loop.safetensors")
    assert_refused(tmp_path / "loop.safetensors", "cannot be read|no such file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.safetensors")
    assert_refused(tmp_path, "not a regular file")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no POSIX permissions here")
def test_no_permission() -> None:
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        path.write_bytes(packed(TWO, b"xy"))
        path.chmod(0)
        path.parent.chmod(0o755)
        if user == 0:  # root reads anything, so be nobody for a moment
            os.seteuid(65534)
        try:
            assert_refused(path, rf"^{path}: cannot be read \(Permission denied\)")
        finally:
            os.seteuid(user)


INDICES: dict[str, tuple[str, str]] = {
    "missing shard": ('{"weight_map": {"a": "gone.safetensors"}}', "gone.safetensors is missing"),
    "missing tensor": ('{"weight_map": {"z": "one.safetensors"}}', "z is not in its shard one"),
    "not JSON": ("weights", "index is not JSON"),
    "a list": ("[]", "index is not a JSON object"),
    "no weight_map": ("{}", "no weight_map"),
    "weight_map of numbers": ('{"weight_map": {"a": 1}}', "no weight_map"),
    "weight_map is a list": ('{"weight_map": ["a"]}', "no weight_map"),
    "empty weight_map": ('{"weight_map": {}}', "names no tensor"),
    "a tensor twice": ('{"weight_map": {"a": "x", "a": "y"}}', "a twice"),
    "the folder itself": ('{"weight_map": {"a": "."}}', "not a path inside"),
    "no name": ('{"weight_map": {"a": ""}}', "not a path inside"),
    "NUL": ('{"weight_map": {"a": "one\\u0000"}}', "not a path inside"),
    "above": ('{"weight_map": {"a": "../one.safetensors"}}', "not a path inside"),
    "above, later": ('{"weight_map": {"a": "x/../../one.safetensors"}}', "not a path inside"),
    "above, Windows": ('{"weight_map": {"a": "..\\\\one.safetensors"}}', "not a path inside"),
    "absolute": ('{"weight_map": {"a": "/etc/passwd"}}', "not a path inside"),
    "a drive": ('{"weight_map": {"a": "C:one.safetensors"}}', "not a path inside"),
    "half a surrogate pair": ('{"weight_map": {"a": "\\ud800"}}', "is missing"),
    "a folder": ('{"weight_map": {"a": "sub"}}', "sub: this is not a regular file"),
}


@pytest.mark.parametrize("case", INDICES)
def test_damaged_indices(tmp_path: Path, case: str) -> None:
    text, says = INDICES[case]
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for path in (folder / "one.safetensors", tmp_path / "one.safetensors"):
        path.write_bytes(packed({"a": entry()}, b"x"))
    (folder / "model.safetensors.index.json").write_text(text)
    assert_refused(folder, says)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "two.safetensors").write_bytes(packed(TWO, b"x"))
    (tmp_path / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "two.safetensors"}}'
    )
    assert_refused(tmp_path, f"^{tmp_path / 'two.safetensors'}: .*the file was cut")


def test_a_header_of_empty_lists_does_not_fill_the_memory(tmp_path: Path) -> None:
    """20 MB of "[]," would be 0.5 GB of Python lists."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(packed(b'{"a":[' + b"[]," * 6_600_000 + b"[]]}"))
    tracemalloc.start()
    try:
        assert_refused(path, "header is not valid")
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


VALID = packed(
    {
        "__metadata__": {"format": "pt"},
        "model.layers.0.mlp.up_proj.weight": entry("F32", [2, 3], [0, 24]),
        "b": entry("BF16", [4], [24, 32]),
        "c": entry("F8_E4M3", [3], [32, 35]),
        "d": entry("F4", [2, 1], [35, 36]),
    },
    bytes(range(36)),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
SHAPES = st.lists(st.integers(-1, 2**64), max_size=4) | JSON
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BF16", "F4", "F6_E2M3", "C64", "U8", "X"]) | JSON,
        "shape": SHAPES,
        "data_offsets": st.lists(st.integers(-1, 40), min_size=2, max_size=2) | SHAPES,
    }
)


def open_and_read(path: Path, content: bytes) -> None:
    """Only a `CheckpointError` or tensors that lie in the file and read at their size."""
    path.write_bytes(content)
    try:
        checkpoint = open_checkpoint(path)
    except CheckpointError as error:
        assert str(error).isprintable()
        return
    with checkpoint:
        assert sum(tensor.nbytes for tensor in checkpoint.values()) <= len(content)
        for tensor in checkpoint.values():
            assert tensor.role
            if tensor.decodable:
                assert np.asarray(tensor).shape == tensor.shape


FUZZ = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(
    changes=st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.binary(max_size=3)), max_size=4),
    cut=st.integers(0, len(VALID)) | st.none(),
)
def test_fuzzed_bytes(tmp_path: Path, changes: list[tuple[int, bytes]], cut: int | None) -> None:
    content = bytearray(VALID)
    for at, new in changes:
        content[at : at + len(new)] = new
    open_and_read(tmp_path / "model.safetensors", bytes(content[:cut]))


@FUZZ
@given(
    header=st.dictionaries(
        st.text(max_size=4) | st.just("__metadata__"), ENTRIES | JSON, max_size=4
    ),
    size=st.integers(0, 40),
)
def test_fuzzed_headers(tmp_path: Path, header: dict[str, Any], size: int) -> None:
    open_and_read(tmp_path / "model.safetensors", packed(header, bytes(size)))


def test_what_is_printed_is_harmless() -> None:
    assert printable("model.layers.0.größe") == "model.layers.0.größe"
    assert printable("a\r\n\x1b\u2028\ud800") == r"a\r\n\x1b\u2028\ud800"
    assert len(printable("\x00" * 10**6)) < 700
