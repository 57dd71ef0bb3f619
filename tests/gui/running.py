"""Blender on a screen of its own, and what it is asked and answers."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

WIDTH, HEIGHT = 1600, 900
INSIDE = Path(__file__).with_name("inside.py")

# Blender's reports of what inside.py's `hovered` does.
NOISE = (
    "Active button not found",
    "Active button is not from a script",
    "in the text editor",
    "bpy.ops.ui.copy_python_command_button",
)


class WindowError(Exception):
    """Blender is gone or silent, or has not what was looked for."""


class Running:
    """Xvfb and a Blender with a profile, whose window fills its screen; a context manager.

    `environment` has the screen as ``DISPLAY``; screenshots go to the folder `pictures`.
    """

    def __init__(self, blender: str, profile: Path, pictures: Path) -> None:
        self.pictures = pictures
        self.environment = dict(os.environ)
        self._log = profile / "blender.log"
        self._names = itertools.count(1)
        self._requests = itertools.count(1)
        self._received = b""
        with contextlib.ExitStack() as stack:
            self.environment["DISPLAY"] = start_screen(stack)
            self._connection = self._start_blender(stack, blender, profile)
            self.ask("bpy.app.version_string")
            self._stack = stack.pop_all()

    def _start_blender(
        self, stack: contextlib.ExitStack, blender: str, profile: Path
    ) -> socket.socket:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        size = ["--window-geometry", "0", "0", str(WIDTH), str(HEIGHT)]
        script = ["--python", str(INSIDE), "--", str(listener.getsockname()[1])]
        process = subprocess.Popen(
            [blender, "--gpu-backend", "opengl", "--offline-mode", *size, *script],
            env=self.environment | {"BLENDER_USER_RESOURCES": str(profile)},
            stdout=stack.enter_context(self._log.open("wb")),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stack.callback(end, process, group=True)
        listener.settimeout(1)
        for _ in range(90):
            with contextlib.suppress(TimeoutError):
                return stack.enter_context(listener.accept()[0])
            if process.poll() is not None:
                break
        raise self.error("Blender did not start")

    def close(self) -> None:
        """End Blender and its screen."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self) -> str:
        """Return what Blender has printed, but for what asking it for buttons makes it print."""
        lines = self._log.read_text(errors="replace").splitlines(keepends=True)
        return "".join(line for line in lines if not any(noise in line for noise in NOISE))

    def error(self, what: str) -> WindowError:
        """Return an error with the end of what Blender printed and a picture of the screen."""
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            what += f"; see {self.screenshot('error')}"
        return WindowError(f"{what}. Blender's last words:\n{self.log()[-3000:]}")

    def screenshot(self, name: str) -> Path:
        """Save the screen as a numbered PNG."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        path = self.pictures / f"{next(self._names):02}-{name}.png"
        command = ["import", "-silent", "-window", "root", str(path)]
        subprocess.run(command, env=self.environment, timeout=30, check=True)
        return path

    def ask(self, source: str, seconds: float = 60) -> Any:
        """Return what an expression is in Blender, or what a longer source leaves in `result`.

        The source knows `bpy` and the functions of inside.py; its value comes as JSON. It runs in
        Blender's main thread, outside of any area: ``temp_override(**view())`` is the 3D view.
        """
        number = next(self._requests)
        until = time.monotonic() + seconds
        try:
            self._connection.sendall(json.dumps([number, source]).encode() + b"\n")
            answered = None
            while answered != number:  # The answer to an earlier question may come late.
                answered, value, error = json.loads(self._line(until))
        except TimeoutError:
            raise self.error(f"Blender has not answered for {seconds} s: {source}") from None
        except OSError:
            raise self.error(f"Blender died: {source}") from None
        if error:
            raise WindowError(f"{source}\n{error}")
        return value

    def _line(self, until: float) -> bytes:
        while b"\n" not in self._received:
            self._connection.settimeout(max(until - time.monotonic(), 0.001))
            chunk = self._connection.recv(1 << 16)
            if not chunk:
                raise ConnectionResetError
            self._received += chunk
        line, self._received = self._received.split(b"\n", 1)
        return line

    def wait_for(self, expression: str, seconds: float = 30) -> Any:
        """Wait until an expression is true in Blender, and return it."""
        until = time.monotonic() + seconds
        while not (value := self.ask(expression)):
            if time.monotonic() > until:
                raise self.error(f"not so within {seconds} s: {expression}")
            time.sleep(0.05)
        return value

    def reports(self) -> list[list[str]]:
        """Return the type and text of what Blender has told the person since the file began."""
        found = self.ask("[(r.type, r.message) for r in bpy.context.window_manager.reports]")
        return [
            [kind, text]
            for kind, text in found
            if kind in ("INFO", "WARNING", "ERROR") and not any(noise in text for noise in NOISE)
        ]

    def start_anew(self, pictures: Path) -> None:
        """Begin with a new file, and a folder for its pictures."""
        self.pictures, self._names = pictures, itertools.count(1)
        self.ask("bpy.ops.wm.read_homefile(use_factory_startup=True)")
        self.wait_for("'VIEW_3D' in shown() and view()['region'].width > 200")


def start_screen(stack: contextlib.ExitStack) -> str:
    """Start Xvfb on a display that is free, and return its name."""
    size = ["-screen", "0", f"{WIDTH}x{HEIGHT}x24", "+extension", "GLX", "-nolisten", "tcp"]
    xvfb = subprocess.Popen(
        # -terminate: it ends with its last client, even where this process is killed.
        ["Xvfb", "-displayfd", "1", "-terminate", *size],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    stack.callback(end, xvfb)
    number = stack.enter_context(xvfb.stdout).readline().strip()
    if not number:
        raise WindowError("Xvfb did not start")
    return f":{number}"


def end(process: subprocess.Popen[Any], *, group: bool = False) -> None:
    """End a process, or all of its group (a wrapper's children); gently at first."""

    def send(number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number) if group else process.send_signal(number)

    try:
        send(signal.SIGTERM)
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        send(signal.SIGKILL)
        process.wait(timeout=10)
