"""How a tensor differs from an earlier checkpoint's, read like a tensor."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import DTypeLike

from .readers import Tensor
from .readers.dtypes import Array


@dataclass(frozen=True, eq=False, kw_only=True)
class Change(Tensor):
    """A tensor minus the one of the same name and shape at an earlier step.

    Attributes
    ----------
    reference : Tensor
    """

    reference: Tensor = field(repr=False)

    @classmethod
    def of(cls, tensor: Tensor, reference: Tensor) -> Change:
        """Subtract a reference from a tensor of the same shape."""
        return cls(**{f.name: getattr(tensor, f.name) for f in fields(Tensor)}, reference=reference)

    def flat(self, start: int, stop: int, dtype: DTypeLike = np.float32) -> Array:
        """Return the differences of the elements ``[start, stop)``, subtracted in `dtype`.

        Where both are the same infinity, or either is NaN, it is NaN.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            difference: Array = super().flat(start, stop, dtype)
            difference -= self.reference.flat(start, stop, dtype)
        return difference
