"""A run's flow in a scene: its heights, colours and frames; what a person made stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from weightwalk import pipeline
from weightwalk.core.color import NONFINITE
from weightwalk.core.errors import SettingsError
from weightwalk.core.flow.legend import colors_of
from weightwalk.core.flow.probe import Probe, ProbeInfo, Prompt
from weightwalk.core.flow.run import FlowRun
from weightwalk.core.flow.settings import FlowSettings, FlowShape
from weightwalk.core.flow.standing import pictures_of
from weightwalk.core.flow.terrain import terrain_steps
from weightwalk.core.flow.units import reference_units
from weightwalk.core.flow.volume import volume_steps
from weightwalk.core.model import steps
from weightwalk.core.settings import Settings, SurfaceSettings, TimelineSettings
from weightwalk.core.stages import finish
from weightwalk.core.timeline import Timeline
from weightwalk.flow import flow_in_scene_steps
from weightwalk.scene.flow_ground import flow_record
from weightwalk.scene.ours import FLOW, find_root, objects_in
from weightwalk.scene.render import configure

from .test_relief import encoded
from .test_scene import get, inventory
from .test_steps import LONGEST, longest_step
from .test_timeline import visible

pytestmark = pytest.mark.bpy

TOKENS = ("The", " sky", " is", " blue")


def write(count=3, *, layers=5, features=40, bad=False):
    """Return a run of `count` steps of four tokens."""
    rng = np.random.default_rng(3)
    prompt = Prompt("The sky is blue", "", TOKENS, (0, 1, 2, 3))
    names = tuple(f"layers.{i}" for i in range(layers))
    held = []
    for i in range(count):
        values = rng.normal(size=(layers, 4, features)).astype(np.float32)
        values[1, :, 5], values[1, :, 9] = 15.0, -15.0 - i
        if bad and i == 1:
            values[2, :, 3:5] = np.nan
        info = ProbeInfo("little", "", "llama", "Llama", "f32", "cpu", names, (prompt,), 10 * i)
        held.append(Probe(info, {(0, "hidden"): tuple(values)}))
    return FlowRun("little", Path("run"), tuple(held))


def stand(bpy, run, shape=None, settings=None):
    return pipeline.drain(
        flow_in_scene_steps(
            bpy.context.scene, run, settings or FlowSettings(width=16), shape or FlowShape()
        )
    )


def sheet(bpy, name="little"):
    """Return vertices, sRGB colours and values of the terrain as they are now."""
    thing = bpy.data.objects[name].evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = thing.data
    assert mesh.color_attributes.active_color.name == "Color"
    colors = 255.0 * encoded(get(mesh.attributes["Color"].data, "color", 4))[:, :3]
    return get(mesh.vertices, "co", 3), colors, get(mesh.attributes["value"].data, "value", 1)


def screen_colors(bpy, name):
    """Return the sRGB colours of a screen as they are now: a pixel's six corners, (6, n, 3)."""
    thing = bpy.data.objects[name].evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = thing.data
    assert mesh.color_attributes.active_color.domain == "CORNER"
    colors = 255.0 * encoded(get(mesh.attributes["Color"].data, "color", 4))[:, :3]
    return np.concatenate([half.swapaxes(0, 1) for half in np.split(colors.reshape(-1, 3, 3), 2)])


@pytest.mark.parametrize("over", ["steps", "tokens"])
@pytest.mark.parametrize("frames", [12, 5, 1])
def test_in_the_middle_of_its_time_each_vertex_has_the_height_and_colour_of_its_value(
    bpy, over, frames
):
    run, shape = write(), FlowShape(over=over, frames=frames)
    settings = FlowSettings(width=16)
    stand(bpy, run, shape)
    made = finish(terrain_steps(run, settings, shape, reference_units(run, settings)))
    line = Timeline(len(made.moments), TimelineSettings(frames))
    for k, moment in enumerate(made.moments):
        frame = line.middle(k)[0]
        seen = visible(bpy, frame)
        vertices, colors, values = sheet(bpy)
        np.testing.assert_allclose(vertices, made.part.vertices + made.offsets(k), atol=1e-5)
        np.testing.assert_allclose(values, made.values[k], atol=1e-4)
        near = np.abs(np.abs(made.values[k]) - 3.0) < 1e-3
        wanted = colors_of(made.values[k], made.scale)
        place = 255 * (made.values[k] + 3.0) / 6.0
        sure = (np.abs(place % 1.0 - 0.5) > 0.01) & ~near
        assert np.abs(colors - wanted)[sure].max() <= 2.0
        assert (np.abs(made.values[k]) > 3.0).any()
        assert f"Flow picture {moment.label}"[:60] in {name[:60] for name in seen}
        said = [
            o.data.body for o in bpy.context.scene.objects if o.type == "FONT" and o.name in seen
        ]
        assert moment.label in said
        assert not {m.label for m in made.moments} - {moment.label} & set(said)
    marks = {(m.name, m.frame) for m in bpy.context.scene.timeline_markers}
    assert marks == {(m.label, line.middle(k)[0]) for k, m in enumerate(made.moments)}
    assert (bpy.context.scene.frame_start, bpy.context.scene.frame_end) == (1, line.end)


def test_between_two_moments_heights_go_straight(bpy):
    run = write()
    stand(bpy, run, FlowShape(frames=8))
    made = finish(
        terrain_steps(run, FlowSettings(), FlowShape(), reference_units(run, FlowSettings()))
    )
    line = Timeline(3, TimelineSettings(8))
    a, b = line.middle(0)[-1], line.middle(1)[0]
    for frame in range(a, b + 1):
        share = (frame - a) / (b - a)
        visible(bpy, frame)
        vertices, _, values = sheet(bpy)
        wanted = (1 - share) * made.values[0] + share * made.values[1]
        np.testing.assert_allclose(values, wanted, atol=1e-4)
        np.testing.assert_allclose(vertices[:, 2], made.height * wanted, atol=1e-5)


def test_the_screen_has_the_pictures_colours_in_every_engine(bpy):
    run, settings = write(), FlowSettings(width=16)
    stand(bpy, run, settings=settings)
    made = finish(terrain_steps(run, settings, FlowShape(), reference_units(run, settings)))
    pictures = pictures_of(run, settings, reference_units(run, settings), made.moments)
    line = Timeline(3, TimelineSettings())
    for k, picture in enumerate(pictures):
        visible(bpy, line.first(k))
        thing = bpy.data.objects[f"Flow picture step {10 * k}"]
        flat = picture[::-1].reshape(-1, 3)
        for corner in screen_colors(bpy, thing.name):
            assert np.abs(corner - flat).max() < 0.01
        (image,) = [i for i in bpy.data.images if i.name.startswith(thing.name)]
        assert image.packed_file
        assert tuple(image.size) == picture.shape[1::-1]


def test_a_volume_has_surfaces_for_each_step_within_the_budget(bpy):
    run, shape, settings = write(), FlowShape("volume", faces=2000), FlowSettings()
    stand(bpy, run, shape, settings)
    made = finish(volume_steps(run, settings, shape, reference_units(run, settings)))
    for k in range(3):
        seen = visible(bpy, 1 + 12 * k)
        things = [bpy.data.objects[n] for n in seen if n.startswith("little step")]
        assert {o.name for o in things} == {f"little step {10 * k} {s}" for s in "+-"}
        assert sum(len(o.data.polygons) for o in things) <= 2000
        for thing in things:
            values = get(thing.data.attributes["value"].data, "value", 1)
            assert (
                (values > made.level).all()
                if thing.name.endswith("+")
                else (values < -made.level).all()
            )


@pytest.mark.parametrize("view", ["terrain", "volume"])
def test_what_is_not_finite_is_green_at_its_step(bpy, view):
    stand(bpy, write(bad=True), FlowShape(view))
    names = {k: [n for n in visible(bpy, 1 + 12 * k) if "non-finite" in n] for k in range(3)}
    assert [len(names[k]) for k in range(3)] == [0, 1, 0]
    mesh = bpy.data.objects[names[1][0]].data
    colors = 255.0 * encoded(get(mesh.attributes["Color"].data, "color", 4))
    np.testing.assert_allclose(colors[:, :3], np.tile(NONFINITE[:3], (len(colors), 1)), atol=0.5)
    said = " ".join(o.data.body for o in bpy.context.scene.objects if o.type == "FONT")
    assert "NaN, ∞" in said


@pytest.mark.parametrize("view", ["terrain", "volume"])
def test_closed_at_any_step_it_leaves_the_file_as_it_was(bpy, view):
    run, shape = write(bad=True), FlowShape(view, faces=3000, values="changes")
    scene = bpy.context.scene
    for earlier in (None, run):
        if earlier:
            stand(bpy, earlier, FlowShape())
        before = every(bpy), inventory(bpy)
        count = 0
        while True:
            work = flow_in_scene_steps(scene, run, FlowSettings(), shape)
            try:
                for _ in range(count):
                    next(work)
            except StopIteration:
                break
            work.close()
            assert (every(bpy), inventory(bpy)) == before, count
            count += 3
        assert count > 20
        pipeline.drain(_clear(scene))


def _clear(scene):
    from weightwalk.scene.flow import clear_flow

    clear_flow(scene)
    yield from ()


def every(bpy):
    """Return the names of all that is in the file."""
    kinds = ("objects", "meshes", "curves", "actions", "images", "materials", "node_groups",
             "collections", "lights", "cameras", "worlds", "shape_keys", "fonts")  # fmt: skip
    return {kind: sorted(one.name for one in getattr(bpy.data, kind)) for kind in kinds}


def test_a_second_one_takes_the_place_of_the_first_and_a_persons_things_stay(bpy):
    scene = bpy.context.scene
    root = stand(bpy, write())
    once = every(bpy)
    cube = bpy.data.objects.new("cube", bpy.data.meshes.new("cube"))
    root.children[0].objects.link(cube)
    scene.timeline_markers.new("mine", frame=3)
    sun = bpy.data.objects["Sun"]
    sun.data.energy = 7.5
    second = stand(bpy, write(2), FlowShape("volume"))
    assert find_root(scene, FLOW) == second
    assert cube.name in objects_in_names(second)
    assert bpy.data.objects["Sun"].data.energy == 7.5
    assert {m.name for m in scene.timeline_markers} == {"mine", "step 0", "step 10"}
    bpy.data.objects.remove(cube)
    bpy.data.meshes.remove(bpy.data.meshes["cube"])
    stand(bpy, write())
    assert every(bpy) == once


def objects_in_names(root):
    return {thing.name for thing in objects_in(root)}


def test_cleared_it_is_gone_and_the_rest_is_there(bpy):
    from weightwalk.scene.flow import clear_flow

    scene = bpy.context.scene
    run = write()
    root = stand(bpy, run)
    held = flow_record(scene)
    assert held.model == "little"
    assert held.labels == ("step 0", "step 10", "step 20")
    cube = bpy.data.objects.new("cube", None)
    root.objects.link(cube)
    clear_flow(scene)
    assert flow_record(scene) is None
    assert [o.name for o in scene.objects] == ["cube"]
    assert not scene.timeline_markers
    assert not bpy.data.images
    assert not bpy.data.actions
    assert not bpy.data.meshes


def box(bpy, root):
    from weightwalk.scene.flow_ground import box_of

    bpy.context.view_layer.update()
    return box_of(root)


@pytest.mark.parametrize("first", ["corridor", "flow"])
def test_corridor_and_flow_stand_side_by_side_on_one_open_floor(bpy, checkpoint, first):
    from weightwalk.scene.flow import clear_flow

    scene = bpy.context.scene
    model = pipeline.drain(steps(Settings(checkpoint, surface=SurfaceSettings(faces=2000))))
    for what in (first, {"corridor": "flow", "flow": "corridor"}[first]):
        if what == "flow":
            stand(bpy, write())
        else:
            pipeline.show_in(scene, model)
    for _ in range(2):
        corridor, flow = find_root(scene), find_root(scene, FLOW)
        assert "plan" not in bpy.data.objects["little"]
        a, b = box(bpy, corridor), box(bpy, flow)
        assert a[1][0] < b[0][0]
        assert len([o for o in scene.objects if o.type == "LIGHT"]) == 2
        (floor,) = [o for o in scene.objects if o.name.startswith("Floor")]
        assert len(floor.data.polygons) == 8
        hole = get(floor.data.vertices, "co", 3)[4:]
        basin = bpy.data.objects["Basin"]
        corners = np.array([basin.matrix_world @ v.co for v in basin.data.vertices])
        np.testing.assert_allclose(hole[:, :2].min(axis=0), corners[:, :2].min(axis=0), atol=1e-4)
        np.testing.assert_allclose(hole[:, :2].max(axis=0), corners[:, :2].max(axis=0), atol=1e-4)
        # Each of them built again leaves the other alone.
        names = objects_in_names(flow)
        pipeline.show_in(scene, model)
        assert objects_in_names(find_root(scene, FLOW)) == names
        stand(bpy, write())
    shown = sum("plan" in o for o in scene.objects)
    clear_flow(scene)
    assert sum("plan" in o for o in scene.objects) == shown
    assert len([o for o in scene.objects if o.type == "LIGHT"]) == 2
    (floor,) = [o for o in scene.objects if o.name.startswith("Floor")]
    assert len(floor.data.polygons) == 2


def test_saved_and_opened_again_it_is_the_same(bpy, tmp_path):
    run = write()
    stand(bpy, run)
    bpy.context.scene.frame_set(18)
    before, record = sheet(bpy), flow_record(bpy.context.scene)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "flow.blend"), copy=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "flow.blend"))
    assert flow_record(bpy.context.scene) == record
    bpy.context.scene.frame_set(18)
    for a, b in zip(before, sheet(bpy), strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(i.packed_file for i in bpy.data.images if i.name.startswith("Flow picture"))


def test_a_single_probe_stands_still(bpy):
    scene = bpy.context.scene
    configure(scene, pipeline.OutputSettings(Path()).render)
    before = scene.frame_start, scene.frame_end
    stand(bpy, write(1))
    assert not scene.timeline_markers
    assert (scene.frame_start, scene.frame_end) == before
    _, _, values = sheet(bpy)
    assert np.abs(values).max() > 1.0
    with pytest.raises(SettingsError, match="token"):
        stand(bpy, write(1), settings=FlowSettings(token=9))


@pytest.mark.parametrize("view", ["terrain", "volume"])
def test_no_step_is_long(bpy, view):
    run, tries = write(4, layers=30, features=576), []
    for _ in range(3):
        shape = FlowShape(view, values="changes")
        work = flow_in_scene_steps(bpy.context.scene, run, FlowSettings(), shape)
        tries.append(longest_step(work)[0])
        if tries[-1][0] <= 0.5 * LONGEST:
            break
    assert min(tries)[0] <= LONGEST, tries
