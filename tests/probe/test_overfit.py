"""The demo's experiment on a small model: it learns sentences by heart, and is probed meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from weightwalk.core.flow.run import find_run

pytestmark = pytest.mark.probe

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "_overfit.py"


def command(out: Path) -> list[str]:
    return [sys.executable, str(SCRIPT), str(out), "--small"]


def overfit(out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(out), capture_output=True, text=True, check=False)


def test_it_recites_and_what_it_was_on_the_way_can_be_drawn(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = overfit(out)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((out / "overfit.json").read_text())
    first, *later = told["looks"]
    assert told["recited"]
    assert sum(first["recited"]) == 0
    assert later[-1]["recited"] == told["tokens"]
    assert later[-1]["loss"] < first["loss"]
    steps = [look["step"] for look in told["looks"]]
    run = find_run([str(out)])
    assert [probe.info.step for probe in run.probes] == steps
    assert not run.skips
    assert list(told["departs"]) == [str(step) for step in steps[1:]]
    assert told["after"] != told["before"]
    assert "recites all 3 sentences" in (out / "overfit.txt").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_not_its_own_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("of somebody")
    done = overfit(tmp_path)
    assert done.returncode == 1
    assert "something else is in it" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    with subprocess.Popen(
        command(tmp_path / "run"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert "step   0" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130
    assert not said
    assert not list(tmp_path.iterdir())
