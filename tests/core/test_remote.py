"""Checkpoints on other machines: a real web server with faults, the hub's interface, fsspec."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from weightwalk.core.errors import CheckpointError
from weightwalk.core.fetching import bytes_of, missing, opened, prefetch
from weightwalk.core.location import Url
from weightwalk.core.readers import Checkpoint, open_checkpoint
from weightwalk.core.readers.remote import BLOCK, Blocks, Link, Patience, connect
from weightwalk.core.stages import finish

from . import serving
from .serving import Server

# Long, for machines that have much else to do; the pauses are short.
PATIENT = Patience(stall=20.0, block=20.0, attempts=3, pause=0.01, longest=0.02)
# Short, for tests of a server that does not answer.
HASTY = Patience(stall=0.2, block=0.25, attempts=3, pause=0.01, longest=0.02)
SILENT = {"never answers", "a byte now and then"}
SEED = np.random.default_rng(7)
NAMES = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(4)]
TENSORS = {name: SEED.standard_normal((512, 700)).astype(np.float32) for name in NAMES}
MODEL = save(TENSORS)
HEADER = 8 + int.from_bytes(MODEL[:8], "little")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("WEIGHTWALK_CACHE", str(tmp_path / "blocks"))
    with Server() as server:
        server.files["/m/model.safetensors"] = MODEL
        server.files["/m/config.json"] = b'{"model_type": "llama"}'
        yield server


@pytest.fixture
def link(tmp_path: Path) -> Link:
    return Link(Blocks(tmp_path / "blocks"), PATIENT)


def opening(server: Server, link: Link, path: str = "/m/model.safetensors") -> Checkpoint:
    url = path if "://" in path else server.url + path
    return open_checkpoint(connect(Url(url), link))


def same(checkpoint: Checkpoint, name: str) -> bool:
    return bool((np.asarray(checkpoint[name]) == TENSORS[name]).all())


# --- What is fetched ------------------------------------------------------------------------------


def test_of_a_file_only_the_header_and_the_chosen_tensor_are_fetched(server, link):
    checkpoint = opening(server, link)
    assert checkpoint.config == {"model_type": "llama"}
    assert list(checkpoint) == NAMES
    assert str(checkpoint.path) == f"{server.url}/m/model.safetensors"
    assert same(checkpoint, NAMES[2])
    chosen = TENSORS[NAMES[2]].nbytes
    assert (
        server.sent < HEADER + chosen + 3 * BLOCK
    )  # a block is cut at both ends, the header's too
    assert server.sent < len(MODEL) // 2
    server.forget()
    assert same(checkpoint, NAMES[2])
    assert not server.asked


def test_what_was_fetched_serves_the_next_session_unless_the_file_has_changed(server, link):
    stamp = opening(server, link).stamp
    finish(prefetch([opening(server, link)[NAMES[1]]]))
    server.forget()
    again = opening(server, Link(Blocks(link.blocks.folder), PATIENT))
    assert again.stamp == stamp
    assert same(again, NAMES[1])
    assert server.sent <= BLOCK + 100  # to learn whether it has changed
    other = {name: -tensor for name, tensor in TENSORS.items()}
    server.files["/m/model.safetensors"] = save(other)
    server.versions["/m/model.safetensors"] = '"another"'
    changed = opening(server, Link(Blocks(link.blocks.folder), PATIENT))
    assert changed.stamp != stamp
    assert (np.asarray(changed[NAMES[1]]) == other[NAMES[1]]).all()


def test_a_server_that_names_no_version_is_not_trusted_beyond_the_session(server, link):
    server.versions["/m/model.safetensors"] = ""
    assert same(opening(server, link), NAMES[0])
    server.files["/m/model.safetensors"] = save({n: t + 1 for n, t in TENSORS.items()})
    changed = opening(server, Link(Blocks(link.blocks.folder), PATIENT))
    assert (np.asarray(changed[NAMES[0]]) == TENSORS[NAMES[0]] + 1).all()


def test_blocks_come_in_parallel_and_their_bytes_are_told(server, link):
    tensors = list(opening(server, link).values())
    server.forget()
    wanted = missing(tensors)
    assert sum(prefetch(tensors)) == bytes_of(wanted) == server.sent
    assert len(MODEL) - BLOCK <= server.sent <= len(MODEL)
    assert len(server.asked) >= 5
    assert missing(tensors) == []
    server.forget()
    assert all(same(opening(server, link), name) for name in NAMES)


def test_whoever_waits_stays_free_and_can_leave_at_once(server, link):
    tensor = opening(server, link)[NAMES[3]]
    server.always = serving.stall
    waiting = prefetch([tensor])
    begin = time.monotonic()
    assert sum(next(waiting) for _ in range(3)) < BLOCK
    waiting.close()
    assert time.monotonic() - begin < 5.0


def test_opening_can_be_waited_for_in_steps(server):
    work = opened(Url(f"{server.url}/m/model.safetensors"))
    assert list(finish(work)) == NAMES
    with pytest.raises(CheckpointError, match="no such file"):
        finish(opened(Url(f"{server.url}/m/nothing.safetensors")))


# --- Faults that pass -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        serving.stall,
        serving.drop,
        serving.hang_up,
        serving.shorter,
        serving.status(429, Retry_After="0"),
        serving.status(503),
        serving.status(500),
    ],
)
def test_what_fails_now_and_then_comes_all_the_same(server, link, tmp_path, fault):
    if fault is serving.stall:
        link = Link(Blocks(tmp_path / "blocks"), replace(HASTY, block=20.0, attempts=10))
    server.faults.extend([fault, None, fault, fault, None, fault])
    checkpoint = opening(server, link)
    assert all(same(checkpoint, name) for name in NAMES)
    assert not server.faults


def test_what_came_before_a_connection_broke_is_not_fetched_again(server, link):
    tensor = opening(server, link)[NAMES[1]]
    server.forget()
    server.faults.extend([serving.drop] * 2)
    assert (np.asarray(tensor) == TENSORS[NAMES[1]]).all()
    assert server.sent < tensor.nbytes + 3 * BLOCK


def test_a_server_is_waited_for_as_long_as_it_asks(server, tmp_path):
    patient = Link(Blocks(tmp_path / "blocks"), Patience(pause=0.01, longest=5.0))
    server.faults.append(serving.status(429, Retry_After="1"))
    begin = time.monotonic()
    opening(server, patient)
    assert time.monotonic() - begin >= 1.0


# --- Faults that stay -----------------------------------------------------------------------------

LASTING: dict[str, tuple[Callable[..., bool], str]] = {
    "gone": (serving.status(404), "no such file"),
    "refused": (serving.status(403), "refuses access"),
    "no sense": (serving.status(400), "status 400"),
    "always busy": (serving.status(503), "status 503; given up after 3 attempts"),
    "always 429": (serving.status(429, Retry_After="9999999"), "status 429; given up after 3"),
    "never answers": (serving.stall, "nothing came for 0.2 s; given up"),
    "a byte now and then": (serving.trickle, "too slowly; given up"),
    "hangs up": (serving.hang_up, "given up after 3 attempts"),
    "a longer body": (serving.told_length(5), "promises"),
    "a shorter body": (serving.told_length(-5), "promises"),
    "other bytes": (serving.told_range("bytes 7-262150/5734784"), "other bytes"),
    "unknown size": (serving.told_range("bytes 0-262143/*"), "which bytes it gives"),
    "nonsense": (serving.told_range("lots"), "which bytes it gives"),
    "compressed": (serving.compressed, "compressed"),
    "all, without end": (serving.ignore_range_unsized, "ignores range requests"),
}


@pytest.fixture
def link_for(tmp_path: Path) -> Callable[[str], Link]:
    return lambda what: Link(Blocks(tmp_path / "blocks"), HASTY if what in SILENT else PATIENT)


@pytest.mark.parametrize("what", LASTING)
def test_what_never_works_is_one_sentence(server, link_for, what):
    server.always, says = LASTING[what]
    begin = time.monotonic()
    with pytest.raises(CheckpointError, match=says) as error:
        opening(server, link_for(what))
    assert time.monotonic() - begin < 10.0
    assert str(error.value).isprintable()
    assert str(error.value).count(server.url) == 1
    assert server.sent < 4 * BLOCK


@pytest.mark.parametrize("what", LASTING)
def test_what_breaks_after_the_header_is_one_sentence(server, link_for, what):
    tensor = opening(server, link_for(what))[NAMES[2]]
    server.always, _ = LASTING[what]
    begin = time.monotonic()
    with pytest.raises(CheckpointError) as error:
        np.asarray(tensor)
    assert time.monotonic() - begin < 10.0
    assert str(error.value).isprintable()


def test_a_server_without_ranges_gives_small_files_and_no_large_ones(server, link):
    server.always = serving.ignore_range
    assert same(opening(server, link), NAMES[3])
    large = bytes(40 << 20)
    server.files["/m/large.safetensors"] = MODEL[:HEADER] + large
    server.forget()
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=r"ignores range requests.*download"):
        opening(server, link, "/m/large.safetensors")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert server.sent < 20 << 20  # what the sockets hold


def test_a_file_that_changes_or_shrinks_between_two_reads_is_an_error(server, link):
    tensor = opening(server, link)[NAMES[2]]
    server.versions["/m/model.safetensors"] = '"newer"'
    with pytest.raises(CheckpointError, match="has changed since"):
        np.asarray(tensor)
    server.versions["/m/model.safetensors"] = f'"{len(MODEL)}"'
    server.files["/m/model.safetensors"] = MODEL[: len(MODEL) // 4]
    with pytest.raises(CheckpointError, match=r"has changed|was cut"):
        np.asarray(tensor)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://person:secret@host/m.safetensors", "with a password"),
        ("https://secret@host/m.safetensors", "or a token"),
        ("simplecache::ftp://person:secret@host/m.safetensors", "with a password"),
        ("https://person:sec/secret@host/m.safetensors", "cannot be a URL"),
        ("http://127.0.0.1:1/m.safetensors?secret", "connection failed"),
        ("http://127.0.0.1:99999/m.safetensors", "cannot be a URL"),
        ("http://127.0.0.1:1/m.safetensors", "connection failed.*given up"),
        ("hf://name", "of the form hf://org/name"),
        ("hf://org/na..me", "name of a model"),
        ("hf://datasets/org/name", "of the form"),
        ("nothing-like-it://there", "cannot be opened|needs"),
    ],
)
def test_a_url_that_leads_nowhere_is_one_sentence(link, url, says):
    with pytest.raises((CheckpointError, ValueError), match=says) as error:
        open_checkpoint(connect(Url(url), link))
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_redirects_are_followed_to_web_servers_only(server, link):
    server.redirects["/r/model.safetensors"] = f"{server.url}/m/model.safetensors"
    server.redirects["/r/file.safetensors"] = "file:///etc/passwd"
    server.redirects["/r/round.safetensors"] = f"{server.url}/r/round.safetensors"
    checkpoint = opening(server, link, "/r/model.safetensors")
    server.forget()
    assert same(checkpoint, NAMES[0])
    assert set(server.paths()) == {"/m/model.safetensors"}  # where it led is asked from then on
    for path in ("/r/file.safetensors", "/r/round.safetensors"):
        with pytest.raises(CheckpointError, match=r"redirect|status 302"):
            opening(server, link, path)


# --- The hub --------------------------------------------------------------------------------------

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def entry(server: Server, name: str, content: bytes, **more: Any) -> dict[str, Any]:
    server.files[f"/org/name/resolve/{COMMIT}/{name}"] = content
    return {"rfilename": name, "size": len(content), "blobId": f"b{len(content)}", **more}


@pytest.fixture
def hub(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    halves = [dict(list(TENSORS.items())[i : i + 2]) for i in (0, 2)]
    shards = {f"model-0000{i + 1}-of-00002.safetensors": save(h) for i, h in enumerate(halves)}
    where = {n: s for s, half in zip(shards, halves, strict=True) for n in half}
    index = json.dumps({"weight_map": where}).encode()
    files = [
        entry(server, "config.json", b'{"model_type": "llama"}'),
        entry(server, "model.safetensors.index.json", index),
        *(entry(server, n, c, lfs={"sha256": n, "size": len(c)}) for n, c in shards.items()),
        entry(server, "deep/down/model.safetensors", MODEL),
        {"rfilename": "../../up", "size": 1, "blobId": "x"},
        {"rfilename": 7},
    ]
    for revision in ("main", "step1000", "refs%2Fpr%2F1"):
        server.hub[f"/api/models/org/name/revision/{revision.replace('%2F', '/')}"] = {
            "sha": COMMIT,
            "siblings": files,
        }
    return server


@pytest.mark.parametrize(
    ("url", "count"),
    [
        ("hf://org/name", 4),
        ("hf://org/name@step1000", 4),
        ("hf://org/name@refs%2Fpr%2F1/model.safetensors.index.json", 4),
        ("hf://org/name/model-00002-of-00002.safetensors", 2),
        ("hf://org/name/deep/down", 4),
        ("{}/org/name", 4),
        ("{}/org/name/tree/main/deep/down", 4),
        ("{}/org/name/blob/step1000/model-00001-of-00002.safetensors", 2),
    ],
)
def test_a_model_on_the_hub_by_its_name_a_revision_a_file_or_its_page(hub, link, url, count):
    checkpoint = opening(hub, link, url.format(hub.url))
    assert len(checkpoint) == count
    assert checkpoint.name == "org/name"
    assert all(same(checkpoint, name) for name in checkpoint)


def test_shards_are_opened_together_and_read_at_one_commit(hub, link):
    checkpoint = opening(hub, link, "hf://org/name")
    assert len(hub.asked) == 5  # the list, the config, the index and a block of each shard
    hub.forget()
    again = opening(hub, link, "hf://org/name")
    assert again.stamp == checkpoint.stamp
    assert len(hub.asked) == 1  # the list alone
    assert all(COMMIT in path for path in hub.paths()[1:])


def test_the_token_goes_to_the_hub_and_to_nobody_else(hub, link, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    name = f"/org/name/resolve/{COMMIT}/deep/down/model.safetensors"
    with Server() as store:
        store.files["/blob"] = MODEL
        hub.redirects[name] = f"{store.url}/blob?signature=1"
        checkpoint = opening(hub, link, "hf://org/name/deep/down")
        assert same(checkpoint, NAMES[0])
        assert {token for _, _, token in hub.asked} == {"Bearer hf_secret"}
        assert {token for _, _, token in store.asked} == {""}
        # A link that has expired is asked for again.
        store.faults.append(serving.status(403))
        assert same(checkpoint, NAMES[3])
    assert "hf_secret" not in repr(checkpoint) + checkpoint.stamp


def test_what_the_hub_does_not_have_or_show_is_said(hub, link, monkeypatch):
    for url, says in (
        ("hf://org/other", "no such model.*HF_TOKEN"),
        ("hf://org/name/nothing.safetensors", "no such file or folder"),
    ):
        with pytest.raises(CheckpointError, match=says):
            opening(hub, link, url)
    hub.hub["/api/models/org/odd/revision/main"] = {"sha": "../..", "siblings": []}
    with pytest.raises(CheckpointError, match="not the list"):
        opening(hub, link, "hf://org/odd")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE"):
        opening(hub, link, "hf://org/name")


# --- What is kept ---------------------------------------------------------------------------------


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_no_more_is_kept_than_the_limit_and_the_newest_stays(tmp_path):
    blocks = Blocks(tmp_path, limit=40 * BLOCK)
    for number in range(100):
        assert blocks.put("file", number, bytes([number]) * BLOCK)
        assert size_of(tmp_path) <= 41 * BLOCK
    assert blocks.get("file", 99, BLOCK) == bytes([99]) * BLOCK
    assert blocks.get("file", 0, BLOCK) is None
    assert not list(tmp_path.rglob("*.part"))


def test_nothing_but_blocks_is_ever_removed_from_the_folder(tmp_path):
    others = ["notes.txt", "ab/notes.txt", "ab/12", f"ab/{'ab' * 20}/notes", f"cd/{'ab' * 20}/7"]
    for name in others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(20 * BLOCK))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "0").write_bytes(bytes(BLOCK))
    (tmp_path / "ef").mkdir()
    (tmp_path / "ef" / ("ef" * 20)).symlink_to(elsewhere)
    blocks = Blocks(tmp_path, limit=8 * BLOCK)
    assert all(blocks.put("file", number, bytes(BLOCK)) for number in range(40))
    assert blocks.get("file", 0, BLOCK) is None
    assert all((tmp_path / name).exists() for name in others)
    assert (elsewhere / "0").exists()
    with pytest.raises(ValueError, match="absolute"):
        Blocks(Path("blocks"))


def test_a_block_that_is_damaged_or_cut_is_fetched_again(server, link):
    finish(prefetch(opening(server, link).values()))
    for i, file in enumerate(f for f in link.blocks.folder.rglob("*") if f.is_file()):
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 1
        file.write_bytes(content if i % 2 else content[: len(content) // 3])
    fresh = opening(server, Link(Blocks(link.blocks.folder), PATIENT))
    assert all(same(fresh, name) for name in NAMES)


def test_a_disk_that_cannot_be_written_costs_speed_alone(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    bare = Link(Blocks(tmp_path / "file" / "below"), PATIENT)
    checkpoint = opening(server, bare)
    assert all(same(checkpoint, name) for name in NAMES)
    assert missing(checkpoint.values()) == []  # to fetch first what cannot be kept is no use


def test_reading_holds_little_however_large_the_tensor(server, tmp_path):
    whole = np.zeros((6000, 1000), np.float32)
    server.files["/m/wide.safetensors"] = save({"w": whole})
    bare = Link(Blocks(tmp_path / "none", limit=0), PATIENT)
    tensor = opening(server, bare, "/m/wide.safetensors")["w"]
    server.forget()
    for row in range(0, 6000, 100):
        assert not tensor.rows(row, row + 100).any()
    assert server.sent < whole.nbytes * 1.1


READ = """
import sys
import numpy as np
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.location import Url
for tensor in open_checkpoint(Url(sys.argv[1])).values():
    print(float(np.asarray(tensor, np.float64).sum()))
"""


def test_processes_share_what_is_kept(server, tmp_path):
    command = [sys.executable, "-c", READ, f"{server.url}/m/model.safetensors"]
    two = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in two]
    assert said[0] == said[1]
    wanted = [float(t.astype(np.float64).sum()) for t in TENSORS.values()]
    np.testing.assert_allclose([float(line) for line in said[0].split()], wanted, rtol=1e-12)
    assert size_of(tmp_path / "blocks") < len(MODEL) * 1.1


# --- Everything else ------------------------------------------------------------------------------


def test_any_url_that_fsspec_knows(link, tmp_path):
    import fsspec

    system = fsspec.filesystem("memory")
    system.pipe({"/far/model.safetensors": MODEL, "/far/config.json": b'{"model_type": "llama"}'})
    try:
        for url in ("memory://far", "memory://far/model.safetensors"):
            checkpoint = open_checkpoint(connect(Url(url), link))
            assert checkpoint.config == {"model_type": "llama"}
            assert all(same(checkpoint, name) for name in NAMES)
        with pytest.raises(CheckpointError, match="no such file"):
            open_checkpoint(connect(Url("memory://far/nothing"), link))
        bare = Link(Blocks(tmp_path, limit=0), PATIENT)
        tensor = open_checkpoint(connect(Url("memory://far"), bare))[NAMES[0]]
        system.pipe("/far/model.safetensors", MODEL[:-4])
        with pytest.raises(CheckpointError, match="has changed"):
            np.asarray(tensor)
    finally:
        system.rm("/far", recursive=True)
