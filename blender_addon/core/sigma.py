"""One σ for all the tensors of some fields."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .errors import SettingsError
from .fetching import ready
from .fields import Plan
from .pooling import Moments, measure
from .stages import Ticks

if TYPE_CHECKING:
    from .readers import Tensor


def shared_sigma(plans: Iterable[Plan]) -> Ticks[float | None]:
    """Return one σ over all finite entries of all tensors of some plans, or None if it is zero.

    Raises
    ------
    SettingsError
        Double precision cannot hold it.
    """
    total = Moments()
    for tensor in tensors_of(plans):
        total += yield from measure_tensor(tensor)
    return sigma_of_all(total)


def measure_tensor(tensor: Tensor) -> Ticks[Moments]:
    """Return the moments of a tensor, wherever it is."""
    yield from ready(tensor)
    return (yield from measure(tensor))


def sigma_of_all(total: Moments) -> float | None:
    """Return the one σ of tensors with these moments in all; see `shared_sigma`."""
    if not math.isfinite(total.sigma):
        raise SettingsError("sigma: one for all tensors is beyond double precision; use 'tensor'")
    return total.sigma or None


def tensors_of(plans: Iterable[Plan]) -> list[Tensor]:
    """Return the tensors that some plans have, each once."""
    return list({part.tensor.name: part.tensor for plan in plans for part in plan.parts}.values())
