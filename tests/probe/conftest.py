"""The command `weightwalk probe` and a small model, for several files."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from weightwalk.batch.cli import main

from .commands import Run
from .small_models import quiet_import, save


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run the command in this process, cut off from any network."""
    noise = quiet_import().logging

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: object) -> tuple[int, str, str]:
        # As loud as they are for a person.
        noise.set_verbosity_warning()
        noise.enable_progress_bar()
        status = main(["probe", *map(str, arguments)])
        assert (noise.get_verbosity(), noise.is_progress_bar_enabled()) == (noise.WARNING, True)
        quiet_import()
        return status, *capsys.readouterr()

    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llama", tmp_path_factory.mktemp("models") / "small-llama", "AutoModelForCausalLM")
