"""MXFP4 experts of gpt-oss: ``…_blocks`` of bytes and ``…_scales``, for all experts in one.

Blocks have the shape (expert, out, in/32, 16), scales (expert, out, in/32). The model computes with
(expert, in, out), as its BF16 checkpoints have it, so each expert is turned. The file of the
reference implementation (``….blocks``, ``….scales``) is not: there the weight is (expert, out, in).
What a number is, `microscaling` tells.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..base import Tensor
from ..datafile import Array
from ..dtypes import powers_of_two
from ..values import Panels, Span
from .microscaling import MX_GROUP, POWERS_OF_TWO
from .pack import Pack, RefusedError, columns, e2m1, grouped, raw_bytes, spell
from .scaled import Blocks, Coded, Grid, Scaled, as_matrix, check_width


def unpack(pack: Pack, *, turned: bool) -> Tensor:
    """Return the experts of a role.

    Parameters
    ----------
    pack : Pack
    turned : bool
        Whether the model has (expert, in, out).

    Raises
    ------
    RefusedError
    """
    blocks, scales = pack.need("blocks"), pack.need("scales")
    *before, groups, nbytes = blocks.shape if len(blocks.shape) > 2 else (0, 0, 0)
    fits = len(before) == (2 if turned else len(before)) and nbytes * 2 == MX_GROUP
    if not fits or scales.shape != (*before, groups):
        what = f"blocks {spell(blocks.shape)} with scales {spell(scales.shape)}"
        raise RefusedError(f"{what}, which is not one for {MX_GROUP} numbers")
    if blocks.dtype != "U8" or scales.dtype not in POWERS_OF_TWO:
        raise RefusedError(f"blocks of {blocks.dtype} with scales of {scales.dtype}")
    packing = grouped("MXFP4", 4, MX_GROUP)
    if turned:
        experts, out = before
        shape: tuple[int, ...] = (experts, groups * MX_GROUP, out)
        values: Panels = Turned(blocks, scales)
    else:
        shape = (*before, groups * MX_GROUP)
        rows, width = as_matrix(shape)
        codes = Coded(raw_bytes(blocks), width // 2, e2m1)
        by = Coded(raw_bytes(scales), groups, powers_of_two)
        blocks_of = Blocks(rows, groups, max(rows, 1), (1, MX_GROUP))
        values = Scaled((rows, width), codes, Grid(by, blocks_of))
    return pack.tensor(blocks, shape, "MXFP4", values, packing)


class Turned(Panels):
    """Experts (in, out) whose numbers lie as (out, in).

    Parameters
    ----------
    blocks, scales : Tensor
        (expert, out, groups, bytes) and (expert, out, groups).
    """

    def __init__(self, blocks: Tensor, scales: Tensor) -> None:
        experts, out, groups = scales.shape
        self.inputs = groups * MX_GROUP
        check_width(out)
        check_width(self.inputs)
        super().__init__(experts * self.inputs, out, across=True)
        self._bytes, self._powers = raw_bytes(blocks), raw_bytes(scales)

    def panel(self, first: int, last: int) -> Array:
        """Unpack rows, which are columns in the file, expert after expert."""
        made = np.empty((last - first, self.width), np.float32)
        row = first
        while row < last:
            expert, begin = divmod(row, self.inputs)
            end = min(begin + last - row, self.inputs)
            made[row - first : row - first + end - begin] = self._columns(expert, begin, end).T
            row += end - begin
        return made

    def _columns(self, expert: int, begin: int, end: int) -> Array:
        """Return input columns of an expert: float32 (out, end - begin)."""
        groups = self.inputs // MX_GROUP
        left, right = begin // MX_GROUP, -(-end // MX_GROUP)
        rows = expert * self.width, (expert + 1) * self.width
        half = MX_GROUP // 2
        packed = columns(self._bytes, groups * half, rows, (left * half, right * half))
        powers = powers_of_two(columns(self._powers, groups, rows, (left, right)))
        numbers = e2m1(packed).reshape(self.width, right - left, MX_GROUP)
        with np.errstate(all="ignore"):
            numbers *= powers[:, :, None]
        skipped = left * MX_GROUP
        return numbers.reshape(self.width, -1)[:, begin - skipped : end - skipped]

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield the bytes of the experts that are touched."""
        if start >= stop or not self.inputs * self.width:
            return
        each = self.inputs * self.width
        first, last = start // each, -(-stop // each)
        yield from self._bytes.spans(first * each // 2, last * each // 2)
        groups = each // MX_GROUP
        yield from self._powers.spans(first * groups, last * groups)
