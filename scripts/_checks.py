"""The parts of scripts/test: each in its own virtual environment, and a table of all at the end."""

# Standard library only: the environments are made here.
import argparse
import collections
import json
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = "{}.{}".format(*sys.version_info)
OTHER = {"3.11": "3.13", "3.13": "3.11"}[VERSION]
SECONDS = 2400
Outcome = tuple[str, str, float, list[str]]


class NotRun(Exception):  # noqa: N818
    """A part cannot run here; the message is the reason."""


class Failed(Exception):  # noqa: N818
    """A part ran and found something."""


def run(*command: str | Path, shown: bool = True) -> None:
    """Run a command in the checkout; raises Failed."""
    out = None if shown else subprocess.DEVNULL
    try:
        done = subprocess.run(command, cwd=ROOT, timeout=SECONDS, stdout=out, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"did not end within {SECONDS} s") from None
    if done.returncode:
        raise Failed(
            f"exit status {done.returncode} of {Path(command[0]).name} {command[1]} {command[2]}"
        )


def venv(folder: str, version: str, extras: str, *pins: str) -> Path:
    """Return the interpreter of an environment with Weightwalk in it; raises NotRun."""
    find = [str(ROOT / "scripts" / "_find_python"), version]
    found = subprocess.run(find, stdout=subprocess.PIPE, text=True, check=False)
    if found.returncode:
        raise NotRun(f"no Python {version} that can make virtual environments")
    run(found.stdout.strip(), ROOT / "scripts" / "_venv.py", folder, extras, *pins)
    return ROOT / folder / "bin" / "python"


def pytest(python: Path, every: bool, *arguments: str) -> list[str]:
    """Run tests and return, for each reason, which were skipped for it; raises Failed."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.xml"
        options = [f"--junitxml={log}", *["--all"] * every]
        run(python, "-m", "pytest", *options, *arguments)
        skipped = collections.defaultdict(list)
        for case in ET.parse(log).iter("testcase"):
            for skip in case.iter("skipped"):
                skipped[skip.get("message")].append(case.get("name", "").partition("[")[0])
    return [f"{reason}: {', '.join(dict.fromkeys(names))}" for reason, names in skipped.items()]


def lint(every: bool) -> list[str]:
    """Read the code: ruff and mypy."""
    python = ROOT / ".venv" / "bin" / "python"
    run(python, "-m", "ruff", "check", ".")
    packages = [f"-p=weightwalk.{name}" for name in ("core", "batch", "probing")]
    packages += [
        f"-m=weightwalk.{name}"
        for name in ("pipeline", "animate", "drawing", "film", "files", "flow", "refine")
    ]
    run(python, "-m", "mypy", *packages)
    return []


def main_python(every: bool) -> list[str]:
    """Run all tests."""
    python = ROOT / ".venv" / "bin" / "python"
    run(python, ROOT / "scripts" / "_model.py")
    run(python, ROOT / "scripts" / "_model.py", "--smollm2")
    if shutil.which("npm"):
        lock, there = (ROOT / "tests" / p for p in ("package-lock.json", "node_modules/.made"))
        if not there.exists() or there.read_text() != lock.read_text():
            run("npm", "ci", "--prefix=tests", "--no-audit", "--no-fund", "--loglevel=error")
            shutil.copy(lock, there)
    return pytest(python, every)


def other_environment() -> Path:
    """Return the interpreter of the other Python that has a Blender."""
    return venv(f".venv-{OTHER}", OTHER, "blender,test")


def lowest_environment() -> Path:
    """Return an interpreter with the oldest packages that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = [d.split(",")[0].replace(">=", "==") for d in project["dependencies"]]
    return venv(".venv-lowest", "3.11", "test", *pins)


def plain_environment() -> Path:
    """Return the interpreter of a Python that no Blender has."""
    with suppress(NotRun):
        return venv(".venv-no-blender", "3.14", "test")
    return venv(".venv-no-blender", "3.12", "test")


def other_python(every: bool) -> list[str]:
    """Run what depends on Blender's or Python's version in the other supported one."""
    python = other_environment()
    without = "node or blender or probe or cluster or container or fuzz"
    return pytest(python, every, "-m", f"not ({without})")


# What runs without Blender and torch; a minute of fuzzing is enough in one part.
CORE = ("tests/core", "tests/hostile", "-m", "not (bpy or node or probe or cluster or fuzz)")


def lowest_versions(every: bool) -> list[str]:
    """Run the core with the oldest packages that pyproject.toml allows."""
    return pytest(lowest_environment(), every, *CORE)


def no_blender(every: bool) -> list[str]:
    """Run the core on a Python that no Blender has: it is where people train."""
    python = plain_environment()
    model = ROOT / "models" / "all-MiniLM-L6-v2"
    run(python, "-m", "weightwalk", "inspect", model, shown=False)
    return pytest(python, every, *CORE)


PARTS = {
    "ruff, mypy": lint,
    f"all tests, Python {VERSION}": main_python,
    f"Python {OTHER}": other_python,
    "lowest versions of the packages": lowest_versions,
    "a Python without Blender": no_blender,
}
# What opens windows and measures times has the machine to itself; the rest go two at a time.
ALONE = list(PARTS)[:2]
ENVIRONMENTS = (other_environment, lowest_environment, plain_environment)


def outcome(name: str, every: bool) -> Outcome:
    """Run a part and say how it went, after how many seconds, and what there is to say of it."""
    start = time.monotonic()
    try:
        notes = PARTS[name](every)
        state = "passed" if not notes else "IN PART" if every else "in part"
    except Failed as error:
        state, notes = "FAILED", [str(error)]
    except NotRun as error:
        state, notes = "NOT RUN" if every else "not run", [str(error)]
    return state, name, time.monotonic() - start, notes


def beside(name: str, every: bool) -> Outcome:
    """Do what `outcome` does in a process of its own, whose output is shown when it has ended."""
    with tempfile.TemporaryDirectory() as folder:
        said, made = Path(folder, "said.txt"), Path(folder, "outcome.json")
        command = [sys.executable, __file__, *["--all"] * every, "--part", name, "--tell", made]
        with said.open("wb") as out:
            subprocess.run(command, cwd=ROOT, stdout=out, stderr=out, check=False)
        print(f"\n== {name}\n{said.read_text(errors='replace')}", flush=True)
        if not made.exists():
            return "FAILED", name, 0.0, ["its process ended"]
        state, _, seconds, notes = json.loads(made.read_text())
        return state, name, seconds, notes


def main() -> int:
    """Run the parts and print the table; 1 where one failed or, with --all, could not run."""
    parser = argparse.ArgumentParser(prog="scripts/test", description=__doc__)
    parser.add_argument("--all", action="store_true", help="fail where something cannot be tested")
    parser.add_argument("--part", choices=PARTS, help="only this one")
    parser.add_argument("--tell", type=Path, metavar="FILE", help="write how it went as JSON")
    chosen = parser.parse_args()
    if chosen.part:
        outcomes = [outcome(chosen.part, chosen.all)]
    else:
        # On Linux torch brings gigabytes of CUDA, so it comes only with --all.
        probe = ",probe" * (chosen.all and VERSION == "3.11")
        venv(".venv", VERSION, "blender,test,cluster" + probe)
        outcomes = []
        for name in ALONE:
            print(f"\n== {name}", flush=True)
            outcomes.append(outcome(name, chosen.all))
        for environment in ENVIRONMENTS:
            # Before the parts run: each installation links the package anew, under all of them.
            with suppress(NotRun, Failed):  # which the part will say
                environment()
        with ThreadPoolExecutor(max_workers=2) as pool:
            rest = [name for name in PARTS if name not in ALONE]
            outcomes += pool.map(beside, rest, [chosen.all] * len(rest))
    if chosen.tell:
        chosen.tell.write_text(json.dumps(outcomes[0]))
    print(flush=True)
    for state, name, seconds, notes in outcomes:
        print(f"{state:8} {name:34} {seconds:5.0f} s")
        for note in notes:
            print(f"{'':11}not run: {note}" if state.lower() == "in part" else f"{'':11}{note}")
    return int(any(state.isupper() for state, *_ in outcomes))


if __name__ == "__main__":
    sys.exit(main())
