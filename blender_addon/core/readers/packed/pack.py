"""What the packed formats share: the tensors of a pack, and how their numbers are unpacked."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from ..base import Packing, Tensor
from ..datafile import Array
from ..dtypes import DTYPES
from ..values import Raw, Span, Values

Settings = Mapping[str, Any]

_CHUNK = 1 << 20  # bytes read at a time where a part of each row is wanted
_JUMP = 1 << 17  # bytes: shorter rows are read whole, for opening a file takes as long


class RefusedError(ValueError):
    """A pack that cannot be unpacked; the text says why, fit to be shown in the list."""


@dataclass(frozen=True)
class Pack:
    """The tensors that one weight is packed in.

    Attributes
    ----------
    name
        Of the weight, as the model has it.
    parts
        The tensors by the word that tells them apart, such as ``"qweight"`` and ``"scales"``;
        ``"weight"`` is the one that has the weight's own name.
    settings
        The checkpoint's ``quantization_config``, or an empty mapping.
    known
        What was worked out for other packs of the checkpoint, for those of the same shapes.
    """

    name: str
    parts: Mapping[str, Tensor]
    settings: Settings
    known: dict[Hashable, Any] = field(default_factory=dict)

    def need(self, word: str) -> Tensor:
        """Return a part, or raise `RefusedError` where it is missing or holds no numbers.

        Powers of two are numbers here, though nobody wants to see them by themselves.
        """
        part = self.parts.get(word)
        if part is None:
            raise RefusedError(f"packed weights whose {word} is missing")
        if part.reason and part.dtype != "F8_E8M0":
            raise RefusedError(f"packed weights whose {word} cannot be read: {part.reason}")
        return part

    def tensor(
        self,
        numbers: Tensor,
        shape: tuple[int, ...],
        dtype: str,
        values: Values,
        packing: Packing,
    ) -> Tensor:
        """Return the weight that the parts make up, `numbers` the largest of them."""
        sources = numbers.sources
        if any(part.sources != sources for part in self.parts.values()):
            parts = (numbers, *self.parts.values())
            sources = tuple(dict.fromkeys(file for part in parts for file in part.sources))
        nbytes = sum(part.nbytes for part in self.parts.values())
        return Tensor(self.name, shape, dtype, nbytes, values, sources, numbers.config, packing)


def spell(shape: tuple[int, ...]) -> str:
    """Return a shape for people."""
    return "×".join(map(str, shape)) or "scalar"


def number(settings: Settings, *keys: str) -> int | None:
    """Return the first of these settings that is there, a whole number; else None."""
    for key in keys:
        value = settings.get(key)
        if type(value) is int:
            return value
        if value is not None:
            raise RefusedError(f"packed weights whose setting {key} is not a whole number")
    return None


@lru_cache(maxsize=256)
def grouped(method: str, bits: float, size: int) -> Packing:
    """Return the packing whose scales are each for `size` numbers of a row."""
    return Packing(method, bits, size, str(size))


@lru_cache(maxsize=256)
def shared(method: str, bits: float, group: str) -> Packing:
    """Return the packing whose scales are for a "tensor", a "channel" or a block."""
    return Packing(method, bits, 0, group)


# --- reading parts ------------------------------------------------------------------------------


def entries(values: Values, start: int, stop: int, dtype: Any = None) -> Array:
    """Return the numbers ``[start, stop)``, in their own dtype unset."""
    out: Array = np.empty(stop - start, values.native if dtype is None else dtype)
    if len(out):
        values.fill(out, start)
    return out


def everything(tensor: Tensor, dtype: Any = None) -> Array:
    """Return all of a small tensor."""
    return entries(tensor.values, 0, tensor.size, dtype).reshape(tensor.shape)


def columns(
    values: Values, width: int, rows: tuple[int, int], cols: tuple[int, int], dtype: Any = None
) -> Array:
    """Return a rectangle of a matrix, of so many columns, that lies row by row.

    Reads whole rows, a MiB at a time, or, where they are long, only the piece of each.
    """
    dtype = np.dtype(values.native if dtype is None else dtype)
    (top, bottom), (left, right) = rows, cols
    out: Array = np.empty((bottom - top, right - left), dtype)
    if (left, right) == (0, width):
        values.fill(out.reshape(-1), top * width)
    elif width * dtype.itemsize > _JUMP:
        for row in range(bottom - top):
            values.fill(out[row], (top + row) * width + left)
    else:
        step = max(_CHUNK // max(width * dtype.itemsize, 1), 1)
        for row in range(top, bottom, step):
            last = min(row + step, bottom)
            block = entries(values, row * width, last * width, dtype).reshape(-1, width)
            out[row - top : last - top] = block[:, left:right]
    return out


def raw_bytes(tensor: Tensor) -> Values:
    """Return a tensor's bytes as they lie in its file, whatever dtype it says it has."""
    values = tensor.values
    if isinstance(values, Raw):
        size = values.size * values.dtype.bits // 8
        return Raw(values.data, values.offset, size, DTYPES["U8"])
    if values.native.itemsize == 1:
        return values
    raise RefusedError("packed weights whose bytes do not lie one after the other")


def all_spans(*tensors: Tensor | None) -> Iterator[Span]:
    """Yield the bytes of whole tensors."""
    for tensor in tensors:
        if tensor is not None:
            yield from tensor.values.spans(0, tensor.size)


# --- unpacking ----------------------------------------------------------------------------------


def unpack(packed: Array, bits: int) -> Array:
    """Unpack whole numbers that lie in bytes without gaps, the lowest bits first.

    Parameters
    ----------
    packed : ndarray of uint8, shape (rows, bytes)
        Bytes in a multiple of the few that hold whole numbers: 3 for 3 and for 6 bits, 5 for 5.
    bits : int
        From 1 to 8.

    Returns
    -------
    ndarray of uint8, shape (rows, bytes * 8 // bits)
    """
    if bits == 8:
        return packed
    together = bits if 8 % bits else 1  # bytes that hold whole numbers
    together = 3 if bits == 6 else together
    count = together * 8 // bits
    words = packed
    if together > 1:
        pieces = packed.reshape(len(packed), -1, together)
        words = np.zeros(pieces.shape[:2], np.uint64)
        for at in range(together):
            words |= pieces[:, :, at].astype(np.uint64) << np.uint64(8 * at)
    out: Array = np.empty((*words.shape, count), np.uint8)
    for at in range(count):
        out[:, :, at] = (words >> words.dtype.type(bits * at)) & words.dtype.type((1 << bits) - 1)
    return out.reshape(len(packed), -1)


def _pairs(codes: Array, *, high_first: bool = False) -> Array:
    """Return, for each byte, the two numbers that its halves stand for: shape (256, 2)."""
    byte = np.arange(256)
    halves = np.stack((byte & 15, byte >> 4), axis=1)
    return np.ascontiguousarray(codes[halves[:, ::-1] if high_first else halves])


# The 16 numbers of E2M1: sign, two bits of exponent with bias 1, one of mantissa (OCP
# Microscaling Formats specification 1.0, 5.3.3).
_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
_E2M1_PAIRS = _pairs(_E2M1)


def pairs_of(codes: Array) -> Array:
    """Return the table of two numbers a byte, the high half first, of 16 numbers."""
    return _pairs(codes, high_first=True)


def look_up(packed: Array, pairs: Array) -> Array:
    """Replace each byte by its two numbers of a table (256, 2): float32, twice the last axis."""
    both = pairs.view(np.uint64).reshape(256)  # one look-up for two float32
    return both.take(packed, mode="wrap").view(np.float32)


def e2m1(packed: Array) -> Array:
    """Decode two E2M1 a byte, the low half first: float32, twice the last axis."""
    return look_up(packed, _E2M1_PAIRS)
