"""GLB read back by the Khronos validator, three.js and <model-viewer>."""

import dataclasses

import numpy as np
import pytest
from weightwalk.core.writers import COMPRESSIONS, write_glb

from ..programs import chromium
from .gltf import assert_valid, node, srgb_to_linear, surface, y_up

# scikit-image 0.26 under NumPy 2.5.
pytestmark = pytest.mark.filterwarnings("ignore:Setting the shape:DeprecationWarning")


@pytest.fixture
def three_files(tmp_path):
    """The same two surfaces by each compression; one colour, so that a picture can be judged."""
    color = np.array([200, 30, 60, 255], np.uint8)
    parts = [surface(i, name=f"layer.{i}.q/k", translation=(0.5 * i, 1.0, 2.0)) for i in range(2)]
    parts = [dataclasses.replace(p, colors=np.tile(color, (len(p.vertices), 1))) for p in parts]
    # A vertex without a direction, which glTF does not allow.
    parts[0].normals[5] = 0
    paths = {name: tmp_path / f"{name}.glb" for name in COMPRESSIONS}
    for name, path in paths.items():
        write_glb(path, parts, name, {"level": np.nan})
    return parts, paths


@pytest.mark.node
def test_khronos_validator_finds_nothing(three_files):
    assert_valid(*three_files[1].values())


@pytest.mark.node
@pytest.mark.browser
def test_three_js_and_model_viewer_show_the_colors(three_files):
    parts, paths = three_files
    result = node("browse.mjs", chromium(), *paths.values())
    assert result["strangers"] == []
    for path in paths.values():
        seen = result["seen"][str(path)]
        for part, mesh in zip(parts, seen["three"]["meshes"], strict=True):
            assert (mesh["name"], mesh["group"]) == (part.name, part.group)
            assert mesh["extras"]["shape"] == [4, 5]
            assert len(mesh["index"]) == part.faces.size
            positions = np.reshape(mesh["position"], (-1, 3))
            world = y_up(part.vertices + np.array(part.translation))
            np.testing.assert_allclose(positions.min(0), world.min(0), atol=1e-3)
            np.testing.assert_allclose(positions.max(0), world.max(0), atol=1e-3)
            expected = np.append(srgb_to_linear(part.colors[0, :3]), 1)
            colors = np.reshape(mesh["color"], (-1, 4))
            assert len(colors) == len(part.vertices)
            np.testing.assert_allclose(colors, np.tile(expected, (len(colors), 1)), atol=2**-16)
        np.testing.assert_allclose(seen["three"]["pixel"], [200, 30, 60, 255], atol=1)
        assert seen["modelViewer"]["pixels"] > 500
        red, green, blue = seen["modelViewer"]["mean"]
        assert red > 1.8 * green
        assert red > 1.8 * blue
