"""The GGML types: how large their blocks are, and their numbers by the gguf package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from ..errors import MissingDependencyError
from .base import Packing
from .datafile import Array, DataFile
from .values import Raw, Span, Values

_CHUNK = 1 << 17  # numbers made at a time


@dataclass(frozen=True)
class GgmlType:
    """One type of a tensor in a GGUF file.

    Attributes
    ----------
    number
        In the file.
    name
        As llama.cpp spells it.
    elements
        Numbers in a block, which lie in one row.
    nbytes
        Of a block, scales included.
    """

    number: int
    name: str
    elements: int
    nbytes: int

    @property
    def packing(self) -> Packing | None:
        """How its numbers are packed: bits of a block by its numbers, so with their scales."""
        if self.elements == 1:
            return None
        bits = self.nbytes * 8 / self.elements
        return Packing(self.name, bits, self.elements, str(self.elements))

    @property
    def reason(self) -> str:
        """Why the installed gguf package cannot make its numbers, or "" (also without it)."""
        return _reason(self.number, self.name, self.nbytes)


# Numbers and names: enum ggml_type of ggml.h; sizes: the blocks of ggml-common.h. What is left out
# is of no file (Q8_1, Q8_K) or was taken out of the format (4, 5, 31 to 33, 36 to 38).
TYPES: dict[int, GgmlType] = {
    number: GgmlType(number, name, elements, nbytes)
    for number, name, elements, nbytes in (
        (0, "F32", 1, 4),
        (1, "F16", 1, 2),
        (2, "Q4_0", 32, 18),
        (3, "Q4_1", 32, 20),
        (6, "Q5_0", 32, 22),
        (7, "Q5_1", 32, 24),
        (8, "Q8_0", 32, 34),
        (10, "Q2_K", 256, 84),
        (11, "Q3_K", 256, 110),
        (12, "Q4_K", 256, 144),
        (13, "Q5_K", 256, 176),
        (14, "Q6_K", 256, 210),
        (16, "IQ2_XXS", 256, 66),
        (17, "IQ2_XS", 256, 74),
        (18, "IQ3_XXS", 256, 98),
        (19, "IQ1_S", 256, 50),
        (20, "IQ4_NL", 32, 18),
        (21, "IQ3_S", 256, 110),
        (22, "IQ2_S", 256, 82),
        (23, "IQ4_XS", 256, 136),
        (24, "I8", 1, 1),
        (25, "I16", 1, 2),
        (26, "I32", 1, 4),
        (27, "I64", 1, 8),
        (28, "F64", 1, 8),
        (29, "IQ1_M", 256, 56),
        (30, "BF16", 1, 2),
        (34, "TQ1_0", 256, 54),
        (35, "TQ2_0", 256, 66),
        (39, "MXFP4", 32, 17),
        (40, "NVFP4", 64, 36),
        (41, "Q1_0", 128, 18),
    )
}


class Blocks(Values):
    """Numbers in blocks of a GGML type, made by the gguf package a few blocks at a time.

    The package computes in float32; its numbers are given as they are.

    Parameters
    ----------
    data : DataFile
    offset : int
        Of the first byte.
    size : int
        Number of elements, whole blocks.
    kind : GgmlType
    scales : Raw or None
        F32 numbers that these are multiplied with, in float32: one, or one for each of as many
        equal parts.
    """

    def __init__(
        self, data: DataFile, offset: int, size: int, kind: GgmlType, scales: Raw | None = None
    ) -> None:
        self.data, self.offset, self.size, self.kind = data, offset, size, kind
        self.scales = scales
        self.reason = kind.reason

    def scaled(self, scales: Raw) -> Blocks:
        """Return the same numbers, multiplied."""
        return Blocks(self.data, self.offset, self.size, self.kind, scales)

    def fill(self, out: Array, start: int) -> None:
        """Read the blocks around each number and keep what was asked for.

        Raises
        ------
        MissingDependencyError
            The gguf package is not installed.
        """
        decode = self._decoder(start)
        first, skip = divmod(start, self.kind.elements)
        begin = self.offset + first * self.kind.nbytes
        end = self.offset + self.size // self.kind.elements * self.kind.nbytes
        self.data.read_into(begin, self._blocks(out, skip, decode), end)

    def _blocks(self, out: Array, skip: int, decode: Callable[[Array], Array]) -> Iterator[Array]:
        """Give the arrays to fill with blocks; turn each into numbers of `out` afterwards."""
        elements, nbytes = self.kind.elements, self.kind.nbytes
        left = -(-(skip + len(out)) // elements) if len(out) else 0
        buffer = np.empty(min(left, _CHUNK // elements) * nbytes, np.uint8)
        done = 0
        while left:
            count = min(left, _CHUNK // elements)
            raw = buffer[: count * nbytes]
            yield raw
            # Scales of a bad file may be infinite or not a number; that is then what it holds.
            with np.errstate(over="ignore", invalid="ignore"):
                numbers = decode(raw)[skip : skip + len(out) - done]
                out[done : done + len(numbers)] = numbers
            done, left, skip = done + len(numbers), left - count, 0

    def _decoder(self, start: int) -> Callable[[Array], Array]:
        """Return what turns one run of whole blocks after the other into numbers."""
        dequantize = _dequantizer(self.kind.number)
        if self.scales is None:
            return dequantize
        scales: Array = np.empty(self.scales.size, np.float32)
        self.scales.fill(scales, 0)
        each = self.size // len(scales)
        position = start - start % self.kind.elements

        def decode(raw: Array) -> Array:
            nonlocal position
            numbers = dequantize(raw)
            part = np.arange(position, position + len(numbers)) // each
            position += len(numbers)
            product: Array = numbers * scales[part]
            return product

        return decode

    def spans(self, start: int, stop: int) -> Iterator[Span]:
        """Yield the one run of whole blocks."""
        first, last = start // self.kind.elements, -(-stop // self.kind.elements)
        begin, end = (self.offset + n * self.kind.nbytes for n in (first, last))
        yield Span(self.data, begin, end)


def _dequantizer(number: int) -> Callable[[Array], Array]:
    """Return the function that makes float32 numbers of whole blocks, both 1-D."""
    try:
        from gguf import quants
        from gguf.constants import GGMLQuantizationType
    except ImportError:
        what = "to read these packed numbers takes the package gguf"
        raise MissingDependencyError(f"{what}: pip install 'weightwalk[gguf]'") from None
    kind = GGMLQuantizationType(number)

    def dequantize(raw: Array) -> Array:
        # One long row: the package goes through an array 16 rows at a time.
        numbers: Array = quants.dequantize(raw.reshape(1, -1), kind)
        return numbers.reshape(-1)

    return dequantize


@cache
def _reason(number: int, name: str, nbytes: int) -> str:
    try:
        _dequantizer(number)(np.zeros(nbytes, np.uint8))
    except MissingDependencyError:
        return ""  # said when the numbers are asked for, so that a file can be listed without it
    except (NotImplementedError, ValueError):  # older than the type
        from importlib.metadata import version

        return f"{name} is not decoded by the package gguf {version('gguf')}"
    return ""
