"""What scripts/bench has measured, against what was promised: rows, and the tables it prints."""

# Standard library only, as the bench itself.
import statistics

# Stages until the fields are in memory, and the saving of the scene: PyVista has none.
NOT_COMPARED = ("imports", "open", "read", "load", "plan", "fields", "blend")


def verdicts(results):
    """Return (what, measured, wanted, whether it holds) for each number that was promised."""
    own, pyvista, double = results["ours"], results["pyvista"], results["twice"]
    rows = []
    if "bampe" in results:
        bampe = results["bampe"]
        faster = bampe["seconds"] / own["seconds"]
        rows.append(("faster than bampe-weights", f"{faster:.1f}x", ">= 25x", faster >= 25))
        share = own["peak"] / bampe["peak"]
        rows.append(("memory of bampe-weights", f"{share:.3f}", "<= 0.25", share <= 0.25))
    ratios = own["search"]
    within = 100 * sum(r <= 2.5 for r in ratios) // len(ratios)
    text = f"{statistics.median(ratios):.2f}x, {within} %"
    rows.append(("search / one extraction", text, "<= 2.5x (all)", ratios[-1] <= 2.5))
    each = own["bytes"]["glb"] / own["faces"]
    rows.append(("GLB bytes a face", f"{each:.2f}", "<= 8", each <= 8))
    ratio = from_fields(pyvista) / from_fields(own)
    rows.append(("PyVista, from the fields on", f"{ratio:.2f}x", "> 1x", ratio > 1))
    same = own["faces"] / pyvista["faces"]
    rows.append(("faces, ours to PyVista's", f"{same:.3f}", "0.95 to 1.05", abs(same - 1) <= 0.05))
    time2 = double["seconds"] / own["seconds"]
    rows.append(("time for twice the tensors", f"{time2:.2f}x", "<= 2.1x", time2 <= 2.1))
    added = double["anonymous"] - own["anonymous"]
    meshes = mesh_bytes(double) - mesh_bytes(own)
    text = f"{added / 1e6:.0f} MB"
    rows.append(("memory it adds", text, f"<= {meshes / 1e6:.0f} MB (meshes)", added <= meshes))
    return rows


def series_verdicts(found):
    """Return rows as `verdicts` does."""
    ratio, count = found["ratio"], found["steps"]
    added, meshes = found["added memory"], found["added meshes"]
    rows = [(f"{count} steps / {count} times one", f"{ratio:.2f}x", "<= 1.4x", ratio <= 1.4)]
    text, most = f"{added / 1e6:.0f} MB", f"<= {meshes / 1e6:.0f} MB (meshes)"
    return [*rows, ("memory that steps add", text, most, added <= meshes)]


def film_verdicts(found):
    """Return rows as `verdicts` does."""
    rate = found["frames"] / found["stages"]["frames"]
    what = f"frames/s, {found['faces'] / 1e6:.1f} M faces"
    return [(what, f"{rate:.2f}", ">= 1", rate >= 1 and found["faces"] >= 1e6)]


def probing_verdicts(found):
    """Return rows as `verdicts` does."""
    rows = []
    for what, times in found["probe"].items():
        more = times["ratio"] - 1
        rows.append((f"probe, {what}", f"{100 * more:+.1f} %", "<= 5 %", more <= 0.05))
    return rows


def workers_verdicts(found):
    """Return rows as `verdicts` does."""
    ratio, all_of_it = found["ratio"], found["whole ratio"]
    text = f"{ratio:.2f}x ({all_of_it:.2f}x whole)"
    return [("one / two workers, to surfaces", text, ">= 1.7x", ratio >= 1.7)]


def viewer_verdicts(rounds):
    """Return rows as `verdicts` does."""
    ratio = statistics.median(one["ours"] / one["model-viewer"] for one in rounds)
    what = f"first picture, {rounds[0]['faces'] / 1e6:.1f} M faces"
    return [(what, f"{ratio:.2f}x", "<= 1x <model-viewer>", ratio <= 1)]


def mesh_bytes(result):
    """Return the bytes of a result's meshes: in numpy for the files, in Blender for the scene.

    In numpy a vertex has three float triples, a colour, cell and value, a face three corners. In
    Blender a vertex has a position, a colour of four floats, cell and value, an edge two vertices,
    a face three corners of a vertex and an edge, and an offset; 3 edges go with 2 faces.
    """
    vertex, face = (36 + 4 + 4 + 4) + (12 + 16 + 4 + 4), 12 + (1.5 * 8 + 3 * 8 + 4)
    return result["vertices"] * vertex + result["faces"] * face


def from_fields(result):
    """Return seconds from the fields in memory to the files, Blender's scene included."""
    stages = result["stages"].items()
    return sum(seconds for name, seconds in stages if name not in NOT_COMPARED)


def show(results, sizes, rows):
    """Print the tables."""
    head = f"{'':16}{'seconds':>9}{'peak MB':>9}{'faces':>12}"
    print(f"\n{head}{'STL MB':>8}{'glTF MB':>9}{'B/face':>8}   stages (s)")
    for name, r in results.items():
        gltf = r["bytes"].get("glb", r["bytes"].get("gltf", 0))
        stages = " · ".join(f"{stage} {seconds:.2f}" for stage, seconds in r["stages"].items())
        print(
            f"{name:16}{r['seconds']:9.2f}{r['peak'] / 1e6:9.0f}{r['faces']:12,}"
            f"{r['bytes']['stl'] / 1e6:8.0f}{gltf / 1e6:9.1f}{gltf / r['faces']:8.2f}   {stages}"
        )
    print("\nfaces a second          whole process   surfaces   surfaces and files")
    for name in ("ours", *sizes):
        r = results[name]
        whole, surfaces, files = (f"{rate / 1e6:.2f} M" for rate in faces_a_second(r))
        print(f"{name:24}{whole:>13}{surfaces:>11}{files:>21}")
    print()
    for what, measured, wanted, holds in rows:
        print(f"{'PASS' if holds else 'MISSED':8}{what:28}{measured:>14}   wanted {wanted}")


def faces_a_second(result):
    """Return faces a second of the whole process, of the surfaces, of surfaces and files."""
    surfaces = result["stages"]["surfaces"]
    files = sum(result["stages"].get(kind, 0.0) for kind in ("stl", "glb"))
    return [result["faces"] / s for s in (result["seconds"], surfaces, surfaces + files)]
