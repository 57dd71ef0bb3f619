"""A scene → a picture, in a process of its own, so that it can be stopped at any moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import bpy

from ..core.errors import WeightwalkError
from ..core.settings import Engine, RenderSettings
from ..core.stages import Ticks
from . import compat, render_child

CHILD = Path(render_child.__file__)


@dataclass(frozen=True)
class Changes:
    """What is other in the picture than in the file.

    Attributes
    ----------
    scene : str
        The scene's name.
    camera : str
        The camera's name.
    hidden : tuple of str
        Objects that are not to be seen.
    choices : list of (str, value)
        See `choices`.
    """

    scene: str
    camera: str
    hidden: tuple[str, ...]
    choices: list[tuple[str, Any]]


def configure(scene: bpy.types.Scene, settings: RenderSettings) -> None:
    """Store engine, size and samples in the scene; the colours are shown as they are."""
    render_child.assign(scene, choices(settings))


def choices(settings: RenderSettings) -> list[tuple[str, Any]]:
    """Return what `configure` stores: (path from the scene, value) in the order to set them."""
    return [
        ("render.engine", compat.engine_id(settings.engine)),
        ("render.resolution_x", settings.width),
        ("render.resolution_y", settings.height),
        ("render.resolution_percentage", 100),
        *compat.PICTURE_ONLY,
        # A filmic transform would change the colours of the scale.
        ("view_settings.view_transform", "Standard"),
        ("cycles.device", "CPU"),
        ("cycles.samples", settings.samples),
        ("cycles.use_denoising", True),
        ("cycles.max_bounces", 3),
        ("eevee.taa_render_samples", settings.samples),
        ("display.shading.light", "STUDIO"),
        ("display.shading.studio_light", "paint.sl"),
        ("display.shading.color_type", "VERTEX"),
        ("display.shading.show_cavity", True),
        ("display.shading.cavity_type", "WORLD"),
        ("display.shading.cavity_ridge_factor", 0.6),
        ("display.shading.cavity_valley_factor", 1.2),
        # Its shadows are drawn from every triangle: a minute in software, for half a million faces.
        ("display.shading.show_shadows", False),
        ("display.render_aa", "5"),
    ]


def render_steps(
    blend: Path, picture: Path, engine: Engine, changes: Changes | None = None
) -> Ticks[Engine]:
    """Render a saved scene with its own camera and settings to a PNG.

    Closed before its end, the generator ends the process that renders.

    Parameters
    ----------
    blend, picture : Path
        The picture's folder holds what the process says, too, until it ends.
    engine : {"workbench", "cycles", "eevee"}
        Workbench needs OpenGL, if only Mesa's in software; where there is none, Cycles steps in.
    changes : Changes or None
        Made to the scene before it is rendered.

    Returns
    -------
    {"workbench", "cycles", "eevee"}
        The engine that made the picture.

    Raises
    ------
    WeightwalkError
        Blender could not render; the message has its last words.
    """
    tries: tuple[Engine, ...] = (engine, "cycles") if engine == "workbench" else (engine,)
    given = json.dumps(asdict(changes) if changes else {})
    said = ""
    for attempt in tries:
        arguments = [str(blend), str(picture), compat.engine_id(attempt), given]
        status, said = yield from _run([*_blender(), *arguments], picture.parent)
        if status == 0 and picture.exists():
            return attempt
    words = [line for line in said.splitlines() if line.strip()]
    last = words[-1] if words else "it said nothing"
    raise WeightwalkError(f"{picture.name}: Blender could not render the picture: {last}")


def _run(command: list[str], folder: Path) -> Ticks[tuple[int, str]]:
    """Run a command; return its status and what it said. Whatever happens, it ends."""
    with TemporaryFile(dir=folder) as words:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            env=_environment(),
        )
        try:
            while True:
                with suppress(subprocess.TimeoutExpired):
                    status = child.wait(timeout=0.02)
                    break
                yield 0
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        words.seek(0)
        return status, words.read().decode("utf-8", "replace")


def _blender() -> list[str]:
    """Return the command that runs the child, up to its own arguments."""
    if bpy.app.binary_path:
        return [
            bpy.app.binary_path, "--background", "--factory-startup", "--python-exit-code", "1",
            "--python", str(CHILD), "--",
        ]  # fmt: skip
    # Without -P the modules beside it would hide others of the same name.
    return [sys.executable, "-P", str(CHILD)]


def _environment() -> dict[str, str]:
    """Let Workbench and EEVEE draw without a display where there is none."""
    environment = dict(os.environ)
    if not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
        environment.setdefault("EGL_PLATFORM", "surfaceless")
    return environment
