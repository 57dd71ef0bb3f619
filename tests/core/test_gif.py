"""A GIF of some pictures: what they show, when, in how many colours."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image
from weightwalk.core.errors import OutputError, WeightwalkError
from weightwalk.core.stages import finish
from weightwalk.core.writers.gif import write_gif

RAMP = np.linspace(0, 255, 48).astype(np.uint8)


@pytest.fixture
def pictures(tmp_path):
    """Return a function that saves arrays as PNGs and gives their paths."""

    def save(*arrays):
        paths = [tmp_path / f"{i:04d}.png" for i in range(1, len(arrays) + 1)]
        for path, array in zip(paths, arrays, strict=True):
            Image.fromarray(np.asarray(array, np.uint8)).save(path)
        return paths

    return save


def moving(count, size=(32, 48)):
    """Return pictures of a bright block that moves over a ramp of 48 blues."""
    frames = np.zeros((count, *size, 3), np.uint8)
    frames[..., 2] = RAMP
    for i, frame in enumerate(frames):
        frame[4:9, 3 * i : 3 * i + 7] = 250, 240, 20
    return frames


def read(path):
    """Return a GIF's frames as they are seen, and the hundredths of a second of each."""
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        seen = []
        for i in range(image.n_frames):
            image.seek(i)
            seen.append((np.asarray(image.convert("RGB")), round(image.info["duration"] / 10)))
    return [pixels for pixels, _ in seen], [time for _, time in seen]


def test_few_colors_come_back_as_they_are(pictures, tmp_path):
    frames = moving(8)
    finish(write_gif(tmp_path / "a.gif", pictures(*frames), 0.1))
    seen, times = read(tmp_path / "a.gif")
    assert np.array_equal(seen, frames)
    assert times == [10] * 8


@pytest.mark.skipif(not shutil.which("identify"), reason="no ImageMagick on the path")
def test_another_reader_finds_the_same_frames(pictures, tmp_path):
    finish(write_gif(tmp_path / "a.gif", pictures(*moving(8)), 1 / 24))
    said = subprocess.check_output(
        ["identify", "-format", "%T %wx%h%O %D\n", str(tmp_path / "a.gif")], text=True
    )
    lines = [line.split() for line in said.splitlines()]
    assert [int(line[0]) for line in lines] == [4, 4, 4, 5, 4, 4, 4, 4]
    # After the first one only what changes: what the block leaves and where it comes to.
    assert [line[1] for line in lines] == ["48x32+0+0", *(f"10x5+{3 * i}+4" for i in range(7))]
    assert {line[2] for line in lines} == {"None"}


def test_the_time_of_all_frames_is_right_at_every_speed(pictures, tmp_path):
    paths = pictures(*moving(14))
    for fps in (7, 24, 30, 60, 240):
        finish(write_gif(tmp_path / "a.gif", paths, 1 / fps))
        _, times = read(tmp_path / "a.gif")
        assert sum(times) == round(1400 / fps)
        assert min(times) >= 2
        assert len(times) == 14 if fps <= 50 else len(times) < 14


def test_equal_pictures_become_one_that_is_seen_longer(pictures, tmp_path):
    a, b = moving(2)
    paths = pictures(a, a, a, b, b, a)
    paths[2].unlink()
    paths[2].hardlink_to(paths[1])
    finish(write_gif(tmp_path / "a.gif", paths, [0.1, 0.2, 0.3, 0.4, 700.0, 0.1]))
    seen, times = read(tmp_path / "a.gif")
    # 700.4 seconds are more than one frame can last.
    assert times == [60, 65535, 4505, 10]
    assert np.array_equal(seen, [a, b, b, a])


def test_all_frames_share_one_palette_that_knows_every_frame(pictures, tmp_path):
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(3):  # 3 × 216 colours, each picture in a tint of its own
        base = rng.integers(0, 200, 3)
        steps = np.stack(np.meshgrid(*[np.arange(6) * 10] * 3), axis=-1).reshape(-1, 3)
        frames.append((base + steps).reshape(12, 18, 3).astype(np.uint8))
    path = tmp_path / "a.gif"
    finish(write_gif(path, pictures(*frames), 0.1))
    assert local_palettes(path.read_bytes()) == [False] * 3
    seen, _ = read(path)
    assert len(np.unique(np.concatenate(seen).reshape(-1, 3), axis=0)) > 200
    error = np.abs(np.asarray(seen, float) - frames).mean(axis=(1, 2, 3))
    assert (error < 6).all()


def local_palettes(data):
    """Return of each frame whether it has a palette of its own, by the format's own words."""
    assert data[:6] == b"GIF89a"
    at, found = 13 + (3 << (data[10] & 7) + 1), []
    while data[at : at + 1] != b";":
        if data[at : at + 1] == b"!":
            at += 2
        else:
            assert data[at : at + 1] == b","
            found.append(bool(data[at + 9] & 0x80))
            at += 11
        while data[at]:
            at += 1 + data[at]
        at += 1
    assert at == len(data) - 1
    return found


def test_pictures_that_do_not_make_a_film(pictures, tmp_path):
    gif = tmp_path / "a.gif"
    with pytest.raises(WeightwalkError, match="no pictures"):
        finish(write_gif(gif, [], 0.1))
    small, large = pictures(np.zeros((4, 4, 3)), np.zeros((4, 5, 3)))
    with pytest.raises(WeightwalkError, match=r"0002\.png is not as large as the others"):
        finish(write_gif(gif, [small, large], 0.1))
    large.write_bytes(small.read_bytes()[:45])
    with pytest.raises(WeightwalkError, match=r"cannot read .*0002\.png"):
        finish(write_gif(gif, [small, large], 0.1))
    assert not gif.exists()
    with pytest.raises(OutputError, match="cannot write"):
        finish(write_gif(tmp_path / "nowhere" / "a.gif", [small], 0.1))


def test_stopped_half_way_it_leaves_nothing(pictures, tmp_path):
    work = write_gif(tmp_path / "a.gif", pictures(*moving(6)), 0.1)
    for _ in range(9):
        next(work)
    assert (tmp_path / "a.gif").exists()
    work.close()
    assert not (tmp_path / "a.gif").exists()
