"""Where a checkpoint says how it is quantised."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..datafile import Place
from ..describe import read_config
from .pack import Settings

_IN_CONFIG = ("quantization_config", "compression_config", "quantization")  # last: MLX
_FILES = ("quantize_config.json", "quant_config.json")  # AutoGPTQ, AutoAWQ


def find_settings(
    config: Mapping[str, Any], folder: Place, *, files: bool
) -> tuple[Settings, tuple[str, ...]]:
    """Return the ``quantization_config`` of ``config.json``, else a file of its own beside it.

    Parameters
    ----------
    config
    folder
        Where to look for such files.
    files
        Whether to look for them.

    Returns
    -------
    settings
        An empty mapping where there are none.
    notes
        Sentences on files that were passed over.
    """
    text = config.get("text_config")
    for each in (config, text if isinstance(text, dict) else {}):
        for key in _IN_CONFIG:
            settings = each.get(key)
            if isinstance(settings, dict) and settings:
                return settings, ()
    notes: tuple[str, ...] = ()
    for file in _FILES if files else ():
        settings, more = read_config(folder, file)
        notes += more
        if settings:
            return settings, notes
    return {}, notes
