"""Mesh saved fields with PyVista, in its own venv: FIELDS_FOLDER OUT_FOLDER.

What a Python user would write: flying edges on each field, one STL, one glTF with colours.
"""

import json
import sys
import time
from pathlib import Path

clock = [time.perf_counter()]
stages = {}


def lap(name: str) -> None:
    """Add the seconds since the last call to a stage."""
    now = time.perf_counter()
    stages[name] = stages.get(name, 0.0) + now - clock[0]
    clock[0] = now


import numpy as np  # noqa: E402
import pyvista as pv  # noqa: E402
from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D  # noqa: E402

lap("imports")


def flying_edges(grid: pv.ImageData, level: float) -> pv.PolyData:
    """Cut a grid; PyVista's own `contour` does the same but loses the values to colour by."""
    grid.set_active_scalars("field")
    cut = vtkFlyingEdges3D()
    cut.SetInputData(grid)
    cut.SetValue(0, level)
    cut.InterpolateAttributesOn()
    cut.Update()
    return pv.wrap(cut.GetOutput())


def main() -> None:
    """Mesh the fields, write result.json."""
    fields, out = Path(sys.argv[1]), Path(sys.argv[2])
    meshes = []
    for i, entry in enumerate(json.loads((fields / "fields.json").read_text(encoding="utf-8"))):
        volume = np.load(fields / entry["volume"])
        values = np.load(fields / entry["values"])
        lap("load")
        grid = pv.ImageData(dimensions=volume.shape[::-1], origin=(0, 0, 2.0 * volume.shape[0] * i))
        grid["field"] = volume.ravel()
        grid["value"] = np.broadcast_to(values, volume.shape).ravel()
        mesh = flying_edges(grid, entry["level"])
        lap("surfaces")
        meshes.append(mesh)
    merged = pv.merge(meshes, merge_points=False)
    lap("merge")
    merged.save(out / "pyvista.stl")
    lap("stl")
    plotter = pv.Plotter(off_screen=True)
    plotter.add_mesh(merged, scalars="value", cmap="viridis", show_scalar_bar=False)
    lap("plotter")
    plotter.export_gltf(str(out / "pyvista.gltf"), inline_data=False)
    lap("gltf")
    gltf = json.loads((out / "pyvista.gltf").read_text(encoding="utf-8"))
    # VTK colours by a texture of the map instead of a colour at each vertex.
    keys = [key for m in gltf["meshes"] for p in m["primitives"] for key in p["attributes"]]
    colored = "COLOR_0" in keys or "TEXCOORD_0" in keys
    size = {
        "stl": (out / "pyvista.stl").stat().st_size,
        "gltf": sum(p.stat().st_size for p in out.iterdir() if p.suffix in {".gltf", ".bin"}),
    }
    faces = merged.n_cells
    result = {"stages": stages, "faces": faces, "bytes": size, "colored": colored}
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")


main()
