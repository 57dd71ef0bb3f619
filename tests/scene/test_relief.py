"""Terrain that flows: its shapes and its colours at every frame."""

from __future__ import annotations

import numpy as np
import pytest
from weightwalk.core.color import ColorScale, color_map, decode_srgb

from .runs import DOWN, UP, animate, settings_of, write_run
from .test_scene import get
from .test_timeline import show, visible

pytestmark = pytest.mark.bpy


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(params=[6, 5, 1], ids="{} frames".format)
def animation(request, run, tmp_path):
    return animate(tmp_path, settings_of(run, "relief", frames=request.param))


def encoded(linear):
    return np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )


def sheet(bpy, name):
    """Return vertices, sRGB colours and values of a sheet as they are now."""
    thing = bpy.data.objects[name].evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = thing.data
    colors = encoded(get(mesh.attributes["Color"].data, "color", 4))
    assert mesh.color_attributes.active_color.name == "Color"
    values = get(mesh.attributes["value"].data, "value", 1)
    return get(mesh.vertices, "co", 3), 255.0 * colors, values


def test_in_the_middle_of_a_step_it_is_the_matrix_of_that_step(bpy, animation):
    show(bpy, animation)
    line = animation.timeline
    assert {relief.plan.name for relief in animation.reliefs} >= {UP, DOWN}
    for relief in animation.reliefs:
        name = relief.part.name
        blocks = bpy.data.objects[name].data.shape_keys.key_blocks
        assert [b.name for b in blocks] == ["Basis", *(s.name for s in animation.steps)]
        for k in range(line.steps):
            for frame in line.middle(k)[: 1 if line.settings.frames == 1 else 2]:
                seen = visible(bpy, frame)
                assert (name in seen) is relief.shown[k]
                assert [b.value for b in blocks[1:]] == [float(i == k) for i in range(line.steps)]
                if not relief.shown[k]:
                    continue
                vertices, colors, values = sheet(bpy, name)
                wanted = relief.part.vertices + relief.offsets(k)
                np.testing.assert_allclose(vertices, wanted, atol=1e-5)
                np.testing.assert_allclose(values, relief.values[k], atol=1e-4)
                # Half a step of the scale lies between one of its 256 colours and the next.
                place = 255 * (relief.values[k] - relief.scale.low)
                place /= relief.scale.high - relief.scale.low
                sure = np.abs(place % 1.0 - 0.5) > 0.01
                off = np.abs(colors - relief.colors(k))[sure]
                assert off.max() <= 2.0


def test_between_two_steps_shape_and_colour_are_between_them(bpy, run, tmp_path):
    animation = animate(tmp_path, settings_of(run, "relief", frames=8))
    show(bpy, animation)
    line, relief = animation.timeline, next(r for r in animation.reliefs if r.plan.name == UP)
    a, b = line.middle(1)[-1], line.middle(2)[0]
    for frame in range(a, b + 1):
        share = (frame - a) / (b - a)
        visible(bpy, frame)
        vertices, colors, values = sheet(bpy, relief.part.name)
        wanted = (1 - share) * relief.values[1] + share * relief.values[2]
        np.testing.assert_allclose(values, wanted, atol=1e-4)
        np.testing.assert_allclose(
            vertices[:, 1], relief.part.vertices[:, 1] - relief.height * wanted, atol=1e-5
        )
        assert np.median(np.abs(colors - relief.scale.colors(wanted))) <= 1.0
    for frame, k in ((line.start, 0), (line.end, line.steps - 1)):
        visible(bpy, frame)
        *_, values = sheet(bpy, relief.part.name)
        np.testing.assert_allclose(values, relief.values[k], atol=1e-4)


def test_all_sheets_flow_by_the_same_keys(bpy, animation):
    show(bpy, animation)
    keys = [bpy.data.objects[r.part.name].data.shape_keys for r in animation.reliefs]
    (action,) = {key.animation_data.action for key in keys}
    assert action.name == "Weightwalk relief"
    curves = [c for s in action.layers[0].strips for c in s.channelbag(action.slots[0]).fcurves]
    assert len(curves) == animation.timeline.steps
    assert {k.interpolation for c in curves for k in c.keyframe_points} == {"LINEAR"}


def test_cells_that_are_not_finite_are_marked_at_their_step(bpy, animation):
    show(bpy, animation)
    (marker,) = animation.actors
    assert (marker.shell.sign, marker.step) == (0, 2)
    for k in range(animation.timeline.steps):
        assert (marker.name in visible(bpy, animation.timeline.first(k))) is (k == 2)


@pytest.mark.parametrize("diverging", [True, False])
@pytest.mark.parametrize("name", ["ember", "ice", "gray"])
def test_a_ramp_of_few_colours_is_the_map(diverging, name):
    from weightwalk.scene.relief import STOPS, ramp_knots

    scale = ColorScale(-1.0 if diverging else 0.0, 1.0, diverging, name)
    table = color_map(scale.diverging, scale.map)[:, :3]
    linear, knots = decode_srgb(table / 255.0), ramp_knots(diverging, name)
    assert len(knots) <= STOPS
    line = np.stack([np.interp(range(256), knots, linear[list(knots), i]) for i in range(3)], 1)
    assert np.abs(255.0 * encoded(line) - table).max() <= 1.5
