"""The extension's zip: what lies in it, what Blender's validator says, and that it works."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PLATFORMS = ["linux-x64", "linux-arm64", "macos-arm64", "windows-x64"]
WHEELS = [
    *("dracopy", "gguf", "lazy_loader", "packaging", "pillow", "pyyaml", "safetensors"),
    *("scikit_image", "scipy"),
]

pytestmark = pytest.mark.pip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    rng = np.random.default_rng(7)
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(4)]
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_file({name: rng.normal(size=(48, 32)).astype(np.float32) for name in names}, path)
    return path


def manifest_of(archive):
    return tomllib.loads(archive.read("blender_manifest.toml").decode())


@pytest.mark.bpy
@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_lies_in_the_zip(build, platform):
    path = build(platform)
    assert path.name == f"weightwalk-{PROJECT['version']}-{platform}.zip"
    assert path.stat().st_size < 130e6
    with zipfile.ZipFile(path) as archive:
        manifest, names = manifest_of(archive), archive.namelist()
        wheels = [name.removeprefix("./") for name in manifest["wheels"]]
        assert sorted(wheels) == sorted(n for n in names if n.endswith(".whl"))
        assert manifest["platforms"] == [platform]
        assert manifest["id"] == PROJECT["name"]
        assert manifest["version"] == PROJECT["version"] == VERSION
        assert manifest["license"] == [f"SPDX:{PROJECT['license']}"]
        # Blender runs the folder as bl_ext.<repository>.weightwalk, so all that is in it is found
        # from there only: nothing imports it by name, and nothing but it is in the zip.
        folders = {name.split("/")[0] for name in names if "/" in name}
        assert folders == {"core", "probing", "scene", "ui", "wheels"}
        files = {name for name in names if "/" not in name}
        modules = {
            "__init__", "animate", "drawing", "film", "files", "flow", "pipeline", "quiet",
            "refine", "version",
        }  # fmt: skip
        assert files == {"LICENSE", "blender_manifest.toml", *(f"{name}.py" for name in modules)}
        for name in (n for n in names if n.endswith(".py")):
            for node in ast.walk(ast.parse(archive.read(name))):
                imported = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom) and not node.level:
                    imported = [str(node.module)]
                own = {"weightwalk", "batch", "blender_addon", "core", "scene", "ui", "pipeline"}
                assert own.isdisjoint(i.split(".")[0] for i in imported), (name, imported)
                # The platform's rules: no changes of the path, no pip.
                assert not isinstance(node, ast.Attribute) or ast.unparse(node) != "sys.path"
    for python in ("311", "313"):
        tags = (f"-cp{python}-cp{python}-", "-abi3-", "-py3-")
        fits = [wheel for wheel in wheels if any(tag in wheel for tag in tags)]
        assert sorted(Path(wheel).name.split("-")[0] for wheel in fits) == WHEELS


@pytest.mark.bpy
def test_a_zip_of_one_python_has_no_other_and_is_the_same_twice(build, tmp_path):
    path = build("linux-x64", "cp314")
    with zipfile.ZipFile(path) as archive:
        binary = re.findall(r"-cp\d+-(cp\d+)-", " ".join(archive.namelist()))
    assert set(binary) == {"cp314"}
    script = [sys.executable, str(ROOT / "scripts" / "_build_extension.py")]
    chosen = ["--platform=linux-x64", "--python=cp314", f"--out={tmp_path}"]
    subprocess.run([*script, *chosen], check=True)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()


@pytest.mark.bpy
def test_an_extension_that_blender_refuses_is_not_built(build, tmp_path):
    """The build's last step is Blender's own validator, and it can say no."""
    source = ROOT / "scripts" / "_build_extension.py"
    spec = importlib.util.spec_from_file_location("build_script", source)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with zipfile.ZipFile(build("linux-x64", "cp314")) as archive:
        manifest = archive.read("blender_manifest.toml").decode()
    broken = tmp_path / "broken.zip"
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("__init__.py", "")
        too_long = manifest.replace('tagline = "', 'tagline = "' + 80 * "x")
        archive.writestr("blender_manifest.toml", too_long)
    with pytest.raises(subprocess.CalledProcessError):
        script.validate(broken)


def in_profile(command, profile):
    """Run a Blender that has `profile` for all that it keeps."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BLENDER_USER_")}
    environment["BLENDER_USER_RESOURCES"] = str(profile)
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def run_button(command, profile):
    """Run load_model.py and return what it printed."""
    done = in_profile(command, profile)
    (line,) = re.findall("^RESULT (.*)$", done.stdout, re.MULTILINE) or [None]
    assert line, f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0
    return json.loads(line)


def assert_it_works(result, profile):
    assert result["status"] == ["FINISHED"]
    assert result["faces"] > 1000
    for name, file in result["wheels"].items():
        assert Path(file).is_relative_to(profile / "extensions"), f"{name} is not the zip's"


@pytest.mark.bpy
def test_installed_in_blender_as_a_module_it_runs_on_its_own_wheels(build, checkpoint, tmp_path):
    """Blender's own installer picks the wheels of this Python; no other package is within reach."""
    alone = tmp_path / "blender_alone"
    alone.mkdir()
    site = Path(importlib.util.find_spec("bpy").origin).parents[1]
    for name in ("bpy", "numpy", "numpy.libs"):
        (alone / name).symlink_to(site / name)
    profile = tmp_path / "profile"
    script = [str(Path(__file__).with_name("load_model.py")), "--", str(checkpoint)]
    command = [sys.executable, "-I", "-S", *script, str(build("linux-x64")), str(alone)]
    assert_it_works(run_button(command, profile), profile)


@pytest.mark.blender
@pytest.mark.bpy
def test_installed_in_a_real_blender_it_runs_on_its_own_wheels(
    blender, build, checkpoint, tmp_path
):
    expression = "import sys; print('TAG cp%d%d' % sys.version_info[:2])"
    asked = [blender, "--background", "--factory-startup", "--python-expr", expression]
    tag = re.search("^TAG (.*)$", subprocess.check_output(asked, text=True), re.MULTILINE).group(1)
    archive = build("linux-x64", *([] if tag in ("cp311", "cp313") else [tag]))
    profile = tmp_path / "profile"
    extension = [blender, "--background", "--command", "extension"]
    valid = in_profile([*extension, "validate", str(archive)], profile)
    assert valid.returncode == 0, valid.stdout
    install = ["install-file", "--repo", "user_default", "--enable", str(archive)]
    installed = in_profile([*extension, *install], profile)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    script = ["--python-exit-code", "1", "--python", str(Path(__file__).with_name("load_model.py"))]
    result = run_button([blender, "--background", *script, "--", str(checkpoint)], profile)
    # A Blender that runs on the system's Python takes the system's packages first, so where they
    # came from is asked only of what the system has not.
    assert result["status"] == ["FINISHED"]
    assert result["faces"] > 1000
    assert Path(result["wheels"]["DracoPy"]).is_relative_to(profile)
