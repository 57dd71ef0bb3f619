"""What is walked along, as far as a Blender without windows has it: a corridor or a flow."""

from __future__ import annotations

import numpy as np
import pytest

from .operators import load, said_by
from .test_flow_panel import LAYERS, write

pytestmark = pytest.mark.bpy

FORWARD, BACK = np.array([0.0, 1.0, 0.0]), np.array([0.0, -1.0, 0.0])


@pytest.fixture
def flow(bpy, tmp_path):
    """Return the terrain of a flow of two steps."""
    for step in (0, 5):
        write(tmp_path / "flow", step, seed=step)
    bpy.ops.weightwalk.load_flow(filepath=str(tmp_path / "flow"))
    bpy.ops.weightwalk.build_flow()
    bpy.context.view_layer.update()
    return next(o for o in bpy.context.scene.objects if o.type == "MESH" and o.data.shape_keys)


def course(bpy):
    from weightwalk.ui.course import course_of

    return course_of(bpy.context)


def told(bpy, eye, look):
    from weightwalk.ui.head_up import tell

    return tell(bpy.context, np.array(eye), look)


def rows(thing):
    """Return where the layers of a terrain lie in the world."""
    return sorted({round((thing.matrix_world @ v.co).y, 4) for v in thing.data.vertices})


def test_a_flow_that_is_alone_is_walked_from_its_first_layer_to_its_last(bpy, flow):
    along = course(bpy)
    assert [stop.label for stop in along.stops] == [f"layer {i}" for i in range(LAYERS)]
    assert rows(flow) == pytest.approx([stop.y for stop in along.stops], abs=1e-3)
    assert along.before(None).y == along.before(0).y < rows(flow)[0] - 1.0
    assert along.reached(along.before(0) + along.before(0) * 0.5) == -1
    for i in range(LAYERS):
        assert along.reached(along.before(i)) == i
    assert 0.0 < along.pace < 1.0
    for name in ("walk", "step", "overview", "go_to"):
        assert "window" in said_by(getattr(bpy.ops.weightwalk, name))


def test_the_line_names_the_layer_ahead_and_the_step_of_the_frame(bpy, flow):
    along, scene = course(bpy), bpy.context.scene
    for frame, step in ((1, 0), (12, 0), (13, 5), (24, 5)):
        scene.frame_set(frame)
        for i in range(LAYERS):
            line = told(bpy, (*along.before(i)[:2], 1.7), FORWARD)
            assert line.layer == f"layer {i}   ·   step {step}"
            assert line.what.startswith(f"model.layers.{i}   tiny")
            assert (line.scale.low, line.scale.high, line.clipped) == (-3.0, 3.0, False)
    # From afar it is the nearest one; who has turned around sees those behind.
    assert told(bpy, (0.0, -90.0, 30.0), FORWARD).layer.startswith("layer 0 ")
    assert told(bpy, (0.0, rows(flow)[-1] + 9.0, 1.7), BACK).layer.startswith(
        f"layer {LAYERS - 1} "
    )


def test_beside_a_corridor_a_flow_is_walked_while_it_is_selected(bpy, flow, checkpoint):
    load(bpy, checkpoint, build=True)
    view = bpy.context.view_layer
    flow.select_set(False)
    assert course(bpy).flow is None
    assert told(bpy, (0.0, -9.0, 1.7), FORWARD).clipped
    view.objects.active = flow
    assert course(bpy).flow is None
    flow.select_set(True)
    along = course(bpy)
    assert along.flow.model == "tiny"
    xs = [(flow.matrix_world @ v.co).x for v in flow.data.vertices]
    assert min(xs) < along.before(3).x < max(xs)
    assert along.before(3).x > 1.0, "it stands aside"
    assert rows(flow)[3] == pytest.approx(along.before(3).y + along.away, abs=1e-3)
    view.objects.active = next(o for o in bpy.context.scene.objects if "plan" in o)
    assert course(bpy).flow is None


def test_where_nothing_stands_or_can_be_read_there_is_nothing_to_walk(bpy, flow):
    from weightwalk.scene.ours import FLOW, find_root
    from weightwalk.ui.panels import NavigatePanel
    from weightwalk.ui.session import session

    assert NavigatePanel.poll(bpy.context)
    find_root(bpy.context.scene, FLOW)[FLOW] = '{"version": 99}'
    session().forget()
    assert course(bpy) is None
    assert told(bpy, (0.0, 0.0, 1.7), FORWARD) is None
    assert not NavigatePanel.poll(bpy.context)
    bpy.ops.wm.read_homefile(use_empty=True)
    assert course(bpy) is None
