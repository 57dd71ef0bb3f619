"""Surfaces to files: binary STL and GLB."""

from .glb import COMPRESSIONS, write_glb
from .mesh_part import MeshPart
from .stl import write_stl

__all__ = ["COMPRESSIONS", "MeshPart", "write_glb", "write_stl"]
