"""The batch service: the same image, without a desktop, without a network."""

import hashlib
import json

import pytest

from .compose import OWNER

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
    assert (done.returncode, "Permission denied" in done.stderr) == (2, True)
    assert [path.name for path in checkout.results.iterdir()] == ["theirs"]


def test_it_has_no_network_and_little_power(checkout):
    inside = (
        'ls /sys/class/net; grep -E "^(CapEff|CapPrm|NoNewPrivs)" /proc/self/status; touch /opt/x'
    )
    run = ["run", "--rm", "-T", "--entrypoint", "setpriv", "batch"]
    done = checkout.compose("batch", *run, "--reuid", "1234", "--clear-groups", "sh", "-c", inside)
    words = done.stdout.split()
    assert words[0] == "lo" and "eth0" not in words
    assert words[words.index("CapEff:") + 1] == "0" * 16
    assert words[words.index("NoNewPrivs:") + 1] == "1"
    assert "Read-only file system" in done.stderr
