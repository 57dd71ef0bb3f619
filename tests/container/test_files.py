"""Dockerfile and compose files, read by the tools that people use them with."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .compose import ROOT, Checkout, docker

FILES = ["base", "blender-demos", "batch", "batch nvidia", "gallery"]
# Of the tests' own environment.
SCRIPTS = Path(sys.executable).parent
LARGEST_LAYER = 400e6


def test_hadolint_has_nothing_to_say():
    done = subprocess.run(
        [SCRIPTS / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("tool", ["docker compose", str(SCRIPTS / "podman-compose")])
@pytest.mark.parametrize("files", FILES)
def test_every_file_and_overlay_is_read(files, tool):
    done = Checkout(ROOT).compose(files, "config", tool=tool)
    assert done.returncode == 0, done.stderr


def test_demonstrations_come_with_the_same_desktop():
    plain, demos = (
        json.loads(Checkout(ROOT).compose(file, "config", "--format", "json").stdout)
        for file in ("base", "blender-demos")
    )
    one, other = (said["services"]["blender"] for said in (plain, demos))
    for service in (one, other):
        assert service["volumes"].pop()["target"] == "/caller"
        del service["build"]["args"], service["build"]["target"]
    assert one == other


def test_nothing_is_reached_from_elsewhere_unless_one_says_so():
    for files in FILES:
        said = Checkout(ROOT).compose(files, "config", "--format", "json").stdout
        for service in json.loads(said)["services"].values():
            for port in service.get("ports", []):
                assert port["host_ip"] == "127.0.0.1"


def test_what_is_added_to_the_base_is_lean(built):
    base, ours = (
        json.loads(docker("image", "inspect", name))[0]
        for name in ("lscr.io/linuxserver/blender:latest", "weightwalk:test")
    )
    assert ours["Size"] - base["Size"] < LARGEST_LAYER
    # Nothing that a build was given stays in the image.
    assert set(ours["Config"]["Env"]) == set(base["Config"]["Env"])
