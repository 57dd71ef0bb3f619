"""A second build in the place of the first: what goes, and what a person made stays."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from weightwalk import pipeline
from weightwalk.core.model import steps
from weightwalk.core.record import Record
from weightwalk.core.settings import FieldSettings, Selection, Settings, SurfaceSettings
from weightwalk.scene import swap
from weightwalk.scene.ours import find_root, is_ours, run_of

from .test_scene import inventory

pytestmark = pytest.mark.bpy


def build(checkpoint, **options):
    selection = options.pop("selection", Selection())
    surface = SurfaceSettings(faces=options.pop("faces", 3000))
    return pipeline.drain(steps(Settings(checkpoint, selection, FieldSettings(**options), surface)))


@pytest.fixture(scope="module")
def first(checkpoint):
    return build(checkpoint)


@pytest.fixture(scope="module")
def second(checkpoint):
    return build(checkpoint, pool="absmax", rows=16, selection=Selection(max_layers=2))


def names(bpy):
    held, camera, world, linked = inventory(bpy)
    tree = {c.name: sorted(o.name for o in c.objects) for c in bpy.data.collections}
    return held, camera, world, linked, tree


def test_there_and_back_leaves_nothing_behind(bpy, first, second):
    scene = bpy.context.scene
    pipeline.show_in(scene, first)
    once = names(bpy)
    places = {o.name: tuple(o.matrix_basis.translation) for o in scene.objects}
    pipeline.show_in(scene, second)
    assert names(bpy) != once
    shown = [o for o in scene.objects if "plan" in o]
    assert {o.name for o in shown} == {e.part.name for e in second.exhibits}
    sigmas = {e.part.name: e.part.extras["sigma"] for e in second.exhibits}
    assert {o.name: list(o["sigma"]) for o in shown} == sigmas
    pipeline.show_in(scene, first)
    assert names(bpy) == once
    assert {o.name: tuple(o.matrix_basis.translation) for o in scene.objects} == places
    assert Record.from_json(find_root(scene)["weightwalk"]) == Record.of(first)
    assert all(is_ours(o) for o in scene.objects)


def test_what_a_person_made_or_changed_stays(bpy, first, second):
    scene = bpy.context.scene
    root = pipeline.show_in(scene, first)
    layer = root.children["layer 0"]
    # In one of our collections, in one of theirs within ours, and in a collection that goes.
    cube, deep, late = (bpy.data.objects.new(n, bpy.data.meshes.new(n)) for n in ("a", "b", "c"))
    own = bpy.data.collections.new("own")
    layer.objects.link(cube)
    root.children.link(own)
    own.objects.link(deep)
    root.children["layer 2"].objects.link(late)
    copied = layer.objects[0].copy()  # a duplicate of a surface, with its mesh
    layer.objects.link(copied)
    renamed = next(o for o in layer.objects if is_ours(o) and o.data != copied.data)
    renamed.name = "kept"
    sun, back = bpy.data.objects["Sun"], bpy.data.objects["Back light"]
    sun.data.energy, sun.location = 7.5, (1, 2, 3)
    bpy.data.objects.remove(back)
    material = bpy.data.materials["Weightwalk surface"]
    material.roughness = 0.25
    layer.hide_render = True
    below = bpy.context.view_layer.layer_collection.children[root.name].children
    below["layer 0"].hide_viewport = below["layer 1"].exclude = True
    child = bpy.data.objects.new("child", None)
    scene.collection.objects.link(child)
    meshes = copied.data, renamed.data

    root = pipeline.show_in(scene, second)
    assert find_root(scene) == root
    assert {cube.name, copied.name, "kept"} <= set(root.children["layer 0"].objects.keys())
    assert deep.name in root.children["own"].objects
    assert late.name in root.objects
    assert (copied.data, renamed.data) == meshes
    assert len(copied.data.polygons) > 0
    assert bpy.data.objects["Sun"] == sun
    assert (sun.data.energy, tuple(sun.location)) == (7.5, (1, 2, 3))
    assert "Back light" not in bpy.data.objects
    assert sun.name in root.children["Stage"].objects
    new = next(o for o in scene.objects if "plan" in o and is_ours(o))
    assert new.active_material == material
    assert material.roughness == 0.25
    assert len([m for m in bpy.data.materials if m.name.startswith("Weightwalk surface")]) == 1
    assert root.children["layer 0"].hide_render
    below = bpy.context.view_layer.layer_collection.children[root.name].children
    assert below["layer 0"].hide_viewport
    assert below["layer 1"].exclude
    assert not below["layer 0"].exclude

    # Ours as they are now: a copy is no surface of ours in the builds after the next, either.
    pipeline.show_in(scene, first)
    pipeline.show_in(scene, second)
    assert {copied.name, "kept"} <= set(find_root(scene).children["layer 0"].objects.keys())


def test_what_was_tied_to_a_surface_stays_where_it_is(bpy, first, second):
    scene = bpy.context.scene
    root = pipeline.show_in(scene, first)
    surface = next(o for o in scene.objects if "plan" in o)
    light = bpy.data.objects.new("mine", bpy.data.lights.new("mine", "POINT"))
    root.objects.link(light)
    light.parent, light.location = surface, (0, -1, 2)
    bpy.context.view_layer.update()
    place = np.array(light.matrix_world)
    pipeline.show_in(scene, second)
    bpy.context.view_layer.update()
    np.testing.assert_allclose(np.array(light.matrix_world), place, atol=1e-5)


def test_our_camera_is_aimed_again_unless_it_was_taken_over(bpy, first, second):
    scene = bpy.context.scene
    pipeline.show_in(scene, first)
    camera = scene.camera
    before = camera.matrix_basis.copy()
    pipeline.show_in(scene, second)
    assert scene.camera == camera
    assert camera.matrix_basis != before, "it should see the other corridor"
    for change in (
        lambda: setattr(camera.data, "lens", 35.0),
        lambda: setattr(camera, "location", (1, 2, 3)),
    ):
        change()
        place, lens = camera.matrix_basis.copy(), camera.data.lens
        pipeline.show_in(scene, first)
        assert scene.camera == camera
        assert (camera.matrix_basis, camera.data.lens) == (place, lens)


def test_a_persons_camera_and_world_stay_and_a_missing_camera_comes_back(bpy, first, second):
    scene = bpy.context.scene
    mine = bpy.data.objects.new("mine", bpy.data.cameras.new("mine"))
    scene.collection.objects.link(mine)
    scene.camera, scene.world = mine, bpy.data.worlds.new("mine")
    world = scene.world
    pipeline.show_in(scene, first)
    bpy.data.objects.remove(bpy.data.objects["Overview"])
    pipeline.show_in(scene, second)
    assert (scene.camera, scene.world) == (mine, world)
    assert "Overview" not in bpy.data.objects
    scene.camera = None
    pipeline.show_in(scene, first)
    assert scene.camera == bpy.data.objects["Overview"]


def test_a_name_that_a_person_has_taken_is_left_to_them(bpy, first, second):
    scene = bpy.context.scene
    mine = bpy.data.objects.new(first.exhibits[0].part.name, None)
    scene.collection.objects.link(mine)
    name = mine.name
    pipeline.show_in(scene, first)
    once = names(bpy)
    pipeline.show_in(scene, second)
    pipeline.show_in(scene, first)
    assert names(bpy) == once
    assert mine.name == name
    assert bpy.data.objects[f"{name}.001"]["plan"]


def test_each_scene_has_its_own_corridor(bpy, first, second):
    other = bpy.data.scenes.new("other")
    pipeline.show_in(bpy.context.scene, first)
    here = {o.name for o in bpy.context.scene.objects}
    pipeline.show_in(other, first)
    pipeline.show_in(other, second)
    assert {o.name for o in bpy.context.scene.objects} == here
    assert find_root(other) != find_root(bpy.context.scene)
    assert not here & {o.name for o in other.objects}


def surfaces(scene):
    """Return how many surfaces each field has in a scene."""
    return Counter(o["plan"] for o in scene.objects if "plan" in o)


def expected(model):
    return Counter(e.surface.field.plan.name for e in model.exhibits)


def test_a_root_in_a_persons_collection_is_replaced_there(bpy, first, second):
    scene = bpy.context.scene
    root = pipeline.show_in(scene, first)
    room, shelf = bpy.data.collections.new("room"), bpy.data.collections.new("shelf")
    scene.collection.children.link(room)
    room.children.link(shelf)
    shelf.children.link(root)
    scene.collection.children.unlink(root)
    assert find_root(scene) == root
    root = pipeline.show_in(scene, second)
    assert find_root(scene) == root
    assert list(shelf.children) == [root]
    assert list(scene.collection.children) == [room]
    assert surfaces(scene) == expected(second)
    assert all(is_ours(o) for o in scene.objects)


def test_a_root_of_a_linked_file_is_not_ours(bpy, first, second, tmp_path):
    scene = bpy.context.scene
    name = pipeline.show_in(scene, first).name
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "library.blend"))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    with bpy.data.libraries.load(str(tmp_path / "library.blend"), link=True) as (_, wanted):
        wanted.collections = [name]
    (linked,) = wanted.collections
    scene.collection.children.link(linked)
    assert find_root(scene) is None
    for model in (first, second):
        root = pipeline.show_in(scene, model)
        assert find_root(scene) == root
        assert linked in scene.collection.children.values()
        assert surfaces(scene) == expected(first) + expected(model)


@pytest.mark.parametrize("moved", [False, True])
def test_scenes_that_share_a_corridor_do_not_empty_each_other(bpy, first, second, moved):
    here = bpy.context.scene
    root = pipeline.show_in(here, first)
    if moved:
        own = bpy.data.collections.new("own")
        here.collection.children.link(own)
        own.objects.link(bpy.data.objects[first.exhibits[0].part.name])
    bpy.ops.scene.new(type="LINK_COPY")
    there = bpy.context.scene
    assert there != here
    assert find_root(there) == root
    kept = {o.name: (o, o.data) for o in here.objects}
    view = here.camera.matrix_basis.copy()

    new = pipeline.show_in(there, second)
    assert find_root(there) == new
    assert find_root(here) == root
    assert {o.name: (o, o.data) for o in here.objects} == kept
    assert (here.camera.name, here.camera.matrix_basis) == ("Overview", view)
    assert there.camera not in (None, here.camera)
    stage = next(c for c in new.children if c["weightwalk_group"] == "Stage")
    assert there.camera.name in stage.objects
    assert "Sun" in there.objects
    # Each goes on by itself, and what nobody holds any more goes.
    pipeline.show_in(here, second)
    # What lies in a person's collection that both scenes hold is taken from neither.
    extra = Counter([first.exhibits[0].surface.field.plan.name] if moved else [])
    for scene in (here, there):
        assert surfaces(scene) == expected(second) + extra
    held = {*here.objects, *there.objects}
    assert {o for o in bpy.data.objects if "plan" in o} <= held
    assert {m.name for m in bpy.data.meshes} == {o.data.name for o in held if o.type == "MESH"}


def test_a_rebuild_in_a_full_copy_of_a_scene_replaces_the_copies(bpy, first, second):
    here = bpy.context.scene
    root = pipeline.show_in(here, first)
    copied = next(o for o in root.children["layer 0"].objects if "plan" in o).copy()
    root.children["layer 0"].objects.link(copied)
    bpy.ops.scene.new(type="FULL_COPY")
    there = bpy.context.scene
    kept = {o.name: (o, o.data) for o in here.objects}
    lights = {o for o in there.objects if o.type == "LIGHT"}
    for model in (second, first, second):
        pipeline.show_in(there, model)
        # The person's own duplicate of a surface has a copy, too, and stays.
        assert surfaces(there) == expected(model) + Counter([copied["plan"]])
        assert {o for o in there.objects if o.type == "LIGHT"} == lights
        assert len([o for o in there.objects if o.type == "CAMERA"]) == 1
        assert len([o for o in there.objects if o.name.startswith("Floor")]) == 1
        groups = [c.get("weightwalk_group") for c in find_root(there).children]
        assert len(groups) == len(set(groups))
        assert {o.name: (o, o.data) for o in here.objects} == kept


def test_a_surface_in_a_persons_collection_is_replaced(bpy, first, second):
    scene = bpy.context.scene
    root = pipeline.show_in(scene, first)
    outside, inside = bpy.data.collections.new("outside"), bpy.data.collections.new("inside")
    scene.collection.children.link(outside)
    root.children.link(inside)
    held = root.children["layer 0"].objects
    moved = [o for o in held if "plan" in o][:2]
    for surface, target in zip(moved, (outside, inside), strict=True):
        target.objects.link(surface)
        held.unlink(surface)
    mine, copied = bpy.data.objects.new("mine", None), moved[0].copy()
    mine.parent, mine.location = moved[0], (1, 2, 3)
    for thing in (mine, copied):
        outside.objects.link(thing)
    bpy.context.view_layer.update()
    place = np.array(mine.matrix_world)
    pipeline.show_in(scene, second)
    assert surfaces(scene) == expected(second) + Counter([copied["plan"]])
    assert set(outside.objects) == {mine, copied}
    bpy.context.view_layer.update()
    np.testing.assert_allclose(np.array(mine.matrix_world), place, atol=1e-5)
    assert [c.name for c in find_root(scene).children if c == inside] == ["inside"]


def test_a_second_corridor_in_a_scene_is_left_alone(bpy, first, second):
    scene, other = bpy.context.scene, bpy.data.scenes.new("other")
    pipeline.show_in(scene, first)
    theirs = pipeline.show_in(other, first)
    scene.collection.children.link(theirs)
    bpy.data.scenes.remove(other)
    held = set(theirs.all_objects)
    pipeline.show_in(scene, second)
    assert surfaces(scene) == expected(first) + expected(second)
    assert set(theirs.all_objects) == held
    assert all(is_ours(o) for o in held)


def test_each_surface_knows_its_build(bpy, first, second):
    scene = bpy.context.scene
    runs = []
    for model in (first, second, first):
        root = pipeline.show_in(scene, model)
        assert {o["run"] for o in scene.objects if "plan" in o} == {run_of(root)}
        runs.append(run_of(root))
    assert runs[0] == runs[2] != runs[1]
    assert len(runs[0]) == 16


@pytest.mark.parametrize("step", ["new_camera", "_hide_alike", "untie"])
def test_a_swap_that_fails_halfway_leaves_the_earlier_build(bpy, first, second, monkeypatch, step):
    scene = bpy.context.scene
    root = pipeline.show_in(scene, first)
    cube = bpy.data.objects.new("cube", None)
    root.children["layer 0"].objects.link(cube)
    bpy.data.objects.remove(bpy.data.objects["Overview"])
    before, held = names(bpy), {o.name: o.data for o in scene.objects}

    def fail(*_arguments):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(swap, step, fail)
        with pytest.raises(MemoryError):
            pipeline.show_in(scene, second)
    assert names(bpy) == before
    assert {o.name: o.data for o in scene.objects} == held
    assert find_root(scene) == root
    pipeline.show_in(scene, second)
    assert surfaces(scene) == expected(second)
    assert cube.name in scene.objects


def test_stopped_by_an_error_that_is_kept_nothing_is_left(bpy, first):
    """The error holds the frames, and with them the generators within, half-way through a mesh."""
    scene = bpy.context.scene
    before = names(bpy)
    total = sum(1 for _ in pipeline.show_steps(scene, first))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    for stop in range(1, min(total, 40)):
        work = pipeline.show_steps(scene, first)
        for _ in range(stop):
            next(work)
        with pytest.raises(KeyError) as kept:
            work.throw(KeyError("stop"))
        assert names(bpy) == before, stop
        del kept
