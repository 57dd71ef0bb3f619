"""A job file, the batch worker, and the gallery in a web server: what a browser sees of it."""

import gzip
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..programs import chromium
from .compose import OWNER

pytestmark = [pytest.mark.node, pytest.mark.browser]

URL = "http://localhost:18080/"
# Nginx is also in the base of our own image, so no other has to be fetched.
IMAGE = "lscr.io/linuxserver/blender:latest"
JOBS = """
title = "Two"
[defaults]
tensors = ["*layer.[01].attention*"]
faces = 1000
[[model]]
path = "all-MiniLM-L6-v2"
[[model]]
path = "nothing"
name = "nothing"
"""


def get(path, **headers):
    """Return status, headers and content of what is at an address."""
    try:
        with urllib.request.urlopen(urllib.request.Request(URL + path, headers=headers)) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


@pytest.fixture
def gallery(checkout):
    """Return a checkout whose gallery is served, and is empty."""
    # As the README says; Docker makes the gallery's own folder in it, as root.
    checkout.results.mkdir()
    os.chown(checkout.results, OWNER, OWNER)
    one = checkout.with_variables(GALLERY_IMAGE=IMAGE, GALLERY_PORT="18080")
    done = one.compose("gallery", "up", "--detach")
    assert done.returncode == 0, done.stderr
    for _ in range(100):
        try:
            get("")
            break
        except OSError:
            time.sleep(0.1)
    yield one
    one.compose("gallery", "down", "--timeout", "2")


def test_a_job_file_becomes_a_gallery(gallery, tmp_path):
    status, _, said = get("")
    assert (status, b"There is no gallery here yet" in said) == (404, True)

    (gallery.models / "jobs.toml").write_text(JOBS)
    (gallery.models / "jobs.toml").chmod(0o644)
    run = ["catalog", "/models/jobs.toml", "--out", "gallery", "--jobs", "2"]
    first = gallery.batch(*run)
    assert first.returncode == 3, first.stderr
    assert "nothing" in first.stderr, "the job that failed is named"
    made = {p: p.stat().st_mtime_ns for p in gallery.results.rglob("*.glb")}
    assert made
    second = gallery.batch(*run)
    assert second.returncode == 3
    assert {p: p.stat().st_mtime_ns for p in gallery.results.rglob("*.glb")} == made

    status, headers, _ = get("")
    assert status == 200
    assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    (glb,) = made
    path = glb.relative_to(gallery.results / "gallery").as_posix()
    status, headers, packed = get(path, **{"Accept-Encoding": "gzip"})
    assert headers["Content-Type"] == "model/gltf-binary"
    assert gzip.decompress(packed) == glb.read_bytes()
    assert get(".weightwalk.lock")[0] == 404

    # Where a redirect leads is told without the container's own port.
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    with pytest.raises(urllib.error.HTTPError) as redirected:
        urllib.request.build_opener(Stay).open(URL + "assets")
    with redirected.value as answer:
        assert answer.headers["Location"] == "/assets/"

    script = Path(__file__).with_name("gallery.mjs")
    command = ["node", script, chromium(), URL, tmp_path / "walked.png"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["cards"] == ["all-MiniLM-L6-v2", "nothing"]
    assert (seen["strangers"], seen["said"]) == ([], [])
    assert np.linalg.norm(np.subtract(seen["after"], seen["before"])) > 1
    assert np.asarray(Image.open(tmp_path / "walked.png").convert("L"), float).std() > 5
