"""The command line with a model on another machine: a web server on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save
from weightwalk.batch.catalog_record import Sources
from weightwalk.batch.jobs import Job
from weightwalk.core.location import Url
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.settings import Settings
from weightwalk.core.units import Keys

from . import serving
from .serving import Server

RNG = np.random.default_rng(5)
NAMES = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(8)]
MODEL = save({name: RNG.standard_normal((512, 512)).astype(np.float32) for name in NAMES})


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WEIGHTWALK_CACHE", str(tmp_path / "blocks"))
    with Server() as server:
        server.files["/m/model.safetensors"] = MODEL
        yield server


@pytest.fixture
def url(server):
    return f"{server.url}/m/model.safetensors"


def test_a_url_is_listed_by_its_header_alone(run, server, url):
    status, said, _ = run("inspect", url, "--json")
    listed = json.loads(said)
    assert (status, listed["model"]) == (0, "m")
    assert [tensor["name"] for tensor in listed["tensors"]] == NAMES
    assert server.sent < len(MODEL) // 10


def test_a_mesh_of_a_url_is_that_of_the_file_and_fetches_no_more(run, server, url, tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").write_bytes(MODEL)
    chosen = ["--tensors", "*.5.*", "--export", "stl", "--name", "it"]
    status, _, told = run("mesh", url, "--out", tmp_path / "far", *chosen)
    assert status == 0
    assert f"{NAMES[5]}\n" in told[told.index("fetch: ") :]
    assert server.sent < len(MODEL) // 4
    assert run("mesh", tmp_path / "m", "--out", tmp_path / "near", *chosen)[0] == 0
    assert (tmp_path / "far" / "it.stl").read_bytes() == (tmp_path / "near" / "it.stl").read_bytes()
    report = json.loads((tmp_path / "far" / "report.json").read_text())
    assert report["settings"]["model"] == url
    assert report["stages"]["fetch"]["bytes"] >= 512 * 512 * 4 - 2 * (1 << 18)
    # Again, with one σ of all: what is there is not fetched again.
    server.forget()
    both = ["--sigma", "all", "--export", "stl", "--out", tmp_path / "again"]
    assert run("mesh", url, *both)[0] == 0
    assert server.sent < len(MODEL)


def test_what_signs_a_url_is_sent_and_told_nowhere(run, server, url, tmp_path):
    signed, shared = f"{url}?X-Sig=hush&download=true", tmp_path / "shared"
    to = ["--tensors", "*.[12].*", "--glb-compression", "none", "--name", "it"]
    workers = ["--workers", "2", "--shared", shared]
    said, made = [], []
    for options in ([], workers):
        status, *told = run("mesh", signed, "--out", tmp_path / "out", *to, *options)
        assert status == 0
        said += told
        made += [(tmp_path / "out" / "it.stl").read_bytes()]
    assert made[0] == made[1]  # workers fetch for themselves
    sent = [path for path in server.paths() if path.startswith("/m/model.safetensors")]
    assert len(sent) >= 3
    assert all(path.endswith("?X-Sig=hush&download=true") for path in sent)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["settings"]["model"] == f"{url}?…"
    server.always = serving.status(400)
    said += run("mesh", f"{signed}&other", "--out", tmp_path / "out", *to)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 4
    assert not [path for path in kept if b"hush" in path.read_bytes() or "hush" in str(path)]
    assert not [words for words in said if "hush" in str(words)]
    # What a file keeps of it is no URL any more, and says so.
    status, _, why = run("inspect", report["settings"]["model"])
    assert status == 2
    assert "load the model by its whole URL" in why


def test_a_whole_url_and_what_lies_beside_it_decide_the_keys(server, url):
    def key(text):
        with open_checkpoint(Url(text)) as checkpoint:
            return Keys(checkpoint, Settings(Url(text))).job()

    keys = [key(url), key(f"{url}?id=1"), key(f"{url}?id=2")]
    server.files["/m/quantize_config.json"] = b'{"bits": 4}'
    assert len({*keys, key(url)}) == 4
    assert key(url) != keys[0]


@pytest.mark.parametrize("command", ["inspect", "mesh"])
def test_what_is_not_there_is_one_sentence_and_status_2(run, server, tmp_path, command):
    to = ["--out", tmp_path / "out"] if command == "mesh" else []
    missing = f"{server.url}/m/nothing.safetensors"
    assert run(command, missing, *to) == (
        2, "", f"weightwalk: {missing}: there is no such file or folder\n",
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_host_that_is_down_is_not_waited_for_long(run, server):
    begin = time.monotonic()
    status, _, said = run("inspect", "http://127.0.0.1:1/m.safetensors")
    assert (status, said.count("\n")) == (2, 1)
    assert "the connection failed" in said
    assert time.monotonic() - begin < 10.0


def test_a_url_that_cannot_be_probed_or_asked_says_so(run):
    status, _, said = run("probe", "hf://org/name", "--out", "x")
    assert status == 2
    assert "the model has to be on a disk" in said
    status, _, said = run("inspect", "https://me:secret@host/m.gguf")
    assert status == 2
    assert "password" in said
    assert "secret" not in said


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize(
    ("command", "silent"), [("inspect", "header"), ("mesh", "header"), ("mesh", "tensors")]
)
def test_interrupted_while_a_server_is_silent_it_ends_at_once(
    server, url, tmp_path, command, silent
):
    if silent == "tensors":
        server.faults.append(None)
    server.always = serving.stall
    to = ["--out", str(tmp_path / "out")] if command == "mesh" else []
    program = [sys.executable, "-m", "weightwalk", command, url, *to]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        wanted = 2 if silent == "tensors" else 1
        until = time.monotonic() + 60
        while server.paths().count("/m/model.safetensors") < wanted:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(0.1)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert said.endswith("weightwalk: interrupted\n")
    assert time.monotonic() - begin < 10.0
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "blocks").rglob("*.part"))


def test_a_catalog_takes_urls(run, server, url, tmp_path):
    jobs = tmp_path / "jobs.toml"
    text = (
        f'[defaults]\nexport = "glb"\nfaces = 500\ntensors = "*.0.*"\n[[model]]\npath = "{url}"\n'
    )
    jobs.write_text(f'{text}[[model]]\npath = "{server.url}/m/none.pt"\nname = "none"\n')
    status, said, told = run("catalog", jobs, "--out", tmp_path / "out")
    assert (status, said.splitlines()[0]) == (3, "2 parts: 1 done, 1 failed")
    assert "there is no such file" in told
    assert "paths are relative" not in told
    assert (tmp_path / "out" / "m" / "faces-500" / "m-faces-500.glb").exists()
    jobs.write_text(text)
    _, said, _ = run("catalog", jobs, "--out", tmp_path / "out")
    assert said.splitlines()[0] == "1 part: 1 up to date"


def test_a_catalog_makes_a_url_again_when_its_file_or_what_is_beside_it_has_changed(
    server, url, tmp_path
):
    def key():
        return Sources(tmp_path).key(Job("mesh", "m", "faces-500", (url,), (), ""))

    first = key()
    assert key() == first != ""
    server.versions["/m/model.safetensors"] = '"another"'
    second = key()
    server.files["/m/quantize_config.json"] = b"{}"
    assert len({first, second, key(), ""}) == 4
    server.versions["/m/model.safetensors"] = ""  # one cannot know
    assert key() == ""


def test_checkpoints_at_urls_are_a_training_run(run, server, tmp_path):
    steps = [f"{server.url}/run/step{number}/model.safetensors" for number in (0, 100, 200)]
    for i, step in enumerate(steps):
        tensor = np.random.default_rng(i).standard_normal((40, 30)).astype(np.float32)
        server.files[step.removeprefix(server.url)] = save({NAMES[0]: tensor})
    status, said, _ = run(
        "animate", *steps, "--export", "glb", "--out", tmp_path / "out", "--delta", "first"
    )
    assert (status, said.split(",")[0]) == (0, "run: 3 steps")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [step["name"] for step in report["steps"]] == ["0", "100", "200"]
    shown = [surface for step in report["steps"] for surface in step["surfaces"]]
    assert {file for surface in shown for file in surface["since"]} == {"step0/model.safetensors"}
