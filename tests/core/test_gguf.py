"""What the headers of GGUF files say: names, shapes, heads, provenance, parts of a model."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from weightwalk.core.fields import build
from weightwalk.core.plans import make_plans
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.settings import FieldSettings

from .gguf_files import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    LLAMA,
    RNG,
    TEXT,
    U8,
    U16,
    U32,
    U64,
    Fields,
    assert_refused,
    f32,
    little_llama,
    packed,
    read,
    same_bits,
)  # fmt: skip

# --- what the header says ---------------------------------------------------------------------


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("alignment", [1, 8, 32, 4096])
def test_heads_roles_and_names(version: int, alignment: int, tmp_path: Path) -> None:
    fields = LLAMA | {"general.alignment": (U32, alignment)}
    content = packed(little_llama(), fields, version, alignment)
    (tmp_path / "little.gguf").write_bytes(content)
    (tmp_path / "config.json").write_text('{"num_attention_heads": 3}')  # of another model
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.metadata["general.name"] == "Little Llama"
        assert checkpoint.config["model_type"] == "llama"
        q, k, o, gate = list(checkpoint.values())[1:]
        assert [(t.layer, t.role) for t in (q, k, o, gate)] == [
            (1, "q"), (1, "k"), (1, "o"), (1, "gate")
        ]  # fmt: skip
        assert q.names.heads.starts == {"q": tuple(range(0, 64, 8))}
        assert (k.names.heads.axis, k.names.heads.starts) == (0, {"k": (0, 8)})
        assert (o.names.heads.axis, o.names.heads.head_dim) == (1, 8)
        assert gate.names.fused_experts
        assert gate.shape == (4, 6, 64)
        # `--field heads`: a plane a head, of its rows
        settings = FieldSettings(kind="heads", rows=8, cols=64)
        (plan,), _ = make_plans([q], settings)
        assert build(plan, settings).cells.shape == (8, 8, 64)


def test_names_and_numbers_of_every_kind_come_back(tmp_path: Path) -> None:
    fields: Fields = {
        "a.u8": (U8, 255), "a.i8": (I8, -1), "a.u16": (U16, 65535), "a.i16": (I16, -2),
        "a.u32": (U32, 7), "a.i32": (I32, -7), "a.u64": (U64, 2**64 - 1), "a.i64": (I64, -(2**63)),
        "a.f32": (F32, 0.1), "a.f64": (F64, 1e-300), "a.yes": (BOOL, True), "a.no": (BOOL, False),
        "a.text": (TEXT, "naïve ∑"), "a.empty": (TEXT, ""), "a.long": (TEXT, "x" * 10_000),
        "a.numbers": (ARRAY, (I16, [3, -3])), "a.none": (ARRAY, (U8, [])),
        "a.words": (ARRAY, (TEXT, [f"w{i}" for i in range(5000)])),
        "a.nested": (ARRAY, (ARRAY, [(U8, [1, 2]), (TEXT, ["x"])])),
        "a.last": (TEXT, "found"),
    }  # fmt: skip
    (tmp_path / "a.gguf").write_bytes(packed({"w": f32(2, 3)}, fields))
    with open_checkpoint(tmp_path / "a.gguf") as checkpoint:
        said = checkpoint.metadata
    assert list(said) == list(fields)
    assert said["a.words"] == "[w0, w1, w2, w3, w4, w5, w6, w7, … (5,000)]"
    assert said["a.long"].endswith("x… (10,000 bytes)")
    short = {key[2:]: said[key] for key in said if key not in ("a.words", "a.long", "a.nested")}
    assert short == {
        "u8": "255", "i8": "-1", "u16": "65535", "i16": "-2", "u32": "7", "i32": "-7",
        "u64": "18446744073709551615", "i64": "-9223372036854775808", "f32": "0.1",
        "f64": "1e-300", "yes": "true", "no": "false", "text": "naïve ∑", "empty": "",
        "numbers": "[3, -3]", "none": "[]", "last": "found",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "heads"),
    [([8, 8, 8], 8), ([0, 8, 0], 8), ([4, 8, 8], None), ([0, 0, 0], None)],
)
def test_numbers_of_heads_by_layer(counts: list[int], heads: int | None, tmp_path: Path) -> None:
    """A config has one number for all layers; those without attention say 0."""
    fields = LLAMA | {"llama.attention.head_count": (ARRAY, (I32, counts))}
    (tmp_path / "a.gguf").write_bytes(packed(little_llama(), fields))
    with open_checkpoint(tmp_path) as checkpoint:
        layout = checkpoint["blk.1.attn_q.weight"].names.heads
        assert (layout and len(layout.starts["q"])) == heads


def test_deepseeks_lengths_of_heads(tmp_path: Path) -> None:
    """What is turned and what is not is part of a head's length; the plain ones are the cache's."""
    latent = "deepseek2.attention."
    fields: Fields = {
        "general.architecture": (TEXT, "deepseek2"),
        "deepseek2.rope.dimension_count": (U32, 4),
        "deepseek2.embedding_length": (U32, 64),
        f"{latent}head_count": (U32, 2), f"{latent}head_count_kv": (U32, 1),
        f"{latent}kv_lora_rank": (U32, 16), f"{latent}key_length": (U32, 20),
        f"{latent}value_length": (U32, 16), f"{latent}key_length_mla": (U32, 12),
        f"{latent}value_length_mla": (U32, 6),
    }  # fmt: skip
    tensors = {"blk.0.attn_q_b.weight": f32(24, 8), "blk.0.attn_kv_b.weight": f32(28, 16)}
    (tmp_path / "a.gguf").write_bytes(packed(tensors, fields))
    with open_checkpoint(tmp_path) as checkpoint:
        heads = [tensor.names.heads for tensor in checkpoint.values()]
    assert [(each.head_dim, tuple(each.starts)) for each in heads] == [
        (12, ("q_b",)),
        (14, ("kv_b",)),
    ]


def test_a_file_that_the_package_writes(tmp_path: Path) -> None:
    """Written, quantised and read back by the gguf package itself."""
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_name("made by gguf")
    writer.add_embedding_length(64)
    writer.add_head_count(8)
    writer.add_token_list([f"word {i}" for i in range(1000)])
    matrix = RNG.normal(size=(64, 64)).astype(np.float32)
    blocks = gguf.quantize(matrix, gguf.GGMLQuantizationType.Q5_1)
    kind = gguf.GGMLQuantizationType.Q5_1
    writer.add_tensor("blk.0.attn_q.weight", blocks, raw_dtype=kind)
    writer.add_tensor("output_norm.weight", matrix[0])
    for step in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{step}_to_file")()
    writer.close()
    theirs = {t.name: t for t in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    with open_checkpoint(tmp_path / "a.gguf") as checkpoint:
        assert checkpoint.metadata["general.name"] == "made by gguf"
        assert list(checkpoint) == list(theirs)
        same_bits(np.asarray(checkpoint["output_norm.weight"]), matrix[0])
        q = checkpoint["blk.0.attn_q.weight"]
        assert q.nbytes == theirs[q.name].n_bytes
        same_bits(np.asarray(q), gguf.dequantize(theirs[q.name].data, kind))
        np.testing.assert_allclose(np.asarray(q), matrix, atol=0.2)


# --- split files ------------------------------------------------------------------------------


def split(folder: Path, count: int = 3, **changes: tuple[int, Any]) -> list[Path]:
    paths = []
    for number in range(count):
        fields: Fields = {
            "split.no": (U16, number),
            "split.count": (U16, count),
            "split.tensors.count": (I32, 2 * count),
        }
        if not number:
            fields |= LLAMA
        fields |= {f"split.{key}": changed for key, changed in changes.items()}
        tensors = {f"blk.{number}.attn_{role}.weight": f32(64, 64) for role in "qv"}
        paths.append(folder / f"Little-Q4_K_M-{number + 1:05}-of-{count:05}.gguf")
        paths[-1].write_bytes(packed(tensors, fields))
    return paths


def test_a_split_model_opens_by_any_part_or_its_folder(tmp_path: Path) -> None:
    paths = split(tmp_path)
    for path in (*paths, tmp_path):
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.metadata["general.name"] == "Little Llama"
            assert [t.layer for t in checkpoint.values()] == [0, 0, 1, 1, 2, 2]
            assert {t.file.name for t in checkpoint.values()} == {each.name for each in paths}
            last = checkpoint["blk.2.attn_v.weight"]
            assert last.names.heads is None or last.names.heads.head_dim == 8
            assert checkpoint["blk.2.attn_q.weight"].names.heads.head_dim == 8
            raw = paths[2].read_bytes()[-64 * 64 * 4 :]
            assert np.asarray(last).tobytes() == raw


def test_a_split_model_that_is_not_whole(tmp_path: Path) -> None:
    first, second, third = split(tmp_path)
    third.rename(tmp_path / "third")
    assert_refused(first, r"part Little-Q4_K_M-00003-of-00003\.gguf is missing")
    assert_refused(tmp_path, r"00003-of-00003\.gguf is missing")
    third.write_bytes(second.read_bytes())
    assert_refused(first, "00003-of-00003.gguf: this is not part 3 of 3, as its name says")
    third.write_bytes(packed({"w": f32(1)}))
    assert_refused(first, "this is not part 3 of 3")
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "renamed.gguf").write_bytes(second.read_bytes())
    assert_refused(odd, "one of 3 parts of a model, but its name does not say which one")
    more = tmp_path / "more"
    more.mkdir()
    split(more, 2, **{"tensors.count": (I32, 9)})
    assert_refused(more, "the parts have 4 tensors, the model 9")
    twice = {"split.no": (U16, 1), "split.count": (U16, 2)}
    tensors = {"blk.0.attn_q.weight": f32(64, 64)}
    (more / "Little-Q4_K_M-00002-of-00002.gguf").write_bytes(packed(tensors, twice))
    assert_refused(more, "blk.0.attn_q.weight is in another part, too")


def test_folders(tmp_path: Path) -> None:
    (tmp_path / "a-Q4_0.gguf").write_bytes(packed({"w": f32(2, 2)}))
    (tmp_path / "._a-Q4_0.gguf").write_bytes(b"of a Mac")
    assert read(tmp_path).shape == (2, 2)
    assert read(tmp_path / "a-Q4_0.gguf").shape == (2, 2)
    split(tmp_path)
    assert_refused(
        tmp_path, r"2 checkpoints here; open one of: Little-\S+-00001-of-00003\.gguf, a-Q4_0\.gguf"
    )


# --- a real file ------------------------------------------------------------------------------


@pytest.mark.smollm2
def test_a_real_model(smollm2_file: Path) -> None:
    began = time.perf_counter()
    with open_checkpoint(smollm2_file) as checkpoint:
        assert time.perf_counter() - began < 1
        assert len(checkpoint) == 272
        assert {tensor.layer for tensor in checkpoint.values()} == {None, *range(30)}
        kinds = Counter(tensor.dtype for tensor in checkpoint.values())
        assert kinds == {"F32": 61, "Q4_1": 210, "Q8_0": 1}
        assert checkpoint.metadata["tokenizer.ggml.tokens"].endswith("… (49,152)]")
        q, last = checkpoint["blk.3.attn_q.weight"], list(checkpoint.values())[-1]
        assert q.shape == (576, 576)
        assert q.names.heads.starts["q"] == tuple(range(0, 576, 64))
        (span,) = q.values.spans(0, q.size)
        (end,) = last.values.spans(0, last.size)
        assert end.end == smollm2_file.stat().st_size
        found = np.asarray(q)
    # Q4_1: a scale, the least number, and 32 codes, two a byte, the second 16 above
    raw = np.memmap(smollm2_file, np.uint8, "r", span.begin, (576 * 576 // 32, 20))
    scale, least = raw[:, :4].copy().view("<f2").astype(np.float32).T[..., None]
    codes = np.hstack([raw[:, 4:] & 15, raw[:, 4:] >> 4]).astype(np.float32)
    same_bits(found, (codes * scale + least).reshape(576, 576))
    assert 0.05 < found.std() < 0.5
