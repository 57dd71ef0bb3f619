"""What the tests of the image and the compose files share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .compose import OWNER, Checkout, copy_project

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder with what they need."""
    for item in items:
        if item.path.is_relative_to(HERE):
            for need in ("container", "model"):
                item.add_marker(need)


@pytest.fixture(scope="session")
def built(tmp_path_factory, model_folder) -> Checkout:
    """Return a checkout whose image is built, by the line that the README has."""
    folder = tmp_path_factory.mktemp("weightwalk")
    copy_project(folder)
    shutil.copytree(model_folder, folder / "models" / model_folder.name)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, OWNER, OWNER)
    # A checkout in a temporary folder that only its maker can enter would be no one's.
    for parent in (folder, *list(folder.parents)[:2]):
        parent.chmod(0o755)
    checkout = Checkout(folder)
    done = checkout.compose("base", "build", "-q", seconds=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return checkout


@pytest.fixture
def checkout(built) -> Iterator[Checkout]:
    """Return the checkout, without results."""
    shutil.rmtree(built.results, ignore_errors=True)
    yield built
    shutil.rmtree(built.results, ignore_errors=True)
