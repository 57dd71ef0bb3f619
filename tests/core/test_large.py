"""Models larger than memory: only what is asked for is read, and little is held."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import weightwalk
from weightwalk.core import model
from weightwalk.core.fields import build
from weightwalk.core.plans import make_plans, select
from weightwalk.core.readers import datafile
from weightwalk.core.readers.datafile import LocalFile
from weightwalk.core.settings import FieldSettings, Selection, Settings
from weightwalk.core.stages import finish

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
# Runs a command and tells the most memory that it held.
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""
SMALL = {
    "num_hidden_layers": 5,
    "n_routed_experts": 3,
    "hidden_size": 256,
    "vocab_size": 384,
    "num_attention_heads": 2,
    "q_lora_rank": 128,
    "kv_lora_rank": 128,
    "intermediate_size": 384,
    "moe_intermediate_size": 128,
}


@pytest.fixture(scope="module")
def giant():
    """Return scripts/_giant.py, which writes a DeepSeek-V3 without most of its bytes."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        import _giant
    finally:
        sys.path.remove(str(SCRIPTS))
    return _giant


@pytest.fixture(scope="module")
def small(giant, tmp_path_factory):
    """Return the folder of one with small matrices and real bytes."""
    folder = tmp_path_factory.mktemp("giant") / "small"
    config = giant.CONFIG | SMALL
    giant.write(folder, list(giant.tensors(config)), config, 4, real=[""])
    return folder


@pytest.fixture
def touched(monkeypatch):
    """Return the bytes that are read from now on as {file: [(begin, end)]}."""
    ranges = defaultdict(list)
    fill = LocalFile._fill_all

    def watched(self, file, position, arrays, end):
        def each():
            nonlocal position
            for array in arrays:
                ranges[self.path.name].append((position, position + array.nbytes))
                position += array.nbytes
                yield array

        fill(self, file, position, each(), end)

    monkeypatch.setattr(LocalFile, "_fill_all", watched)
    return ranges


def spans_of(tensors):
    """Return the bytes that tensors are made of as {file: [(begin, end)]}."""
    spans = defaultdict(list)
    for tensor in tensors:
        for span in tensor.values.spans(0, tensor.size):
            spans[span.file.path.name].append((span.begin, span.end))
    return spans


@pytest.mark.parametrize(
    ("selection", "kind"),
    [
        (Selection(layers=(1, 1)), "slab"),
        (Selection(patterns=("*.kv_a_proj_with_mqa.weight",)), "depth"),
        (Selection(layers=(4, 4)), "experts"),
    ],
)
def test_only_the_bytes_of_the_chosen_tensors_are_read(small, touched, selection, kind):
    settings = Settings(small, selection, FieldSettings(kind=kind, rows=32, cols=32))
    with weightwalk.open(small) as checkpoint:
        plans, _ = make_plans(select(checkpoint, selection)[0], settings.field)
        chosen = [part.tensor for plan in plans for part in plan.parts]
        spans = spans_of(chosen)
        assert sum(tensor.nbytes for tensor in chosen) < sum(
            tensor.nbytes for tensor in checkpoint.values()
        )
    headers = {name: max(end for _, end in found) for name, found in touched.items()}
    touched.clear()
    finish(model.steps(settings))
    for name, found in touched.items():
        for begin, end in found:
            inside = any(first <= begin and end <= last for first, last in spans[name])
            assert inside or end <= headers[name], (name, begin, end)
    read = sum(
        end - begin for name, of in touched.items() for begin, end in of if end > headers[name]
    )
    assert read == sum(tensor.nbytes for tensor in chosen)  # each byte once


def test_the_giant_is_the_models_own_size_and_lists_in_little_memory(giant, tmp_path):
    """As on the hub. What it takes in seconds is measured by scripts/bench --large."""
    every = list(giant.tensors(giant.CONFIG))
    wrote = giant.write(tmp_path / "giant", every, giant.CONFIG, giant.SHARDS)
    assert wrote == {"tensors": 91_991, "bytes": 688_574_839_360}
    files = sorted((tmp_path / "giant").glob("*.safetensors"))
    assert len(files) == 163
    assert sum(file.stat().st_size for file in files) > 688e9
    assert sum(512 * file.stat().st_blocks for file in files) < 100e6
    command = [sys.executable, "-m", "weightwalk", "inspect", str(tmp_path / "giant"), "--json"]
    with (tmp_path / "listed").open("wb") as listed:
        # Through a small process: the system counts what the one held that started it.
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *command],
            stdout=listed,
            stderr=subprocess.PIPE,
            check=True,
        )
    found = {one["name"]: one for one in json.loads((tmp_path / "listed").read_text())["tensors"]}
    assert sum(one["bytes"] for one in found.values()) == 688_574_839_360
    expert = found["model.layers.60.mlp.experts.255.down_proj.weight"]
    assert (expert["shape"], expert["layer"], expert["role"]) == ([7168, 2048], 60, "down")
    assert int(done.stderr) * (1 if sys.platform == "darwin" else 1024) < 300e6


def test_reading_a_tensor_holds_a_block_of_it(tmp_path):
    """Half a gigabyte that is not on the disk, to a field, in 60 MB."""
    length, rows = 1 << 29, 1 << 14
    entry = {"dtype": "BF16", "shape": [rows, rows], "data_offsets": [0, length]}
    text = json.dumps({"w": entry}).encode()
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + b"\x80\x3f")
        file.truncate(8 + len(text) + length)
    script = (
        "import resource, sys, weightwalk\n"
        "from weightwalk.core.pooling import cell_edges, pool\n"
        "edges = cell_edges(1 << 14, 64)\n"
        "tensor = weightwalk.open(sys.argv[1])['w']\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "found = pool(tensor, edges, edges, 'rms')\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(found.high, after - before)\n"
    )
    # Through a small process, as above: `before` would be what pytest holds, and `added` nothing.
    command = [sys.executable, "-c", PEAK, sys.executable, "-c", script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    high, added = done.stdout.split()
    assert float(high) == 1.0
    assert int(added) * (1 if sys.platform == "darwin" else 1024) < 60e6


# --- what is fetched ahead --------------------------------------------------------------------


@pytest.fixture
def advice(monkeypatch):
    """Return what the system is asked to fetch, as (begin, end)."""
    asked = []
    fetch = datafile._fetch

    def watched(descriptor, offset, length):
        asked.append((offset, offset + length))
        fetch(descriptor, offset, length)

    monkeypatch.setattr(datafile, "_fetch", watched)
    return asked


def test_a_tensor_in_a_row_is_fetched_ahead_once_and_no_further(tmp_path, monkeypatch, advice):
    path = tmp_path / "data"
    path.write_bytes(np.random.default_rng(1).bytes(100_000))
    monkeypatch.setattr(datafile, "_AHEAD", 10_000)
    monkeypatch.setattr(datafile, "_AT_ONCE", 3_000)
    file, read = LocalFile(path), b""
    for begin in range(500, 60_000, 700):
        array = np.empty(min(700, 60_000 - begin), np.uint8)
        file.read_into(begin, iter((array,)), 60_000)
        read += array.tobytes()
    assert read == path.read_bytes()[500:60_000]
    ends = [end for _, end in advice]
    assert [begin for begin, _ in advice[1:]] == ends[:-1]  # nothing twice
    assert (advice[0][0], ends[-1]) == (1200, 60_000)
    assert len(advice) < 15


def test_tensors_read_in_turns_are_each_fetched_once(tmp_path, monkeypatch, advice):
    path = tmp_path / "data"
    path.write_bytes(bytes(100_000))
    monkeypatch.setattr(datafile, "_AHEAD", 10_000)
    file = LocalFile(path)
    for begin in range(0, 50_000, 500):
        for first in (0, 50_000):
            array = np.empty(500, np.uint8)
            file.read_into(first + begin, iter((array,)), first + 50_000)
    asked = sorted(advice)
    assert all(end <= begin for (_, end), (begin, _) in pairwise(asked))
    assert sum(end - begin for begin, end in asked) == 100_000 - 2 * 500


def test_single_reads_fetch_nothing_but_themselves(tmp_path, monkeypatch, advice):
    path = tmp_path / "data"
    path.write_bytes(bytes(100_000))
    monkeypatch.setattr(datafile, "_AHEAD", 10_000)
    file = LocalFile(path)
    for begin in (50_000, 10, 70_000, 51_000, 0):
        file.read_into(begin, iter((np.empty(100, np.uint8),)), 100_000)
    file.read(100, 50)  # a header, of which one does not say what follows
    file.read(150, 50)
    assert not [one for one in advice if one[0] < one[1]]


def test_where_no_advice_is_taken_reading_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "data"
    path.write_bytes(b"x" * 5000)
    if hasattr(os, "posix_fadvise"):

        def refuse(*_):
            raise OSError(22, "Invalid argument")

        monkeypatch.setattr(os, "posix_fadvise", refuse)
    file = LocalFile(path)
    for begin in range(0, 5000, 1000):
        array = np.empty(1000, np.uint8)
        file.read_into(begin, iter((array,)), 5000)
        assert array.tobytes() == b"x" * 1000


def test_fields_of_packed_and_plain_layers_come_out(small):
    """The real bytes of the small one give fields: it measures work, not holes."""
    settings = FieldSettings(rows=16, cols=16)
    with weightwalk.open(small) as checkpoint:
        plans, _ = make_plans(list(checkpoint.values()), settings)
        for plan in plans[:20]:
            assert np.isfinite(build(plan, settings).cells).all()
