"""Opens the cases of a list in one process, reads what opens, and tells how each ended.

Its input is JSON lines ``[folder, path to open]``; its output is a JSON line a case.
Run with ``-W error``: a warning about somebody's file is a failure, too.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from weightwalk.core.errors import MissingDependencyError, WeightwalkError
from weightwalk.core.plans import make_plans
from weightwalk.core.readers import Checkpoint, open_checkpoint
from weightwalk.core.settings import FieldSettings

from .making import SECRET

HANGS = 10.0  # seconds
ADDRESSES = 6 << 30  # bytes of address space: a runaway ends here, not in the machine's memory
BLOCK = 1 << 18  # entries
PACKED = (".qweight", ".qzeros", ".weight_packed", "_proj_blocks")
# What opening a model has no reason to do; arguments are looked at below for `open`.
ACTS = ("os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.", "socket.", "pickle.")
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.symlink", "os.link", "shutil.", "os.chmod")


class TooSlow(BaseException):
    """Raised by the alarm; no handler of ours takes it."""


class Watch:
    """Notes what Python's audit events tell of forbidden acts; a context manager of a case."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.on:
            return
        if event.startswith(ACTS) or event.startswith(CHANGES):
            self.seen.append(f"{event} {arguments!r:.200}")
        elif event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self.seen.append(f"wrote {path!r:.200}")
            elif isinstance(path, str | bytes) and SECRET in os.fsdecode(path):
                self.seen.append(f"opened {path!r:.200}")
            elif isinstance(path, str) and SECRET in os.path.realpath(path):
                self.seen.append(f"opened by a link {path!r:.200}")


def peak() -> float:
    """Return the most memory that this program has held, in MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        (kib,) = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    except (OSError, ValueError):  # not Linux; there this counts also what ran before the exec
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return int(kib) * 1024 / 1e6


def limit() -> None:
    """End runaways: of memory by a MemoryError, of time by TooSlow (see `alarm`)."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, hard))

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, ring)


def alarm(seconds: float) -> None:
    """Raise TooSlow after so many seconds; 0 takes that back."""
    signal.setitimer(signal.ITIMER_REAL, seconds)


def read_all(checkpoint: Checkpoint) -> list[str]:
    """Read everything in blocks, make plans of it, and return why tensors cannot be read."""
    tensors = list(checkpoint.values())
    reasons = []
    for tensor in tensors:
        assert tensor.role
        assert all(type(n) is int and n >= 0 for n in tensor.shape)
        assert tensor.sources
        if not tensor.decodable:
            reasons.append(f"{tensor.name}: {tensor.reason}")
            continue
        packed = tensor.name.endswith(PACKED) and not tensor.is_float
        assert not packed, "packed integers can be drawn"
        try:
            tensor.flat(0, min(tensor.size, 1))
        except MissingDependencyError as error:  # packed numbers of GGUF take a package
            reasons.append(f"{tensor.name}: {error}")
            continue
        for start in range(0, tensor.size, BLOCK):
            stop = min(start + BLOCK, tensor.size)
            assert tensor.flat(start, stop).shape == (stop - start,)
            for span in tensor.values.spans(start, stop):
                assert 0 <= span.begin <= span.end <= span.file.size
        if tensor.size:
            assert len(tensor.index_of(tensor.size - 1)) >= 1 or not tensor.shape
        if tensor.shape and tensor.size < BLOCK:
            assert tensor.rows(0, tensor.shape[0]).shape == tensor.shape
    for kind in ("slab", "depth", "heads", "experts"):
        try:
            make_plans(tensors, FieldSettings(kind=kind))
        except WeightwalkError as error:
            assert str(error).isprintable(), "the error of a plan is not printable"
    assert str(checkpoint.stamp).isprintable()
    assert repr(checkpoint).isprintable()
    assert all(note.isprintable() for note in checkpoint.notes), "a note is not printable"
    return reasons


def try_to_open(path: Path) -> dict[str, object]:
    """Open and read a path: how it ended, and what was said."""
    try:
        with open_checkpoint(path) as checkpoint:
            reasons = read_all(checkpoint)
    except WeightwalkError as error:
        return {"end": "refused", "said": str(error), "status": error.exit_status}
    return {"end": "opened", "reasons": reasons}


def run(lines: Iterator[str]) -> Iterator[dict[str, object]]:
    """Try each of the listed paths."""
    watch = Watch()
    limit()
    for line in lines:
        folder, path = json.loads(line)
        watch.seen = []
        start, before = time.process_time(), peak()
        try:
            alarm(HANGS)
            watch.on = True
            told = try_to_open(Path(path))
        except TooSlow:
            told = {"end": f"ran longer than {HANGS:.0f} s"}
        except BaseException as error:
            told = {"end": where(error)}
        finally:
            watch.on = False
            alarm(0)
        told["seconds"] = time.process_time() - start
        told["rose"] = peak() - before
        told["peak"] = peak()
        told["acts"] = watch.seen
        told["folder"] = folder
        yield told


def where(error: BaseException) -> str:
    """Name an error that should not be, and the line of ours that it came from."""
    place, trace = "", error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        if "weightwalk" in code.co_filename or "blender_addon" in code.co_filename:
            place = f"{Path(code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return f"{type(error).__name__} at {place}: {str(error)[:300]}"


def main() -> None:
    """Read standard input, write standard output."""
    for told in run(iter(sys.stdin)):
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
