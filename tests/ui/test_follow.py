"""A training that goes on, followed by the panel, as far as a Blender without windows has it."""

from __future__ import annotations

import shutil

import pytest
from safetensors.numpy import save

from .little_run import (
    GRID,
    finish_training,
    load_run,
    markers,
    read,
    record,
    steps_of,
    write,
)
from .operators import said_by, surfaces

pytestmark = pytest.mark.bpy


def following():
    from weightwalk.ui.session import session

    return session().following


def look(bpy, times=1):
    """Let the timer's function look, as Blender would."""
    for _ in range(times):
        following().tick()
    return following().said


def test_follow_appends_each_checkpoint_once_it_is_complete(bpy, tmp_path, training):
    folder = tmp_path / "run"
    folder.mkdir()
    weights = load_run(bpy, folder, pool="mean")
    assert weights.run.names == []
    assert bpy.ops.weightwalk.follow() == {"FINISHED"}
    assert bpy.app.timers.is_registered(following().timer)
    assert look(bpy) == "Waits for the first checkpoint."
    write(folder, 100, training[0])
    look(bpy)
    assert steps_of(bpy) == ["100"]
    assert len(weights.tensors) == 4, "the list is that of the first checkpoint"
    # Half of it is there; then all, and last of all what Trainer writes last.
    whole = save(training[1])
    (folder / "checkpoint-200").mkdir()
    file = folder / "checkpoint-200" / "model.safetensors"
    file.write_bytes(whole[: len(whole) // 2])
    assert look(bpy, 3) == "1 step so far; waits for the next."
    file.write_bytes(whole)
    (file.parent / "trainer_state.json").write_text("{}")
    look(bpy)
    assert steps_of(bpy) == ["100", "200"]
    assert markers(bpy) == {"100": 1, "200": 13}
    mine = bpy.data.objects.new("mine", None)
    bpy.context.scene.collection.objects.link(mine)
    write(folder, 300, training[2])
    finish_training(folder, 300, training[3])
    look(bpy, 6)
    assert steps_of(bpy) == ["100", "200", "300", "final"]
    assert bpy.context.scene.frame_end == 48
    assert mine.name in bpy.context.scene.objects
    assert "The training is over" in following().said
    assert not bpy.app.timers.is_registered(following().timer)
    # What was appended can be read, as all else.
    bpy.context.scene.frame_set(40)
    last = next(o for o in surfaces(bpy).values() if o["training_step"] == 3)
    assert "final" in read(bpy, last, 3)
    # The scale is the first step's until it is asked for anew.
    assert record(bpy).series.lock.over == ("100",)
    assert bpy.ops.weightwalk.relock() == {"FINISHED"}
    assert record(bpy).series.lock.over == ("100", "200", "300", "final")
    assert "already" in said_by(bpy.ops.weightwalk.relock)
    assert mine.name in bpy.context.scene.objects


def test_follow_goes_on_with_what_stands_and_a_broken_checkpoint_is_named(
    run, bpy, folder, training
):
    bpy.ops.weightwalk.build_run()
    bpy.ops.weightwalk.follow()
    assert look(bpy, 2) == "4 steps so far; waits for the next."
    (folder / "checkpoint-500").mkdir()
    (folder / "checkpoint-500" / "model.safetensors").write_bytes(b"\xff" * 99)
    write(folder, 600, training[0])
    look(bpy, 6)
    assert steps_of(bpy) == ["100", "200", "300", "400", "600"]
    assert "step 500 was left out: " in following().said
    bpy.ops.weightwalk.follow()
    assert not following().active
    write(folder, 700, training[1])
    assert following().tick() is None
    assert len(steps_of(bpy)) == 5


def test_follow_of_a_solid_through_time_builds_it_anew(bpy, tmp_path, training):
    folder = tmp_path / "run"
    write(folder, 100, training[0])
    load_run(bpy, folder, view="time", rows=GRID, cols=GRID)
    bpy.ops.weightwalk.follow()
    assert look(bpy, 2).startswith("1 step so far; waits for the second")
    for i in (1, 2):
        write(folder, 100 * (i + 1), training[i])
        look(bpy, 2)
        assert {o["grid"] for o in surfaces(bpy).values()} == {f"{i + 1}x{GRID}x{GRID}"}


def test_relock_does_not_lose_steps_that_the_training_has_removed(run, bpy, folder, training):
    bpy.ops.weightwalk.build_run()
    bpy.ops.weightwalk.follow()
    write(folder, 500, training[0])
    look(bpy, 2)
    shutil.rmtree(folder / "checkpoint-100")
    assert "step 100 is no longer on the disk" in said_by(bpy.ops.weightwalk.relock)
    assert len(steps_of(bpy)) == 5
    assert bpy.ops.weightwalk.relock(sure=True) == {"FINISHED"}
    assert steps_of(bpy) == ["200", "300", "400", "500"]


def test_follow_ends_with_its_scene(run, bpy):
    scene = bpy.context.scene
    bpy.ops.weightwalk.follow()
    other = bpy.data.scenes.new("other")
    scene.name = "renamed"
    look(bpy)
    assert len(steps_of(bpy)) == 4
    bpy.context.window.scene = other
    bpy.data.scenes.remove(scene)
    assert look(bpy) == "The scene is gone."
    assert not following().active


def test_follow_ends_when_something_else_is_built(run, bpy, folder):
    bpy.ops.weightwalk.build_run()
    bpy.ops.weightwalk.follow()
    look(bpy, 2)
    bpy.ops.weightwalk.load_model(filepath=str(folder / "checkpoint-200"), build=True)
    assert not markers(bpy)
    assert "something else was loaded" in look(bpy)
    assert not following().active


def test_follow_ends_with_the_file(run, bpy, tmp_path):
    bpy.ops.weightwalk.follow()
    timer = following().timer
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "a.blend"))
    assert following().active
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "a.blend"))
    assert following() is None
    assert not bpy.app.timers.is_registered(timer)


def test_the_extension_switched_off_leaves_no_timer(run, bpy):
    import weightwalk

    bpy.ops.weightwalk.follow()
    timer = following().timer
    weightwalk.unregister()
    assert not bpy.app.timers.is_registered(timer)
    weightwalk.register()


def test_follow_does_without_a_checkpoint_that_goes_before_it_is_read(run, bpy, folder, training):
    from weightwalk.core.errors import CheckpointError
    from weightwalk.core.series import Step

    bpy.ops.weightwalk.build_run()
    bpy.ops.weightwalk.follow()
    write(folder, 500, training[0])
    gone = Step("500", 500, folder / "checkpoint-500")
    following().pass_over(gone, CheckpointError("checkpoint-500 is gone"))
    write(folder, 600, training[1])
    look(bpy, 3)
    assert steps_of(bpy)[-2:] == ["400", "600"]
    assert "step 500 was left out: checkpoint-500 is gone." in following().said


def test_follow_says_what_is_wrong_and_ends(run, bpy):
    run.view, run.id_data.weightwalk.kind = "relief", "depth"
    bpy.ops.weightwalk.follow()
    assert "a relief shows one matrix" in look(bpy)
    assert not following().active


@pytest.mark.parametrize("undone", [False, True])
def test_follow_ends_where_a_person_cancels_what_it_builds_but_not_with_an_undo(run, bpy, undone):
    from weightwalk.core.model import Progress
    from weightwalk.ui.session import Job, session
    from weightwalk.ui.training_run import told_to

    def work():
        while True:
            yield Progress("fields", 0, 1, "")

    bpy.ops.weightwalk.follow()
    job = session().job = Job("Appending", told_to(following(), work()), {})
    job.advance()
    assert look(bpy) == "Waits until the work under way is done."
    if undone:
        session().interrupt("something was undone meanwhile")
    else:
        bpy.ops.weightwalk.cancel()
    session().end_job(job)
    assert following().active == undone
    assert undone or following().said == "Follows no more: you cancelled it."
