"""The panel Export, by mouse: the files, what is in them, and what goes wrong."""

from __future__ import annotations

import json
import time

import pytest
import trimesh
from PIL import Image

from .extension import SESSION, SURFACES, WEIGHTS, build, call, finish, put, sentences

FACES = "{o.name: len(o.data.polygons) for o in bpy.context.scene.objects if 'plan' in o}"


@pytest.fixture
def stands(window, checkpoint):
    """Return a window with a model, and the panel open."""
    build(window, checkpoint, rows=16, cols=16)
    window.open_tab("Weights")
    window.open_panel("WEIGHTWALK_PT_export")
    return window


def type_folder(window, folder):
    window.click(*window.find("export_folder"))
    window.key("ctrl+a")
    window.type(str(folder))
    window.key("Return")
    assert window.ask(f"{WEIGHTS}.export_folder").rstrip("/") == str(folder)


def part_of(box, part):
    return round(box.left + part * (box.right - box.left)), box.centre[1]


def contents(path):
    """Return the JSON of a GLB."""
    data = path.read_bytes()
    return json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])


def test_files_are_chosen_written_and_hold_what_stands_in_the_scene(stands, tmp_path):
    window, folder = stands, tmp_path / "all"
    type_folder(window, folder)
    row = window.extent("export_formats")
    with window.held("shift"):
        for part in (1 / 6, 5 / 6):
            window.click(*part_of(row, part))
    assert sorted(window.ask(f"{WEIGHTS}.export_formats")) == ["glb", "png", "stl"]
    window.screenshot("chosen")
    place = window.find("weightwalk.export")
    window.click(*place)
    finish(window)
    window.screenshot("exported")
    faces = window.ask(FACES)
    names = {path.suffix: path for path in folder.iterdir()}
    assert sorted(names) == [".glb", ".json", ".png", ".stl"]
    assert any(str(folder) in text for text in sentences(window, "INFO"))
    assert len(trimesh.load(names[".stl"]).faces) == sum(faces.values())
    glb = contents(names[".glb"])
    counts = [glb["accessors"][m["primitives"][0]["indices"]]["count"] for m in glb["meshes"]]
    assert sorted(counts) == sorted(3 * count for count in faces.values())
    report = json.loads(names[".json"].read_text())
    assert len(report["surfaces"]) == len(faces)
    with Image.open(names[".png"]) as picture:
        assert picture.size == (1600, 900)
        colors = picture.convert("RGB").resize((80, 45)).getcolors(3600)
        assert len(colors) > 200, "there is something to see"
    # The selected surface alone.
    one = sorted(window.ask(SURFACES))[0]
    window.ask(
        f"[o.select_set(o.name == {one!r}) for o in bpy.context.scene.objects if o.visible_get()]"
    )
    window.click(*part_of(window.extent("export_scope"), 3 / 4))
    assert window.ask(f"{WEIGHTS}.export_scope") == "selected"
    put(window, export_folder=str(tmp_path / "one"), export_formats={"stl"})
    window.click(*place)
    finish(window)
    window.screenshot("selected")
    (stl,) = (tmp_path / "one").glob("*.stl")
    assert len(trimesh.load(stl).faces) == faces[one]
    # And the visible ones.
    window.ask(f"bpy.context.scene.objects[{one!r}].hide_set(True)")
    put(window, export_scope="visible", export_folder=str(tmp_path / "rest"))
    window.click(*place)
    finish(window)
    (stl,) = (tmp_path / "rest").glob("*.stl")
    assert len(trimesh.load(stl).faces) == sum(faces.values()) - faces[one]
    assert not sentences(window)


def test_what_cannot_be_written_gets_a_sentence(stands, tmp_path):
    window = stands
    place = window.find("weightwalk.export")
    file = tmp_path / "file"
    file.write_text("mine")
    for folder, said in (("", "choose a folder"), (str(file / "below"), str(file))):
        put(window, export_folder=folder)
        window.click(*place)
        finish(window)
        window.screenshot("refused")
        assert said in sentences(window)[-1]
        window.key("Escape")
    window.ask("bpy.ops.object.select_all(action='DESELECT')")
    put(window, export_folder=str(tmp_path / "none"), export_scope="selected")
    window.click(*place)
    finish(window)
    window.screenshot("none-selected")
    assert "no surface is selected" in sentences(window)[-1]
    window.key("Escape")
    assert [path.name for path in tmp_path.iterdir() if path.name != "none"] == ["file"]
    assert file.read_text() == "mine"


def test_a_picture_leaves_the_window_alive_and_cancel_leaves_nothing(window, tall, tmp_path):
    build(window, tall)
    window.open_tab("Weights")
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    put(window, export_folder=str(folder), export_formats={"png"})
    call(window, "weightwalk.export")
    window.wait_for(f"{SESSION}.job is not None and {SESSION}.job.progress.what.endswith('.png')")
    slowest = 0.0
    for _ in range(10):
        begin = time.monotonic()
        window.ask("None")
        slowest = max(slowest, time.monotonic() - begin)
        time.sleep(0.02)
    # The work stands still while its button is looked for.
    window.ask(f"setattr({SESSION}.job, 'advance', lambda: (False, None))")
    assert slowest < 0.5
    place = window.find("weightwalk.cancel")
    window.screenshot("cancel")
    begin = time.monotonic()
    window.click(*place)
    window.wait_for(f"{SESSION}.job is None", 5)
    assert time.monotonic() - begin < 1.0
    window.screenshot("cancelled")
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    cache = window.ask(
        "str(__import__('sys').modules['bl_ext.user_default.weightwalk.ui.export']"
        ".cache_folder(bpy.context))"
    )
    assert cache
    assert not window.ask(
        f"[p.name for p in __import__('pathlib').Path({cache!r}).rglob('*.blend')]"
    )
    assert not sentences(window)
