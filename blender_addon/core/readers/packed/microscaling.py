"""Four-bit floats, two a byte, that share a small scale along a row: MXFP4 and NVFP4.

A number is one of the 16 of E2M1, the low half of a byte first.

MXFP4 (OCP Microscaling Formats 1.0): 32 numbers share a power of two, a byte e that stands for
2^(e − 127), 255 for NaN. W = number · 2^(e − 127).

NVFP4: 16 numbers share an E4M3 scale, and all scales one float32. ModelOpt multiplies with its
``weight_scale_2``: W = number · (scale · scale_2). compressed-tensors divides by its
``weight_global_scale``: W = number · (scale / global). All in float32.
"""

from __future__ import annotations

from ..base import Tensor
from ..dtypes import powers_of_two
from .pack import Pack, RefusedError, e2m1, grouped, raw_bytes, spell
from .scaled import Blocks, Coded, Grid, Numbers, Plain, Scaled, as_matrix

MX_GROUP, _NV_GROUP = 32, 16
POWERS_OF_TWO = ("U8", "F8_E8M0")  # the dtypes that they are stored as


def of_bytes(pack: Pack, codes: str, scale: str) -> Tensor:
    """Return the weight of E2M1 numbers, two a byte of its last axis.

    Parameters
    ----------
    pack : Pack
    codes, scale : str
        The words of the two parts.

    Raises
    ------
    RefusedError
    """
    packed, scales = pack.parts[codes], pack.need(scale)
    shape = packed.shape
    if packed.dtype != "F4" and shape:
        shape = (*shape[:-1], shape[-1] * 2)
    rows, width = as_matrix(shape)
    nvidia = scales.dtype == "F8_E4M3"
    if not nvidia and scales.dtype not in POWERS_OF_TWO:
        raise RefusedError(f"bytes with scales of {scales.dtype}, a packing that is not read")
    group = _NV_GROUP if nvidia else MX_GROUP
    wide = -(-width // group)
    if width % 2 or scales.shape != (*shape[:-1], wide):
        what = f"four-bit floats {spell(shape)} with scales {spell(scales.shape)}"
        raise RefusedError(f"{what}, which is not one for {group} numbers")
    word = _of_all(pack) if nvidia else ""
    whole = pack.parts[word].values if word else None
    blocks = Blocks(rows, wide, max(rows, 1), (1, group))
    divide = word == "weight_global_scale"
    grid = Grid(scale_numbers(scales, wide), blocks, whole, divide)
    values = Scaled((rows, width), Coded(raw_bytes(packed), width // 2, e2m1), grid)
    method = "NVFP4" if nvidia else "MXFP4"
    return pack.tensor(packed, shape, method, values, grouped(method, 4, group))


def _of_all(pack: Pack) -> str:
    """Return the word of the scale of all scales."""
    words = ("weight_scale_2", "weight_global_scale")
    word = next((word for word in words if word in pack.parts), words[0])
    whole = pack.need(word)
    if whole.size != 1 or not whole.is_float:
        raise RefusedError(f"packed weights whose {word} is not one number")
    return word


def scale_numbers(scales: Tensor, wide: int) -> Numbers:
    """Return scales as numbers, `wide` a row; bytes are powers of two."""
    if scales.dtype in POWERS_OF_TWO:
        return Coded(raw_bytes(scales), wide, powers_of_two)
    if not scales.is_float:
        raise RefusedError(f"packed weights with scales of {scales.dtype}")
    return Plain(scales.values, wide)
