"""A closer look: marks and details come and go with what they belong to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file
from weightwalk import pipeline, refine
from weightwalk.core.errors import WeightwalkError
from weightwalk.core.inspect import find_plan, read_cell
from weightwalk.core.model import steps
from weightwalk.core.readers import open_checkpoint
from weightwalk.core.record import Record
from weightwalk.core.settings import FieldSettings, Settings, SurfaceSettings
from weightwalk.scene import detail
from weightwalk.scene.detail import KIND, mark_entry
from weightwalk.scene.ours import find_root, is_ours, run_of

from .test_scene import inventory
from .test_steps import longest_step

pytestmark = pytest.mark.bpy

NAME = "model.layers.0.mlp.up_proj.weight"
RECTANGLE = (10, 30), (5, 40)


class Corridor:
    """A scene with surfaces, and what a closer look needs of it."""

    def __init__(self, bpy, path, **options):
        field = FieldSettings(**{"pool": "absmax"} | options)
        self.model = pipeline.drain(steps(Settings(path, field=field)))
        self.scene = bpy.context.scene
        self.bpy = bpy
        self.build()

    def build(self):
        root = pipeline.show_in(self.scene, self.model)
        self.bpy.context.view_layer.update()
        self.record = Record.from_json(root["weightwalk"])

    def surfaces(self, plan=NAME):
        return [o for o in self.scene.objects if o.get("plan") == plan]

    def plan(self, name=NAME):
        return find_plan(open_checkpoint(self.record.path), self.record.settings, name)

    def refine(self, rectangle=RECTANGLE, plane=0, name=NAME):
        things = self.surfaces(name)
        return refine.refine_steps(things, self.record, self.plan(name), plane, rectangle)

    def mark(self, cell):
        plan = self.plan()
        reading = pipeline.drain(read_cell(plan, self.record.settings.field, cell))
        mark_entry(self.surfaces()[0], plan.shape, cell, reading)

    def added(self, kind):
        return [o for o in self.bpy.data.objects if o.get(KIND, "").startswith(kind)]


@pytest.fixture
def corridor(bpy, checkpoint):
    return Corridor(bpy, checkpoint)


def elsewhere(bpy, scene, thing):
    """Move an object to a collection of a person."""
    own = bpy.data.collections.get("own") or bpy.data.collections.new("own")
    if own.name not in scene.collection.children:
        scene.collection.children.link(own)
    for held in thing.users_collection:
        held.objects.unlink(thing)
    own.objects.link(thing)


def test_marks_of_a_surface_that_was_moved_do_not_pile_up(bpy, corridor):
    for thing in corridor.surfaces():
        elsewhere(bpy, corridor.scene, thing)
    corridor.mark(3)
    once = inventory(bpy)[0]
    for cell in (7, 3):
        corridor.mark(cell)
        assert len(corridor.added("entry")) == 3
    assert inventory(bpy)[0] == once
    # With the surface they go at the next build.
    corridor.build()
    assert not corridor.added("entry")
    assert len(corridor.surfaces()) == len(bpy.data.collections["own"].objects) + 2


def test_a_detail_takes_the_place_of_the_earlier_one(bpy, corridor):
    made = pipeline.drain(corridor.refine())
    first = inventory(bpy)
    names = [thing.name for thing in made]
    assert all(is_ours(thing) for thing in made)
    assert {o["run"] for o in made if "plan" in o} == {run_of(find_root(corridor.scene))}
    assert all(o.active_material == corridor.surfaces()[0].active_material for o in made[:-2])
    for thing in corridor.surfaces():
        elsewhere(bpy, corridor.scene, thing)
    again = pipeline.drain(corridor.refine())
    assert [thing.name for thing in again] == names
    for kind in ("objects", "meshes", "curves", "materials"):
        assert inventory(bpy)[0][kind] == first[0][kind]


@pytest.mark.parametrize("again", [False, True])
def test_stopped_anywhere_the_earlier_detail_stays(bpy, corridor, again):
    if again:
        pipeline.drain(corridor.refine())
    before, held = inventory(bpy), set(corridor.scene.objects)
    stop, ended = 0, False
    while not ended:
        stop += 1
        for error in (GeneratorExit, KeyError):
            work = corridor.refine()
            for _ in range(stop):
                what = next(work).what
                assert set(corridor.scene.objects) == held
            ended = what == "all into place"
            # Kept, an error holds the frames of all generators.
            with pytest.raises(error) as kept:
                work.throw(error())
            assert inventory(bpy) == before, stop
            del kept


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("step", ["_frame", "_plate", "_enter", "_attach"])
def test_a_detail_that_fails_leaves_the_earlier_one(*, bpy, corridor, monkeypatch, step, again):
    if again:
        pipeline.drain(corridor.refine())
    before, held = inventory(bpy), {o: o.data for o in corridor.scene.objects}

    def fail(*_arguments):
        raise MemoryError

    monkeypatch.setattr(detail, step, fail)
    with pytest.raises(MemoryError):
        pipeline.drain(corridor.refine(((0, 20), (0, 20))))
    assert inventory(bpy) == before
    assert {o: o.data for o in corridor.scene.objects} == held


def test_a_surface_that_goes_meanwhile_gets_a_sentence(bpy, corridor):
    total = sum(1 for _ in corridor.refine())
    for stop in (1, total):
        corridor.build()
        work = corridor.refine()
        for _ in range(stop):
            next(work)
        bpy.data.batch_remove(corridor.surfaces())
        with pytest.raises(WeightwalkError, match="is gone"):
            pipeline.drain(work)


def test_a_plane_of_zeros_does_not_change_the_unit(bpy, tmp_path):
    rng = np.random.default_rng(0)
    tensors = {
        f"model.layers.{i}.mlp.up_proj.weight": (scale * rng.standard_normal((40, 40)))
        for i, scale in enumerate((0.0, 1.0, 9.0))
    }
    path = tmp_path / "zeros.safetensors"
    save_file({name: t.astype(np.float32) for name, t in tensors.items()}, path)
    corridor = Corridor(bpy, path, kind="depth", sigma="all")
    (name,) = {o["plan"] for o in corridor.scene.objects if "plan" in o}
    shared = next(s for s in corridor.surfaces(name)[0]["sigma"] if s)
    for thing in corridor.surfaces(name):
        thing["sigma"] = [0.0, shared]
    made = pipeline.drain(corridor.refine(plane=1, name=name))
    assert list(made[0]["sigma"]) == [pytest.approx(shared)]
    assert shared > 2.0, "not that of the tensor"


def test_refining_the_most_entries_blender_stays_alive(bpy, tmp_path):
    """All that is ours is cut; Blender finds the edges of a mesh at one go."""
    path = tmp_path / "large.safetensors"
    save_file({NAME: np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)}, path)
    corridor = Corridor(bpy, path)
    settings = replace(corridor.record.settings, surface=SurfaceSettings(level=1.0))
    corridor.record = replace(corridor.record, settings=settings)

    tries = []
    for _ in range(3):
        longest, made = longest_step(corridor.refine(((0, 256), (0, 256))))
        tries.append(longest)
    faces = max(len(o.data.polygons) for o in made if "plan" in o)
    assert faces > 200_000
    assert min(tries)[0] <= 0.1 + 0.3 * faces / 1e6, tries
