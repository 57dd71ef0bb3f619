"""All experts of a layer in one tensor → one matrix each, (out, in), read like a tensor.

So a model whose file has a tensor for each expert and one whose file has them fused give the same
fields, whatever the order in which the fused one keeps rows, columns, gate and up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from math import prod

import numpy as np

from .change import Change
from .expert_layout import FusedLayout
from .readers import Tensor
from .readers.base import Within
from .readers.datafile import Array
from .readers.values import Panels, Span, Values

MOST = 1 << 14  # experts of a layer; the largest models have 2048
_BLOCK = 1 << 18  # entries of the file that are read at a time


class ExpertValues(Panels):
    """Numbers of a matrix that lies in a larger tensor, in whichever order.

    Rows that follow one another in the file are read as they lie. Else they are gathered a panel
    at a time.

    Parameters
    ----------
    source : Values
        Of the larger tensor.
    within : Within
    shape : tuple of int
        Rows and columns of the matrix.
    """

    def __init__(self, source: Values, within: Within, shape: tuple[int, int]) -> None:
        super().__init__(*shape, across=within.col_stride > within.row_stride)
        self.source = source
        self.offset, self.strides = within.offset, (within.row_stride, within.col_stride)
        self.is_float, self.reason, self.native = source.is_float, source.reason, source.native
        self._plain = self.strides == (self.width, 1)

    def fill(self, out: Array, start: int) -> None:
        """Read the numbers as they lie, or from panels; a single one is looked up."""
        if self._plain:
            self.source.fill(out, self.offset + start)
        elif len(out) == 1:
            self.source.fill(out, self._at(start))
        else:
            super().fill(out, start)

    def _at(self, entry: int) -> int:
        row, col = divmod(entry, self.width)
        return self.offset + row * self.strides[0] + col * self.strides[1]

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield the bytes from the first to the last entry of the rows asked for."""
        if self._plain:
            yield from self.source.spans(self.offset + start, self.offset + stop)
        elif start < stop:
            first, last = start // self.width, (stop - 1) // self.width
            begin, end = self._at(first * self.width), self._at((last + 1) * self.width - 1)
            yield from self.source.spans(begin, end + 1)

    def panel(self, first: int, last: int) -> Array:
        """Gather rows, walking through the file from front to back."""
        exact = np.float64 if self.native == np.float64 else np.float32
        made: Array = np.empty((last - first, self.width), exact)
        # The axis that is slow in the file comes first, as lines of `length` entries each.
        turned = self.strides[1] > self.strides[0]
        lines = made.T if turned else made
        apart, step = self.strides[::-1] if turned else self.strides
        begin = self.offset + first * self.strides[0]
        length = (lines.shape[1] - 1) * step + 1
        some = max(_BLOCK // apart, 1)
        for at in range(0, len(lines), some):
            count = min(some, len(lines) - at)
            held = np.empty((count - 1) * apart + length, exact)
            self.source.fill(held, begin + at * apart)
            item = held.itemsize
            lines[at : at + count] = np.lib.stride_tricks.as_strided(
                held, (count, lines.shape[1]), (apart * item, step * item)
            )
        return made


def experts_of(tensor: Tensor) -> Iterator[Tensor]:
    """Yield the matrices that a tensor with all experts of a layer is made of.

    Parameters
    ----------
    tensor
        One whose ``names.fused_experts`` is set.

    Yields
    ------
    Tensor
        Each of shape (out, in), by role and then by expert, named as numpy would cut it out of the
        tensor: ``"….gate_up_proj[3, :, ::2].T"``. Where the layout is not known, an expert's matrix
        is as the file has it.
    """
    if isinstance(tensor, Change):
        plain = Tensor(**{f.name: getattr(tensor, f.name) for f in fields(Tensor)})
        both = zip(experts_of(plain), experts_of(tensor.reference), strict=True)
        yield from (Change.of(expert, reference) for expert, reference in both)
        return
    names = tensor.names
    layout = names.fused_layout
    if layout is None:
        if len(tensor.shape) != 3:
            return
        role = names.role
        layout = FusedLayout(
            tensor.shape[0], tensor.shape[1:], False, {role: slice(0, tensor.shape[1], 1)}
        )
    for role, outs in layout.parts.items():
        for expert in range(layout.experts if 0 not in tensor.shape else 0):
            yield _cut(tensor, layout, role, outs, expert)


def _cut(tensor: Tensor, layout: FusedLayout, role: str, outs: slice, expert: int) -> Tensor:
    rows, cols = layout.shape
    strides = (outs.step, cols) if layout.transposed else (outs.step * cols, 1)
    offset = expert * rows * cols + outs.start * (1 if layout.transposed else cols)
    shape = len(range(outs.start, outs.stop, outs.step)), rows if layout.transposed else cols
    names = replace(
        tensor.names, role=role, expert=expert, heads=None, fused_experts=False, fused_layout=None
    )
    within = Within(tensor.name, tensor.shape, offset, *strides, names)
    name = tensor.name + _index(tensor, layout, outs, expert)
    nbytes = tensor.nbytes * prod(shape) // max(prod(tensor.shape), 1)
    values = ExpertValues(tensor.values, within, shape)
    return replace(tensor, name=name, shape=shape, nbytes=nbytes, values=values, within=within)


def _index(tensor: Tensor, layout: FusedLayout, outs: slice, expert: int) -> str:
    """Return how numpy would cut an expert's matrix out of the tensor."""
    rows, cols = layout.shape
    said = f"{expert * rows}:{(expert + 1) * rows}" if len(tensor.shape) == 2 else str(expert)
    begin = str(outs.start or "")
    end = str(outs.stop) if outs.stop < (cols if layout.transposed else rows) else ""
    if outs.step > 1:
        said += ", :" * layout.transposed + f", {begin}::{outs.step}"
    elif begin or end:
        said += ", :" * layout.transposed + f", {begin}:{end}"
    return f"[{said}]" + ".T" * layout.transposed


def find(tensors: Mapping[str, Tensor], name: str) -> Tensor | None:
    """Return the tensor of a name, be it that of an expert's matrix within one, or None."""
    if name in tensors:
        return tensors[name]
    tensor = tensors.get(name.rpartition("[")[0])
    if tensor is None or not tensor.names.fused_experts:
        return None
    return next((expert for expert in experts_of(tensor) if expert.name == name), None)
