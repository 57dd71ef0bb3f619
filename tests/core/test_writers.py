"""STL and GLB, read back by libraries that did not write them."""

import dataclasses
import struct
import sys
from pathlib import Path

import DracoPy
import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from weightwalk.core.errors import MissingDependencyError, OutputError, SettingsError
from weightwalk.core.writers import (
    COMPRESSIONS,
    Encoding,
    MeshPart,
    document,
    encoding,
    write_glb,
    write_stl,
)

from .gltf import (
    arrays_of,
    blob_of,
    mesh_nodes,
    srgb_to_linear,
    surface,
    tetrahedron,
    y_up,
)

# scikit-image 0.26 under NumPy 2.5.
pytestmark = pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")


@st.composite
def soups(draw):
    """Any triangles at all: repeated corners, repeated faces, vertices that no face uses."""
    n = draw(st.integers(1, 12))
    corner = st.floats(-1e6, 1e6, width=32) | st.integers(0, 2).map(float)
    vertices = draw(st.lists(st.tuples(corner, corner, corner), min_size=n, max_size=n))
    index = st.integers(0, n - 1)
    faces = draw(st.lists(st.tuples(index, index, index), min_size=1, max_size=20))
    color = st.tuples(*[st.integers(0, 255)] * 4)
    return MeshPart(
        name=draw(st.text(st.characters(codec="utf-8"), max_size=5)),
        group=draw(st.sampled_from(["", "a", "b"])),
        vertices=np.array(vertices, np.float32),
        normals=np.array(vertices, np.float32),
        faces=np.array(faces, np.int32),
        colors=np.array(draw(st.lists(color, min_size=n, max_size=n)), np.uint8),
    )


def test_stl_is_every_triangle_in_world_coordinates(tmp_path):
    parts = [surface(0), surface(1, translation=(-1.0, 2.0, 3.0))]
    path = tmp_path / "a.stl"
    write_stl(path, iter(parts))
    data = path.read_bytes()
    assert not data.lower().startswith(b"solid")
    assert struct.unpack_from("<I", data, 80) == (sum(len(p.faces) for p in parts),)
    read = trimesh.load_mesh(path, process=False)
    expected = np.concatenate([(p.vertices + np.array(p.translation))[p.faces] for p in parts])
    np.testing.assert_allclose(read.triangles, expected, rtol=1e-6)
    cross = np.cross(expected[:, 1] - expected[:, 0], expected[:, 2] - expected[:, 0])
    normals = np.frombuffer(data[84:], np.uint8).reshape(-1, 50)[:, :12].copy().view("<f4")
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    big = np.linalg.norm(cross, axis=1) > 1e-5
    unit = cross[big] / np.linalg.norm(cross[big], axis=1, keepdims=True)
    np.testing.assert_allclose(normals[big], unit, atol=5e-3)


def test_stl_volume_and_degenerate_faces(tmp_path):
    path = tmp_path / "a.stl"
    part = tetrahedron((0, 0, 0, 255))
    flat = np.concatenate([part.faces, np.array([[0, 0, 1]], np.int32)])
    write_stl(path, [dataclasses.replace(part, faces=flat)])
    read = trimesh.load_mesh(path, process=False)
    assert read.volume == pytest.approx(1.0)
    np.testing.assert_array_equal(read.bounds, [[10, 20, 30], [11, 22, 33]])
    normals = np.frombuffer(path.read_bytes()[84:], np.uint8).reshape(-1, 50)[:, :12]
    np.testing.assert_array_equal(normals[-1], 0)
    slope = np.array([6, 3, 2]) / 7
    np.testing.assert_allclose(normals[3].copy().view("<f4"), slope, rtol=1e-6)


@given(part=soups())
def test_glb_none_is_exact(part, tmp_path_factory):
    path = tmp_path_factory.mktemp("glb") / "a.glb"
    write_glb(path, [part], "none")
    gltf, [node] = mesh_nodes(path)
    faces, positions, normals, colors = arrays_of(gltf, node)
    assert node.name == part.name
    np.testing.assert_array_equal(faces, part.faces)
    np.testing.assert_array_equal(positions, y_up(part.vertices))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(colors[:, :3], srgb_to_linear(part.colors[:, :3]), atol=2**-16)
    np.testing.assert_array_equal(colors[:, 3], part.colors[:, 3] / 255)
    bounds = gltf.accessors[gltf.meshes[0].primitives[0].attributes.POSITION]
    np.testing.assert_array_equal([bounds.min, bounds.max], [positions.min(0), positions.max(0)])


def test_every_srgb_code_survives():
    codes = np.arange(256).repeat(4).reshape(-1, 4).astype(np.uint8)
    light = encoding._linear(codes)[:, :3] / 65535
    back = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    np.testing.assert_array_equal(np.rint(back * 255), codes[:, :3])


def test_glb_none_read_by_trimesh(tmp_path):
    part = surface()
    path = tmp_path / "a.glb"
    write_glb(path, [part], "none")
    read = trimesh.load_scene(path).to_mesh()
    expected = y_up(part.vertices + np.array(part.translation))
    np.testing.assert_allclose(read.bounds, [expected.min(0), expected.max(0)], rtol=1e-6)
    local = trimesh.Trimesh(part.vertices, part.faces, process=False)
    assert len(read.faces) == len(part.faces)
    assert read.volume == pytest.approx(local.volume, rel=1e-4)


def test_glb_quantize_is_within_half_a_step(tmp_path):
    part = surface()
    path = tmp_path / "a.glb"
    write_glb(path, [part], "quantize")
    gltf, [node] = mesh_nodes(path)
    faces, positions, normals, _ = arrays_of(gltf, node)
    [scale] = set(node.scale)
    assert node.translation == [3.0, 0.5, 20.0]
    np.testing.assert_array_equal(faces, part.faces)
    expected = y_up(part.vertices)
    np.testing.assert_allclose(positions * scale, expected, atol=0.51 * scale / 32767)
    unit = y_up(part.normals)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    assert np.degrees(np.arccos(np.clip((normals * unit).sum(1), -1, 1))).max() < 9
    assert np.abs(normals - unit).max() <= 0.51 / 127


def test_glb_draco_against_its_source(tmp_path):
    part = surface(size=20)
    path = tmp_path / "a.glb"
    write_glb(path, [part], "draco")
    gltf, [node] = mesh_nodes(path)
    primitive = gltf.meshes[node.mesh].primitives[0]
    packed = primitive.extensions["KHR_draco_mesh_compression"]
    mesh = DracoPy.decode(blob_of(gltf, packed["bufferView"]))
    read = {a["unique_id"]: a["data"] for a in mesh.attributes}
    positions, normals, colors = (
        read[packed["attributes"][name]] for name in ("POSITION", "NORMAL", "COLOR_0")
    )
    counts = [gltf.accessors[a].count for a in vars(primitive.attributes).values() if a]
    assert set(counts) == {len(mesh.points)} == {len(part.vertices)}
    assert gltf.accessors[primitive.indices].count == mesh.faces.size == part.faces.size

    # Draco has its own order: find each vertex again by its place and, where two are closer than
    # a step, by its colour.
    source = y_up(part.vertices)
    light = srgb_to_linear(part.colors[:, :3])
    tree = cKDTree(np.hstack([source, 1e-3 * light]))
    near = tree.query(np.hstack([positions, 1e-3 * colors[:, :3] / 65535]))[1]
    step = np.ptp(source, axis=0).max() / (2**14 - 1)
    assert np.abs(positions - source[near]).max() <= 0.51 * step
    assert len(set(near)) == len(source)
    np.testing.assert_allclose(colors[:, :3] / 65535, light[near], atol=2**-16)
    unit = y_up(part.normals)[near]
    cosine = (normals * unit).sum(1) / np.linalg.norm(normals, axis=1)
    cosine /= np.linalg.norm(unit, axis=1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 1.5
    # The same faces, turned the same way.
    turned = np.sort(near[mesh.faces], axis=1)
    ours = np.sort(part.faces, axis=1)
    np.testing.assert_array_equal(turned[np.lexsort(turned.T)], ours[np.lexsort(ours.T)])
    volumes = [
        trimesh.Trimesh(v, f, process=False).volume
        for v, f in ((positions, mesh.faces), (source, part.faces))
    ]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-3)


@given(part=soups())
def test_glb_draco_accessors_count_what_draco_kept(part):
    try:
        encoded = encoding.encode_draco(part)
    except OutputError as error:
        assert "every face is degenerate" in str(error)
        for corners in part.vertices[part.faces]:
            assert len(np.unique(corners, axis=0)) < 3
        return
    mesh = DracoPy.decode(encoded.views["draco"].data)
    assert encoded.accessors["POSITION"]["count"] == len(mesh.points)
    assert encoded.accessors["indices"]["count"] == mesh.faces.size


def test_draco_counts_of_a_buffer_of_another_make():
    part = surface()
    packed = DracoPy.encode(part.vertices, part.faces, compression_level=0)
    assert encoding._draco_counts(DracoPy, packed) == (len(part.vertices), len(part.faces))


def test_glb_tree_names_and_extras(tmp_path):
    hostile = {
        "level": float("nan"),
        "range": (np.float32("-inf"), np.float64(1.5)),
        "shape": np.array([2, 3]),
        "file": Path("a") / "b",
        3: {"tensor": "\ud800 é \0"},
    }
    parts = [
        surface(0, group="layer 0", name="q"),
        surface(1, group="layer 1", name="\ud800"),
        surface(2, group="layer 0", name="k", extras=hostile),
        surface(3, group=""),
    ]
    path = tmp_path / "a.glb"
    with Encoding(parts, "draco") as encoding:
        encoding.write(path, {"model": "tiny"}, generator="Weightwalk 9.9")
    gltf, nodes = mesh_nodes(path)
    assert [n.name for n in nodes] == ["q", "?", "k", "layer.3.q"]
    groups = {n.name: [gltf.nodes[c].name for c in n.children] for n in gltf.nodes if n.children}
    assert groups == {"layer 0": ["q", "k"], "layer 1": ["?"]}
    assert [gltf.nodes[n].name for n in gltf.scenes[0].nodes] == [*groups, "layer.3.q"]
    assert nodes[0].extras == {"tensor": "q", "shape": [4, 5], "level": pytest.approx(0.6)}
    assert nodes[2].extras == {
        "level": "NaN",
        "range": ["-Infinity", 1.5],
        "shape": [2, 3],
        "file": str(Path("a/b")),
        "3": {"tensor": "? é \0"},
    }
    assert gltf.asset.generator == "Weightwalk 9.9"
    assert gltf.asset.extras == {"model": "tiny"}
    [material] = gltf.materials
    assert material.pbrMetallicRoughness.metallicFactor == 0
    assert not material.doubleSided


def test_glb_wide_indices(tmp_path):
    """65,535 vertices still take 16-bit indices; one more does not."""
    for count, component in ((65535, 5123), (65536, 5125)):
        vertices = np.random.default_rng(0).random((count, 3), dtype=np.float32)
        faces = np.array([[0, 1, count - 1]], np.int32)
        part = MeshPart("a", "", vertices, vertices, faces, np.zeros((count, 4), np.uint8))
        write_glb(tmp_path / "a.glb", [part], "none")
        gltf, [node] = mesh_nodes(tmp_path / "a.glb")
        assert gltf.accessors[gltf.meshes[0].primitives[0].indices].componentType == component
        np.testing.assert_array_equal(arrays_of(gltf, node)[0], faces)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_glb_parts_keep_their_order(tmp_path, compression):
    parts = (tetrahedron((i, 0, 0, 255), name=str(i)) for i in range(60))
    write_glb(tmp_path / "a.glb", parts, compression)
    assert [n.name for n in mesh_nodes(tmp_path / "a.glb")[1]] == [str(i) for i in range(60)]


def test_glb_draco_stays_within_eight_bytes_a_face(tmp_path):
    """Even on noise, with a random colour at every vertex, 16-bit colours and names included."""
    parts = [surface(i, size=24) for i in range(4)]
    write_glb(tmp_path / "a.glb", parts)
    assert (tmp_path / "a.glb").stat().st_size <= 8 * sum(len(p.faces) for p in parts)


WRITERS = [write_stl, *(lambda path, parts, c=c: write_glb(path, parts, c) for c in COMPRESSIONS)]


@pytest.mark.parametrize("write", WRITERS, ids=["stl", *COMPRESSIONS])
def test_bad_outputs_are_one_sentence(write, tmp_path):
    with pytest.raises(OutputError, match=r"a\.out: there is no surface to write"):
        write(tmp_path / "a.out", [])
    with pytest.raises(OutputError, match=r"cannot write .*: No such file or directory"):
        write(tmp_path / "none" / "a.out", [surface()])
    with pytest.raises(OutputError, match=r"cannot write .*: Is a directory"):
        write(tmp_path, [surface()])
    if Path("/dev/full").exists():
        with pytest.raises(OutputError, match="cannot write /dev/full: No space left on device"):
            write(Path("/dev/full"), [surface()])


def test_glb_refuses_what_cannot_be(tmp_path, monkeypatch):
    with pytest.raises(SettingsError, match="'zip': choose among draco, quantize, none"):
        write_glb(tmp_path / "a.glb", [surface()], "zip")
    monkeypatch.setattr(document, "MAX_BYTES", 100_000)
    with pytest.raises(OutputError, match="holds at most 100000 bytes"):
        write_glb(tmp_path / "a.glb", [surface()], "none")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("faces", np.array([[0, 1, 4]], np.int32), "outside 0..3"),
        ("faces", np.array([[0, 1, -1]], np.int32), "outside 0..3"),
        ("faces", np.zeros((0, 3), np.int32), "no faces"),
        ("faces", np.array([[0, 1, 2]]), "int64"),
        ("colors", np.zeros((3, 4), np.uint8), "colors are"),
        ("vertices", np.full((4, 3), np.nan, np.float32), "not finite"),
        ("translation", (0.0, 0.0, np.inf), "not finite"),
    ],
)
def test_a_part_that_is_none(field, value, words):
    with pytest.raises(ValueError, match=words):
        tetrahedron((0, 0, 0, 255), **{field: value}) if field == "translation" else (
            dataclasses.replace(tetrahedron((0, 0, 0, 255)), **{field: value})
        )


def test_draco_without_dracopy_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "DracoPy", None)  # Python's own way to make an import fail
    with pytest.raises(MissingDependencyError, match='pip install "DracoPy'):
        write_glb(tmp_path / "a.glb", [surface()])
    assert not (tmp_path / "a.glb").exists()
    write_glb(tmp_path / "a.glb", [surface()], "quantize")
