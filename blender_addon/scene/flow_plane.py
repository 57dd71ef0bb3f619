"""The picture of a model's outputs as a screen that stands in the scene, in its exact colours.

An image in the .blend has a pixel a value. Nodes give each pixel of the screen the colour of the
image's, so that Workbench shows it, too, which draws no images; all moments share one mesh.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing

import bpy
import numpy as np
import numpy.typing as npt

from ..core.model import Progress
from ..core.stages import Ticks, told
from . import compat
from .flow_plot import Plot
from .mesh import COLOR, mesh_steps, new_object

UInt8 = npt.NDArray[np.uint8]

SCREEN, NODES = "Flow picture", "Weightwalk picture"
IMAGE = "Image"


def new_image(name: str, colors: UInt8) -> bpy.types.Image:
    """Make an image inside the .blend.

    Parameters
    ----------
    name : str
    colors : ndarray of uint8, shape (height, width, 3)
        sRGB-encoded, the first row on top.
    """
    height, width = colors.shape[:2]
    image = bpy.data.images.new(name, width, height, alpha=False)
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = colors[::-1] / np.float32(255.0)
    image.pixels.foreach_set(pixels.ravel())
    image.pack()
    return image


def screen_steps(
    shape: tuple[int, int], size: tuple[float, float], material: bpy.types.Material
) -> Ticks[bpy.types.Mesh]:
    """Make a mesh of two triangles a pixel that stands on y = 0 and z = 0 and faces -Y.

    Parameters
    ----------
    shape : tuple of 2 int
        Rows and columns of pixels.
    size : tuple of 2 float
        Width and height in metres.
    material : bpy.types.Material
    """
    rows, columns = shape
    x = np.linspace(-size[0] / 2.0, size[0] / 2.0, columns + 1)
    z = np.linspace(0.0, size[1], rows + 1)
    grid = np.stack(np.meshgrid(z, x, indexing="ij"), axis=-1).reshape(-1, 2)
    vertices = np.column_stack([grid[:, 1], np.zeros(len(grid)), grid[:, 0]]).astype(np.float32)
    yield 0
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    right, above = corner + 1, corner + columns + 1
    faces = np.concatenate(
        [np.column_stack([corner, right, above]), np.column_stack([right, above + 1, above])]
    ).astype(np.int32)
    yield 0
    mesh = yield from mesh_steps(SCREEN, vertices, faces)
    mesh.color_attributes.new(COLOR, "BYTE_COLOR", "CORNER")
    mesh.color_attributes.active_color_name = COLOR
    mesh.color_attributes.render_color_index = 0
    mesh.materials.append(material)
    return mesh


def new_nodes(size: tuple[float, float]) -> bpy.types.NodeTree:
    """Make nodes that give each face of a screen the colour of the image's pixel there."""
    tree = bpy.data.node_groups.new(NODES, "GeometryNodeTree")
    for name, way, kind in (
        ("Geometry", "INPUT", "NodeSocketGeometry"),
        (IMAGE, "INPUT", "NodeSocketImage"),
        ("Geometry", "OUTPUT", "NodeSocketGeometry"),
    ):
        tree.interface.new_socket(name, in_out=way, socket_type=kind)
    nodes, link = tree.nodes, tree.links.new
    begin, end = nodes.new("NodeGroupInput"), nodes.new("NodeGroupOutput")
    position, middle = (
        nodes.new("GeometryNodeInputPosition"),
        nodes.new("GeometryNodeFieldOnDomain"),
    )
    middle.data_type, middle.domain = "FLOAT_VECTOR", "FACE"
    link(position.outputs["Position"], _enabled(middle.inputs, "Value"))
    # From metres to the image's own measure, 0 to 1 from its lower left corner.
    apart, at = nodes.new("ShaderNodeSeparateXYZ"), nodes.new("ShaderNodeCombineXYZ")
    link(_enabled(middle.outputs, "Value"), apart.inputs["Vector"])
    for source, target, length, begins in (("X", "X", size[0], 0.5), ("Z", "Y", size[1], 0.0)):
        share = nodes.new("ShaderNodeMath")
        share.operation = "MULTIPLY_ADD"
        link(apart.outputs[source], share.inputs[0])
        share.inputs[1].default_value, share.inputs[2].default_value = 1.0 / length, begins
        link(share.outputs[0], at.inputs[target])
    image = nodes.new("GeometryNodeImageTexture")
    image.interpolation, image.extension = "Closest", "EXTEND"
    link(begin.outputs[IMAGE], image.inputs["Image"])
    link(at.outputs["Vector"], image.inputs["Vector"])
    store = nodes.new("GeometryNodeStoreNamedAttribute")
    store.data_type, store.domain = "FLOAT_COLOR", "CORNER"
    store.inputs["Name"].default_value = COLOR
    link(begin.outputs["Geometry"], store.inputs["Geometry"])
    link(image.outputs["Color"], _enabled(store.inputs, "Value"))
    link(store.outputs["Geometry"], end.inputs["Geometry"])
    for i, node in enumerate(nodes):
        node.location = (180.0 * i, 0.0)
    return tree


def _enabled(sockets: bpy.types.bpy_prop_collection, name: str) -> bpy.types.NodeSocket:
    return next(s for s in sockets if s.name == name and s.enabled)


def screens_in_steps(
    pictures: Iterable[UInt8],
    labels: tuple[str, ...],
    plot: Plot,
    *,
    shape: tuple[int, int],
    at: tuple[float, float, float],
    size: tuple[float, float],
) -> Generator[Progress, None, None]:
    """Make a screen for each moment and put them all at one place.

    Parameters
    ----------
    pictures : iterable of ndarray of uint8, shape (height, width, 3)
        Their pixels are counted in `shape`.
    labels : tuple of str
        Of the moments.
    plot : Plot
    shape : tuple of 2 int
        Height and width in pixels.
    at : tuple of 3 float
        The middle of the lower edge.
    size : tuple of 2 float
        Width and height in metres.
    """
    made, now = plot.made, Progress("scene", 0, 1, "picture")
    yield now
    tree = made.named(new_nodes(size), NODES)
    socket = next(s.identifier for s in tree.interface.items_tree if s.name == IMAGE)
    with closing(screen_steps(shape, size, plot.materials.ink.scale)) as making:
        mesh = yield from told(making, now)
    for i, (label, colors) in enumerate(zip(labels, pictures, strict=True)):
        name = f"{SCREEN} {label}" if len(labels) > 1 else SCREEN
        image = made.named(new_image(name, colors), name)
        screen = new_object(name, mesh)
        screen.location = at
        nodes = screen.modifiers.new("Colours of the picture", "NODES")
        nodes.node_group = tree
        compat.set_input(nodes, socket, image)
        plot.put(screen, "Picture")
        plot.show(screen, [j == i for j in range(len(labels))])
        yield now
    # It is no one's own, and is not called as the first screen is.
    made.rename(mesh, SCREEN)
