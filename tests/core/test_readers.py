"""Checkpoints of every form, read back against numpy, safetensors and torch."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from weightwalk.core.errors import CheckpointError, DTypeError
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.readers.dtypes import DTYPES

RNG = np.random.default_rng(5)
MATRIX = RNG.normal(size=(7, 5)).astype(np.float32)


def write(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> Path:
    """Write a safetensors file by hand: name → dtype, shape, raw bytes."""
    header, data = {}, b""
    for name, (dtype, shape, raw) in tensors.items():
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def write_index(folder: Path, weight_map: object) -> Path:
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["f8", "f4", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]
)
def test_numpys_dtypes_read_back_exactly(tmp_path: Path, kind: str) -> None:
    raw = RNG.bytes(4 * 6 * 8)
    array = np.frombuffer(raw, "u1") > 127 if kind == "?" else np.frombuffer(raw, "<" + kind)
    array = array[: len(array) // 6 * 6].reshape(-1, 6)
    save_file({"w": array}, tmp_path / "a.safetensors")
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint, np.errstate(all="ignore"):
        tensor = checkpoint["w"]
        assert (tensor.shape, tensor.nbytes) == (array.shape, array.nbytes)
        assert tensor.is_float == (array.dtype.kind == "f")
        assert tensor.decodable
        np.testing.assert_array_equal(np.asarray(tensor, array.dtype), array)
        np.testing.assert_array_equal(np.asarray(tensor), array.astype(np.float32))
        assert np.asarray(tensor).dtype == np.float32
        np.testing.assert_array_equal(tensor.rows(1, 3, np.float64), array[1:3].astype(np.float64))


@pytest.mark.probe
@pytest.mark.parametrize(
    "kind",
    [
        *["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"],
        *["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"],
    ],
)
def test_every_dtype_is_what_torch_reads(tmp_path: Path, kind: str) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    dtype = getattr(torch, kind)
    codes = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(torch.uint8)
    tensor = codes.reshape(-1, 512).clone()
    tensor = tensor % 2 == 1 if kind == "bool" else tensor.view(dtype)  # every 8- and 16-bit code
    save_torch({"w": tensor}, tmp_path / "a.safetensors")
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        found = np.asarray(checkpoint["w"])
        wide = np.asarray(checkpoint["w"], np.float64)
    expected = tensor.to(torch.float32).numpy()
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(found), nan)
    np.testing.assert_array_equal(found[~nan].view(np.uint32), expected[~nan].view(np.uint32))
    np.testing.assert_array_equal(wide, tensor.to(torch.float64).numpy())


def test_small_floats_by_hand(tmp_path: Path) -> None:
    """A few codes of the formats' definitions, for where torch is not."""
    path = write(
        tmp_path / "a.safetensors",
        {
            "e4m3": ("F8_E4M3", [6], bytes([0x00, 0x01, 0x38, 0x7E, 0xFE, 0x7F])),
            "e5m2": ("F8_E5M2", [6], bytes([0x80, 0x01, 0x3C, 0x7B, 0xFC, 0x7D])),
            "bf16": ("BF16", [3], struct.pack("<3H", 0x3F80, 0xC049, 0x7F80)),
        },
    )
    with open_checkpoint(path) as checkpoint:
        e4m3, e5m2, bf16 = (np.asarray(checkpoint[name]) for name in ("e4m3", "e5m2", "bf16"))
    np.testing.assert_array_equal(e4m3, [0, 2**-9, 1, 448, -448, np.nan])
    np.testing.assert_array_equal(e5m2, [0, 2**-16, 1, 57344, -np.inf, np.nan])
    assert np.signbit(e5m2[0])
    np.testing.assert_array_equal(bf16, [1, -3.140625, np.inf])


@given(data=st.data())
def test_any_range_is_that_range(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "range.safetensors"
    values = np.arange(3 * 90_000, dtype="<u4").reshape(-1, 3)  # several blocks of decoding
    if not path.exists():
        halves = (values & 0xFF).astype("<f4").view("<u4") >> 16  # exact in BF16
        raw = halves.astype("<u2").tobytes()
        write(path, {"pad": ("U8", [3], b"123"), "w": ("BF16", list(values.shape), raw)})
    start = data.draw(st.integers(0, values.size))
    stop = data.draw(st.integers(start, values.size))
    first = data.draw(st.integers(0, len(values)))
    last = data.draw(st.integers(first, len(values)))
    with open_checkpoint(path) as checkpoint:
        flat = checkpoint["w"].flat(start, stop)
        rows = checkpoint["w"].rows(first, last)
    np.testing.assert_array_equal(flat, values.ravel()[start:stop] & 0xFF)
    np.testing.assert_array_equal(rows, values[first:last] & 0xFF)


def test_scalars_and_empty_tensors(tmp_path: Path) -> None:
    save_file(
        {"s": np.array(2.5, np.float32), "e": np.zeros((0, 4), np.float16)},
        tmp_path / "a.safetensors",
    )
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        assert np.asarray(checkpoint["s"]) == 2.5
        assert np.asarray(checkpoint["e"]).shape == (0, 4)
        assert checkpoint["e"].rows(0, 0).shape == (0, 4)
        with pytest.raises(IndexError, match="scalar"):
            checkpoint["s"].rows(0, 1)
        with pytest.raises(IndexError):
            checkpoint["e"].rows(0, 1)
        with pytest.raises(IndexError):
            checkpoint["s"].flat(-1, 1)


@pytest.mark.parametrize("name", [name for name, dtype in DTYPES.items() if dtype.reason])
def test_known_dtypes_that_are_not_decoded_are_listed(tmp_path: Path, name: str) -> None:
    raw = bytes(DTYPES[name].bits)
    path = write(tmp_path / "a.safetensors", {"w": (name, [2, 4], raw), "x": ("U8", [1], b"x")})
    with open_checkpoint(path) as checkpoint:
        tensor = checkpoint["w"]
        assert (tensor.dtype, tensor.shape, tensor.nbytes) == (name, (2, 4), len(raw))
        assert not tensor.decodable
        assert not tensor.is_float
        assert name in tensor.reason
        with pytest.raises(DTypeError, match=f"w: {name}"):
            np.asarray(tensor)
        assert np.asarray(checkpoint["x"]).tolist() == [ord("x")]


def test_the_table_of_dtypes_is_the_librarys() -> None:
    """safetensors lists its dtypes when it meets one that it does not know."""
    from safetensors import SafetensorError, deserialize

    text = b'{"a":{"dtype":"?","shape":[1],"data_offsets":[0,1]}}'
    with pytest.raises(SafetensorError) as error:
        deserialize(struct.pack("<Q", len(text)) + text + b"x")
    listed = str(error.value).partition("expected one of ")[2].split("`")[1::2]
    assert set(listed) <= set(DTYPES)


# --- forms of checkpoints ---------------------------------------------------------------------


def test_a_mapping_with_layers_and_roles(tmp_path: Path) -> None:
    name = "model.layers.3.self_attn.q_proj.weight"
    save_file({name: MATRIX}, tmp_path / "tiny.safetensors", {"format": "pt"})
    with open_checkpoint(tmp_path / "tiny.safetensors") as checkpoint:
        assert list(checkpoint) == [name]
        assert (checkpoint.name, checkpoint.config, checkpoint.notes) == ("tiny", {}, ())
        tensor = checkpoint[name]
        assert (tensor.layer, tensor.role, tensor.file) == (3, "q", checkpoint.path)
        with pytest.raises(KeyError):
            checkpoint["nothing"]


def test_shards_follow_the_index_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    save_file({"a": MATRIX, "unlisted": MATRIX}, tmp_path / "one.safetensors")
    save_file({"b": -MATRIX}, tmp_path / "sub" / "two.safetensors")
    (tmp_path / "stray.safetensors").write_bytes(b"not opened")
    (tmp_path / "config.json").write_text('{"hidden_size": 5}')
    index = write_index(tmp_path, {"b": "sub/two.safetensors", "a": "one.safetensors"})
    for path in (tmp_path, index, str(tmp_path)):
        with open_checkpoint(path) as checkpoint:
            assert list(checkpoint) == ["b", "a"]
            assert checkpoint.config == {"hidden_size": 5}
            assert checkpoint.name == tmp_path.name
            np.testing.assert_array_equal(checkpoint["b"], -MATRIX)


def test_a_hub_cache_snapshot_of_links(tmp_path: Path) -> None:
    cache = tmp_path / "models--org--tiny"
    snapshot = cache / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    save_file({"a": MATRIX}, cache / "blobs" / "ffee")
    blob = write_index(cache / "blobs", {"a": "model-00001-of-00001.safetensors"})
    for link, target in (("model-00001-of-00001.safetensors", "ffee"), (blob.name, blob.name)):
        (snapshot / link).symlink_to(Path("../../blobs") / target)
    with open_checkpoint(snapshot) as checkpoint:
        assert checkpoint.name == "org/tiny"
        np.testing.assert_array_equal(checkpoint["a"], MATRIX)


def test_a_folder_with_one_file_among_others(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    save_file({"a": MATRIX}, folder / "weights.safetensors")
    (folder / "README.md").write_text("# nothing")
    (folder / "._weights.safetensors").write_bytes(b"macOS was here")
    assert open_checkpoint(folder).name == "my-model"
    save_file({"a": MATRIX}, folder / "more.safetensors")
    with pytest.raises(CheckpointError, match=r"2 checkpoints.*more\.safetensors, weights\.safet"):
        open_checkpoint(folder)
    save_file({"b": MATRIX}, folder / "model.safetensors")
    assert list(open_checkpoint(folder)) == ["b"]
    assert open_checkpoint(folder / "model.safetensors").name == "my-model"


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": ' + "[" * 100_000, "\xff"])
def test_a_broken_config_is_noted_not_fatal(tmp_path: Path, text: str) -> None:
    save_file({"a": MATRIX}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.config == {}
    (note,) = checkpoint.notes
    assert "config.json: it is n" in note


def test_opening_reads_headers_only(tmp_path: Path) -> None:
    """Sixteen shards of 4 GB that are not on the disk: only a header's worth of bytes is."""
    weight_map = {}
    for shard in range(16):
        length = 4 << 30
        name = f"model.layers.{shard}.mlp.up_proj.weight"
        entry = {"dtype": "BF16", "shape": [1 << 11, 1 << 20], "data_offsets": [0, length]}
        text = json.dumps({name: entry}).encode()
        weight_map[name] = f"model-{shard:05}.safetensors"
        with (tmp_path / weight_map[name]).open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            file.truncate(8 + len(text) + length)
    write_index(tmp_path, weight_map)
    with open_checkpoint(tmp_path) as checkpoint:
        assert sum(tensor.nbytes for tensor in checkpoint.values()) == 64 << 30
        last = checkpoint["model.layers.15.mlp.up_proj.weight"]
        assert not last.rows(2047, 2048).any()
        assert not last.flat(last.size - 3, last.size, np.float64).any()


@pytest.mark.model
def test_the_real_model(model_folder: Path) -> None:
    from safetensors.numpy import load_file

    with open_checkpoint(model_folder) as checkpoint:
        truth = load_file(model_folder / "model.safetensors")
        assert set(checkpoint) == set(truth)
        query = checkpoint["encoder.layer.5.attention.self.query.weight"]
        assert (query.layer, query.role, query.dtype) == (5, "q", "F32")
        assert query.names.heads is not None
        assert len(query.names.heads.starts["q"]) == 12
        for name, tensor in checkpoint.items():
            np.testing.assert_array_equal(np.asarray(tensor, truth[name].dtype), truth[name])
        places = {(t.names.group, t.layer, t.role) for t in checkpoint.values()}
        assert len(places) == len(checkpoint)


# --- while it is open -------------------------------------------------------------------------


def test_a_closed_checkpoint_says_so(tmp_path: Path) -> None:
    save_file({"a": MATRIX}, tmp_path / "a.safetensors")
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        tensor = checkpoint["a"]
    with pytest.raises(CheckpointError, match="checkpoint is closed"):
        np.asarray(tensor)
    assert tensor.shape == (7, 5)


def test_a_file_that_changes_meanwhile_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": MATRIX}, path)
    tensor = open_checkpoint(path)["a"]
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(CheckpointError, match="has changed since it was opened"):
        np.asarray(tensor)
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be read any more"):
        np.asarray(tensor)


def test_a_file_cut_between_check_and_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": MATRIX}, path)
    tensor = open_checkpoint(path)["a"]

    def cut() -> object:
        os.truncate(path, 100)  # the file is open by now
        yield np.empty(35, np.float32)

    with pytest.raises(CheckpointError, match="was cut while it was read"):
        tensor.sources[0].read_into(80, cut())
