"""`mesh --scheduler`: a Dask cluster makes the very files that one process makes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk.batch.cluster import cluster_crew
from weightwalk.core.errors import SettingsError, WeightwalkError
from weightwalk.core.stages import finish

COUNT = 12  # of fields
COMMAND = [sys.executable, "-m", "weightwalk", "mesh"]
OPTIONS = ["--name=x", "--rows=256", "--cols=256", "--faces=200000", "--glb-compression=quantize"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    rng = np.random.default_rng(0)
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(COUNT)]
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_file({name: rng.standard_normal((256, 256)).astype(np.float32) for name in names}, path)
    return path


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers: the address, and the processes of the workers."""
    told = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(told), "--no-dashboard"]
    local = ["--host", "127.0.0.1", "--port", "0"]
    parts = [["dask_scheduler", *local], *[["dask_worker", "--no-nanny", "--nthreads=1"]] * 2]
    processes = []
    with (tmp_path / "said.txt").open("wb") as said:
        for name, *options in parts:
            start = [sys.executable, "-m", f"distributed.cli.{name}", *common, *options]
            processes.append(subprocess.Popen(start, cwd=tmp_path, stdout=said, stderr=said))
    try:
        while not told.exists() or not told.stat().st_size:
            assert processes[0].poll() is None, (tmp_path / "said.txt").read_text()
            time.sleep(0.02)
        yield json.loads(told.read_text())["address"], processes
    finally:
        for process in reversed(processes):
            process.kill()
        for process in processes:
            process.wait(20)


def start(model, out, *options):
    command = [*COMMAND, str(model), f"--out={out}", *OPTIONS, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.cluster
def test_a_worker_that_dies_in_the_middle_changes_nothing(cluster, model, tmp_path):
    address, (_, first, _) = cluster
    shared = tmp_path / "shared"
    process = start(model, tmp_path / "two", f"--scheduler={address}", f"--shared={shared}")
    while len(list(shared.glob("*.unit"))) < 3:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    first.kill()
    assert len(list(shared.glob("*.unit"))) < COUNT - 1, "it was not in the middle any more"
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert "Traceback" not in said
    alone = start(model, tmp_path / "one")
    assert alone.communicate(timeout=60) and alone.returncode == 0
    for name in ("x.stl", "x.glb"):
        one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert one == two
    assert len(list(shared.glob("*.unit"))) == COUNT


@pytest.mark.cluster
@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_interrupted_it_takes_back_what_is_not_done(cluster, model, tmp_path, monkeypatch):
    address, (scheduler, *workers) = cluster
    shared = tmp_path / "shared"
    process = start(model, tmp_path / "out", f"--scheduler={address}", f"--shared={shared}")
    while not list(shared.glob("*.unit")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert (process.returncode, said.splitlines()[-1]) == (130, "weightwalk: interrupted")
    assert not (tmp_path / "out").exists()
    # What a worker was at is completed; nothing new is begun, and the cluster goes on.
    time.sleep(1.0)
    made = len(list(shared.glob("*.unit")))
    assert made < COUNT
    assert {path.suffix for path in shared.iterdir()} == {".unit"}
    assert [process.poll() for process in (scheduler, *workers)] == [None] * 3
    # A scheduler that says nothing any more is not waited for without end.
    with cluster_crew(address, shared, tmp_path) as crew:
        scheduler.send_signal(signal.SIGSTOP)
        monkeypatch.setattr("weightwalk.batch.cluster.ANSWER", 0.3)
        with pytest.raises(WeightwalkError, match=r"scheduler .* has not answered for 0.3 s"):
            finish(crew.work([]))
        scheduler.send_signal(signal.SIGCONT)


@pytest.mark.cluster
def test_what_is_no_scheduler_is_said_in_one_line(model, tmp_path):
    process = start(model, tmp_path / "out", "--scheduler=carrier-pigeon://a", "--shared=b")
    said = process.communicate(timeout=10)[1]
    assert (process.returncode, len(said.splitlines())) == (2, 1)
    assert "scheduler: carrier-pigeon://a does not answer" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.cluster
def test_what_takes_connections_and_says_nothing_is_no_scheduler(tmp_path, monkeypatch):
    monkeypatch.setattr("weightwalk.batch.cluster.ANSWER", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        crew = cluster_crew(f"tcp://127.0.0.1:{silent.getsockname()[1]}", tmp_path, tmp_path)
        with pytest.raises(SettingsError, match=r"does not answer: nothing came for 0.3 s"):
            crew.__enter__()


def test_without_dask_it_says_what_to_install(model, tmp_path):
    code = (
        "import sys; sys.modules['distributed'] = None; from weightwalk.batch.cli import main;"
        "sys.exit(main(sys.argv[1:]))"
    )
    options = [f"--out={tmp_path / 'out'}", "--scheduler=tcp://127.0.0.1:1", "--shared=b"]
    command = [sys.executable, "-c", code, "mesh", str(model), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "weightwalk[cluster]" in done.stderr
    assert not (tmp_path / "out").exists()
