"""The product of two thin matrices in files, made some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np
import numpy.typing as npt

from .base import Tensor
from .datafile import Array
from .values import Panels, Span

Float64 = npt.NDArray[np.float64]

MOST_COLUMNS = 1 << 22  # of the product; a vocabulary has 2**18
MOST_WORK = 1 << 32  # multiplications for one row of it
_PANEL = 1 << 20  # entries of a panel and of each factor's share in it, 8 MiB in double precision
_WORK = 1 << 28  # multiplications for a panel: a tenth of a second


class Product(Panels):
    """The numbers of scale · B · A, or of its transpose.

    A and B are taken as they are in the file. Products are added up in double precision, multiplied
    by the scale, and rounded once to single precision. So the numbers are as near as single
    precision comes to the product, and do not depend on the number of rows made at a time.

    Parameters
    ----------
    a : Tensor
        Shape (rank, in, …).
    b : Tensor
        Shape (out, rank), axes of length one may follow.
    scale : callable
        Returns the factor; asked when numbers are.
    turned : bool
        Whether rows are what goes in, as in embeddings and in GPT-2's ``Conv1D``.
    """

    def __init__(self, a: Tensor, b: Tensor, scale: Callable[[], float], *, turned: bool) -> None:
        self.a, self.b, self.scale, self.turned = a, b, scale, turned
        self.parts = a.name, b.name
        self.rank = a.shape[0]
        inner, outer = prod(a.shape[1:]), b.shape[0]
        super().__init__(*((inner, outer) if turned else (outer, inner)))
        width = max(self.width, self.rank, 1)
        self.height = max(min(_PANEL // width, _WORK // (width * max(self.rank, 1))), 1)

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield the bytes of A and B, which are small."""
        if start < stop:
            yield from self.a.values.spans(0, self.a.size)
            yield from self.b.values.spans(0, self.b.size)

    def panel(self, first: int, last: int) -> Array:
        """Multiply rows of one factor with the other, as many ranks at a time as fit."""
        total = np.zeros((last - first, self.width))
        some = max(_PANEL // max(self.width, last - first), 1)
        rows, every = (first, last), (0, self.width)
        with np.errstate(over="ignore", invalid="ignore"):
            for k in range(0, self.rank, some):
                ranks = k, min(k + some, self.rank)
                if self.turned:
                    left, right = self._of_a(ranks, rows).T, self._of_b(every, ranks).T
                else:
                    left, right = self._of_b(rows, ranks), self._of_a(ranks, every)
                total += left @ right
            total *= self.scale()
            return total.astype(np.float32)

    def _of_a(self, ranks: tuple[int, int], inner: tuple[int, int]) -> Float64:
        return _block(self.a, prod(self.a.shape[1:]), ranks, inner)

    def _of_b(self, outer: tuple[int, int], ranks: tuple[int, int]) -> Float64:
        return _block(self.b, self.rank, outer, ranks)


def _block(tensor: Tensor, width: int, rows: tuple[int, int], cols: tuple[int, int]) -> Float64:
    """Read a rectangle of a tensor seen as a matrix: whole rows at once where these are short."""
    made = np.empty((rows[1] - rows[0], cols[1] - cols[0]))
    some = max(_PANEL // width, 1) if cols[1] - cols[0] > width // 16 else 1
    for row in range(*rows, some):
        stop = min(row + some, rows[1])
        begin = row * width + (cols[0] if some == 1 else 0)
        end = (stop - 1) * width + (cols[1] if some == 1 else width)
        held = tensor.flat(begin, end, np.float64)
        whole = held[None] if some == 1 else held.reshape(-1, width)[:, cols[0] : cols[1]]
        made[row - rows[0] : stop - rows[0]] = whole
    return made
