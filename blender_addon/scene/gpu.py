"""Whether Cycles can use a GPU; found out in a process of its own, which a bad driver may crash."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from ..core.errors import WeightwalkError
from ..core.stages import finish
from . import render_child
from .child import last_words, run

CHILD = Path(render_child.__file__)


def check() -> None:
    """Raise `WeightwalkError` where there is no GPU that Cycles can use."""
    with TemporaryDirectory(prefix="weightwalk-gpu-") as room:
        status, said = finish(run(CHILD, {"gpu": True}, Path(room)))
    if status == render_child.NO_GPU:
        raise WeightwalkError(
            "device: Blender finds no GPU that Cycles can use: install the GPU's driver, and for "
            "NVIDIA in a container the NVIDIA container toolkit and compose/nvidia.yaml; or leave "
            "--device out to render on the CPU"
        )
    if status:
        raise WeightwalkError(f"device: Blender could not look for a GPU: {last_words(said)}")
