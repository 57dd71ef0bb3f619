"""A model → a probe file, in a Blender of its own: it may take long, and more memory than there is.

torch stays out of the Blender that a person works in, and Esc ends the work at any moment.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from ..core.errors import OutputError, WeightwalkError
from ..core.flow.settings import ProbeSettings
from ..core.model import Progress
from ..core.readers import printable
from . import probe_child
from .child import last_words, run

CHILD = Path(probe_child.__file__)
PACKAGE = CHILD.parent.parent
_TAKES = ("numpy", "safetensors", "scipy", "PIL", "torch", "transformers", "gguf")


def probe_apart_steps(settings: ProbeSettings, path: Path) -> Generator[Progress, None, Path]:
    """Probe a model in a process of its own.

    Parameters
    ----------
    settings : ProbeSettings
    path : Path
        The probe file; written when the probe is complete. Closed before that, the generator
        leaves nothing.

    Raises
    ------
    WeightwalkError
        What is wrong with the request, the model or the disk; or the last words of the process.
    """
    name = printable(settings.model.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".probe-", dir=path.absolute().parent) as room:
            made, said, far = (Path(room) / name for name in ("probe", "error.txt", "far.json"))
            work = run(CHILD, _job(settings, made, said, far), Path(room))
            status, words = yield from _told(work, far, Progress("imports", 0, 1, name))
            if said.exists():
                raise WeightwalkError(said.read_text("utf-8"))
            if status < 0:
                ended = "its process was ended, as happens where memory is full"
                raise WeightwalkError(f"{name} could not be probed: {ended}")
            if status or not made.exists():
                raise WeightwalkError(f"{name} could not be probed: {last_words(words)}")
            made.replace(path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
    return path


def _sites() -> list[str]:
    """Return the folders in which this Blender has found what a probe takes."""
    specs = (find_spec(name) for name in _TAKES)
    origins = [Path(spec.origin) for spec in specs if spec is not None and spec.origin]
    return list(dict.fromkeys(str(origin.parent.parent) for origin in origins))


def _job(settings: ProbeSettings, made: Path, said: Path, far: Path) -> dict[str, object]:
    return {
        "sites": _sites(),
        "package": str(PACKAGE),
        "model": str(settings.model),
        "prompts": settings.prompts,
        "token": settings.token,
        "outputs": settings.outputs,
        "out": str(made),
        "said": str(said),
        "far": str(far),
    }


def _told(
    work: Generator[int, None, tuple[int, str]], far: Path, now: Progress
) -> Generator[Progress, None, tuple[int, str]]:
    """Wait for the process, and tell what it writes of how far it is."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: tuple[int, str] = end.value
            return result
        with suppress(OSError, ValueError):
            now = Progress(*json.loads(far.read_text("utf-8")))
        yield now
