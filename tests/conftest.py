"""What all tests share: the needs that a machine may not meet, and a Blender profile."""

from __future__ import annotations

import atexit
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from .programs import chromium

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "models" / "all-MiniLM-L6-v2"
SMOLLM2 = ROOT / "models" / "SmolLM2-135M-Instruct" / "SmolLM2-135M-Instruct.Q4_1.gguf"

# Read by Blender once, at the first `import bpy`: keeps a person's own settings and add-ons out.
for name in [name for name in os.environ if name.startswith("BLENDER_USER_")]:
    del os.environ[name]
os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="weightwalk-blender-")
atexit.register(shutil.rmtree, os.environ["BLENDER_USER_RESOURCES"], ignore_errors=True)


def _module(name: str, how: str) -> str:
    return "" if importlib.util.find_spec(name) else f"{name} is not installed ({how})"


def _blender() -> str:
    path = os.environ.get("WEIGHTWALK_BLENDER") or "blender"
    return "" if shutil.which(path) else "no Blender in WEIGHTWALK_BLENDER or on the path"


def _node() -> str:
    if not shutil.which("node"):
        return "no Node.js on the path"
    there = (ROOT / "tests" / "node_modules" / ".package-lock.json").exists()
    return "" if there else "no tests/node_modules (npm ci in tests/)"


def _browser() -> str:
    return "" if chromium() else "no Chromium in WEIGHTWALK_CHROMIUM or on the path"


def _window() -> str:
    missing = [name for name in ("Xvfb", "xdotool") if not shutil.which(name)]
    # Other programs are called import, too.
    version = ["import", "-version"] if shutil.which("import") else ["echo"]
    if b"ImageMagick" not in subprocess.run(version, capture_output=True, check=False).stdout:
        missing.append("ImageMagick's import")
    how = "apt-get install xvfb xdotool imagemagick"
    return f"{', '.join(missing)} not on the path ({how})" if missing else ""


def _container() -> str:
    how = "start Docker, or on a machine without one become root"
    if not shutil.which("docker"):
        return f"no docker on the path ({how})"
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"`{' '.join(command)}` fails: {done.stderr.strip()[-200:]} ({how})"
    return ""


def _model() -> str:
    there = (MODEL / "model.safetensors").exists()
    return "" if there else "models/all-MiniLM-L6-v2 is not there (scripts/demo fetches it)"


def _smollm2() -> str:
    how = "scripts/_model.py --smollm2 fetches it"
    return "" if SMOLLM2.exists() else f"models/SmolLM2-135M-Instruct is not there ({how})"


def _probe() -> str:
    how = "scripts/test --all installs it, with Python 3.11"
    return next(
        filter(None, (_module(m, how) for m in ("torch", "transformers", "accelerate", "peft"))), ""
    )


# A marker and what finds out whether its need is met: "" or the reason why not.
NEEDS: dict[str, Callable[[], str]] = {
    "bpy": lambda: _module("bpy", "pip install '.[blender]'"),
    "blender": _blender,
    "node": _node,
    "browser": _browser,
    "window": _window,
    "container": _container,
    "model": _model,
    "smollm2": _smollm2,
    "probe": _probe,
    "cluster": lambda: _module("distributed", "pip install '.[cluster]'"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="fail where a need is not met")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    reasons = [NEEDS[mark.name]() for mark in item.iter_markers() if mark.name in NEEDS]
    for reason in filter(None, reasons):
        if item.config.getoption("--all"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2; for tests marked `model`."""
    return MODEL


@pytest.fixture(scope="session")
def smollm2_file() -> Path:
    """Return the GGUF file of SmolLM2-135M-Instruct; for tests marked `smollm2`."""
    return SMOLLM2


@pytest.fixture(scope="session")
def blender() -> str:
    """Return the command of a real Blender that is new enough; for tests marked `blender`."""
    command = os.environ.get("WEIGHTWALK_BLENDER") or "blender"
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"Blender (\d+)\.(\d+)", said)
    assert version and tuple(map(int, version.groups())) >= (4, 5), f"{command} is {said[:40]!r}"
    return command


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that builds the extension and gives the zip's path; for tests marked `pip`.

    It takes a platform and, for a zip of one Python, its tag; each combination is built once.
    """
    out = tmp_path_factory.mktemp("dist")
    built: dict[tuple[str, ...], Path] = {}

    def build(platform: str, *python: str) -> Path:
        key = (platform, *python)
        if key not in built:
            script = [sys.executable, str(ROOT / "scripts" / "_build_extension.py")]
            tag = [f"--python={tag}" for tag in python]
            where = [f"--platform={platform}", f"--out={out}"]
            before = set(out.iterdir())
            subprocess.run([*script, *where, *tag], check=True)
            (built[key],) = set(out.iterdir()) - before
        return built[key]

    return build


@pytest.fixture(scope="session")
def training_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small Llama's real training; for tests marked `probe`.

    As `Trainer` leaves it: checkpoint-0, -60, -120, -180, -240 and the final model; in
    ``snapshots/`` what our callback wrote every 40 steps; in ``training.json`` what was learned.
    """
    out = tmp_path_factory.mktemp("training") / "run"
    command = [sys.executable, str(ROOT / "scripts" / "_training.py"), str(out), "--small"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture
def run(capsys):
    """Run the command in this process: a function of its arguments to (status, stdout, stderr)."""
    from weightwalk.batch.cli import main

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments):
        status = main([str(a) for a in arguments])
        return status, *capsys.readouterr()

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)
