"""Shapes out of files, checked before anything is made of them."""

from __future__ import annotations

from math import prod
from typing import Any

MAX_DIMENSIONS = 32  # numpy 1.26's limit
MAX_TENSORS = 200_000  # of a file; the largest models have about 150,000 in all
MAX_ELEMENTS = (1 << 60) - 1  # what numpy can address as float64


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple.

    Parameters
    ----------
    shape
        What the file has for one: anything.

    Raises
    ------
    ValueError
        Saying what is wrong, such as "it has 99 dimensions, more than 32".
    """
    listed = type(shape) in (list, tuple)
    if listed and len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"it has {len(shape)} dimensions, more than {MAX_DIMENSIONS}")
    if not listed or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("its shape is not a list of whole numbers from 0")
    if prod(n for n in shape if n) > MAX_ELEMENTS:
        raise ValueError("its shape has more elements than can be addressed")
    return tuple(shape)
