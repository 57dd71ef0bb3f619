"""Pictures → an MP4, in a process of its own, so that it can be stopped at any moment."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import bpy

from ..core.errors import MissingDependencyError, OutputError, WeightwalkError
from ..core.stages import Ticks
from . import compat, movie_child
from .child import last_words, run

CHILD = Path(movie_child.__file__)


def check() -> None:
    """Raise `MissingDependencyError` where this Blender cannot write movies."""
    if not bpy.app.build_options.codec_ffmpeg:
        raise MissingDependencyError(
            "this Blender was built without FFmpeg, which MP4 needs; choose GIF, or another Blender"
        )


def movie_steps(pictures: Sequence[Path], path: Path, fps: int) -> Ticks[None]:
    """Write pictures as an MP4: H.264, which every browser plays, in the colours that they have.

    H.264 is packed here with half the resolution for colour, so its width and height are even: of
    a picture with an odd one, the last column or the top row is cut off.

    Parameters
    ----------
    pictures : sequence of Path
        PNGs of one size in one folder, one a frame.
    path : Path
        Replaced when the movie is complete. Closed before that, the generator leaves nothing.
    fps : int
        Frames a second.

    Raises
    ------
    MissingDependencyError
        This Blender has no FFmpeg.
    OutputError
        The file cannot be written, as on a full disk.
    WeightwalkError
        Blender could not make the movie; the message has its last words.
    """
    check()
    try:
        with TemporaryDirectory(prefix=".movie-", dir=path.absolute().parent) as room:
            movie = Path(room) / "movie.mp4"
            job = {
                "pictures": [str(picture.absolute()) for picture in pictures],
                "choices": _choices(movie, fps),
            }
            status, said = yield from run(CHILD, job, Path(room))
            if status or not movie.exists():
                raise WeightwalkError(f"{path.name}: Blender could not make it: {last_words(said)}")
            if not _complete(movie):
                raise OutputError(f"cannot write {path}: the disk took only a part of it")
            movie.replace(path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _choices(movie: Path, fps: int) -> list[tuple[str, str, object]]:
    """Return (path of the owner from the scene, property, value) in the order to set them."""
    named = [
        *compat.MOVIE_ONLY,
        ("render.ffmpeg.format", "MPEG4"),
        ("render.ffmpeg.codec", "H264"),
        ("render.ffmpeg.audio_codec", "NONE"),
        # Text and dots of a pixel do not stand more loss.
        ("render.ffmpeg.constant_rate_factor", "PERC_LOSSLESS"),
        ("render.ffmpeg.ffmpeg_preset", "GOOD"),
        ("render.image_settings.color_mode", "RGB"),
        ("render.fps", fps),
        ("render.fps_base", 1.0),
        ("render.resolution_percentage", 100),
        ("render.filepath", str(movie)),
        ("render.use_file_extension", False),
        ("render.use_sequencer", True),
        ("render.dither_intensity", 0.0),
        ("sequencer_colorspace_settings.name", "sRGB"),
        ("view_settings.view_transform", "Standard"),
        ("view_settings.look", "None"),
    ]
    return [(*path.rpartition(".")[::2], value) for path, value in named]


def _complete(movie: Path) -> bool:
    """Return whether a file's boxes end where it ends, and its table of contents is among them.

    Source: ISO/IEC 14496-12, 4.2.
    """
    names = set()
    with movie.open("rb") as stream:
        end = stream.seek(0, 2)
        at = 0
        while at + 8 <= end:
            stream.seek(at)
            size, name = struct.unpack(">I4s", stream.read(8))
            if size == 1:
                (size,) = struct.unpack(">Q", stream.read(8))
            names.add(name)
            at += size if size >= 8 else end
    return at == end and b"moov" in names
