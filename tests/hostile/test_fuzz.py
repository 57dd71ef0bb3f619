"""A minute of mutated files; tests/hostile/fuzz.py says how to spend an hour."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .corpus import ROOT, environment, python
from .mutations import STRUCTURED

SECONDS = 60.0


@pytest.mark.fuzz
@pytest.mark.skipif(os.name != "posix", reason="no limits here")
def test_a_minute_of_mutations(tmp_path: Path) -> None:
    done = subprocess.run(
        python("-m", "tests.hostile.fuzz", "--seconds", str(SECONDS)),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(tmp_path / "canary"),
        timeout=10 * SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counts = dict(re.findall(r"^(\w+): (\d+) examples", done.stdout, re.MULTILINE))
    assert set(counts) == set(STRUCTURED)
    assert all(int(count) > 50 for count in counts.values()), done.stdout
    assert not (tmp_path / "canary").exists(), "a command in a file was run"
