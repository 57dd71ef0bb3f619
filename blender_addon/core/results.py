"""What units of work make, on a shelf and off it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .fields import FieldInfo, Plan
from .marching import Mesh
from .pooling import Moments, Pooled
from .settings import FieldSettings
from .shelf import Shelf
from .surfaces import Components, Surface

# Edges are cells of the plan, which who reads a grid has.
_NO_EDGES = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Made:
    """What became of a field.

    Attributes
    ----------
    surfaces : tuple of Surface
    reason : str
        Why there are none, or "".
    """

    surfaces: tuple[Surface, ...]
    reason: str = ""


def keep_moments(shelf: Shelf, key: str, moments: Moments) -> None:
    """Put a tensor's moments on a shelf."""
    shelf.keep(key, _of_moments(moments))


def read_moments(shelf: Shelf, key: str) -> Moments:
    """Return what `keep_moments` kept."""
    return _moments(shelf.read(key)[0])


def keep_pooled(shelf: Shelf, key: str, grid: Pooled) -> None:
    """Put a pooled tensor on a shelf, without its edges."""
    counted: dict[str, float] = {"nan": int(grid.nan), "inf": int(grid.inf)}
    counted |= {"low": float(grid.low), "high": float(grid.high)}
    shelf.keep(key, _of_moments(grid.moments) | counted, [grid.values, grid.nonfinite])


def read_pooled(shelf: Shelf, key: str) -> Pooled:
    """Return what `keep_pooled` kept."""
    facts, (values, nonfinite) = shelf.read(key)
    counted = (facts[name] for name in ("nan", "inf", "low", "high"))
    return Pooled(values, nonfinite, _NO_EDGES, _NO_EDGES, _moments(facts), *counted)


def _of_moments(moments: Moments) -> dict[str, Any]:
    count, mean, squares = moments.count, moments.mean, moments.squares
    return {"count": int(count), "mean": float(mean), "squares": float(squares)}


def _moments(facts: Mapping[str, Any]) -> Moments:
    return Moments(facts["count"], facts["mean"], facts["squares"])


def keep_surfaces(shelf: Shelf, key: str, surfaces: Sequence[Surface], reason: str = "") -> None:
    """Put a field's surfaces on a shelf, or why there are none."""
    facts: dict[str, Any] = {"reason": reason, "surfaces": [_facts(s) for s in surfaces]}
    if surfaces:
        info = surfaces[0].field
        facts["field"] = {
            "sigmas": [float(sigma) for sigma in info.sigmas],
            "nan": int(info.nan),
            "inf": int(info.inf),
            "low": float(info.low),
            "high": float(info.high),
            "notes": list(info.notes),
        }
    arrays = [a for s in surfaces for a in (s.mesh.vertices, s.mesh.faces, s.cells, s.values)]
    shelf.keep(key, facts, arrays)


def _facts(surface: Surface) -> dict[str, Any]:
    both = {"components": surface.components, "permuted": surface.permuted}
    pieces = {name: p and [int(p.count), float(p.largest)] for name, p in both.items()}
    return pieces | {
        "sign": int(surface.sign),
        "level": float(surface.level),
        "quantile": float(surface.quantile),
    }


def read_surfaces(shelf: Shelf, key: str, plan: Plan, settings: FieldSettings) -> Made:
    """Return what `keep_surfaces` kept of a plan."""
    facts, arrays = shelf.read(key)
    if not facts["surfaces"]:
        return Made((), facts["reason"])
    own = facts["field"]
    info = FieldInfo(
        plan, settings, tuple(own["sigmas"]), own["nan"], own["inf"], own["low"], own["high"],
        tuple(own["notes"]),
    )  # fmt: skip
    surfaces = []
    for i, said in enumerate(facts["surfaces"]):
        vertices, faces, cells, values = arrays[4 * i : 4 * i + 4]
        pieces = [p and Components(*p) for p in (said["components"], said["permuted"])]
        surfaces.append(
            Surface(
                info, said["sign"], said["level"], said["quantile"], Mesh(vertices, faces),
                cells, values, *pieces,
            )
        )  # fmt: skip
    return Made(tuple(surfaces))
