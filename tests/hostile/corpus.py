"""The corpus: the cases of every format, and how they are run."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import (
    cases_adapters,
    cases_arrays,
    cases_foreign,
    cases_gguf,
    cases_onnx,
    cases_packed,
    cases_safetensors,
    cases_torch,
)
from .making import REFUSED, SECRET, SECRET_BYTES, UNREADABLE, Case

ROOT = Path(__file__).resolve().parent.parent.parent
FORMATS = {
    "safetensors": cases_safetensors.cases,
    "torch": cases_torch.cases,
    "gguf": cases_gguf.cases,
    "arrays": cases_arrays.cases,
    "onnx": cases_onnx.cases,
    "adapters": cases_adapters.cases,
    "packed": cases_packed.cases,
    "foreign": cases_foreign.cases,
}
SECONDS = 2.0
MEGABYTES = 500.0


def python(*arguments: str) -> list[str]:
    """Return the command of a Python for which a warning is an error."""
    return [sys.executable, "-W", "error", *arguments]


def environment(canary: Path) -> dict[str, str]:
    """Return the environment in which a command of the corpus that ran would leave `canary`."""
    home = {"HF_HUB_CACHE": str(canary.parent / "hub"), "HF_HOME": str(canary.parent / "hub")}
    return {**os.environ, **home, "WEIGHTWALK_CANARY": str(canary), "HF_HUB_OFFLINE": "1"}


def wrong(case: Case, told: dict[str, Any], path: Path) -> list[str]:
    """Return what a case did that it must not do."""
    found = []
    if told["seconds"] > SECONDS:
        found.append(f"took {told['seconds']:.1f} s")
    if told["peak"] > MEGABYTES and told["rose"]:
        found.append(f"took {told['peak']:.0f} MB, {told['rose']:.0f} of it here")
    found += told["acts"]
    if told["end"] == "refused":
        found += _bad_words(case, told["said"], told["status"], path)
    elif told["end"] != "opened":
        found.append(told["end"])
    elif case.expect == REFUSED:
        found.append("opened")
    elif case.expect == UNREADABLE and not told["reasons"]:
        found.append("all of it can be read")
    return found


def _bad_words(case: Case, said: str, status: int, path: Path) -> list[str]:
    found = []
    if status != 2:
        found.append(f"exit status {status}")
    if case.expect == UNREADABLE:
        found.append("refused")
    if not said.isprintable() or len(said) > 3000:
        found.append("the error is not one printable line")
    if not any(said.startswith(str(p)) for p in (path, path.parent)) and str(path) not in said:
        found.append("the error does not name the file")
    if re.search(r"\b[A-Z]\w*(Error|Exception)\b|Traceback|0x[0-9a-f]{6}", said):
        found.append("the error is Python's")
    if "secret: " in said or "root:" in said:
        found.append("the error shows what is in another file")
    if case.says and not re.search(case.says, said):
        found.append(f"does not say {case.says!r}")
    return [f"{what}: {said[-200:]!r}" for what in found]


def run(cases: list[Case], folder: Path) -> Iterator[tuple[Case, dict[str, Any], list[str]]]:
    """Write the cases, open each in one process of its own, and yield what was wrong with it."""
    (folder / SECRET).write_bytes(SECRET_BYTES)
    paths = [case.write(folder / f"{n:05}") for n, case in enumerate(cases)]
    canary = folder / "canary"
    lines = "".join(json.dumps([str(p.parent), str(p)]) + "\n" for p in paths)
    done = subprocess.run(
        python("-m", "tests.hostile.worker"),
        input=lines,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(canary),
        timeout=600,
        check=False,
    )
    for n in range(len(cases)):  # half a gigabyte, which pytest would keep for three runs
        shutil.rmtree(folder / f"{n:05}")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    for case, path, one in zip(cases, paths, told, strict=False):
        yield case, one, wrong(case, one, path)
    if len(told) < len(cases):
        died = {"end": "died", "seconds": 0.0, "peak": 0.0}
        yield cases[len(told)], died, [f"the process died: {done.stderr[-500:]}"]
    assert done.returncode == 0 or len(told) < len(cases), done.stderr
    assert not canary.exists(), "a command in a file was run"


def main() -> None:
    """Run formats by hand (all for no argument) and print what is wrong."""
    for name in sys.argv[1:] or FORMATS:
        cases = list(FORMATS[name]())
        assert len({case.name for case in cases}) == len(cases), "a name twice"
        bad, slowest, most = Counter[str](), 0.0, 0.0
        with tempfile.TemporaryDirectory() as folder:
            for case, told, found in run(cases, Path(folder)):
                slowest, most = max(slowest, told["seconds"]), max(most, told["peak"])
                for what in found:
                    bad[what.split(": ")[0]] += 1
                    if bad[what.split(": ")[0]] <= 12:
                        print(f"{name}: {case.name}: {what}")
        for what, count in bad.most_common():
            print(f"{name}: {count} times: {what}")
        said = f"{len(cases)} cases, {bad.total()} wrong, {slowest:.2f} s, {most:.0f} MB"
        print(f"{name}: {said}")


if __name__ == "__main__":
    main()
