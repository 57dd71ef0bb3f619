"""A surface, placed and coloured: what the scene shows and the files hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .color import ColorScale, scale_for
from .geometry import Shape, area_vectors, shape_of, vertex_normals
from .layout import Layout, Placement, is_strip, to_scene
from .surfaces import Surface
from .writers import MeshPart


@dataclass(frozen=True)
class Exhibit:
    """One surface of the corridor.

    Attributes
    ----------
    surface : Surface
    placement : Placement
    part : MeshPart
        The mesh in metres, with colours and provenance.
    shape : Shape
        In metres.
    """

    surface: Surface
    placement: Placement
    part: MeshPart
    shape: Shape


def color_scale(surfaces: Sequence[Surface]) -> ColorScale:
    """Return the one scale of a run, from the values under the vertices.

    Vectors have no say where there are matrices: norm weights lie around a mean of one, many σ
    from zero, and would leave the matrices a corner of the scale.
    """
    signed = any(s.field.settings.signed for s in surfaces)
    voters = [s for s in surfaces if not is_strip(s.field.plan)] or surfaces
    return scale_for(np.concatenate([s.values for s in voters]), diverging=signed)


def place(surface: Surface, layout: Layout, scale: ColorScale, model: str) -> Exhibit:
    """Put a surface where its field stands and colour it.

    Parameters
    ----------
    surface : Surface
    layout : Layout
    scale : ColorScale
    model : str
        The model's name, for the provenance.

    Returns
    -------
    Exhibit
    """
    plan = surface.field.plan
    placement = layout.placements[plan.name]
    vertices, faces = to_scene(surface.mesh, plan, placement), surface.mesh.faces
    vectors = area_vectors(vertices, faces)
    part = MeshPart(
        name=surface.name,
        group=placement.collection,
        vertices=vertices,
        normals=vertex_normals(len(vertices), faces, vectors),
        faces=faces,
        colors=scale.colors(surface.values),
        translation=placement.origin,
        extras=provenance(surface, model),
    )
    return Exhibit(surface, placement, part, shape_of(vertices, faces, vectors))


def provenance(surface: Surface, model: str) -> dict[str, Any]:
    """Return where a surface comes from, in words that JSON and Blender can hold."""
    field, plan = surface.field, surface.field.plan
    tensors = [part.tensor for part in plan.parts]
    return {
        "model": model,
        "file": ", ".join(dict.fromkeys(t.file.name for t in tensors)),
        "tensor": ", ".join(t.name for t in tensors),
        "shape": "x".join(map(str, tensors[0].shape)),
        "dtype": ", ".join(dict.fromkeys(t.dtype for t in tensors)),
        "field": plan.kind,
        "role": plan.role,
        "layer": -1 if plan.layer is None else plan.layer,
        "grid": "x".join(map(str, plan.shape)),
        "pooling": field.settings.pool,
        "smoothing": field.settings.smooth,
        "sign": surface.sign,
        "level": surface.level,
        "sigma": [float(s) for s in dict.fromkeys(field.sigmas)],
        "lowest": field.low,
        "highest": field.high,
    }
