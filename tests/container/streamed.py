"""A person before Blender in a browser: the hands of the window tests, through a web page."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from ..gui.running import INSIDE, end
from ..gui.window import Window
from ..programs import chromium

HERE = Path(__file__).parent
NODE = HERE.parent / "node_modules"
# What xdotool calls the keys that Chromium calls otherwise.
KEYS = {"Return": "Enter", "ctrl": "Control", "shift": "Shift", "Next": "PageDown"}
BUTTONS = {1: "left", 2: "middle", 3: "right"}
WHEEL = {4: -120, 5: 120}


class Spy:
    """A folder for the container with a script for its Blender, and the socket it answers on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "startup").mkdir(parents=True)
        shutil.copy(HERE / "spying.py", folder / "startup")
        shutil.copy(INSIDE, folder)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "socket"))
        self.listener.listen()
        self.listener.settimeout(120)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777)


class Streamed(Window):
    """Blender in a container, seen and moved through its web page; a context manager."""

    def __init__(self, spy: Spy, page: Page, pictures: Path, said: Any) -> None:
        self.pictures, self._page, self._said = pictures, page, said
        self._names, self._requests = itertools.count(1), itertools.count(1)
        self._received = b""
        self._connection = spy.listener.accept()[0]
        self._stack = contextlib.ExitStack()
        self._stack.callback(self._connection.close)

    def log(self) -> str:
        return str(self._said())

    def screenshot(self, name: str) -> Path:
        self.pictures.mkdir(parents=True, exist_ok=True)
        path = self.pictures / f"{next(self._names):02}-{name}.png"
        self._page.do("screenshot", str(path))
        return path

    def _button_at(self, x: int, y: int, area: str, region: str, lines: bool) -> dict[str, Any]:
        found = super()._button_at(x, y, area, region, lines)
        if found.get("operator") == "":
            # On Wayland a clipboard is filled a moment later.
            found["operator"] = self.wait_for("bpy.context.window_manager.clipboard")
        return found

    def _xdotool(self, *arguments: object) -> None:
        match list(arguments):
            case ["mousemove", int(x), int(y)]:
                self._page.do("move", x, y)
            case ["mousemove_relative", "--", int(x), int(y)]:
                self._page.do("nudge", x, y)
            case ["click", int(button)]:
                self._page.do("click", BUTTONS[button])
            case ["click", "--repeat", int(times), "--delay", _, int(button)]:
                for _turn in range(times):
                    self._page.do("wheel", WHEEL[button])
            case ["key", "--delay", _, *keys]:
                for key in keys:
                    parts = [KEYS.get(part, part) for part in str(key).split("+")]
                    self._page.do("press", "+".join(parts))
            case ["type", "--delay", _, text]:
                self._page.do("type", text)
            case ["keydown" | "keyup" as what, key]:
                self._page.do(what.removeprefix("key"), KEYS.get(str(key), key))
            case unknown:
                raise NotImplementedError(unknown)


class Page:
    """Headless Chromium with the desktop's page; a context manager."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self._node = subprocess.Popen(
            ["node", HERE / "desktop.mjs", chromium(), url, user, password],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"NODE_PATH": str(NODE)},
        )
        self.status: int = self._answer()["status"]

    def do(self, action: str, *values: object) -> None:
        """Do one thing and wait until it is done."""
        assert self._node.stdin is not None
        self._node.stdin.write(json.dumps([action, *values]) + "\n")
        self._node.stdin.flush()
        answer = self._answer()
        assert "error" not in answer, (action, values, answer)

    def _answer(self) -> dict[str, Any]:
        assert self._node.stdout is not None
        line = self._node.stdout.readline()
        assert line, "Chromium ended"
        return dict(json.loads(line))

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._node.stdin is not None and self._node.stdout is not None
        self._node.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._node.wait(timeout=20)
        end(self._node)
        self._node.stdout.close()
