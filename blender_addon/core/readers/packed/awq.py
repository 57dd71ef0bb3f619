"""AWQ: ``qweight``, ``qzeros`` and ``scales`` of a linear layer, 4 bits, packed for "gemm".

Of a weight (out, in): ``qweight`` (in, out / 8) and ``qzeros`` (groups, out / 8) are words of 32
bits, ``scales`` (groups, out) floats. The halves of a word's bytes, the lowest first, hold its
outputs 0, 2, 4, 6, 1, 3, 5, 7 (AutoAWQ). Inputs i belong to group i // group_size.
W[o, i] = (number − zero point) · scale: the difference is exact, the product is rounded to float32
once. The versions "gemv" and "marlin" pack otherwise and are not read.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...text import printable
from ..base import Tensor
from ..datafile import Array
from ..values import Panels, Span
from .gptq import group_size
from .pack import (
    Pack,
    RefusedError,
    all_spans,
    columns,
    grouped,
    number,
    shared,
    spell,
    unpack,
)
from .scaled import check_width, in_blocks

_PARTS = ("qweight", "qzeros", "scales")
_PLACE = np.argsort([0, 2, 4, 6, 1, 3, 5, 7])  # of an output → which half of a byte holds it


def make(pack: Pack) -> Tensor:
    """Return the weight (out, in).

    Raises
    ------
    RefusedError
    """
    settings = pack.settings
    version = str(settings.get("version") or settings.get("format") or "gemm").lower()
    if version != "gemm":
        raise RefusedError(
            f"AWQ weights in the version {printable(version, 40)}, only gemm is read"
        )
    bits = number(settings, "bits", "w_bit")
    if bits != 4:
        raise RefusedError(f"AWQ weights of {bits or 'unknown'} bits, only 4 are read")
    words, zeros, scales = (pack.need(word) for word in _PARTS)
    if words.dtype != "I32" or zeros.dtype != "I32" or not scales.is_float:
        raise RefusedError("AWQ weights whose parts are not words of 32 bits with float scales")
    if len(scales.shape) != 2 or len(words.shape) != 2:
        raise RefusedError("AWQ weights whose parts are not matrices")
    (groups, out), inputs = scales.shape, words.shape[0]
    if out % 8 or words.shape[1] != out // 8 or zeros.shape != (groups, out // 8):
        listed = ", ".join(f"{word} {spell(pack.parts[word].shape)}" for word in _PARTS)
        raise RefusedError(f"AWQ weights whose parts do not fit together: {listed}")
    check_width(inputs)
    size = group_size(pack, inputs, groups, "AWQ weights")
    if inputs % size:
        raise RefusedError(f"AWQ weights of {inputs} inputs, which groups of {size} do not divide")
    packing = shared("AWQ", 4, "channel") if groups == 1 else grouped("AWQ", 4, size)
    values = Awq((words, zeros, scales), size)
    return pack.tensor(words, (out, inputs), "AWQ4", values, packing)


class Awq(Panels):
    """The rows of W, each a column of the packed numbers.

    Parameters
    ----------
    parts : tuple of Tensor
        ``qweight``, ``qzeros`` and ``scales``.
    size : int
        Inputs of a group.
    """

    def __init__(self, parts: tuple[Tensor, Tensor, Tensor], size: int) -> None:
        self.words, self.zeros, self.scales = parts
        self.size = size
        super().__init__(self.scales.shape[1], self.words.shape[0], across=True)

    def panel(self, first: int, last: int) -> Array:
        """Unpack rows."""
        made = self._numbers(self.words, first, last)
        zeros = self._numbers(self.zeros, first, last)
        groups = (0, self.scales.shape[0])
        scales = columns(self.scales.values, self.rows, groups, (first, last), np.float32).T
        with np.errstate(all="ignore"):  # what the file holds may be infinite
            in_blocks(np.subtract, made, zeros, self.size)
            in_blocks(np.multiply, made, scales, self.size)
        return made

    def _numbers(self, packed: Tensor, first: int, last: int) -> Array:
        """Unpack outputs of a matrix (n, out / 8): float32 (last - first, n)."""
        rows, width = packed.shape
        left, right = first // 8, -(-last // 8)
        words = columns(packed.values, width, (0, rows), (left, right), np.int32)
        halves = unpack(words.astype("<i4", copy=False).view(np.uint8), 4)
        outputs = halves.reshape(rows, -1, 8)[:, :, _PLACE].reshape(rows, -1)
        chosen = outputs[:, first - left * 8 : last - left * 8].T
        return np.ascontiguousarray(chosen, np.float32)

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield all bytes: a row is a column of the file, part of a word of each of its rows."""
        if start < stop:
            yield from all_spans(self.words, self.zeros, self.scales)
