"""A second build in the place of the first: what goes, and what a person made stays."""

from __future__ import annotations

import numpy as np
import pytest
from weightwalk import pipeline
from weightwalk.core.model import steps
from weightwalk.core.record import Record
from weightwalk.core.settings import FieldSettings, Selection, Settings, SurfaceSettings
from weightwalk.scene.swap import find_root, is_ours

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
    assert {tuple(o["sigma"]) for o in shown}
    pipeline.show_in(scene, first)
    assert names(bpy) == once
    assert {o.name: tuple(o.matrix_basis.translation) for o in scene.objects} == places
    assert Record.from_json(find_root(scene)["weightwalk"]) == Record.of(first)
    assert all(is_ours(o) for o in scene.objects)


def test_what_a_person_made_or_changed_stays(bpy, first, second):
    scene = bpy.context.scene
    root = pipeline.show_in(scene, first)
    layer, stage = root.children["layer 0"], root.children["Stage"]
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
    held = bpy.data.objects[first.exhibits[0].part.name]
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
    del held, stage


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
