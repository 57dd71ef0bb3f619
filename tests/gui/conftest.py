"""What the tests in Blender's window share."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from .window import Window

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder with what they need."""
    for item in items:
        if item.path.is_relative_to(HERE):
            for need in ("window", "blender", "bpy", "pip"):
                item.add_marker(need)


@pytest.fixture(scope="session")
def profile(blender, build, tmp_path_factory) -> Path:
    """Return a Blender profile in which Blender's own installer has put the extension."""
    expression = "import bpy, sys; print('IS', *bpy.app.version[:2], *sys.version_info[:2])"
    asked = [blender, "--background", "--factory-startup", "--python-expr", expression]
    said = subprocess.check_output(asked, text=True, timeout=120)
    is_of = [int(number) for number in re.search("^IS (.*)$", said, re.MULTILINE)[1].split()]
    assert is_of[:2] >= [5, 2], f"these tests need Blender 5.2, not {is_of[0]}.{is_of[1]}"
    tag = "cp{}{}".format(*is_of[2:])
    archive = build("linux-x64", *([] if tag in ("cp311", "cp313") else [tag]))
    profile = tmp_path_factory.mktemp("profile")
    install = ["extension", "install-file", "--repo", "user_default", "--enable", str(archive)]
    done = subprocess.run(
        [blender, "--background", "--command", *install],
        env=os.environ | {"BLENDER_USER_RESOURCES": str(profile)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return profile


@pytest.fixture(scope="module")
def running(blender, profile, tmp_path_factory) -> Iterator[Window]:
    """Blender's window, for the tests of one file: a crash spoils no others."""
    with Window(blender, profile, tmp_path_factory.mktemp("screenshots")) as window:
        yield window


@pytest.fixture
def window(running, request, tmp_path_factory) -> Iterator[Window]:
    """Blender's window with a new file; at the end, that nothing was a Python traceback."""
    where = os.environ.get("WEIGHTWALK_SCREENSHOTS")
    running.start_anew(Path(where or tmp_path_factory.mktemp("pictures")) / request.node.name)
    before = len(running.log())
    yield running
    running.screenshot("end")
    assert "Traceback" not in running.log()[before:]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    """Return the path of a small model with two layers."""
    rng = np.random.default_rng(5)
    shapes = {"self_attn.q_proj": (40, 40), "mlp.up_proj": (60, 40), "input_layernorm": (40,)}
    path = tmp_path_factory.mktemp("window") / "little.safetensors"
    tensors = {
        f"model.layers.{layer}.{name}.weight": rng.standard_normal(shape).astype(np.float32)
        for layer in range(2)
        for name, shape in shapes.items()
    }
    save_file(tensors, path)
    return path


@pytest.fixture(scope="session")
def tall(tmp_path_factory) -> Path:
    """Return the path of a model of 16 layers, which takes some seconds to build."""
    rng = np.random.default_rng(7)
    path = tmp_path_factory.mktemp("window") / "tall.safetensors"
    roles = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")
    tensors = {
        f"model.layers.{layer}.{role}.weight": rng.standard_t(5, (256, 256)).astype(np.float32)
        for layer in range(16)
        for role in roles
    }
    save_file(tensors, path)
    return path
