"""What several tests of the core share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

MODEL = Path(__file__).resolve().parents[2] / "models" / "all-MiniLM-L6-v2"


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """Return the folder of the real model, which scripts/demo fetches."""
    folder = Path(os.environ.get("WEIGHTWALK_MODEL", MODEL))
    if not folder.is_dir():
        pytest.skip("all-MiniLM-L6-v2 is not there: run scripts/demo")
    return folder
