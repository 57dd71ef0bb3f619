"""MLX: ``weight`` in words of 32 bits, ``scales`` and ``biases``.

``weight`` (out, in · bits / 32) holds a row's numbers one after the other, the lowest bits first,
also across words; ``scales`` and ``biases`` are (out, in / group). W = number · scale + bias, each
step rounded to float32. The settings are the config's ``quantization``, which may have others for
single layers, by their names.
"""

from __future__ import annotations

from ..base import Tensor
from .pack import Pack, RefusedError, grouped, number, raw_bytes, spell
from .scaled import Blocks, Coded, Grid, Plain, Scaled, as_matrix, whole_numbers

_BITS = (2, 3, 4, 5, 6, 8)


def make(pack: Pack) -> Tensor:
    """Return the weight (out, in).

    Raises
    ------
    RefusedError
    """
    words, scales, biases = (pack.need(word) for word in ("weight", "scales", "biases"))
    own = pack.settings.get(pack.name.removesuffix(".weight"))
    settings = own if isinstance(own, dict) else pack.settings
    size, bits = number(settings, "group_size"), number(settings, "bits")
    if size is None or bits is None:
        raise RefusedError("MLX weights, and the config does not say bits and group_size of them")
    if bits not in _BITS or not 0 < size <= 1 << 20:
        raise RefusedError(f"MLX weights of {bits} bits in groups of {size}, which are not read")
    if not scales.is_float or not biases.is_float or scales.shape != biases.shape:
        raise RefusedError("MLX weights whose scales and biases are not floats of one shape")
    *rows_of, groups = scales.shape or (0,)
    shape = (*rows_of, groups * size)
    rows, width = as_matrix(shape)
    if words.shape != (*rows_of, width * bits // 32) or width * bits % 32:
        what = f"words {spell(words.shape)} and scales {spell(scales.shape)}"
        raise RefusedError(f"{bits}-bit MLX weights whose parts do not fit together: {what}")
    blocks = Blocks(rows, groups, max(rows, 1), (1, size))
    grids = (Grid(Plain(part.values, groups), blocks) for part in (scales, biases))
    scale, bias = grids
    numbers = Coded(raw_bytes(words), width * bits // 8, whole_numbers(bits, 0))
    values = Scaled((rows, width), numbers, scale, plus=bias)
    return pack.tensor(words, shape, f"INT{bits}", values, grouped("MLX", bits, size))
