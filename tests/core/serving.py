"""A real web server on loopback whose faults are chosen, for the tests of remote checkpoints."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

Fault = Callable[["Handler"], bool]


class Server:
    """Serves `files` by path; a context manager.

    Attributes
    ----------
    url : str
    files : dict of str to bytes
        By path, ``"/folder/model.safetensors"``.
    faults : deque of callables
        Each is used up by a request for a part of a file; `None` lets one pass.
    always : callable or None
        A fault of every request for a file.
    asked : list of (str, str, str)
        Path, range and authorization of each request.
    sent : int
        Bytes of bodies.
    versions : dict of str to str
        Entity tags other than that of the content's length.
    redirects : dict of str to str
    hub : dict of str to dict
        Answers of the hub's interface.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.versions: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        self.hub: dict[str, Any] = {}
        self.faults: deque[Fault | None] = deque()
        self.always: Fault | None = None
        self.asked: list[tuple[str, str, str]] = []
        self.sent = 0
        self.released = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.server = self  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Server:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()

    def forget(self) -> None:
        """Count from here on."""
        self.asked.clear()
        self.sent = 0

    def paths(self) -> list[str]:
        """Return what was asked for."""
        return [path for path, _, _ in self.asked]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    @property
    def ours(self) -> Server:
        return self.server.server  # type: ignore[attr-defined, no-any-return]

    def do_GET(self) -> None:
        ours, path = self.ours, unquote(self.path.partition("?")[0])
        self.wanted = self.headers["Range"] or ""
        ours.asked.append((self.path, self.wanted, self.headers["Authorization"] or ""))
        if path in ours.hub:
            self.answer(200, json.dumps(ours.hub[path]).encode())
        elif path in ours.redirects:
            self.answer(302, b"", Location=ours.redirects[path])
        elif path not in ours.files:
            self.answer(404, b"nothing here")
        else:
            self.content = ours.files[path]
            self.tag = ours.versions.get(path, f'"{len(self.content)}"')
            self.serve_file()

    def serve_file(self) -> None:
        begin, end = 0, len(self.content)
        if told := re.fullmatch(r"bytes=(\d+)-(\d+)", self.wanted):
            begin, end = int(told[1]), min(int(told[2]) + 1, end)
        self.begin, self.part = begin, self.content[begin:end]
        fault = self.ours.faults.popleft() if self.ours.faults else self.ours.always
        try:
            if fault is None or fault(self):
                self.send_part()
        except OSError:  # the client has gone
            self.close_connection = True

    def send_part(self) -> None:
        if not self.wanted:
            self.answer(200, self.content, ETag=self.tag)
        elif not self.part:
            self.answer(416, b"", **{"Content-Range": f"bytes */{len(self.content)}"})
        else:
            self.answer(206, self.part, ETag=self.tag, **{"Content-Range": self.told()})

    def told(self, total: object = None) -> str:
        last = self.begin + len(self.part) - 1
        return f"bytes {self.begin}-{last}/{len(self.content) if total is None else total}"

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        for begin in range(0, len(body), 1 << 16):
            self.ours.sent += len(body[begin : begin + (1 << 16)])  # before the client has it
            self.wfile.write(body[begin : begin + (1 << 16)])


def stall(handler: Handler) -> bool:
    """Begin to answer, and then nothing more."""
    handler.answer(206, handler.part[:10], len(handler.part), ETag=handler.tag,
                   Content_Range=handler.told())  # fmt: skip
    handler.ours.released.wait(30)
    handler.close_connection = True
    return False


def trickle(handler: Handler) -> bool:
    """Send a byte now and then."""
    handler.answer(206, b"", len(handler.part), ETag=handler.tag, Content_Range=handler.told())
    for byte in handler.part:
        handler.wfile.write(bytes((byte,)))
        if handler.ours.released.wait(0.05):
            break
    handler.close_connection = True
    return False


def drop(handler: Handler) -> bool:
    """Break the connection after half of the bytes."""
    half = handler.part[: len(handler.part) // 2]
    handler.answer(206, half, len(handler.part), ETag=handler.tag, Content_Range=handler.told())
    handler.close_connection = True
    return False


def hang_up(handler: Handler) -> bool:
    """Say nothing and break the connection."""
    handler.close_connection = True
    return False


def status(code: int, **headers: str) -> Fault:
    """Answer with a status."""

    def answer(handler: Handler) -> bool:
        handler.answer(code, b"no", **headers)
        return False

    return answer


def ignore_range(handler: Handler) -> bool:
    """Send the whole file."""
    handler.answer(200, handler.content, ETag=handler.tag)
    return False


def ignore_range_unsized(handler: Handler) -> bool:
    """Send the whole file until the connection ends."""
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    while True:  # the client must not wait for the end
        handler.wfile.write(handler.content[: 1 << 16])
        handler.ours.sent += 1 << 16
        time.sleep(0.001)


def told_length(length: int) -> Fault:
    """Promise another number of bytes than the range has."""

    def answer(handler: Handler) -> bool:
        handler.answer(206, handler.part, len(handler.part) + length, ETag=handler.tag,
                       Content_Range=handler.told())  # fmt: skip
        handler.close_connection = True
        return False

    return answer


def told_range(text: str) -> Fault:
    """Say that these are other bytes."""

    def answer(handler: Handler) -> bool:
        handler.answer(206, handler.part, ETag=handler.tag, Content_Range=text)
        return False

    return answer


def shorter(handler: Handler) -> bool:
    """Give fewer bytes than were asked for, and say so, as a server may."""
    handler.part = handler.part[:1000]
    return True


def compressed(handler: Handler) -> bool:
    """Send something compressed."""
    handler.answer(206, handler.part, ETag=handler.tag, Content_Range=handler.told(),
                   Content_Encoding="gzip")  # fmt: skip
    return False
