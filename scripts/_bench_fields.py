"""Save the fields that a report's surfaces were cut from, for another tool to cut.

Also measures what finding each level costs.

Arguments: MODEL REPORT FOLDER. Runs where weightwalk is installed.
"""

import json
import math
import sys
import time
from pathlib import Path

import numpy as np
from skimage import measure
from weightwalk.core.fields import Field, build
from weightwalk.core.plans import make_plans, select
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.settings import FieldSettings, Selection, SurfaceSettings
from weightwalk.core.surfaces import extract


def main() -> None:
    """Write a volume, the values to colour by and the level of each surface."""
    model, report, folder = (Path(argument) for argument in sys.argv[1:])
    surfaces = json.loads(report.read_text(encoding="utf-8"))["surfaces"]
    levels = {surface["tensor"]: surface["level"] for surface in surfaces}
    settings = FieldSettings(rows=256, cols=256)
    folder.mkdir(parents=True, exist_ok=True)
    entries, ratios = [], []
    with open_checkpoint(model) as checkpoint:
        tensors, _ = select(checkpoint, Selection())
        plans, _ = make_plans(tensors, settings)
        for i, plan in enumerate(p for p in plans if p.name in levels):
            field = build(plan, settings)
            np.save(folder / f"{i}-volume.npy", field.volume())
            np.save(folder / f"{i}-values.npy", np.pad(field.cells[0], 1, mode="edge"))
            ratios.append(search_to_extraction(field))
            entry = {"volume": f"{i}-volume.npy", "values": f"{i}-values.npy"}
            entries.append(entry | {"level": levels[plan.name]})
    (folder / "fields.json").write_text(json.dumps(entries), encoding="utf-8")
    (folder / "search.json").write_text(json.dumps(ratios), encoding="utf-8")


def search_to_extraction(field: Field) -> float:
    """Return the time of level search and extraction in times of one marching-cubes call."""
    volume, best = field.volume(), [math.inf, math.inf]
    for _ in range(3):
        begin = time.perf_counter()
        (surface,) = extract(field, SurfaceSettings(faces=20_000))
        middle = time.perf_counter()
        measure.marching_cubes(volume, surface.level)
        took = middle - begin, time.perf_counter() - middle
        best = [min(pair) for pair in zip(best, took, strict=True)]
    return best[0] / best[1]


main()
