"""Pictures → an animated GIF with one palette for all of them.

Pillow reads the pictures and packs the pixels (LZW). The file around these is written here, so that
one picture after the other is in memory, no frame has colours of its own, and pixels that stay as
they are cost next to nothing. Source: CompuServe, "Graphics Interchange Format, Version 89a", 1990.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import OutputError, WeightwalkError
from ..images import pillow
from ..stages import Ticks
from .palette import Census, Nearest

UInt8 = npt.NDArray[np.uint8]

COLORS = 255
# Beside the colours: the pixel is as it was in the frame before.
UNCHANGED = 255
# The palette is made from so many pictures, spread over all.
SAMPLES = 64
# In hundredths of a second. Browsers show for a tenth of a second what is shorter.
SHORTEST, LONGEST = 2, 65_535
# Of the sides of a GIF, in pixels.
LARGEST = 65_535


def write_gif(
    path: Path,
    pictures: Sequence[Path],
    seconds: Sequence[float] | float,
    palette: UInt8 | None = None,
) -> Ticks[None]:
    """Write pictures as a GIF that plays forever.

    GIF counts in hundredths of a second, so at 24 frames a second some last 4 of them and some 5:
    every picture begins within half of one from when it should. Equal pictures in a row become one
    that is seen longer; where pictures are shorter than two hundredths, some are left out.

    Parameters
    ----------
    path : Path
    pictures : sequence of Path
        All of one size.
    seconds : sequence of float or float
        How long each is seen.
    palette : ndarray of uint8, shape (at most 255, 3), or None
        The colours; None finds them in the pictures.

    Yields
    ------
    int
        0, after each picture that was read.

    Raises
    ------
    MissingDependencyError
        Pillow is not installed.
    WeightwalkError
        A picture cannot be read, has another size than the first, or one too large for a GIF.
    OutputError
        The file cannot be written; what there is of it is removed.
    """
    images = pillow()
    if not pictures:
        raise WeightwalkError("there are no pictures to make a GIF of")
    each = np.broadcast_to(np.asarray(seconds, np.float64), len(pictures)).tolist()
    if palette is None:
        palette = yield from _palette_steps(images, pictures)
    try:
        with path.open("wb") as out:
            yield from _write(out.write, images, _Reel(images, pictures, each, palette), palette)
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutputError(f"cannot write {path}: {error.strerror}") from error
        raise


def _palette_steps(images: Any, pictures: Sequence[Path]) -> Ticks[UInt8]:
    census = Census()
    for i in np.unique(np.linspace(0, len(pictures) - 1, SAMPLES).round().astype(int)):
        census.add(_pixels(images, pictures[i]))
        yield 0
    return census.palette(images, COLORS)


def _write(write: Any, images: Any, reel: _Reel, palette: UInt8) -> Ticks[None]:
    """Write a GIF: its head, a block for each picture that is seen, its end."""
    before: UInt8 | None = None
    for now, hundredths in reel.play():
        if now is not None:
            if before is None:
                write(_head(now, palette))
            write(_frame(images, before, now, hundredths))
            before = now
        yield 0
    write(b";")


class _Reel:
    """Pictures in a row, and how long each is seen."""

    def __init__(
        self, images: Any, pictures: Sequence[Path], seconds: list[float], palette: UInt8
    ) -> None:
        self._images, self._pictures, self._seconds = images, pictures, seconds
        self._nearest = Nearest(palette)

    def play(self) -> Iterator[tuple[UInt8 | None, int]]:
        """Give what is seen and for how many hundredths of a second, and nothing meanwhile."""
        ends = [round(100.0 * end) for end in accumulate(self._seconds)]
        last = self._pictures[0]
        seen, since = self._indices(last), 0
        for picture, begin in zip(self._pictures[1:], ends, strict=False):
            yield None, 0
            short = min(begin - since, ends[-1] - begin) < SHORTEST
            if short or picture.samefile(last):
                continue
            last, now = picture, self._indices(picture)
            if now.shape != seen.shape:
                raise WeightwalkError(f"{picture.name} is not as large as the others")
            if not np.array_equal(now, seen):
                yield seen, begin - since
                seen, since = now, begin
        yield seen, max(ends[-1] - since, SHORTEST)

    def _indices(self, picture: Path) -> UInt8:
        return self._nearest.indices(_pixels(self._images, picture))


def _pixels(images: Any, picture: Path) -> UInt8:
    """Return a picture's pixels, shape (height, width, 3)."""
    try:
        with images.open(picture) as image:
            if max(image.size) > LARGEST:
                raise WeightwalkError(f"a GIF has at most {LARGEST} pixels from side to side")
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise WeightwalkError(f"cannot read {picture}: {error.strerror or error}") from error


def _head(cells: UInt8, palette: UInt8) -> bytes:
    """Return the size, the palette of all frames (256 colours), and that it plays forever."""
    height, width = cells.shape
    table = palette.tobytes().ljust(768, b"\0")
    forever = b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", 0, 0)
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF7, 0, 0) + table + forever


def _frame(images: Any, before: UInt8 | None, now: UInt8, hundredths: int) -> bytes:
    """Return the smallest rectangle that holds all that changes, for as long as it is seen."""
    top = left = 0
    if before is not None:
        other = now != before
        rows, cols = (np.flatnonzero(other.any(axis)) for axis in (1, 0))
        top, left = int(rows[0]), int(cols[0])
        window = np.s_[top : rows[-1] + 1, left : cols[-1] + 1]
        now = np.where(other[window], now[window], UNCHANGED).astype(np.uint8)
    pauses = [min(hundredths, LONGEST)]
    # A time that is too long for one frame goes on with frames that change nothing.
    while sum(pauses) < hundredths:
        pauses.append(min(hundredths - sum(pauses), LONGEST))
    blocks = [_block(images, now, (left, top), pauses[0])]
    nothing = np.full((1, 1), UNCHANGED, np.uint8)
    return b"".join(blocks + [_block(images, nothing, (0, 0), pause) for pause in pauses[1:]])


def _block(images: Any, cells: UInt8, at: tuple[int, int], hundredths: int) -> bytes:
    height, width = cells.shape
    # Disposal 1, leave it there; bit 0, there is a transparent index.
    control = b"!\xf9\x04" + struct.pack("<BHBB", 1 << 2 | 1, hundredths, UNCHANGED, 0)
    place = b"," + struct.pack("<HHHHB", *at, width, height, 0)
    return control + place + _packed(images, cells)


def _packed(images: Any, cells: UInt8) -> bytes:
    """Return indices packed by LZW, in blocks: what Pillow puts after a grey picture's head."""
    buffer = BytesIO()
    # Otherwise it would renumber the indices and mix the rows.
    images.fromarray(cells).save(buffer, "GIF", optimize=False, interlace=0)
    data = buffer.getvalue()
    start = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while data[start : start + 1] == b"!":
        start += 2
        while data[start]:
            start += 1 + data[start]
        start += 1
    start += 10 + (3 << (data[start + 9] & 7) + 1 if data[start + 9] & 0x80 else 0)
    return data[start:-1]
