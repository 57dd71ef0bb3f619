"""GPTQ: ``qweight``, ``qzeros``, ``scales`` and ``g_idx`` of a linear layer.

Of a weight (out, in), packed in words of 32 bits (AutoGPTQ, GPTQModel):

- ``qweight`` (in · bits / 32, out) holds a column's numbers one after the other, the lowest bits
  first; with 3 bits, 32 numbers fill three words and cross from one to the next;
- ``qzeros`` (groups, out · bits / 32) holds a group's zero points in the same way;
- ``scales`` (groups, out), float;
- ``g_idx`` (in,) is the group of each input; without it, inputs i belong to group i // group_size.

``checkpoint_format`` "gptq", the default, stores each zero point less one, modulo 2^bits;
"gptq_v2" stores it. W[o, i] = scale · (number − zero point): the difference is exact, the product
is rounded to float32 once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...text import printable
from ..base import Tensor
from ..datafile import Array
from ..values import Panels, Span
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
from .scaled import check_width, group_indices, in_blocks

BITS = (2, 3, 4, 8)
_PARTS = ("qweight", "qzeros", "scales", "g_idx")
_OFFSETS = {"gptq": 1, "gptq_v2": 0}


def make(pack: Pack) -> Tensor:
    """Return the weight (out, in).

    Raises
    ------
    RefusedError
    """
    words, zeros, scales = (pack.need(word) for word in _PARTS[:3])
    if not all(len(part.shape) == 2 for part in (words, zeros, scales)):
        raise RefusedError("GPTQ weights whose parts are not matrices")
    if words.dtype != "I32" or zeros.dtype != "I32" or not scales.is_float:
        raise RefusedError("GPTQ weights whose parts are not words of 32 bits with float scales")
    groups, out = scales.shape
    bits = _bits(pack, out)
    inputs = words.shape[0] * 32 // bits
    order = pack.parts.get("g_idx")
    order = order if order is not None and order.size else None
    size = group_size(pack, inputs, groups, "GPTQ weights")
    if (
        words.shape[1] != out
        or zeros.shape != (groups, -(-out * bits // 32))
        or words.shape[0] * 32 % bits
        or zeros.shape[1] * 32 % bits
        or (order is not None and (order.shape != (inputs,) or order.is_float))
    ):
        listed = ", ".join(f"{w} {spell(pack.parts[w].shape)}" for w in _PARTS if w in pack.parts)
        raise RefusedError(f"{bits}-bit GPTQ weights whose parts do not fit together: {listed}")
    check_width(inputs)
    values = Gptq((words, zeros, scales, order), (bits, size), _offset(pack))
    packing = shared("GPTQ", bits, "channel") if groups == 1 else grouped("GPTQ", bits, size)
    return pack.tensor(words, (out, inputs), f"GPTQ{bits}", values, packing)


def _bits(pack: Pack, out: int) -> int:
    """Return the bits of a number: what the settings say, if it fits, else what does."""
    said = number(pack.settings, "bits", "w_bit")
    if said is None:
        raise RefusedError("GPTQ weights, and no quantization_config says with how many bits")
    zeros = pack.parts["qzeros"].shape[1]
    fitting = [bits for bits in BITS if -(-out * bits // 32) == zeros]
    if said in fitting:
        return said
    if pack.settings.get("dynamic") and len(fitting) == 1:  # layers may have bits of their own
        return fitting[0]
    if said not in BITS:
        raise RefusedError(f"{said}-bit GPTQ weights, which are not read")
    raise RefusedError(f"GPTQ weights that are not of {said} bits, as the quantization_config says")


def _offset(pack: Pack) -> int:
    kind = pack.settings.get("checkpoint_format") or pack.settings.get("format") or "gptq"
    if not isinstance(kind, str) or kind not in _OFFSETS:
        raise RefusedError(f"GPTQ weights in the format {printable(kind, 40)}, which is not read")
    return _OFFSETS[kind]


def group_size(pack: Pack, inputs: int, groups: int, what: str) -> int:
    """Return how many inputs share a scale, as settings and shapes agree on it.

    Raises
    ------
    RefusedError
        They do not.
    """
    said = number(pack.settings, "group_size", "q_group_size")
    if said == -1:
        said = max(inputs, 1)
    if said is not None and said > 0 and -(-inputs // said) == groups:
        return said
    if groups and inputs % groups == 0 and (said is None or pack.settings.get("dynamic")):
        return inputs // groups
    raise RefusedError(f"{what} of {inputs} inputs in {groups} groups, settings say {said} in each")


class Gptq(Panels):
    """The rows of W, each a column of the packed numbers.

    Parameters
    ----------
    parts : tuple of Tensor
        ``qweight``, ``qzeros``, ``scales``, and ``g_idx`` or None.
    packing : (int, int)
        Bits of a number, and inputs of a group where there is no ``g_idx``.
    offset : int
        What a zero point is stored less.
    """

    def __init__(
        self,
        parts: tuple[Tensor, Tensor, Tensor, Tensor | None],
        packing: tuple[int, int],
        offset: int,
    ) -> None:
        self.words, self.zeros, self.scales, self.order = parts
        self.bits, self.size = packing
        self.offset = offset
        groups, out = self.scales.shape
        super().__init__(out, self.words.shape[0] * 32 // self.bits, across=True)
        self.groups = groups

    def panel(self, first: int, last: int) -> Array:
        """Unpack rows."""
        words = columns(
            self.words.values, self.rows, (0, self.words.shape[0]), (first, last), np.int32
        )
        made = _unpack_words(words.T, self.bits).astype(np.float32)
        order = self._order()
        with np.errstate(all="ignore"):  # what the file holds may be infinite
            for by, apply in (
                (self._zero_points(first, last), np.subtract),
                (self._scales(first, last), np.multiply),
            ):
                in_blocks(apply, made, by, self.size, order)
        return made

    def _scales(self, first: int, last: int) -> Array:
        values = self.scales.values
        return columns(values, self.rows, (0, self.groups), (first, last), np.float32).T

    def _zero_points(self, first: int, last: int) -> Array:
        """Return the zero points of rows, float32 (last - first, groups)."""
        width = self.zeros.shape[1]
        left = first // 32  # 32 numbers fill as many words as they have bits
        right = min(-(-last // 32) * self.bits, width)
        words = columns(
            self.zeros.values, width, (0, self.groups), (left * self.bits, right), np.int32
        )
        stored = _unpack_words(words, self.bits)[:, first - left * 32 : last - left * 32]
        points = (stored + np.uint8(self.offset)) & np.uint8((1 << self.bits) - 1)
        return points.T.astype(np.float32)

    def _order(self) -> Array | None:
        """Return the group of each input where they do not stand side by side."""
        if self.order is None:
            return None
        order = group_indices(self.order, self.groups)
        in_line = np.arange(self.width) // self.size
        return None if np.array_equal(order, in_line) else order

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield all bytes: a row is a column of the file, one word of each of its rows."""
        if start < stop:
            yield from all_spans(self.words, self.zeros, self.scales, self.order)


def _unpack_words(words: Array, bits: int) -> Array:
    """Unpack rows of words, the lowest bits first: uint8."""
    laid = np.ascontiguousarray(words).astype("<i4", copy=False)
    return unpack(laid.view(np.uint8), bits)
