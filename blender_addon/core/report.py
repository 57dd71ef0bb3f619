"""What was made, from what, and how, as `report.json`; its keys are in docs/report.schema.json."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .exhibit import Exhibit
from .model import Model
from .settings import OutputSettings
from .surfaces import Components

SCHEMA_VERSION = 1


def make_report(
    model: Model, output: OutputSettings, files: Sequence[Path], versions: dict[str, str]
) -> dict[str, Any]:
    """Return the report of a run.

    Parameters
    ----------
    model : Model
    output : OutputSettings
    files : sequence of Path
        The files made, where they lie now; they are read for their checksums.
    versions : dict of str to str
        Of Weightwalk and Blender.

    Returns
    -------
    dict
        JSON-able, without NaN or infinity.
    """
    values = np.concatenate([e.surface.values for e in model.exhibits])
    finite = values[np.isfinite(values)]
    clipped = np.count_nonzero((finite < model.scale.low) | (finite > model.scale.high))
    return {
        "schema_version": SCHEMA_VERSION,
        "model": model.name,
        "settings": _settings(model, output),
        "versions": versions | _versions(),
        "scale": {
            "unit": "σ",
            "low": model.scale.low,
            "high": model.scale.high,
            "diverging": model.scale.diverging,
            "vertices": int(values.size),
            "clipped": int(clipped),
            "nonfinite": int(values.size - finite.size),
        },
        "surfaces": [_surface(exhibit) for exhibit in model.exhibits],
        "skipped": [{"name": s.name, "reason": s.reason} for s in model.skips],
        "notes": list(model.notes),
        "stages": {
            name: {"seconds": round(stage.seconds, 6), "bytes": stage.bytes}
            for name, stage in model.stages.by_name.items()
        },
        "files": [_file(path) for path in files],
    }


def _settings(model: Model, output: OutputSettings) -> dict[str, Any]:
    settings = asdict(model.settings)
    settings["model"] = str(model.settings.model)
    rows, cols = model.settings.field.grid
    settings["field"] |= {"rows": rows, "cols": cols}
    settings["surface"]["faces"] = model.settings.surface.budget(model.settings.field.kind)
    written = asdict(output)
    written["directory"] = str(output.directory)
    written["formats"] = list(output.formats)
    settings["selection"]["patterns"] = list(model.settings.selection.patterns)
    layers = model.settings.selection.layers
    settings["selection"]["layers"] = None if layers is None else list(layers)
    return settings | {"output": written}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("numpy", "scikit-image", "scipy", "DracoPy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _surface(exhibit: Exhibit) -> dict[str, Any]:
    surface, part, plan = exhibit.surface, exhibit.part, exhibit.surface.field.plan
    tensors = [p.tensor for p in plan.parts]
    shape = exhibit.shape
    values = surface.values[np.isfinite(surface.values)]
    return {
        "tensor": tensors[0].name if len(tensors) == 1 else plan.name,
        "tensors": [t.name for t in tensors],
        "files": list(dict.fromkeys(t.file.name for t in tensors)),
        "shape": list(tensors[0].shape),
        "dtype": ", ".join(dict.fromkeys(t.dtype for t in tensors)),
        "layer": plan.layer,
        "role": plan.role,
        "field": plan.kind,
        "grid": list(plan.shape),
        "planes": list(plan.planes),
        "part": {1: "positive", -1: "negative", 0: "nonfinite"}[surface.sign],
        "pooling": surface.field.settings.pool,
        "sigma": list(surface.field.sigmas),
        "lowest": surface.field.low,
        "highest": surface.field.high,
        "nan": surface.field.nan,
        "inf": surface.field.inf,
        "level": surface.level if surface.sign else None,
        "quantile": surface.quantile if surface.sign else None,
        "faces": len(part.faces),
        "vertices": len(part.vertices),
        "values": [float(values.min()), float(values.max())] if values.size else None,
        "area": shape.area,
        "volume": shape.volume,
        "euler": shape.euler if surface.sign else 2 * len(part.faces) // 12,
        "components": _components(surface.components),
        "permuted": _components(surface.permuted),
    }


def _components(components: Components | None) -> dict[str, Any] | None:
    return None if components is None else asdict(components)


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}
