"""A .blend with a model in it: saved, opened again, with its model elsewhere."""

from __future__ import annotations

import shutil

from .extension import SURFACES, WEIGHTS, build, finish, put, sentences

KEPT = {"kind": "slab", "rows": 12, "cols": 16, "pool": "absmax", "faces": 5000, "walk_speed": 7.0}


def test_a_saved_file_has_the_list_the_surfaces_and_the_settings(window, checkpoint, tmp_path):
    model = tmp_path / "model.safetensors"
    shutil.copy(checkpoint, model)
    build(window, model, **KEPT)
    window.open_tab("Weights")
    put(window, search="*up_proj*")
    names = window.ask(SURFACES)
    chosen = window.ask(f"[(t.name, t.chosen, t.listed) for t in {WEIGHTS}.tensors]")
    blend = tmp_path / "saved.blend"
    window.ask(f"bpy.ops.wm.save_as_mainfile(filepath={str(blend)!r})")
    window.ask("bpy.ops.wm.read_homefile(use_factory_startup=True)")
    window.wait_for("'VIEW_3D' in shown() and view()['region'].width > 200")
    assert not window.ask(SURFACES)
    window.ask(f"bpy.ops.wm.open_mainfile(filepath={str(blend)!r})")
    window.wait_for(f"{SURFACES} and 'VIEW_3D' in shown()")
    window.settle()
    window.open_tab("Weights")
    window.screenshot("opened")
    assert window.ask(SURFACES) == names
    assert window.ask(f"[(t.name, t.chosen, t.listed) for t in {WEIGHTS}.tensors]") == chosen
    for name, value in KEPT.items():
        assert window.ask(f"{WEIGHTS}.{name}") == value
    # The keys work, and the line tells where one is.
    window.move(*window.region().centre)
    window.key("Next")
    window.screenshot("walks-on")
    # The model has moved: a sentence, and what was built stays.
    model.rename(tmp_path / "moved.safetensors")
    window.press("weightwalk.build")
    finish(window)
    window.screenshot("moved")
    assert any("Load Model Weights" in text for text in sentences(window)), window.reports()
    assert window.ask(SURFACES) == names
    window.key("Escape")
    # It is back.
    (tmp_path / "moved.safetensors").rename(model)
    window.press("weightwalk.build")
    finish(window)
    assert len(sentences(window)) == 1
    assert window.ask(SURFACES) == names
