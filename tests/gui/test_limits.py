"""What a build may take: memory, and the main thread's time."""

from __future__ import annotations

import json
import time

import pytest

from .extension import (
    AT_ONCE,
    INVENTORY,
    SESSION,
    SURFACES,
    UI,
    WEIGHTS,
    call,
    load,
    seconds_to_the_end,
    sentences,
)


@pytest.fixture
def vast(tmp_path):
    """Return the path of a model of 200 large matrices, all of them holes in the file."""
    side = 4096
    path, header, at = tmp_path / "vast.safetensors", {}, 0
    for i in range(200):
        shape, end = [side, side], at + 4 * side * side
        header[f"model.layers.{i}.mlp.up_proj.weight"] = {
            "dtype": "F32", "shape": shape, "data_offsets": [at, end]
        }  # fmt: skip
        at = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)
    return path


def test_what_may_not_fit_into_memory_is_asked_first(window, vast):
    load(window, vast, pool="absmax", rows=4096, cols=4096, faces=100_000_000)
    window.open_tab("Weights")
    before = window.ask(INVENTORY)
    cost = window.ask(f"{WEIGHTS}.cost")
    place = window.find("weightwalk.build")
    window.click(*place)
    window.screenshot("asks")
    window.key("Escape")
    window.screenshot("refused")
    assert window.ask(f"{SESSION}.job is None")
    assert window.ask(INVENTORY) == before
    window.click(*place)
    window.key("Return")
    window.wait_for(f"{SESSION}.job is not None", 5)
    window.screenshot(f"builds-{cost[-7:]}")
    assert seconds_to_the_end(window, lambda: window.key("Escape")) < AT_ONCE
    assert window.ask(INVENTORY) == before
    assert not sentences(window)


# Puts a clock around each `next()` of the work that begins from now on.
TIMED = f"""
import time
Job, names = {UI}.session.Job, bpy.app.driver_namespace
names["init"], names["longest"] = Job.__init__, (0.0, "")
def timed(work):
    at = "begin"
    try:
        while True:
            begin = time.perf_counter()
            try:
                progress = next(work)
            except StopIteration as end:
                return end.value
            finally:
                spent = time.perf_counter() - begin
                if not at.startswith("imports"):  # cannot be cut, and happens once
                    names["longest"] = max(names["longest"], (spent, at))
            at = f"{{progress.stage}}: {{progress.what}}"
            yield progress
    finally:
        work.close()
Job.__init__ = lambda job, title, work, *rest: names["init"](job, title, timed(work), *rest)
"""
UNTIMED = f"setattr({UI}.session.Job, '__init__', bpy.app.driver_namespace['init'])"


@pytest.mark.model
def test_no_step_of_a_real_build_is_long_and_the_window_answers(window, model_folder):
    load(window, model_folder)
    tries = []
    for i in range(3):
        window.ask(TIMED)
        call(window, "weightwalk.build")
        slowest = 0.0
        while window.ask(f"{SESSION}.job is not None"):
            begin = time.monotonic()
            window.ask("None")
            slowest = max(slowest, time.monotonic() - begin)
        window.ask(UNTIMED)
        tries.append((*window.ask("bpy.app.driver_namespace['longest']"), slowest))
        window.screenshot(f"built-{i}")
        assert len(window.ask(SURFACES)) == 102
        if tries[-1][0] <= 0.05:
            break
    print(tries)
    assert min(tries)[0] <= 0.1, tries
    # An answer may wait for the redraw of the scene, too, which is the graphics driver's.
    assert min(slowest for *_, slowest in tries) < 1.0, tries
