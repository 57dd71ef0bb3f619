"""A surface, placed and coloured: what the scene shows and the files hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from .color import ColorScale, scale_for
from .fields import Plan
from .geometry import Shape, measure
from .layout import Layout, Placement, is_strip, to_scene
from .settings import ColorMap, FieldSettings
from .stages import Ticks, finish
from .surfaces import Surface
from .writers import MeshPart

# Of more values than about so many, every n-th one has a say in the colour scale.
VOTES = 1 << 21


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
    clipped : int
        Vertices whose value lies beyond the colour scale.
    """

    surface: Surface
    placement: Placement
    part: MeshPart
    shape: Shape
    clipped: int


def color_scale(surfaces: Sequence[Surface], map: ColorMap = "ember") -> ColorScale:
    """Return the one scale of a run, from the values under the vertices.

    Vectors have no say where there are matrices: norm weights lie around a mean of one, many σ
    from zero, and would leave the matrices a corner of the scale.
    """
    signed = any(s.field.settings.signed for s in surfaces)
    voters = [s for s in surfaces if not is_strip(s.field.plan)] or surfaces
    every = sum(len(s.values) for s in voters) // VOTES + 1
    votes = np.concatenate([s.values[::every] for s in voters])
    return scale_for(votes, diverging=signed, map=map)


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
    return finish(place_steps(surface, layout, scale, model))


def place_steps(surface: Surface, layout: Layout, scale: ColorScale, model: str) -> Ticks[Exhibit]:
    """Do what `place` does, a step at a time."""
    plan = surface.field.plan
    placement = layout.placements[plan.name]
    vertices, faces = to_scene(surface.mesh, plan, placement), surface.mesh.faces
    yield 0
    normals, shape = yield from measure(vertices, faces)
    yield 0
    part = MeshPart(
        name=surface.name,
        group=placement.collection,
        vertices=vertices,
        normals=normals,
        faces=faces,
        colors=scale.colors(surface.values),
        translation=placement.origin,
        extras=provenance(surface, model),
    )
    return Exhibit(surface, placement, part, shape, scale.clipped(surface.values))


def provenance(surface: Surface, model: str) -> dict[str, Any]:
    """Return where a surface comes from, in words that JSON and Blender can hold."""
    field = surface.field
    return plan_provenance(field.plan, field.settings, model) | {
        "sign": surface.sign,
        "level": surface.level,
        "sigma": [float(s) for s in dict.fromkeys(field.sigmas)],
        "lowest": field.low if isfinite(field.low) else "none",
        "highest": field.high if isfinite(field.high) else "none",
    }


def plan_provenance(plan: Plan, settings: FieldSettings, model: str) -> dict[str, Any]:
    """Return where a field comes from, whatever becomes of it."""
    tensors = [part.tensor for part in plan.parts]
    return {
        "model": model,
        "file": ", ".join(dict.fromkeys(t.file.name for t in tensors)),
        "tensor": ", ".join(dict.fromkeys(t.name for t in tensors)),
        "shape": "x".join(map(str, tensors[0].shape)),
        "dtype": ", ".join(dict.fromkeys(t.dtype for t in tensors)),
        "packing": ", ".join(dict.fromkeys(str(t.packing) for t in tensors if t.packing)) or "none",
        "field": plan.kind,
        "role": plan.role,
        "layer": -1 if plan.layer is None else plan.layer,
        "grid": "x".join(map(str, plan.shape)),
        "pooling": settings.pool,
        "smoothing": settings.smooth,
    }
