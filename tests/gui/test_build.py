"""The build: by mouse and keyboard, with its progress, its end and what comes between."""

from __future__ import annotations

from .extension import (
    AT_ONCE,
    INVENTORY,
    SESSION,
    SURFACES,
    WEIGHTS,
    build,
    call,
    finish,
    load,
    put,
    seconds_to_the_end,
    sentences,
    unhurried,
)


def test_the_build_that_begins_at_once_is_cancelled_by_escape(window, tall):
    window.open_tab("Weights")
    place = window.find("weightwalk.load_model")
    before = window.ask(INVENTORY)
    with unhurried(window):
        window.click(*place)
        window.type_path(tall)
        window.wait_for(f"{SESSION}.job is not None")
        window.wait_for(f"{SESSION}.job.progress.done > 2")
        window.screenshot("builds")
        seconds = seconds_to_the_end(window, lambda: window.key("Escape"))
    window.screenshot("cancelled")
    assert seconds < AT_ONCE
    assert window.ask(INVENTORY) == before
    assert ["INFO", "Building: cancelled"] in window.reports()
    assert not sentences(window)
    assert window.ask(f"len({WEIGHTS}.tensors)") == 64, "the list stays"


def test_the_button_builds_and_cancels_and_undo_takes_a_build_back(window, tall):
    load(window, tall)
    window.open_tab("Weights")
    before = window.ask(INVENTORY)
    with unhurried(window):
        window.press("weightwalk.build")
        window.wait_for(f"{SESSION}.job is not None")
        window.wait_for(f"{SESSION}.job.progress.stage == 'surfaces'")
        # The work stands still while its button is looked for.
        window.ask(f"setattr({SESSION}.job, 'advance', lambda: (False, None))")
        place = window.find("weightwalk.cancel")
        window.screenshot("progress")
        window.ask(f"delattr({SESSION}.job, 'advance')")
        window.move(*place)
        seconds = seconds_to_the_end(window, lambda: window.click(*place))
    window.screenshot("cancelled")
    assert seconds < AT_ONCE
    assert window.ask(INVENTORY) == before
    assert ["INFO", "Building: cancelled"] in window.reports()
    # To the end, and back.
    window.press("weightwalk.build")
    finish(window)
    window.screenshot("built")
    names = window.ask(SURFACES)
    assert len(names) == 64
    built = window.ask(INVENTORY)
    window.move(*window.region().centre)
    window.key("ctrl+z")
    window.screenshot("undone")
    assert window.ask(INVENTORY)["things"] == before["things"]
    assert window.ask(f"len({WEIGHTS}.tensors)") == 64
    window.key("ctrl+shift+z")
    window.screenshot("redone")
    assert window.ask(INVENTORY)["things"] == built["things"]
    assert not sentences(window)


def test_a_rebuild_replaces_the_surfaces_and_keeps_what_the_person_changed(window, checkpoint):
    build(window, checkpoint, rows=16, cols=16)
    names = window.ask(SURFACES)
    moved = """
scene = bpy.context.scene
lamp = next(o for o in scene.objects if o.type == 'LIGHT' and o.name.startswith('Sun'))
lamp.location.x, lamp.data.energy = 4.0, 7.0
scene.objects['Cube'].location.z = 9.0
scene.objects['Overview'].location = scene.camera.location = 1.0, -7.0, 2.5
"""
    window.ask(moved)
    window.ask("bpy.ops.ed.undo_push(message='moved')")
    theirs = "[o.name, *o.location] for o in bpy.context.scene.objects"
    theirs = f"[{theirs} if o.type in ('CAMERA', 'LIGHT') or o.name == 'Cube']"
    kept = window.ask(theirs)
    window.open_tab("Weights")
    window.open_panel("WEIGHTWALK_PT_shape")
    window.screenshot("shape")
    place = window.find("rows")
    window.click(*place)
    window.key("ctrl+a")
    window.type("8")
    window.key("Return")
    window.click(*window.find("pool"))
    window.screenshot("pooling")
    window.key("l")
    assert window.ask(f"({WEIGHTS}.rows, {WEIGHTS}.pool)") == [8, "absmax"]
    window.screenshot("changed")
    window.open_panel("WEIGHTWALK_PT_build")
    window.press("weightwalk.build")
    finish(window)
    window.screenshot("rebuilt")
    after = window.ask(SURFACES)
    grids = "[o['grid'] for o in bpy.context.scene.objects if 'plan' in o]"
    assert {grid.split("x")[1] for grid in window.ask(grids)} <= {"8", "1"}
    assert {name.split(" ")[0] for name in after} == {name.split(" ")[0] for name in names}
    assert window.ask(theirs) == kept
    assert window.ask("[l.energy for l in bpy.data.lights if l.name.startswith('Sun')]") == [7.0]
    assert not sentences(window)


def test_undo_after_a_closer_look_leaves_a_blender_that_lives(window, checkpoint):
    build(window, checkpoint)
    assert window.ask(f"{WEIGHTS}.head_up")
    coarse = window.ask(INVENTORY)["things"]
    name = next(n for n in window.ask(SURFACES) if "up_proj" in n)
    window.ask(f"bpy.context.view_layer.objects.active = bpy.context.scene.objects[{name!r}]")
    window.ask(
        f"with bpy.context.temp_override(**view()):\n"
        f"    bpy.ops.weightwalk.inspect(surface={name!r}, cell=5)"
    )
    window.screenshot("inspected")
    put(window, refine_from=(0, 0), refine_to=(20, 20))
    call(window, "weightwalk.refine")
    finish(window)
    window.screenshot("refined")
    assert len(window.ask(INVENTORY)["things"]) > len(coarse)
    window.move(*window.region().centre)
    for i in range(4):
        window.key("ctrl+z")
        window.screenshot(f"undone-{i}")
    for i in range(4):
        window.key("ctrl+shift+z")
        window.screenshot(f"redone-{i}")
    assert len(window.ask(INVENTORY)["things"]) > len(coarse)
    assert not sentences(window)


def test_what_comes_between_gets_a_sentence_and_leaves_no_half(window, tall, checkpoint):
    load(window, tall)
    before = window.ask(INVENTORY)

    def begin():
        call(window, "weightwalk.build")
        window.wait_for(f"{SESSION}.job is not None")

    with unhurried(window):
        # A second build, or another model.
        begin()
        for operator in ("build", "load_model"):
            can = f"bpy.ops.weightwalk.{operator}.poll()"
            assert not window.ask(f"with bpy.context.temp_override(**view()):\n    result = {can}")
        # Undo by its key waits; from the menu it stops the work.
        window.key("ctrl+z")
        assert window.ask(f"{SESSION}.job is not None")
        window.ask("with bpy.context.temp_override(**view()):\n    bpy.ops.ed.undo()")
        finish(window, 5)
        window.screenshot("undone")
        assert any("undone" in text for _, text in window.reports())
        assert not window.ask(SURFACES)
        window.ask("with bpy.context.temp_override(**view()):\n    bpy.ops.ed.redo()")
        assert window.ask(INVENTORY) == before
        # Another file.
        begin()
        window.ask("bpy.ops.wm.read_homefile(use_factory_startup=True)")
        window.wait_for("'VIEW_3D' in shown() and view()['region'].width > 200")
        window.settle()
        window.screenshot("another-file")
        assert window.ask(f"{SESSION}.job is None")
        assert not window.ask(SURFACES)
        assert not window.ask("[c.name for c in bpy.data.collections if 'weightwalk' in c]")
    # And it goes on from there.
    build(window, checkpoint)
    window.screenshot("goes-on")
    assert len(window.ask(SURFACES)) >= 6
