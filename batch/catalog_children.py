"""The command `weightwalk` in processes of its own, of which several may run at once.

A crash in one of them does not touch the others, and Blender is not made for threads.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import BinaryIO

from ..core.errors import OutputError
from .processes import child_environment, kill_group, own_command

# Set for a child that is to end when its standard input does, which is when its parent ends.
LEASH = "WEIGHTWALK_ENDS_WITH_STDIN"
PATIENCE = 10.0  # seconds that a child has to tidy up
TOLD = 1 << 16  # bytes of what a child said that are looked at


def end_with_parent() -> None:
    """Let this process be interrupted as soon as the one that started it is gone, if it asked so.

    Otherwise what was killed and what was started anew would write into the same folder.
    """
    if os.environ.pop(LEASH, None):
        threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


class Children:
    """The processes at work.

    Parameters
    ----------
    base : Path
        The folder in which they run.
    room : Path
        A folder for their temporary files.
    held : sequence of int
        Files that they keep open, which is to say locked, for as long as they run; POSIX only.
    """

    def __init__(self, base: Path, room: Path, held: Sequence[int] = ()) -> None:
        self.base, self.room, self.held = base, room, tuple(held)
        self.command = own_command()
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopped = False
        self.guard = threading.Lock()

    def run(self, arguments: Sequence[str]) -> tuple[int, str]:
        """Run the command in any thread; return its exit status and the end of what it said.

        Raises
        ------
        OutputError
            There is no room for its temporary files.
        """
        try:
            folder = TemporaryDirectory(dir=self.room, ignore_cleanup_errors=True)
            with folder as own:
                words = Path(own, "said.txt")
                status = self._run(arguments, own, words)
                with words.open("rb") as said:
                    said.seek(max(words.stat().st_size - TOLD, 0))
                    return status, said.read().decode("utf-8", "replace")
        except OutputError:
            raise
        except OSError as error:
            where = self.room.parent
            raise OutputError(f"cannot write into {where}: {error.strerror or error}") from error

    def _run(self, arguments: Sequence[str], own: str, words: Path) -> int:
        with words.open("wb") as said:
            with self.guard:
                if self.stopped:
                    return -signal.SIGTERM
                child = self._start(arguments, own, said)
                self.running.add(child)
            try:
                status = child.wait()
            finally:
                if child.poll() not in {0, 1, 2, 3}:
                    kill_group(child)
                assert child.stdin is not None
                child.stdin.close()
                with self.guard:
                    self.running.discard(child)
        return status

    def _start(self, arguments: Sequence[str], own: str, said: BinaryIO) -> subprocess.Popen[bytes]:
        posix = os.name == "posix"
        try:
            return subprocess.Popen(
                [*self.command, *arguments],
                cwd=self.base,
                env=child_environment(own, self.base) | {LEASH: "1"},
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal reaches us alone, and what it starts in its turn can be
                # ended with it.
                start_new_session=posix,
                pass_fds=self.held if posix else (),
            )
        except OSError as error:
            raise OutputError(f"cannot start {self.command[0]}: {error.strerror}") from error

    def stop(self) -> None:
        """End all of them, and let them tidy up; none is started after that."""
        with self.guard:
            self.stopped = True
            ending = list(self.running)
        try:
            for child in ending:
                child.terminate()
            until = monotonic() + PATIENCE
            for child in ending:
                with suppress(subprocess.TimeoutExpired):
                    child.wait(max(until - monotonic(), 0.1))
        finally:
            for child in ending:
                if child.poll() is None:
                    kill_group(child)
