"""Each bad file is one sentence and exit status 2, within 2 s and 500 MB, and runs nothing."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from weightwalk.core.readers import open_checkpoint

from .cases_torch import calls
from .corpus import FORMATS, MEGABYTES, ROOT, SECONDS, environment, python, run
from .making import SECRET, SECRET_BYTES, Case
from .mutations import SEEDS
from .pickled import SYSTEM

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no pipes, links and limits here")


@pytest.mark.parametrize("form", FORMATS)
def test_the_corpus(tmp_path: Path, form: str) -> None:
    cases = list(FORMATS[form]())
    assert len({case.name for case in cases}) == len(cases)
    wrong = [(case.name, what) for case, _, found in run(cases, tmp_path) for what in found]
    told = "\n".join(f"{name}: {what}" for name, what in wrong[:20])
    if wrong:
        pytest.fail(f"{len(wrong)} of {len(cases)} cases:\n{told}", pytrace=False)


@pytest.mark.parametrize("form", SEEDS)
def test_what_is_damaged_was_whole(tmp_path: Path, form: str) -> None:
    for n, (files, _, opened) in enumerate(SEEDS[form]):
        path = Case("whole", files, opened).write(tmp_path / str(n))
        with open_checkpoint(path) as checkpoint:
            assert len(checkpoint)
            assert not checkpoint.notes
            unread = [t.name for t in checkpoint.values() if t.reason and t.dtype != "F4"]
            assert not unread
            assert form != "packed" or all(t.packing for t in checkpoint.values())


def test_the_canary_would_sing(tmp_path: Path) -> None:
    """What the corpus is full of does run something, where it is opened as a pickle."""
    canary = tmp_path / "canary"
    code = f"import pickle; pickle.loads({b'(' + SYSTEM + b'.'!r})"
    subprocess.run(python("-c", code), env=environment(canary), check=True)
    assert canary.exists()
    assert len(calls()) > 20
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(b"\xff")


# Of each format one by the real command, with what it says.
COMMANDS = {
    "torch": ("zip: calls os.system", "os.system"),
    "gguf": ("metadata: a text of 1152921504606846976 bytes", ""),
    "arrays": ("in a zip: shape (9223372036854775808", ""),
    "onnx": (f"beside at '../{SECRET}'", ""),
    "foreign": ("model.h5 with external links", "Keras"),
    "safetensors": ("20 MB of empty lists", "header"),
}


@pytest.mark.parametrize("form", COMMANDS)
def test_by_the_real_command(tmp_path: Path, form: str) -> None:
    name, says = COMMANDS[form]
    case = next(case for case in FORMATS[form]() if case.name == name)
    (tmp_path / SECRET).write_bytes(SECRET_BYTES)
    path = case.write(tmp_path / "model")
    command = "mesh" if form == "torch" else "inspect"
    more = ["--out", str(tmp_path / "out")] * (command == "mesh")
    told = measured(tmp_path, command, str(path), *more)
    assert told["status"] == 2
    assert told["seconds"] < SECONDS
    assert told["peak"] < MEGABYTES
    assert told["out"] == ""
    assert told["err"].startswith("weightwalk: ")
    assert told["err"].count("\n") == 1
    assert str(path.parent) in told["err"]
    assert says in told["err"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["model", SECRET])


# Not from here: what a program has held counts what the one that started it held.
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
scale = 1 if sys.platform == "darwin" else 1024
print(json.dumps({
    "status": done.returncode, "out": done.stdout, "err": done.stderr,
    "seconds": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss * scale / 1e6,
}))
"""


def measured(folder: Path, *arguments: str) -> dict[str, object]:
    """Run weightwalk and tell how it ended, with the processor's seconds and the most memory."""
    command = [sys.executable, "-m", "weightwalk", *arguments]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(folder / "canary"),
        timeout=60,
        check=True,
    )
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_a_name_says_what_is_wrong_with_a_case(tmp_path: Path) -> None:
    """The harness itself finds what it is for."""
    good = next(c for c in FORMATS["packed"]() if c.name.endswith("as it should be"))
    bad = Case(good.name, good.files, good.opened)
    ((_, told, found),) = run([bad], tmp_path)
    assert told["end"] == "opened"
    assert found == ["opened"]
