"""Changes of a run since its first step in a scene: their heights, and where they begin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from weightwalk.batch.cli import main
from weightwalk.core.color import scale_for
from weightwalk.core.errors import SettingsError
from weightwalk.core.flow.legend import colors_of
from weightwalk.core.flow.probe import Probe, ProbeInfo, Prompt, write_probe
from weightwalk.core.flow.run import FlowRun
from weightwalk.core.flow.settings import FlowSettings, FlowShape
from weightwalk.core.settings import TimelineSettings
from weightwalk.core.timeline import Timeline
from weightwalk.scene.flow_ground import flow_record

from .test_flow import TOKENS, every, screen_colors, sheet, stand, write
from .test_scene import get
from .test_timeline import visible

pytestmark = pytest.mark.bpy


def drift(bad=False):
    """Return a run of 12 prompts that departs at layer 3 in its second step, at 2 in its third."""
    rng = np.random.default_rng(5)
    prompts = tuple(Prompt(f"prompt {i}", "", TOKENS, (2, 3)) for i in range(12))
    names = tuple(f"layers.{i}" for i in range(5))
    base = rng.normal(size=(12, 5, 2, 40)).astype(np.float32)
    way = rng.normal(size=40) / np.sqrt(40.0)
    held = []
    for i, amount in enumerate(([0, 0, 0, 0, 0], [0, 0, 0, 9, 9], [0, 0, 8, 12, 16])):
        noise = 0.01 * rng.normal(size=base.shape) * (i > 0)
        values = base + np.array(amount)[:, None, None] * way + noise
        values[0, 1, :, 7] += i
        values[0, 4, :, 9] -= 8.0 * i
        if bad and i == 2:
            values[0, 0, :, 3] = np.nan
        layers = {(p, "hidden"): tuple(v.astype(np.float32)) for p, v in enumerate(values)}
        info = ProbeInfo("little", "", "llama", "Llama", "f32", "cpu", names, prompts, 10 * i)
        held.append(Probe(info, layers))
    return FlowRun("little", Path("run"), tuple(held))


def changed(run, step, token):
    """Return a step minus the first in σ of the first, shape (layers, features)."""
    first = [np.stack([run.probes[0].layers(p)[layer] for p in range(12)]) for layer in range(5)]
    now, before = run.probes[step].layers(), run.probes[0].layers()
    pairs = zip(now, before, first, strict=True)
    return np.array([(a[token] - b[token]) / f.std() for a, b, f in pairs])


@pytest.mark.parametrize("over", ["steps", "tokens"])
def test_of_changes_each_vertex_has_the_height_and_colour_of_step_minus_first(bpy, over):
    run = drift()
    root = stand(bpy, run, FlowShape(over=over, values="changes"), FlowSettings(width=40))
    moments = [(step, -1) for step in range(3)] if over == "steps" else [(2, 0), (2, 1)]
    real = np.array([changed(run, *moment) for moment in moments])
    record, line = flow_record(bpy.context.scene), Timeline(len(moments), TimelineSettings())
    scale = scale_for([changed(run, step, -1) for step in (1, 2)], diverging=True)
    assert record.scale == scale
    assert record.settings == FlowSettings(width=40), "what was asked for, to be built again"
    (metres,) = [float(s.split()[3]) for s in record.captions if s.startswith("1 σ is ")]
    for k in range(len(moments)):
        seen = visible(bpy, line.middle(k)[0])
        vertices, colors, values = sheet(bpy)
        wanted = real[k].ravel()
        order = np.lexsort((vertices[:, 0], vertices[:, 1]))
        np.testing.assert_allclose(values[order], wanted, atol=2e-4)
        np.testing.assert_allclose(vertices[order, 2], metres * wanted, atol=1e-4)
        assert np.ptp(vertices[:, 2]) > 0.1 or moments[k][0] == 0
        # To within the next colour of the map.
        sure = np.abs(np.abs(wanted) - scale.high) > 1e-3
        assert np.abs(colors[order] - colors_of(wanted, scale))[sure].max() <= 4.0
        said = {o.data.body for o in root.all_objects if o.type == "FONT" and o.name in seen}
        if over == "steps":
            assert f"step {10 * k} − step 0" in said
        (screen,) = [n for n in seen if n.startswith("Flow picture")]
        painted = screen_colors(bpy, screen)[0].reshape(5, 40, 3)[::-1].reshape(-1, 3)
        assert np.abs(painted - colors_of(wanted, scale))[sure].max() <= 4.0
    assert "minus that of step 0, in σ" in record.captions[0]


@pytest.mark.parametrize("view", ["terrain", "volume"])
def test_the_layer_that_departs_is_pointed_at_while_its_step_is_seen(bpy, view):
    run = drift(bad=True)
    stand(bpy, run, FlowShape(view, values="changes"))
    record, stride = flow_record(bpy.context.scene), 1.0
    for k, layer in enumerate((None, 3, 2)):
        seen = visible(bpy, 1 + 12 * k)
        signs = [o for o in bpy.context.scene.objects if "Departs" in o.name and o.name in seen]
        assert len(signs) == (0 if layer is None else 2)
        for sign in signs:
            corners = get(sign.data.vertices, "co", 3)
            np.testing.assert_allclose(corners[:, 1].mean(), layer * stride, atol=1e-5)
            # The tip is the one that is nearest to the shape, on either side of it.
            assert np.abs(corners[:, 0]).argmin() == np.abs(corners[:, 1] - layer).argmin()
            a, b, c = corners
            assert np.cross(b - a, c - a)[2] > 0, "its front is above"
        things = [o for o in bpy.context.scene.objects if o.name in seen]
        said = {o.data.body for o in things if o.type == "FONT"}
        words = {f"departs at layer {n}" for n in range(5)} & said
        assert words == (set() if layer is None else {f"departs at layer {layer}"})
    assert "departs at layer 2 (layers.2)" in record.captions[-1]
    assert record.captions[-1].startswith("step 20")
    assert any("-finite" in name for name in seen)


def test_changes_take_two_steps(bpy):
    before = every(bpy)
    with pytest.raises(SettingsError, match="changes: little is one step"):
        stand(bpy, write(1), FlowShape(values="changes"))
    assert every(bpy) == before


def test_the_command_saves_the_scene_that_the_panel_would_make(bpy, tmp_path, capsys):
    run = drift()
    for probe in run.probes:
        write_probe(tmp_path / f"step-{probe.info.step}.safetensors", probe)
    asked = ["--export", "blend", "--values", "changes", "--width", "40", "--out"]
    assert main(["flow", str(tmp_path), *asked, str(tmp_path / "out")]) == 0, capsys.readouterr()
    assert not (tmp_path / "out" / "flow.png").exists()
    saved = bpy.data.objects["little"].data
    shapes = [get(key.data, "co", 3) for key in saved.shape_keys.key_blocks]
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "out" / "flow.blend"))
    opened = bpy.data.objects["little"].data
    for shape, key in zip(shapes, opened.shape_keys.key_blocks, strict=True):
        np.testing.assert_array_equal(get(key.data, "co", 3), shape)
    scene = bpy.context.scene
    record = flow_record(scene)
    # At the first step there is no change to be seen.
    assert scene.frame_start < scene.frame_current < scene.frame_end
    assert record.shape.values == "changes"
    assert len(set(map(bytes, shapes[1:]))) == 3
