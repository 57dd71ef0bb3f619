"""What the tests of several writers share: surfaces to write, and ways to read GLB."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pygltflib
from skimage.measure import marching_cubes
from weightwalk.core.writers import MeshPart

NODE = Path(__file__).parents[1] / "node"


def srgb_to_linear(code):
    light = np.asarray(code) / 255
    return np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)


def y_up(points):
    x, y, z = np.asarray(points).T
    return np.stack([x, z, -y], axis=1)


def surface(seed=0, size=14, **fields):
    """A closed, bumpy surface with a colour of its own at every vertex."""
    rng = np.random.default_rng(seed)
    field = np.pad(rng.random((size, size + 3, size + 5), dtype=np.float32), 1)
    vertices, faces, normals, _ = marching_cubes(field, 0.6, gradient_direction="ascent")
    colors = rng.integers(0, 256, (len(vertices), 4)).astype(np.uint8)
    colors[:, 3] = 255
    given = {
        "name": f"layer.{seed}.q",
        "group": f"layer {seed}",
        "vertices": np.ascontiguousarray(vertices * np.float32(0.1)),
        "normals": np.ascontiguousarray(normals),
        "faces": np.ascontiguousarray(faces.astype(np.int32)),
        "colors": colors,
        "translation": (3.0, -20.0, 0.5),
        "extras": {"tensor": "q", "shape": [4, 5], "level": np.float32(0.6)},
    }
    return MeshPart(**given | fields)


def tetrahedron(color, **fields):
    """Corners at (1,0,0), (0,2,0), (0,0,3) and the origin: no two axes alike."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    normals = np.array([[-1, -1, -1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    given = {"name": "tetrahedron", "group": "", "translation": (10.0, 20.0, 30.0)}
    colors = np.tile(np.array(color, np.uint8), (4, 1))
    return MeshPart(
        vertices=vertices, normals=normals, faces=faces, colors=colors, **given | fields
    )


# Reading GLB with pygltflib and numpy.

DTYPES = {5120: np.int8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


def blob_of(gltf, index):
    view = gltf.bufferViews[index]
    return gltf.binary_blob()[view.byteOffset :][: view.byteLength]


def values_of(gltf, index):
    accessor = gltf.accessors[index]
    dtype, width = np.dtype(DTYPES[accessor.componentType]), WIDTHS[accessor.type]
    stride = gltf.bufferViews[accessor.bufferView].byteStride or width * dtype.itemsize
    blob = blob_of(gltf, accessor.bufferView)
    assert len(blob) == stride * accessor.count
    rows = np.frombuffer(blob, np.uint8).reshape(-1, stride)[:, : width * dtype.itemsize]
    values = np.ascontiguousarray(rows).view(dtype)
    return values / np.iinfo(dtype).max if accessor.normalized else values


def mesh_nodes(path):
    gltf = pygltflib.GLTF2().load(str(path))
    return gltf, [node for node in gltf.nodes if node.mesh is not None]


def arrays_of(gltf, node):
    primitive = gltf.meshes[node.mesh].primitives[0]
    names = ("POSITION", "NORMAL", "COLOR_0")
    return (
        values_of(gltf, primitive.indices).reshape(-1, 3),
        *(values_of(gltf, getattr(primitive.attributes, name)) for name in names),
    )


# Readers in Node.js; the tests are marked `node` or `browser`.


def node(script, *arguments):
    """Run a script of tests/node and return the JSON that it prints."""
    command = ["node", NODE / script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_valid(*paths):
    """Check with the Khronos validator that there is no error and no warning."""
    for path, issues in node("validate.mjs", *paths).items():
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues
        # The validator does not know Draco, so it takes the buffer views for unused.
        draco = b"KHR_draco" in Path(path).read_bytes()
        allowed = {"UNSUPPORTED_EXTENSION", "UNUSED_OBJECT"} if draco else set()
        assert {message["code"] for message in issues["messages"]} <= allowed, issues
