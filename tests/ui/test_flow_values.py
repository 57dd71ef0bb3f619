"""What of a flow the panel asks for: outputs or changes, and how wide its picture is."""

from __future__ import annotations

import numpy as np
import pytest

from .test_flow_panel import FEATURES, heights, record, write

pytestmark = pytest.mark.bpy


def test_the_change_since_the_first_step_is_chosen_where_there_are_several(bpy, tmp_path):
    from weightwalk.core.flow.run import find_run
    from weightwalk.core.flow.settings import FlowSettings, FlowShape
    from weightwalk.core.stages import finish
    from weightwalk.flow import flow_in_scene_steps
    from weightwalk.ui.flow_properties import _values

    folder = tmp_path / "flow"
    for step in (0, 5, 10):
        write(folder, step, seed=step)
    bpy.ops.weightwalk.load_flow(filepath=str(folder))
    flow = bpy.context.scene.weightwalk.flow
    items = [(key, name) for key, name, _ in _values(flow, bpy.context)]
    assert items == [("outputs", "Outputs"), ("changes", "Change since step 0")]
    flow.values = "changes"
    bpy.ops.weightwalk.build_flow()
    by_button, held = heights(bpy), record(bpy)
    assert held.shape.values == "changes"
    assert held.labels == tuple(f"step {step} − step 0" for step in (0, 5, 10))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    run, shape = find_run([str(folder)]), FlowShape(values="changes")
    finish(flow_in_scene_steps(bpy.context.scene, run, FlowSettings(width=FEATURES), shape))
    np.testing.assert_array_equal(heights(bpy), by_button)
    assert record(bpy) == held
    # Nothing has changed in a single step.
    flow = bpy.context.scene.weightwalk.flow
    flow.target = str(folder / "step-5.safetensors")
    flow.values = "changes"
    assert flow.shape().values == "outputs"
    assert bpy.ops.weightwalk.build_flow() == {"FINISHED"}


@pytest.mark.parametrize(("features", "width"), [(40, 40), (1024, 1024), (1025, 512)])
def test_the_picture_is_one_band_where_that_can_be_seen(bpy, tmp_path, features, width):
    bpy.ops.weightwalk.load_flow(filepath=str(write(tmp_path / "one", features=features)))
    assert bpy.context.scene.weightwalk.flow.settings().width == width
