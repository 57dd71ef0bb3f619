"""Save the fields that a report's surfaces were cut from, for another tool to cut.

Arguments: MODEL REPORT FOLDER. Runs where weightwalk is installed.
"""

import json
import sys
from pathlib import Path

import numpy as np
from weightwalk.core.fields import build
from weightwalk.core.plans import make_plans, select
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.settings import FieldSettings, Selection


def main() -> None:
    """Write a volume, the values to colour by and the level of each surface."""
    model, report, folder = (Path(argument) for argument in sys.argv[1:])
    surfaces = json.loads(report.read_text(encoding="utf-8"))["surfaces"]
    levels = {surface["tensor"]: surface["level"] for surface in surfaces}
    settings = FieldSettings(rows=256, cols=256)
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    with open_checkpoint(model) as checkpoint:
        tensors, _ = select(checkpoint, Selection())
        plans, _ = make_plans(tensors, settings)
        for i, plan in enumerate(p for p in plans if p.name in levels):
            field = build(plan, settings)
            np.save(folder / f"{i}-volume.npy", field.volume())
            np.save(folder / f"{i}-values.npy", np.pad(field.cells[0], 1, mode="edge"))
            entry = {"volume": f"{i}-volume.npy", "values": f"{i}-values.npy"}
            entries.append(entry | {"level": levels[plan.name]})
    (folder / "fields.json").write_text(json.dumps(entries), encoding="utf-8")


main()
