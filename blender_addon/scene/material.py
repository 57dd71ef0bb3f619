"""The few materials of the scene."""

from __future__ import annotations

import bpy

from . import compat
from .mesh import COLOR

Rgb = tuple[float, float, float]


def surface_material(name: str) -> bpy.types.Material:
    """Return a matt material that takes its colour from the vertices."""
    material = bpy.data.materials.new(name)
    shader = _principled(material, roughness=0.55)
    tree = material.node_tree
    color = tree.nodes.new("ShaderNodeVertexColor")
    color.layer_name = COLOR
    tree.links.new(color.outputs["Color"], shader.inputs["Base Color"])
    return material


def plain_material(name: str, color: Rgb, roughness: float = 0.9) -> bpy.types.Material:
    """Return a material of one linear colour."""
    material = bpy.data.materials.new(name)
    shader = _principled(material, roughness)
    shader.inputs["Base Color"].default_value = (*color, 1.0)
    material.diffuse_color = (*color, 1.0)
    return material


def glowing_material(name: str, color: Rgb | None) -> bpy.types.Material:
    """Return a material that shows its colour, or that of the vertices, unlit."""
    material = bpy.data.materials.new(name)
    tree = compat.use_nodes(material)
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    shader = tree.nodes.new("ShaderNodeEmission")
    tree.links.new(shader.outputs["Emission"], output.inputs["Surface"])
    if color is None:
        source = tree.nodes.new("ShaderNodeVertexColor")
        source.layer_name = COLOR
        tree.links.new(source.outputs["Color"], shader.inputs["Color"])
    else:
        shader.inputs["Color"].default_value = (*color, 1.0)
        material.diffuse_color = (*color, 1.0)
    return material


def _principled(material: bpy.types.Material, roughness: float) -> bpy.types.ShaderNode:
    tree = compat.use_nodes(material)
    output = tree.nodes.new("ShaderNodeOutputMaterial")
    shader = tree.nodes.new("ShaderNodeBsdfPrincipled")
    shader.inputs["Roughness"].default_value = roughness
    tree.links.new(shader.outputs["BSDF"], output.inputs["Surface"])
    return shader
