"""What a person clicks: thin operators and panels over the pipeline."""

from __future__ import annotations

import bpy

from .operators import LoadModel
from .panels import WeightsPanel

CLASSES = (LoadModel, WeightsPanel)


def register() -> None:
    """Register all classes."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Unregister all classes, last first."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
