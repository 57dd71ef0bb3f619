"""Tries mutated files on every reader, until a time is over.

In a run of the tests it takes a minute in all, from the same seeds each time, as far as that goes.
An hour by hand, from other seeds, all formats or some; what is found is kept in a folder:

    python -W error -m tests.hostile.fuzz --seconds 3600 --seed 7 --keep found [gguf torch …]

Each example must open and be read, or be a `WeightwalkError` with exit status 2 of one printable
line; take less than 2 s and 500 MB; run and write nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky

from .corpus import MEGABYTES, SECONDS
from .making import SECRET, SECRET_BYTES, Case
from .mutations import STRUCTURED, Example, strategy
from .worker import HANGS, TooSlow, Watch, alarm, limit, peak, try_to_open, where

EXAMPLES = 250  # of one seed


class FoundError(AssertionError):
    """An example did what none may do."""


class Trial:
    """Tries examples, all in one folder that is made anew each time."""

    def __init__(self, root: Path) -> None:
        self.root, self.count, self.opened, self.slowest = root, 0, 0, 0.0
        self.last: Case | None = None
        self.watch = Watch()
        (root / SECRET).write_bytes(SECRET_BYTES)

    def __call__(self, example: Example) -> None:
        """Try one; raises FoundError."""
        files, opened = example
        folder = self.root / "model"
        shutil.rmtree(folder, ignore_errors=True)
        self.last = Case("fuzzed", files, opened)
        path = self.last.write(folder)
        self.count += 1
        self.watch.seen, before, start = [], peak(), time.process_time()
        try:
            alarm(HANGS)
            self.watch.on = True
            told = try_to_open(path)
        except (TooSlow, MemoryError) as error:
            raise FoundError(f"{type(error).__name__} at {where(error)}") from None
        except Exception as error:
            raise FoundError(where(error)) from error
        finally:
            self.watch.on = False
            alarm(0)
        self._judge(told, time.process_time() - start, before)

    def _judge(self, told: dict[str, object], seconds: float, before: float) -> None:
        self.slowest = max(self.slowest, seconds)
        self.opened += told["end"] == "opened"
        if seconds > SECONDS:
            raise FoundError(f"takes {seconds:.1f} s")
        if peak() > MEGABYTES and peak() > before:
            most = peak()
            _forget_peak()
            raise FoundError(f"takes {most:.0f} MB")
        if self.watch.seen:
            raise FoundError(f"acts: {self.watch.seen[0]}")
        if told["end"] == "refused":
            said = str(told["said"])
            if told["status"] != 2:
                raise FoundError(f"exit status {told['status']}: {said}")
            if not said.isprintable() or len(said) > 3000:
                raise FoundError(f"not one printable line: {said!r:.300}")


def _forget_peak() -> None:
    """Let the peak of memory start again, so that an example can be tried again."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def fuzz(form: str, until: float, first: int, trial: Trial) -> None:
    """Try examples of a format until a time of the monotonic clock; raises FoundError."""
    tried = strategy(form)
    for number in itertools.count(first):
        if time.monotonic() > until:
            return

        @seed(number)
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=False,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            report_multiple_bugs=False,
        )
        @given(tried)
        def check(example: Example) -> None:
            if time.monotonic() < until:
                trial(example)

        check()


def keep(case: Case, folder: Path, what: str) -> None:
    """Leave the files of an example in a new folder."""
    number = sum(1 for _ in folder.iterdir()) if folder.exists() else 0
    path = folder / f"{number:04}"
    case.write(path)
    (path / "found.json").write_text(json.dumps({"found": what, "open": case.opened}))


def main() -> int:
    """Fuzz the formats, each for its share of the time; 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=", ".join(STRUCTURED))
    parser.add_argument("--seconds", type=float, default=60.0, help="in all (default: 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="go on, and keep what was found")
    chosen = parser.parse_args()
    formats = chosen.formats or list(STRUCTURED)
    os.environ.pop("HF_TOKEN", None)
    limit()
    found = 0
    for form in formats:
        until = time.monotonic() + chosen.seconds / len(formats)
        with tempfile.TemporaryDirectory() as root:
            trial = Trial(Path(root))
            first, here = chosen.seed * 10**6, 0
            while time.monotonic() < until:
                try:
                    fuzz(form, until, first, trial)
                except (FoundError, Flaky) as error:
                    here += 1
                    first += 10**4
                    print(f"{form}: {error}", flush=True)
                    if chosen.keep is None or here > 20:
                        break
                    assert trial.last is not None
                    keep(trial.last, chosen.keep / form, str(error))
            found += here
        said = f"{trial.count} examples, {trial.opened} opened, {here} found"
        print(f"{form}: {said}, {trial.slowest:.2f} s, {peak():.0f} MB", flush=True)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
