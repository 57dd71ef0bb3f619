"""Blender stays alive: no step is long, and what is stopped between two leaves nothing behind."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from weightwalk import pipeline
from weightwalk.core.model import steps
from weightwalk.core.settings import FieldSettings, Selection, Settings, SurfaceSettings

from .test_scene import inventory

pytestmark = pytest.mark.bpy

LONGEST = 0.100  # seconds of Blender's main thread
AT_ONCE = 0.500  # seconds from Cancel to the end


def longest_step(work):
    """Run some work; return the longest step in seconds, where it was, and the result.

    An import of a package cannot be cut; it happens once a session.
    """
    longest, at, where = 0.0, "begin", "begin"
    while True:
        begin = time.perf_counter()
        try:
            progress = next(work)
        except StopIteration as end:
            spent = time.perf_counter() - begin
            return max((longest, where), (spent, at)), end.value
        spent = time.perf_counter() - begin
        if spent > longest and not at.startswith("imports"):
            longest, where = spent, at
        at = f"{progress.stage}: {progress.what}"


def assert_short(bpy, settings):
    """Build a model and show it twice; the machine may be busy, so three tries count."""
    tries = []
    for _ in range(3):
        bpy.ops.wm.read_factory_settings(use_empty=True)
        (core, model) = longest_step(steps(settings))
        shown = [longest_step(pipeline.show_steps(bpy.context.scene, model))[0] for _ in range(2)]
        tries.append(max(core, *shown))
        if tries[-1][0] <= 0.5 * LONGEST:
            break
    assert min(tries)[0] <= LONGEST, tries


@pytest.mark.model
@pytest.mark.parametrize("pool", ["rms", "absmax"])
@pytest.mark.parametrize("kind", ["slab", "depth", "heads"])
def test_no_step_is_long_on_a_real_model(bpy, model_folder, kind, pool):
    assert_short(bpy, Settings(model_folder, field=FieldSettings(kind, pool=pool, smooth=0.7)))


DTYPES = {"F32": (np.float32, 4), "BF16": (np.uint16, 2)}


@pytest.fixture(scope="module")
def gigabyte(tmp_path_factory):
    """Return a checkpoint of 1 GB; its large tensors repeat a block, which is quickly made."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    block = rng.standard_t(5, 1 << 21).astype(np.float32)
    shapes = {"model.embed_tokens": ("F32", (20_000, 2048))}
    for i in range(3):
        at = f"model.layers.{i}"
        shapes |= {
            f"{at}.self_attn.q_proj": ("BF16", (4096, 4096)),
            f"{at}.mlp.up_proj": ("F32", (8192, 4096)),
            f"{at}.mlp.down_proj": ("BF16", (4096, 8192)),
            f"{at}.input_layernorm": ("F32", (4096,)),
        }
    shapes["lm_head"] = ("F32", (8192, 4096))
    header, offset = {}, 0
    for name, (dtype, shape) in shapes.items():
        size = int(np.prod(shape)) * DTYPES[dtype][1]
        offsets = [offset, offset + size]
        header[f"{name}.weight"] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        offset += size
    text = json.dumps(header).encode()
    path = folder / "model.safetensors"
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for dtype, shape in shapes.values():
            values = block if dtype == "F32" else (block.view(np.uint32) >> 16).astype(np.uint16)
            left = int(np.prod(shape))
            while left:
                file.write(values[: min(left, len(values))].data)
                left -= min(left, len(values))
    config = {"num_attention_heads": 32, "hidden_size": 4096, "model_type": "llama"}
    (folder / "config.json").write_text(json.dumps(config))
    assert path.stat().st_size > 1e9
    yield folder
    path.unlink()


@pytest.mark.parametrize(
    ("field", "faces"),
    [
        (FieldSettings(), None),
        (FieldSettings("depth", pool="absmax"), None),
        (FieldSettings("heads"), None),
        (FieldSettings(rows=2048, cols=2048, smooth=1.0), 200_000),
        (FieldSettings(sigma="all"), None),
    ],
    ids=["slab", "depth", "heads", "fine slab", "one sigma"],
)
def test_no_step_is_long_on_a_gigabyte(bpy, gigabyte, field, faces):
    layers = 1 if field.rows else None
    chosen = Selection(patterns=("*up_proj*", "*layernorm*") if layers else (), max_layers=layers)
    assert_short(bpy, Settings(gigabyte, chosen, field, SurfaceSettings(faces)))


def test_cancelled_on_a_gigabyte_it_ends_at_once(bpy, gigabyte):
    for stop in (1, 40, 200, 500, 1000):
        work = steps(Settings(gigabyte))
        for _ in range(stop):
            next(work)
        begin = time.perf_counter()
        work.close()
        assert time.perf_counter() - begin < AT_ONCE


def test_progress_never_goes_backwards(bpy, checkpoint):
    model = None
    seen = []

    def noted(work):
        nonlocal model
        while True:
            try:
                seen.append(next(work))
            except StopIteration as end:
                return end.value

    model = noted(steps(Settings(checkpoint, field=FieldSettings(sigma="all"))))
    noted(pipeline.show_steps(bpy.context.scene, model))
    stages = list(dict.fromkeys(p.stage for p in seen))
    assert [s for s in stages if s != "imports"] == [
        "open",
        "measure σ",
        "surfaces",
        "place",
        "scene",
    ]
    for stage in stages:
        shares = [p.done / p.total for p in seen if p.stage == stage and p.what != "materials"]
        assert shares == sorted(shares)
        assert 0 <= shares[0] <= shares[-1] <= 1
    names = {p.what for p in seen if p.stage == "surfaces"}
    assert names >= {e.surface.field.plan.name for e in model.exhibits}


@pytest.fixture(scope="module")
def model(checkpoint):
    return pipeline.drain(steps(Settings(checkpoint)))


@pytest.mark.parametrize("again", [False, True])
def test_cancelled_at_any_step_the_scene_is_as_it_was(bpy, model, again):
    scene = bpy.context.scene
    bpy.data.objects.new("mine", bpy.data.meshes.new("mine"))
    if again:
        pipeline.show_in(scene, model)
    before, held = inventory(bpy), list(scene.objects)
    total = sum(1 for _ in counted(pipeline.show_steps(scene, model), stop=None))
    if not again:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = bpy.context.scene
        before, held = inventory(bpy), []
    else:
        before, held = inventory(bpy), list(scene.objects)
    for stop in [*range(1, total, 7), total]:
        for _ in counted(pipeline.show_steps(scene, model), stop):
            assert list(scene.objects) == held, "half of it is in the scene"
        assert inventory(bpy) == before


def counted(work, stop):
    """Give the numbers of the steps; after `stop` of them, close the work."""
    for i, _ in enumerate(work, 1):
        yield i
        if i == stop:
            work.close()


def test_a_step_that_fails_when_all_comes_together_leaves_the_earlier_build(
    bpy, model, monkeypatch
):
    from weightwalk.scene import swap

    scene = bpy.context.scene
    pipeline.show_in(scene, model)
    before, held = inventory(bpy), {o.name: o.data for o in scene.objects}

    def fail(*_arguments):
        raise MemoryError

    monkeypatch.setattr(swap, "held_signals", fail)
    with pytest.raises(MemoryError):
        pipeline.show_in(scene, model)
    assert inventory(bpy) == before
    assert {o.name: o.data for o in scene.objects} == held
