"""Whether two checkpoints can be of one training run."""

from __future__ import annotations

from collections.abc import Mapping

from .text import printable

Shapes = Mapping[str, tuple[int, ...]]


def differences(first: Shapes, other: Shapes) -> str:
    """Say how two models differ that share less than half of their tensors, else ""."""
    both = set(first.items()) & set(other.items())
    if 2 * len(both) >= min(len(first), len(other)):
        return ""
    said = [f"of {len(first)} and {len(other)} tensors {len(both)} have the same name and shape"]
    changed = [name for name in first if name in other and first[name] != other[name]]
    for what, names in (
        ("only the first has", [name for name in first if name not in other]),
        ("only the second has", [name for name in other if name not in first]),
        ("the shape differs of", changed),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            said.append(f"{what} {', '.join(printable(name, 80) for name in names[:3])}{more}")
    return "; ".join(said)
