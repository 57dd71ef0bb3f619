"""What was made, from what, and how, as `report.json`; its keys are in docs/report.schema.json."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .exhibit import Exhibit
from .model import Model
from .plain import to_plain
from .record import Record
from .settings import OutputSettings, Settings
from .stages import Stages

SCHEMA_VERSION = 1


def make_report(
    model: Model, output: OutputSettings, files: Sequence[Path], versions: dict[str, str]
) -> dict[str, Any]:
    """Return the report of a run; see `report_of`."""
    entries = [surface_entry(exhibit) for exhibit in model.exhibits]
    return report_of(
        Record.of(model), entries, output, files=files, versions=versions, stages=model.stages
    )


def report_of(
    record: Record,
    entries: Sequence[dict[str, Any]],
    output: OutputSettings,
    *,
    files: Sequence[Path],
    versions: dict[str, str],
    stages: Stages,
) -> dict[str, Any]:
    """Return the report of files, be they of a run or of a scene that was built earlier.

    Parameters
    ----------
    record : Record
    entries : sequence of dict
        `surface_entry` of each surface in the files, in the order of the STL; at least one.
    output : OutputSettings
    files : sequence of Path
        The files made, where they lie now; they are read for their checksums.
    versions : dict of str to str
        Of Weightwalk and Blender.
    stages : Stages

    Returns
    -------
    dict
        JSON-able, without NaN or infinity.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "model": record.model,
        "settings": {**to_plain(filled_settings(record.settings)), "output": to_plain(output)},
        "versions": versions | versions_here(),
        "scale": {
            "unit": "σ",
            **to_plain(record.scale),
            **{key: sum(e[key] for e in entries) for key in ("vertices", "clipped", "nonfinite")},
        },
        "surfaces": list(entries),
        "skipped": to_plain(record.skips),
        "notes": list(record.notes),
        "stages": stage_entries(stages),
        "files": [file_entry(path) for path in files],
    }


def stage_entries(stages: Stages) -> dict[str, Any]:
    """Return seconds and bytes of each stage."""
    return {
        name: {"seconds": round(stage.seconds, 6), "bytes": stage.bytes}
        for name, stage in stages.by_name.items()
    }


def filled_settings(settings: Settings) -> Settings:
    """Return the settings with their defaults filled in."""
    rows, cols = settings.field.grid
    faces = settings.surface.budget(settings.field.kind)
    return replace(
        settings,
        field=replace(settings.field, rows=rows, cols=cols),
        surface=replace(settings.surface, faces=faces),
    )


def versions_here() -> dict[str, str]:
    """Return the versions of Python and of the packages that the surfaces depend on."""
    found = {"python": platform.python_version()}
    for package in ("numpy", "scikit-image", "scipy", "DracoPy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def surface_entry(exhibit: Exhibit) -> dict[str, Any]:
    """Return a surface's part of the report, JSON-able, for `report_of`."""
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
        "packing": [to_plain(p) for p in dict.fromkeys(t.packing for t in tensors) if p],
        "layer": plan.layer,
        "role": plan.role,
        "field": plan.kind,
        "grid": list(plan.shape),
        "planes": list(plan.planes),
        "part": {1: "positive", -1: "negative", 0: "nonfinite"}[surface.sign],
        "pooling": surface.field.settings.pool,
        "sigma": list(surface.field.sigmas),
        "lowest": surface.field.low if np.isfinite(surface.field.low) else None,
        "highest": surface.field.high if np.isfinite(surface.field.high) else None,
        "nan": surface.field.nan,
        "inf": surface.field.inf,
        "level": surface.level if surface.sign else None,
        "quantile": surface.quantile if surface.sign else None,
        "faces": len(part.faces),
        "vertices": len(part.vertices),
        "clipped": exhibit.clipped,
        "nonfinite": int(surface.values.size - values.size),
        "values": [float(values.min()), float(values.max())] if values.size else None,
        "area": shape.area,
        "volume": shape.volume,
        "euler": shape.euler if surface.sign else 2 * len(part.faces) // 12,
        "components": to_plain(surface.components),
        "permuted": to_plain(surface.permuted),
    }


def file_entry(path: Path) -> dict[str, Any]:
    """Return a file's name, size and checksum."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}
