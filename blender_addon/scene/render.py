"""A scene → a picture, in a process of its own, so that it can be stopped at any moment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bpy

from ..core.errors import WeightwalkError
from ..core.settings import Engine, RenderSettings
from . import compat

CHILD = Path(__file__).with_name("render_child.py")


def configure(scene: bpy.types.Scene, settings: RenderSettings) -> None:
    """Store engine, size and samples in the scene; the colours are shown as they are."""
    scene.render.engine = compat.engine_id(settings.engine)
    scene.render.resolution_x, scene.render.resolution_y = settings.width, settings.height
    scene.render.resolution_percentage = 100
    compat.picture_only(scene.render.image_settings)
    # A filmic transform would change the colours of the scale.
    scene.view_settings.view_transform = "Standard"
    scene.cycles.device, scene.cycles.samples = "CPU", settings.samples
    scene.cycles.use_denoising = True
    scene.cycles.max_bounces = 3
    scene.eevee.taa_render_samples = settings.samples
    shading = scene.display.shading
    shading.light, shading.studio_light, shading.color_type = "STUDIO", "paint.sl", "VERTEX"
    shading.show_cavity, shading.cavity_type = True, "WORLD"
    shading.cavity_ridge_factor, shading.cavity_valley_factor = 0.6, 1.2
    # Its shadows are drawn from every triangle: a minute in software, for half a million faces.
    shading.show_shadows = False
    scene.display.render_aa = "5"


def render(blend: Path, picture: Path, engine: Engine) -> Engine:
    """Render a saved scene with its own camera and settings to a PNG.

    Parameters
    ----------
    blend, picture : Path
    engine : {"workbench", "cycles", "eevee"}
        Workbench needs OpenGL, if only Mesa's in software; where there is none, Cycles steps in.

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
    said = ""
    for attempt in tries:
        status, said = _run([*_blender(), str(blend), str(picture), compat.engine_id(attempt)])
        if status == 0 and picture.exists():
            return attempt
    words = [line for line in said.splitlines() if line.strip()]
    last = words[-1] if words else "it said nothing"
    raise WeightwalkError(f"{picture.name}: Blender could not render the picture: {last}")


def _run(command: list[str]) -> tuple[int, str]:
    """Run a command to its end and return its status and what it said; on Ctrl-C it is killed."""
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=_environment(),
        text=True,
        errors="replace",
    )
    try:
        said, _ = child.communicate()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    return child.returncode, said


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
