"""Surfaces to files: binary STL and GLB."""

from .glb import COMPRESSIONS, Encoding, write_glb
from .mesh_part import MeshPart
from .stl import write_stl

__all__ = ["COMPRESSIONS", "Encoding", "MeshPart", "write_glb", "write_stl"]
