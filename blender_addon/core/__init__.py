"""Tensors to triangles, without Blender."""
