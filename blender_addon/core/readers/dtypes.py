"""The dtypes of safetensors 0.8: size, and how raw bytes become numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class DType:
    """One dtype of a checkpoint.

    Attributes
    ----------
    name
        As the file spells it.
    bits
        Size of one element; F4 and the F6 types are packed.
    is_float
        Whether it holds real numbers, as weights do.
    storage
        Little-endian numpy dtype of the raw elements; None where the dtype is not decoded.
    decode
        From an array of `storage` to an array of numbers of the same shape, exactly; None where
        `storage` already holds the numbers in a form that numpy casts quickly.
    reason
        Why the dtype is not decoded, or "".
    """

    name: str
    bits: int
    is_float: bool
    storage: np.dtype[Any] | None = None
    decode: Callable[[Array], Array] | None = None
    reason: str = ""

    @property
    def native(self) -> np.dtype[Any]:
        """The numpy dtype that holds each value exactly."""
        if self.name == "BOOL":
            return np.dtype(np.bool_)
        if self.storage is not None and (self.decode is None or self.storage.kind == "f"):
            return self.storage
        return np.dtype(np.float32)


def _float8_table(exponent_bits: int, *, finite: bool) -> NDArray[np.float32]:
    """Return the 256 values of an 8-bit float (OCP 8-bit floating point specification, 2023).

    A `finite` type (E4M3 "fn") gives up infinities: all ones is NaN, the rest are numbers.
    """
    mantissa_bits = 7 - exponent_bits
    code = np.arange(256)
    mantissa = (code & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    exponent = (code & 0x7F) >> mantissa_bits
    bias = (1 << (exponent_bits - 1)) - 1
    value = np.where(
        exponent == 0, np.ldexp(mantissa, 1 - bias), np.ldexp(1 + mantissa, exponent - bias)
    )
    if finite:
        value[(code & 0x7F) == 0x7F] = np.nan
    else:
        special = exponent == (1 << exponent_bits) - 1
        value[special] = np.where(mantissa[special] == 0, np.inf, np.nan)
    return np.copysign(value, np.where(code >= 128, -1.0, 1.0)).astype(np.float32)


def _float8(exponent_bits: int, *, finite: bool) -> Callable[[Array], Array]:
    table = _float8_table(exponent_bits, finite=finite)
    return lambda raw: table.take(raw, mode="wrap")  # no index is out of range: skip the check


def _float16_table() -> NDArray[np.float32]:
    """Return the 65,536 values of F16."""
    with np.errstate(invalid="ignore"):  # some are signalling NaN
        return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


_HALF = _float16_table()


def _float16(raw: Array) -> Array:
    """Look the number up: numpy's own cast takes four times as long."""
    return _HALF.take(raw.view(_U2), mode="wrap")


def _powers_of_two() -> NDArray[np.float32]:
    """Return what the 256 codes of E8M0 stand for (OCP Microscaling Formats 1.0, 5.4.1)."""
    value = np.ldexp(1.0, np.arange(256) - 127)
    value[255] = np.nan
    with np.errstate(all="ignore"):
        return value.astype(np.float32)


_POWERS = _powers_of_two()


def powers_of_two(raw: Array) -> Array:
    """Decode bytes of E8M0: 2^(code − 127), 255 for NaN."""
    return _POWERS.take(raw, mode="wrap")


def _bfloat16(raw: Array) -> Array:
    """BF16 is the upper half of an F32."""
    return np.left_shift(raw, 16, dtype=np.uint32).view(np.float32)


def _plain(name: str, storage: str, *, is_float: bool = False) -> DType:
    dtype = np.dtype(storage)
    return DType(name, dtype.itemsize * 8, is_float, dtype)


def _known(name: str, bits: int, what: str) -> DType:
    return DType(name, bits, is_float=False, reason=f"{name} ({what}) is not decoded")


_U1 = np.dtype("u1")
_U2 = np.dtype("<u2")

DTYPES: dict[str, DType] = {
    dtype.name: dtype
    for dtype in (
        _plain("F64", "<f8", is_float=True),
        _plain("F32", "<f4", is_float=True),
        DType("F16", 16, True, np.dtype("<f2"), _float16),
        DType("BF16", 16, True, _U2, _bfloat16),
        DType("F8_E4M3", 8, True, _U1, _float8(4, finite=True)),
        DType("F8_E5M2", 8, True, _U1, _float8(5, finite=False)),
        _plain("I8", "i1"),
        _plain("I16", "<i2"),
        _plain("I32", "<i4"),
        _plain("I64", "<i8"),
        _plain("U8", "u1"),
        _plain("U16", "<u2"),
        _plain("U32", "<u4"),
        _plain("U64", "<u8"),
        DType("BOOL", 8, False, _U1, lambda raw: raw != 0),
        _known("F4", 4, "packed 4-bit floats whose scales are other tensors"),
        _known("F6_E2M3", 6, "packed 6-bit floats"),
        _known("F6_E3M2", 6, "packed 6-bit floats"),
        _known("F8_E8M0", 8, "powers of two that scale another tensor"),
        _known("F8_E4M3FNUZ", 8, "a variant of F8_E4M3 for AMD hardware"),
        _known("F8_E5M2FNUZ", 8, "a variant of F8_E5M2 for AMD hardware"),
        _known("C64", 64, "complex numbers"),
    )
}
