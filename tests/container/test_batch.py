"""The batch service: the same image, without a desktop, without a network."""

import hashlib
import json
import subprocess
import time

import pytest

from .compose import OWNER, docker

MODEL = "/models/all-MiniLM-L6-v2"


def owner(path):
    return path.stat().st_uid, path.stat().st_gid


def test_a_model_becomes_files_of_the_caller(checkout):
    done = checkout.batch(
        "mesh",
        MODEL,
        "--out",
        "/results/minilm",
        "--faces",
        "2000",
        "--export",
        "stl,glb,png,blend",
    )
    # 3: a tensor that is all zero has no surface, and is named.
    assert (done.returncode, "pooler.dense.bias" in done.stderr) == (3, True), done.stderr
    made = checkout.results / "minilm"
    report = json.loads((made / "report.json").read_text())
    for file in report["files"]:
        path = made / file["name"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file["sha256"]
        assert owner(path) == (OWNER, OWNER)
    assert {p.suffix for p in made.iterdir()} == {".stl", ".glb", ".png", ".blend", ".json"}
    assert owner(checkout.results) == (OWNER, OWNER)


def test_what_it_prints_is_only_the_commands_own(checkout):
    done = checkout.batch("inspect", MODEL, "--json")
    assert len(json.loads(done.stdout)["tensors"]) == 103 + 1


def test_another_owner_is_one_that_is_named(checkout):
    named = checkout.with_variables(PUID="4321", PGID="4322")
    done = named.batch(
        "mesh", MODEL, "--out", "/results", "--tensors", "pooler.dense.weight", "--export", "stl"
    )
    assert done.returncode == 0, done.stderr
    assert owner(checkout.results / "report.json") == (4321, 4322)


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["mesh", "/models/none", "--out", "/results"], 2, "/models/none"),
        (["mesh", MODEL, "--out", "/opt/x"], 2, "cannot write into /opt/x: Read-only file system"),
        (["mesh", MODEL, "--out", "/results", "--faces", "no"], 2, "--faces"),
        (["catalog", "/models/none.toml", "--out", "/results"], 2, "/models/none.toml"),
    ],
)
def test_bad_input_is_a_sentence_and_a_status(checkout, arguments, status, sentence):
    done = checkout.batch(*arguments)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_results_of_another_user_are_not_touched(checkout):
    checkout.results.mkdir(mode=0o700)
    (checkout.results / "theirs").touch()
    done = checkout.batch("mesh", MODEL, "--out", "/results/x")
    assert done.returncode == 2
    assert "/results belongs to user 0:0, and this runs as 1234:1234" in done.stderr
    assert [path.name for path in checkout.results.iterdir()] == ["theirs"]


def test_a_job_has_no_network_and_no_rights_and_ends_when_it_is_told_to(checkout):
    name = "weightwalk-test-job"
    arguments = ["mesh", MODEL, "--out", "x", "--rows", "512", "--cols", "512", "--faces", "900000"]
    run = ["run", "--detach", "--name", name, "batch", *arguments]
    assert checkout.compose("batch", *run).returncode == 0
    try:
        look = "until pgrep -x blender; do sleep 0.1; done; cat /proc/$(pgrep -x blender)/status"
        status = docker("exec", name, "sh", "-c", look)
        assert docker("exec", name, "ls", "/sys/class/net") == "lo"
        assert f"Uid:\t{OWNER}" in status and "NoNewPrivs:\t1" in status
        assert "CapEff:\t0000000000000000" in status and "CapPrm:\t0000000000000000" in status
        while not list(checkout.results.glob("x/.weightwalk-*")):
            time.sleep(0.05)
        docker("stop", "--time", "20", name)
        assert docker("wait", name) == "130"
    finally:
        docker("rm", "--force", name)
    assert not list(checkout.results.rglob("*")), "nothing half-made is left"


def test_a_disk_that_is_full_is_a_sentence(checkout):
    small = ["--tmpfs", f"/results:size=1m,mode=777,uid={OWNER}", "--env", f"PUID={OWNER}"]
    models = ["--volume", f"{checkout.models}:/models:ro", "--env", f"PGID={OWNER}"]
    entry = ["--entrypoint", "/opt/weightwalk/image/batch", "weightwalk:test"]
    run = ["docker", "run", "--rm", *small, *models, *entry, "mesh", MODEL, "--out", "x"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "x/all-MiniLM-L6-v2.stl: No space left on device" in done.stderr
