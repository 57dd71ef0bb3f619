"""GLB read back by Blender: same places, same colours."""

import numpy as np
import pytest
from weightwalk.core.writers import MeshPart, write_glb

pytestmark = pytest.mark.bpy

COLORS = np.array([[255, 0, 0, 255], [0, 128, 0, 255], [7, 20, 250, 255], [90, 90, 90, 255]])


@pytest.fixture
def bpy():
    import bpy

    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("compression", ["draco", "quantize", "none"])
def test_blender_gives_the_same_places_and_colors_back(bpy, compression, tmp_path):
    import io_scene_gltf2

    corners = np.array([[0.5, 0, 0], [4, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    extras = {"tensor": "a.b", "shape": [2, 3], "level": float("nan")}
    part = MeshPart(
        "q", "layer 0", corners, corners, faces, COLORS.astype(np.uint8), (10.0, 20.0, 30.0), extras
    )
    path = tmp_path / "a.glb"
    write_glb(path, [part], compression)
    if compression == "draco" and not io_scene_gltf2.is_draco_available():
        # Some builds of Blender lack the library, 4.5's never.
        assert bpy.app.version >= (5, 0, 0)
        with pytest.raises(RuntimeError, match=r"(?i)draco"):
            bpy.ops.import_scene.gltf(filepath=str(path))
        return
    assert bpy.ops.import_scene.gltf(filepath=str(path)) == {"FINISHED"}

    [thing] = [o for o in bpy.data.objects if o.type == "MESH"]
    assert (thing.name, thing.parent.name) == ("q", "layer 0")
    assert thing["tensor"] == "a.b"
    assert list(thing["shape"]) == [2, 3]
    assert thing["level"] == "NaN"
    np.testing.assert_allclose(thing.matrix_world.translation, part.translation)
    mesh = thing.data
    world = np.array([thing.matrix_world @ v.co for v in mesh.vertices])
    expected = corners + np.array(part.translation)
    near = np.abs(world[:, None] - expected[None]).max(axis=2).argmin(axis=1)
    assert sorted(near) == [0, 1, 2, 3]
    np.testing.assert_allclose(world, expected[near], atol=4 / 2**14)
    faces_read = [[near[v] for v in polygon.vertices] for polygon in mesh.polygons]

    def from_smallest(face):
        at = int(np.argmin(face))
        return (*face[at:], *face[:at])

    assert sorted(map(from_smallest, faces_read)) == sorted(map(from_smallest, faces.tolist()))

    layer = mesh.color_attributes[0]
    items = [layer.data[i] for i in range(len(layer.data))]
    owners = (
        range(len(mesh.vertices))
        if layer.domain == "POINT"
        else [loop.vertex_index for loop in mesh.loops]
    )
    assert len(items) == len(list(owners))
    for item, vertex in zip(items, owners, strict=True):
        srgb = np.array(item.color_srgb) * 255
        np.testing.assert_allclose(srgb, COLORS[near[vertex]], atol=1)
