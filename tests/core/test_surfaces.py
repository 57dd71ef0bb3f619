"""Closed surfaces: against formulas, against trimesh and scipy, and with holes in the data."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
import weightwalk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file
from scipy import ndimage
from weightwalk.core import geometry, surfaces
from weightwalk.core.color import NONFINITE, ColorScale
from weightwalk.core.errors import EmptyFieldError
from weightwalk.core.fields import build
from weightwalk.core.layout import corridor, to_scene
from weightwalk.core.marching import marching_cubes, mirrored
from weightwalk.core.markers import boxes
from weightwalk.core.plans import make_plans
from weightwalk.core.settings import FieldSettings, SurfaceSettings
from weightwalk.core.stages import finish
from weightwalk.core.surfaces import extract

# Index axes (plane, row, column) as the right-handed axes of the scene.
TO_SCENE = np.array([1, 1, -1], np.float32)


def in_scene(mesh):
    return mesh.vertices[:, [2, 0, 1]] * TO_SCENE


def shape_of(vertices, faces):
    return finish(geometry.measure(vertices, faces))[1]


def assert_closed(faces):
    """Every edge has two faces, one in each direction."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there = {tuple(e) for e in edges.tolist()}
    assert len(there) == len(edges)
    assert there == {(b, a) for a, b in there}


def ball(n):
    x = np.mgrid[[slice(-1.3, 1.3, n * 1j)] * 3]
    return (2 - np.sqrt((x**2).sum(0))).astype(np.float32), 4 * np.pi, 4 / 3 * np.pi, 2


def ring(n):
    z, y, x = np.mgrid[[slice(-1.5, 1.5, n * 1j)] * 3]
    distance = np.hypot(np.hypot(x, y) - 1.0, z)
    return (1.4 - distance).astype(np.float32), 4 * np.pi**2 * 0.4, 2 * np.pi**2 * 0.16, 0


@pytest.mark.parametrize("solid", [ball, ring])
def test_a_ball_and_a_ring_have_their_area_volume_and_euler_number(solid):
    errors = []
    for n in (24, 48, 96):
        volume, area, inside, euler = solid(n)
        mesh = marching_cubes(volume, 1.0)
        unit = (2.6 if solid is ball else 3.0) / (n - 1)
        vertices = in_scene(mesh)
        shape = shape_of(vertices * unit, mesh.faces)
        assert_closed(mesh.faces)
        assert shape.euler == euler
        errors.append((abs(shape.area / area - 1), abs(shape.volume / inside - 1)))
        corners = vertices[mesh.faces]
        faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        vectors = geometry.area_vectors(vertices, mesh.faces)
        np.testing.assert_allclose(vectors.T, faces, atol=1e-4)
        normals, _ = finish(geometry.measure(vertices, mesh.faces))
        around = np.stack([normals[mesh.faces[:, i]] for i in range(3)])
        assert (np.einsum("kij,ij->ki", around, faces) > 0).all()
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    assert max(errors[0]) < 0.05
    assert max(errors[2]) < 0.003
    assert (np.array(errors[2]) < 0.5 * np.array(errors[1])).all()
    assert (np.array(errors[1]) < 0.5 * np.array(errors[0])).all()


def test_a_slab_of_two_bumps_is_two_lenses_that_touch_the_middle(field_of):
    cells = np.full((12, 20), 0.05)
    cells[3:6, 3:6], cells[7:10, 12:17] = 2.0, 3.0
    (surface,) = extract(field_of(cells), SurfaceSettings(level=1.5))
    assert_closed(surface.mesh.faces)
    assert surface.components.count == 2
    assert surface.components.largest == pytest.approx(15 * 7 / (15 * 7 + 9 * 5), abs=0.05)
    shape = shape_of(in_scene(surface.mesh), surface.mesh.faces)
    assert shape.euler == 4
    z = surface.mesh.vertices[:, 0]
    np.testing.assert_allclose(z.min() + z.max(), 6, atol=1e-4)  # the middle plane is 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 4), (3, 4, 5)])
def test_the_border_is_closed_where_everything_is_above(field_of, shape):
    cells = 5 + np.random.default_rng(0).random(shape)
    if cells.size == 1:  # a constant has no field: take a cell beside one that is lower
        cells = np.array([[1.0, 5.0]])
    field = field_of(cells)
    level = 0.5 * float(field.cells.min())
    (surface,) = extract(field, SurfaceSettings(level=level))
    assert_closed(surface.mesh.faces)
    shape = shape_of(in_scene(surface.mesh), surface.mesh.faces)
    assert shape.euler == 2
    assert shape.volume > 0.5 * field.cells.size
    assert surface.quantile == 0.0


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=7),
        elements=st.integers(-4, 4).map(lambda v: v / 2) | st.floats(-3, 3, width=32),
    ),
    st.floats(0.05, 2.0),
)
def test_any_volume_is_closed_and_turned_outward(cells, level):
    volume = np.pad(cells, 1)
    level = float(np.float32(level))
    while (volume == level).any():
        level = float(np.nextafter(np.float32(level), np.float32(0)))
    mesh = marching_cubes(volume, level)
    assert_closed(mesh.faces)
    assert len(mesh.faces) == 0 or len(np.unique(mesh.faces)) == len(mesh.vertices)
    if not (cells > level).any():
        assert len(mesh.faces) == 0
        return
    vertices = in_scene(mesh)
    shape = shape_of(vertices, mesh.faces)
    judge = trimesh.Trimesh(vertices.astype(np.float64), mesh.faces, process=False)
    assert judge.is_watertight
    if cells.max() < 1.001 * level:  # a cell just above is a point, which trimesh cannot weigh
        return
    assert shape.volume > 0
    assert shape.volume == pytest.approx(judge.volume, rel=1e-6, abs=1e-9)
    assert shape.area == pytest.approx(judge.area, rel=1e-6, abs=1e-9)
    assert shape.euler == judge.euler_number


def test_a_slab_cut_by_halves_is_the_slab_cut_whole(field_of):
    rng = np.random.default_rng(7)
    for level in (0.3, 0.9, 2.0):
        volume = field_of(rng.normal(size=(23, 31)) * rng.random((23, 1))).volume()
        whole = marching_cubes(volume, level)
        halves = mirrored(marching_cubes(volume[4:], level), 4)
        assert_closed(halves.faces)
        assert len(halves.faces) == len(whole.faces)
        rows = [np.unique(mesh.vertices.round(4), axis=0) for mesh in (whole, halves)]
        np.testing.assert_allclose(*rows, atol=2e-4)
        shapes = [shape_of(in_scene(mesh), mesh.faces) for mesh in (whole, halves)]
        assert shapes[0].euler == shapes[1].euler
        assert shapes[0].volume == pytest.approx(shapes[1].volume, rel=5e-3)


def test_in_the_scene_normals_still_agree_with_faces(field_of):
    rng = np.random.default_rng(1)
    for cells in (rng.normal(size=(40, 30)), rng.normal(size=(6, 20, 30))):
        field = field_of(cells, smooth=2)
        (surface,) = extract(field, SurfaceSettings(quantile=0.7))
        placement = corridor([field.info.plan]).placements[field.info.plan.name]
        vertices, faces = to_scene(surface.mesh, field.info.plan, placement), surface.mesh.faces
        normals, shape = finish(geometry.measure(vertices, faces))
        assert shape.volume > 0
        judge = trimesh.Trimesh(vertices.astype(np.float64), faces, process=False)
        agree = np.einsum("ij,ij->i", judge.vertex_normals, normals)
        assert np.median(agree) > 0.95
        assert (agree > 0).mean() > 0.999


def test_a_signed_pair_shares_level_and_cells_know_their_value(field_of):
    cells = np.random.default_rng(2).normal(size=(30, 40))
    field = field_of(cells, pool="absmax")
    surfaces = extract(field, SurfaceSettings(faces=3000))
    assert [s.sign for s in surfaces] == [1, -1]
    assert [s.name for s in surfaces] == ["w +", "w -"]
    assert surfaces[0].level == surfaces[1].level
    assert sum(len(s.mesh.faces) for s in surfaces) <= 3000
    for surface in surfaces:
        rows, cols = np.divmod(surface.cells, 40)
        np.testing.assert_array_equal(surface.values, field.cells[0, rows, cols])
        away = surface.mesh.vertices[:, 1:] - np.column_stack([rows, cols])
        assert np.abs(away).max() <= 1
        # The value is of what is solid there; a few vertices lie within a cube, not on an edge.
        assert (surface.values * surface.sign > surface.level).mean() > 0.99
        below = np.count_nonzero(np.abs(field.cells) < surface.level) / field.cells.size
        assert surface.quantile == below


def test_level_and_quantile_are_kept(field_of):
    field = field_of(np.random.default_rng(3).normal(size=(5, 30, 30)))
    (surface,) = extract(field, SurfaceSettings(level=1.25))
    assert surface.level == 1.25
    for quantile in (0.01, 0.5, 0.9, 0.999):
        (surface,) = extract(field, SurfaceSettings(quantile=quantile))
        assert surface.quantile == pytest.approx(quantile, abs=1 / field.cells.size)
    # A level that is a value moves off it, and no further.
    value = float(field.cells.max())
    (surface,) = extract(field, SurfaceSettings(level=value))
    assert surface.level == pytest.approx(value, rel=1e-6)
    assert_closed(surface.mesh.faces)


def test_levels_that_cut_nothing_say_so(field_of):
    sparse = np.zeros((20, 20))
    sparse[3, 4], sparse[5, 6] = 1.0, 2.0
    field = field_of(sparse)
    for chosen in (
        SurfaceSettings(level=1e9),
        SurfaceSettings(level=1e300),
        SurfaceSettings(level=1e-60),
        SurfaceSettings(quantile=0.5),
    ):
        with pytest.raises(EmptyFieldError, match=r"no cell lies above|the level is zero"):
            extract(field, chosen)


@pytest.mark.parametrize("shape", [(24, 31), (6, 17, 12)])
def test_pieces_are_those_of_the_whole_volume(field_of, shape):
    cells = np.random.default_rng(4).normal(size=shape)
    field = field_of(cells, pool="absmax", smooth=0.8)
    for level in (0.2, 0.5):
        for surface in extract(field, SurfaceSettings(level=level)):
            labels, count = ndimage.label(field.volume() * surface.sign > surface.level)
            sizes = np.bincount(labels.ravel())[1:]
            assert surface.components.count == count
            assert surface.components.largest == pytest.approx(sizes.max() / sizes.sum())
            chance = field.permuted() * surface.sign > surface.level
            assert surface.permuted.count == ndimage.label(chance)[1]


@pytest.mark.parametrize("share", [0.002, 0.3, 1.0])
@pytest.mark.parametrize("shape", [(40, 50), (6, 20, 25)])
def test_cells_with_nan_are_marked_and_never_a_value(tmp_path, shape, share):
    rng = np.random.default_rng(5)
    cells = rng.normal(size=(*shape[:-1], 2 * shape[-1]))
    holes = rng.random(shape) <= share  # over the first of a cell's two entries
    cells[..., ::2][holes] = rng.choice([np.nan, np.inf, -np.inf], size=holes.sum())
    slab = len(shape) == 2
    names = [f"model.layers.{i}.self_attn.q_proj.weight" for i in range(shape[0])]
    tensors = {"w": cells} if slab else dict(zip(names, cells, strict=True))
    save_file(tensors, tmp_path / "model.safetensors")
    chosen = FieldSettings(
        kind="slab" if slab else "depth", rows=shape[-2], cols=shape[-1], pool="absmax", smooth=0.7
    )
    with weightwalk.open(tmp_path) as checkpoint:
        (plan,), _ = make_plans(list(checkpoint.values()), chosen)
        field = build(plan, chosen)
    assert field.info.nan == np.isnan(cells).sum()
    assert field.info.inf == np.isinf(cells).sum()
    np.testing.assert_array_equal(field.nonfinite.reshape(shape), holes)
    assert not field.cells[field.nonfinite].any()
    for faces in (16, 1000, 20_000):
        surfaces = extract(field, SurfaceSettings(faces=faces))
        assert sum(len(s.mesh.faces) for s in surfaces) <= faces
        marker = surfaces[-1]
        assert marker.sign == 0
        assert marker.name.endswith(" non-finite")
        colors = ColorScale(-3.0, 3.0, True).colors(marker.values)
        assert (colors == NONFINITE).all()
        if len(marker.mesh.faces) > 12:  # not one box around all
            assert field.nonfinite.ravel()[marker.cells].all()
        for surface in surfaces[:-1]:
            finite = ~field.nonfinite.ravel()[surface.cells]
            np.testing.assert_array_equal(np.isfinite(surface.values), finite)
        low, high = marker.mesh.vertices.min(0), marker.mesh.vertices.max(0)
        where = np.argwhere(field.nonfinite)
        assert (low[1:] == where.min(0)[1:] - 0.5).all()
        assert (high[1:] == where.max(0)[1:] + 0.5).all()


def test_boxes_cover_the_mask_and_nothing_else():
    mask = np.random.default_rng(6).random((3, 5, 7)) < 0.4
    vertices, faces = boxes(mask)
    corners = (vertices.reshape(-1, 24, 3)).astype(np.float64)
    low, high = corners.min(1) + 0.5, corners.max(1) + 0.5
    covered = np.zeros(mask.shape, int)
    for a, b in zip(low.astype(int), high.astype(int), strict=True):
        covered[tuple(slice(i, j) for i, j in zip(a, b, strict=True))] += 1
    np.testing.assert_array_equal(covered, mask)
    outward = vertices[:, [2, 0, 1]] * TO_SCENE
    assert shape_of(outward, faces).volume == pytest.approx(mask.sum())
    assert len(boxes(mask, 12)[1]) == 12


@pytest.mark.parametrize("shape", [(40, 50), (6, 40, 25)])
def test_pieces_counted_in_bands_are_those_of_the_whole(field_of, shape, monkeypatch):
    field = field_of(np.random.default_rng(4).normal(size=shape), pool="absmax", smooth=0.8)
    for level in (0.2, 0.5, 1.2):
        whole = [(s.components, s.permuted) for s in extract(field, SurfaceSettings(level=level))]
        with monkeypatch.context() as patch:
            patch.setattr(surfaces, "CELLS", 300)
            parts = extract(field, SurfaceSettings(level=level))
        assert [(s.components, s.permuted) for s in parts] == whole
