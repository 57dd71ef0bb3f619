"""Outputs of layers as terrain and as volume: what stands is what is in the probe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from weightwalk.core.color import ColorScale, scale_for
from weightwalk.core.errors import BadInputError, SettingsError, WeightwalkError
from weightwalk.core.flow.change import changes_steps
from weightwalk.core.flow.probe import Probe, ProbeInfo, Prompt
from weightwalk.core.flow.run import FlowRun
from weightwalk.core.flow.settings import FlowSettings, FlowShape
from weightwalk.core.flow.standing import FlowRecord, edges, pictures_of, pooled, record_of
from weightwalk.core.flow.terrain import TOP, terrain_lines, terrain_steps
from weightwalk.core.flow.units import reference_units
from weightwalk.core.flow.volume import volume_lines, volume_steps
from weightwalk.core.stages import finish

TOKENS = ("The", " sky", " is", " blue")
SETTINGS, LYING, SOLID = FlowSettings(), FlowShape(), FlowShape("volume")


def probe_of(layers, step=None, kept=None):
    """Return a probe of one prompt with these outputs, (tokens, features) a layer."""
    count = len(layers[0])
    names = tuple(f"layers.{i}" for i in range(len(layers)))
    prompt = Prompt("The sky is blue", "", TOKENS, kept or tuple(range(4))[-count:])
    info = ProbeInfo("little", "", "llama", "Llama", "float32", "cpu", names, (prompt,), step)
    return Probe(info, {(0, "hidden"): tuple(np.asarray(a, np.float32) for a in layers)})


def run_of(steps):
    """Return a run of these outputs: for each step an array of (layers, tokens, features)."""
    probes = tuple(probe_of(layers, 10 * i) for i, layers in enumerate(steps))
    return FlowRun("little", Path("run"), probes)


def outputs(steps=3, layers=5, tokens=4, features=12, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(steps, layers, tokens, features)).astype(np.float32)


def terrain(run, settings=SETTINGS, shape=LYING):
    return finish(terrain_steps(run, settings, shape, reference_units(run, settings)))


def volume(run, settings=SETTINGS, shape=SOLID):
    return finish(volume_steps(run, settings, shape, reference_units(run, settings)))


def test_a_vertex_is_a_feature_of_a_layer_and_its_height_the_value():
    held = outputs()
    run = run_of(held)
    made = terrain(run)
    sigmas = held[0].std(axis=(1, 2))
    assert len(made.part.vertices) == 5 * 12
    layer, feature = np.divmod(made.cells, 12)
    assert sorted(zip(layer, feature, strict=True)) == [(a, b) for a in range(5) for b in range(12)]
    np.testing.assert_allclose(made.part.vertices[:, 1], layer * made.step[1], atol=1e-5)
    np.testing.assert_allclose(made.part.vertices[:, 0], (feature - 5.5) * made.step[0], atol=1e-5)
    for step in range(3):
        wanted = held[step, layer, -1, feature] / sigmas[layer]
        np.testing.assert_allclose(made.values[step], wanted, rtol=1e-4)
        np.testing.assert_allclose(made.offsets(step)[:, 2], made.height * wanted, rtol=1e-4)
    # Seen from above, all faces turn the same way.
    a, b, c = (made.part.vertices[made.part.faces[:, i]] for i in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_frames_may_be_tokens_of_the_last_step():
    held = outputs()
    made = terrain(run_of(held), shape=FlowShape(over="tokens"))
    assert [m.label for m in made.moments] == [f"{i} “{t}”" for i, t in enumerate(TOKENS)]
    sigmas = held[0].std(axis=(1, 2))
    layer, feature = np.divmod(made.cells, 12)
    for token in range(4):
        wanted = held[-1, layer, token, feature] / sigmas[layer]
        np.testing.assert_allclose(made.values[token], wanted, rtol=1e-4)


def test_nothing_is_cut_or_beyond_the_colours_without_saying_so():
    held = outputs(features=400, steps=1)
    held[0, 2, -1, 7] = 40.0  # not yet massive: σ grows with it
    run = run_of(held)
    made = terrain(run)
    real = held[0, :, -1] / held[0].std(axis=(1, 2))[:, None]
    assert made.beyond == np.count_nonzero(np.abs(real) > 3.0)
    assert made.cut == np.count_nonzero(np.abs(real) > TOP / made.height) == 1
    assert made.largest[1:] == (2, 7)
    assert made.box[1][2] <= TOP * 1.0001
    said = " ".join(terrain_lines(made, run, FlowSettings(), reference_units(run, FlowSettings())))
    for word in ("beyond ±3 σ", "1 height is cut", "layer 2, feature 7", "σ is", "“ blue”"):
        assert word in said


@given(arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=40),
              elements=st.floats(-1e6, 1e6, width=32)), st.data())  # fmt: skip
def test_a_column_is_the_largest_of_its_features_with_its_sign(values, data):
    columns = data.draw(st.integers(1, values.shape[1]))
    ends = edges(values.shape[1], columns)
    assert (np.diff(ends) > 0).all()
    assert ends[[0, -1]].tolist() == [0, values.shape[1]]
    made = pooled(values, columns)
    for row, whole in zip(made, values, strict=True):
        for value, a, b in zip(row, ends, ends[1:], strict=False):
            assert abs(value) == np.abs(whole[a:b]).max()
            assert value in whole[a:b]


def test_a_budget_pools_features_and_the_legend_says_so():
    run = run_of(outputs(features=300))
    made = terrain(run, shape=FlowShape(faces=800))
    assert made.faces <= 800
    assert made.columns == 101
    said = " ".join(terrain_lines(made, run, FlowSettings(), reference_units(run, FlowSettings())))
    assert "a column is 2 to 3 features" in said
    with pytest.raises(SettingsError, match="faces: 100 are too few for 60 layers"):
        terrain(run_of(outputs(layers=60)), shape=FlowShape(faces=100))


def test_layers_of_different_widths_make_a_terrain_with_steps():
    rng = np.random.default_rng(0)
    layers = [rng.normal(size=(4, n)) for n in (8, 8, 16)]
    made = terrain(FlowRun("swin", Path("x"), (probe_of(layers),)))
    layer, feature = np.divmod(made.cells, 16)
    assert (feature[made.part.faces] < np.array([8, 8, 16])[layer[made.part.faces]]).all()
    with pytest.raises(WeightwalkError, match="show a terrain"):
        volume(FlowRun("swin", Path("x"), (probe_of(layers),)))


def test_what_is_not_finite_has_height_0_and_a_box():
    held = outputs()
    held[1, 2, -1, 3:5] = np.nan, np.inf
    made = terrain(run_of(held))
    assert np.argwhere(made.nonfinite).tolist() == [[1, 2, 3], [1, 2, 4]]
    at = np.isin(made.cells, [2 * 12 + 3, 2 * 12 + 4])
    assert (made.values[1, at] == 0).all()
    vertices, _ = made.marker(1)
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    np.testing.assert_allclose(middle, [(3.5 - 5.5) * made.step[0], 2 * made.step[1], 0], atol=1e-5)
    assert made.marker(0) is None
    with pytest.raises(WeightwalkError, match="no finite value"):
        terrain(run_of(np.full((1, 3, 1, 4), np.nan)))


def test_surfaces_keep_within_the_budget_and_hold_what_is_beyond_their_level():
    held = outputs(features=300, layers=8)
    run = run_of(held)
    for faces in (400_000, 3_000):
        made = volume(run, shape=FlowShape("volume", faces=faces))
        assert made.shape == (8, 4, 256)
        assert made.level >= 1.5
        for step, surfaces in enumerate(made.surfaces):
            assert sum(len(s.mesh.faces) for s in surfaces) <= faces
            assert {s.sign for s in surfaces} == {1, -1}
            real = pooled(held[step] / held[0].std(axis=(1, 2))[:, None, None], 256)
            for surface in surfaces:
                inside = real.ravel()[made.cells(surface)]
                np.testing.assert_allclose(inside, surface.values, rtol=1e-4)
                assert (surface.sign * inside > made.level).all()
                vertices = made.part(surface, "x").vertices
                low, high = (np.array(corner) - [[1e-4], [-1e-4]][i] for i, corner in
                             enumerate(made.box))  # fmt: skip
                assert (vertices >= low).all()
                assert (vertices <= high).all()
                # The height of a vertex is that of its token, to within a cell.
                token = np.unravel_index(made.cells(surface), made.shape)[1]
                middle = np.array([made.height_of(t) for t in range(4)])[token]
                assert (np.abs(vertices[:, 2] - middle) <= made.step[2] * 1.001).all()


def test_a_volume_of_what_is_not_finite_has_boxes_and_of_one_token_a_reason():
    held = outputs()
    held[1, 2, 0, 3] = np.nan
    run = run_of(held)
    made = volume(run)
    assert [s.sign for s in made.surfaces[1]][-1] == 0
    said = " ".join(volume_lines(made, run, FlowSettings(), reference_units(run, FlowSettings())))
    assert "green boxes: 1 cells with NaN" in said
    with pytest.raises(SettingsError, match="--token all"):
        volume(run_of(outputs(tokens=1)))
    with pytest.raises(WeightwalkError, match="all values are the same"):
        volume(run_of(np.zeros((2, 3, 2, 4))))
    with pytest.raises(SettingsError, match="token"):
        terrain(run, FlowSettings(token=4))


def test_changes_are_steps_minus_the_first_in_its_sigma():
    held = outputs()
    run, sigmas = run_of(held), held[0].std(axis=(1, 2))
    found = finish(changes_steps(run, SETTINGS, FlowShape(values="changes")))
    assert found.run.labels == tuple(f"step {s} − step 0" for s in (0, 10, 20))
    for step, probe in enumerate(found.run.probes):
        np.testing.assert_array_equal(probe.layers(), held[step] - held[0])
    real = (held[:, :, -1] - held[0, :, -1]) / sigmas[:, None]
    assert found.settings.limit == scale_for(real[1:], diverging=True).high
    assert found.units.of == "step 0"
    assert found.said == (
        "step 20: 1 prompt is too few to tell departing from the prompts' own spread; 7 would do"
    )
    made = finish(terrain_steps(found.run, found.settings, LYING, found.units))
    assert [m.label for m in made.moments] == list(found.run.labels)
    # Where all tokens are seen the scale is still that of the token's picture.
    limit = found.settings.limit
    for shape in (
        FlowShape(over="tokens", values="changes"),
        FlowShape("volume", values="changes"),
    ):
        found = finish(changes_steps(run, SETTINGS, shape))
        assert found.settings.limit == limit
        assert found.said.startswith("step 20, the last token: 1 prompt is")
    with pytest.raises(SettingsError, match="changes: little is one step"):
        finish(changes_steps(run_of(held[:1]), SETTINGS, LYING))
    with pytest.raises(SettingsError, match="token"):
        finish(changes_steps(run, FlowSettings(token=9), LYING))


def test_the_picture_has_a_pixel_a_value():
    run = run_of(outputs(features=20))
    settings = FlowSettings(width=8)
    made = terrain(run, settings)
    units = reference_units(run, settings)
    pictures = list(pictures_of(run, settings, units, made.moments))
    assert [p.shape for p in pictures] == [(15, 8, 3)] * 3
    assert pictures[0].dtype == np.uint8
    classic = list(pictures_of(run, replace(settings, palette="classic"), units, made.moments))
    assert [p.shape for p in classic] == [(15, 8, 3)] * 3


def test_a_record_comes_back_from_the_scene():
    run = run_of(outputs())
    file = Path("base") / "probe.safetensors"
    for settings in (
        FlowSettings(reference="run"),
        FlowSettings(reference_file=file, token=1, limit=2.5),
    ):
        held = record_of(
            run, settings, FlowShape(over="tokens"), labels=("a", "b"), captions=("c",),
            box=((0.0, 0.0, -1.0), (1.0, 2.0, 3.0)), faces=7, scale=ColorScale(-2.5, 2.5, True),
        )  # fmt: skip
        assert FlowRecord.from_json(held.to_json()) == held
    made = terrain(run)
    assert [stop.label for stop in held.stops] == [f"layer {i}" for i in range(5)]
    assert [stop.y for stop in held.stops] == [i * made.step[1] for i in range(5)]
    for damaged in ("", "[]", "{}", held.to_json().replace('"faces": 7', '"faces": "x"')):
        with pytest.raises(BadInputError):
            FlowRecord.from_json(damaged)
