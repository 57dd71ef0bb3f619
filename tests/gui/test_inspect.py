"""A closer look: click a surface, read the file under it, copy, refine."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from safetensors.numpy import save_file

from .extension import SESSION, WEIGHTS, build, finish, sentences

NAME = "model.layers.0.mlp.up_proj.weight"
ROWS, COLS, GRID = 64, 48, 16
MARKS = "[o.name for o in bpy.context.scene.objects if o.get('weightwalk_mark') == 'entry']"
PICKING = (
    "any(o.bl_idname == 'WEIGHTWALK_OT_inspect'"
    " for o in bpy.context.window_manager.windows[0].modal_operators)"
)

# Where on the screen a surface is the first thing under the mouse: its vertices are projected, and
# a ray through the pixel must meet it. With the cell that belongs to the corner nearest there.
PLACES = """
from bpy_extras import view3d_utils
v = view()
region, seen = v["region"], v["area"].spaces.active.region_3d
thing = bpy.context.scene.objects[{name!r}]
depsgraph = bpy.context.evaluated_depsgraph_get()
sides = [r for r in v["area"].regions if r.type in ("UI", "TOOLS", "HEADER", "TOOL_HEADER")]
result, mesh = [], thing.data
for i in range(0, len(mesh.vertices), max(len(mesh.vertices) // 400, 1)):
    at = view3d_utils.location_3d_to_region_2d(region, seen, thing.matrix_world @ mesh.vertices[i].co)
    if at is None or not 0 < at.x < region.width or not 0 < at.y < region.height:
        continue
    x, y = region.x + int(at.x), region.y + int(at.y)
    if any(0 <= x - r.x < r.width and 0 <= y - r.y < r.height for r in sides):
        continue
    at = x - region.x, y - region.y
    begin = view3d_utils.region_2d_to_origin_3d(region, seen, at)
    toward = view3d_utils.region_2d_to_vector_3d(region, seen, at)
    found, place, _, face, met, _ = bpy.context.scene.ray_cast(depsgraph, begin, toward)
    if found and met.name == thing.name:
        local = thing.matrix_world.inverted() @ place
        corners = mesh.polygons[face].vertices
        corner = min(corners, key=lambda c: (mesh.vertices[c].co - local).length)
        cell = mesh.attributes["cell"].data[corner].value
        # The mouse is known to whole pixels: the same cell must lie around.
        cells = {{mesh.attributes["cell"].data[c].value for c in corners}}
        result.append([x, y, cell, len(cells)])
"""  # noqa: E501


@pytest.fixture
def tensors():
    """Return the weights of two layers, larger than the grid that shows them."""
    rng = np.random.default_rng(3)
    shapes = {"self_attn.q_proj": (48, 48), "mlp.up_proj": (ROWS, COLS)}
    return {
        f"model.layers.{layer}.{name}.weight": rng.standard_t(4, shape).astype(np.float32)
        for layer in range(2)
        for name, shape in shapes.items()
    }


@pytest.fixture
def stands(window, tensors, tmp_path):
    """Return a window with a model."""
    path = tmp_path / "model.safetensors"
    save_file(tensors, path)
    build(window, path, rows=GRID, cols=GRID)
    window.move(*window.region().centre)
    return window


def place_on(window, name):
    """Return where on the screen a surface is, and the cell there."""
    found = window.ask(PLACES.format(name=name))
    assert found, f"{name} is not in view"
    best = [p for p in found if p[3] == 1] or found
    x, y, cell, _ = best[len(best) // 2]
    return (x, 899 - y), cell


def pick(window):
    window.open_tab("Weights")
    window.press("weightwalk.inspect")
    window.wait_for(PICKING)


def click_on(window, place):
    window.click(*place)
    finish(window)


def test_a_click_reads_the_file_marks_the_entry_and_a_detail_comes_into_view(stands, tensors):
    window = stands
    pick(window)
    window.screenshot("eyedropper")
    place, cell = place_on(window, NAME)
    click_on(window, place)
    window.wait_for(f"{WEIGHTS}.reading")
    window.settle()
    window.screenshot("read")
    # What numpy finds in the file.
    w = tensors[NAME].astype(np.float64)
    high, wide = ROWS // GRID, COLS // GRID
    r, c = cell // GRID * high, cell % GRID * wide
    under = w[r : r + high, c : c + wide]
    at = np.unravel_index(np.abs(under).argmax(), under.shape)
    row, col = r + int(at[0]), c + int(at[1])
    entry = w[row, col]
    rank = 1 + int((np.abs(w) > abs(entry)).sum())
    reading = window.ask(f"{WEIGHTS}.reading").replace("−", "-")
    lines = reading.splitlines()
    assert lines[0] == NAME
    assert f"rows {r}–{r + high - 1}, columns {c}–{c + wide - 1} of {ROWS} × {COLS}" in lines[1]
    number = r"(-?[\d.]+)"
    pooled, sigmas = map(float, re.search(f"rms {number} = {number} σ", lines[2]).groups())
    rms = np.sqrt((under**2).mean())
    np.testing.assert_allclose((pooled, sigmas), (rms, rms / w.std()), rtol=6e-3)
    found = re.search(rf"largest: \[(\d+), (\d+)\] = {number} = {number} σ", lines[3]).groups()
    assert found[:2] == (str(row), str(col))
    np.testing.assert_allclose([float(x) for x in found[2:]], (entry, entry / w.std()), rtol=6e-3)
    assert lines[4] == f"rank {rank:,} of {w.size:,}"
    assert window.reports()[-1][1].endswith(lines[4]), "also where the panel is out of sight"
    # The mark lies where the entry is.
    where = f"""
surface = bpy.context.scene.objects[{NAME!r}]
pin = next(bpy.context.scene.objects[n] for n in {MARKS} if n.startswith("Entry"))
middle = sum((v.co for v in pin.data.vertices), 0 * pin.location) / len(pin.data.vertices)
result = [list(surface.matrix_world.inverted() @ pin.matrix_world @ middle), list(surface["step"])]
"""
    pin, step = window.ask(where)
    assert pin[0] == pytest.approx(((col + 0.5) / COLS - 0.5) * GRID * step[0], abs=1e-4)
    assert pin[2] == pytest.approx((0.5 - (row + 0.5) / ROWS) * GRID * step[2], abs=1e-4)
    # Copy.
    window.press("weightwalk.copy_entry")
    copied = window.ask("bpy.context.window_manager.clipboard")
    assert copied == f"{NAME}[{row}, {col}] = {tensors[NAME][row, col]!s}"
    # Refine.
    before = window.ask("[o.name for o in bpy.context.scene.objects]")
    window.press("weightwalk.refine")
    finish(window)
    window.screenshot("refined")
    seen = """
from bpy_extras.view3d_utils import location_3d_to_region_2d
from mathutils import Vector
v = view()
thing = bpy.context.view_layer.objects.active
points = [location_3d_to_region_2d(v["region"], v["area"].spaces.active.region_3d,
    thing.matrix_world @ Vector(c)) for c in thing.bound_box]
right = min(r.x for r in v["area"].regions if r.type == "UI") - v["region"].x
result = [thing.name, thing["grid"], [list(p) for p in points], right, v["region"].height]
"""
    name, grid, points, right, height = window.ask(seen)
    assert name not in before
    assert grid == f"1x{ROWS}x{COLS}", "all of it, for it is smaller than the square"
    assert np.min(points) > 0
    assert np.max(points, axis=0)[0] < right
    assert np.max(points, axis=0)[1] < height
    assert np.ptp(points, axis=0).max() > 100
    assert not sentences(window)


def test_a_click_beside_everything_gets_a_sentence_and_the_tool_waits(stands):
    window = stands
    pick(window)
    box = window.region()
    # The sky above the corridor.
    window.click(box.left + (box.right - box.left) // 3, box.top + 70)
    window.screenshot("nothing")
    assert any("no surface" in text for text in sentences(window, "WARNING"))
    assert window.ask(PICKING)
    assert not window.ask(f"{WEIGHTS}.reading")
    window.key("Escape")
    assert not window.ask(PICKING)
    assert window.ask(f"{SESSION}.job is None")
    window.screenshot("ended")


def test_a_file_that_changed_meanwhile_gets_a_sentence(stands, tensors, tmp_path):
    window = stands
    pick(window)
    place, _ = place_on(window, NAME)
    path = tmp_path / "model.safetensors"
    save_file({name: 2 * tensor for name, tensor in tensors.items()}, path)
    os.utime(path, (1, 1))
    click_on(window, place)
    window.screenshot("changed")
    assert any("changed" in text for text in sentences(window)), window.reports()
    assert not window.ask(PICKING)
    assert not window.ask(MARKS)
    # A popup tells it, and takes the keys; the path is gone now.
    window.key("Escape")
    path.unlink()
    pick(window)
    click_on(window, place_on(window, NAME)[0])
    window.screenshot("gone")
    assert len(sentences(window)) == 2
    window.key("Escape")


def test_a_look_is_an_undo_step(stands):
    window = stands
    before = window.ask("sorted(o.name for o in bpy.context.scene.objects)")
    pick(window)
    click_on(window, place_on(window, NAME)[0])
    window.wait_for(f"{WEIGHTS}.reading")
    assert window.ask(f"len({MARKS})") == 3
    window.move(*window.region().centre)
    window.key("ctrl+z")
    window.screenshot("undone")
    assert window.ask("sorted(o.name for o in bpy.context.scene.objects)") == before
    assert window.ask(f"{WEIGHTS}.path"), "the model stays"
    window.key("ctrl+shift+z")
    window.screenshot("redone")
    assert window.ask(f"len({MARKS})") == 3
