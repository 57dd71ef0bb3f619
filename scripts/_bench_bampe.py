"""Run bampe-weights on a model, in its own venv: MODEL_FILE OUT_FOLDER FACES GRID.

Its code runs as published, but for one call: Blender 4.1 took away `export_mesh.stl`.
"""

import json
import os
import sys
import time
from pathlib import Path

start = time.perf_counter()
import bpy  # noqa: E402
import bw.bl.run_ai_training_visualizer as visualizer  # noqa: E402
import bw.bl.save_as_gltf as gltf  # noqa: E402
import bw.bl.save_as_stl as stl  # noqa: E402

stages = {"imports": time.perf_counter() - start}


def timed(name, call):
    """Return `call`, its seconds being added to `stages`."""

    def run(*args, **kwargs):
        begin = time.perf_counter()
        result = call(*args, **kwargs)
        stages[name] = stages.get(name, 0.0) + time.perf_counter() - begin
        return result

    return run


def main() -> None:
    """Mesh the model, write result.json."""
    model, out, faces, grid = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    stl.save_as_stl = timed("stl", lambda output_path: bpy.ops.wm.stl_export(filepath=output_path))
    gltf.save_as_gltf = timed("gltf", gltf.save_as_gltf)
    begin = time.perf_counter()
    visualizer.run_ai_training_visualizer(
        model_file=model,
        target_faces=faces,
        target_rows=grid,
        target_cols=grid,
        save_stl=str(out / "bampe.stl"),
        save_gltf=str(out / "bampe.glb"),
    )
    exports = stages["stl"] + stages["gltf"]
    stages["read to scene"] = time.perf_counter() - begin - exports
    size = {kind: (out / f"bampe.{kind}").stat().st_size for kind in ("stl", "glb")}
    # A binary STL is 84 bytes and 50 a triangle: this counts labels too, as the GLB does.
    result = {"stages": stages, "faces": (size["stl"] - 84) // 50, "bytes": size}
    (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
    sys.stdout.flush()
    # Blender 4.5 as a module can hang when the interpreter ends.
    os._exit(0)


main()
