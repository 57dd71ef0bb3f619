"""A saved scene to numbered pictures and a movie: what is rendered, what is kept, what is ours."""

from __future__ import annotations

import json
import resource
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from weightwalk.core.errors import OutputError, OutputFolderError, WeightwalkError
from weightwalk.core.stages import finish

pytestmark = pytest.mark.bpy

FRAMES = range(1, 7)


@pytest.fixture
def blend(bpy, tmp_path):
    """Return a file with a red block that moves to the right, a unit a frame, on black."""
    from weightwalk.core.settings import RenderSettings
    from weightwalk.scene.render import configure

    scene = bpy.context.scene
    configure(scene, RenderSettings(width=96, height=54))
    mesh = bpy.data.meshes.new("Block")
    mesh.from_pydata([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)], [], [(0, 1, 2, 3)])
    color = mesh.color_attributes.new("Color", "BYTE_COLOR", "POINT")
    color.data.foreach_set("color_srgb", [1.0, 0.0, 0.0, 1.0] * 4)
    block = bpy.data.objects.new("Block", mesh)
    scene.collection.objects.link(block)
    for frame in FRAMES:
        block.location.x = frame - 1
        block.keyframe_insert("location", frame=frame)
    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.type, camera.data.ortho_scale, camera.location = "ORTHO", 9.6, (3.0, 0.5, 5.0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.display.shading.light = "FLAT"
    path = tmp_path / "moving.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    return path


def frames(blend, folder, wanted=FRAMES, digest="a", **options):
    from weightwalk.scene.render import frames_steps

    return frames_steps(blend, folder, wanted, "workbench", digest=digest, **options)


def columns(picture):
    """Return the columns in which a picture is red."""
    pixels = np.asarray(Image.open(picture))
    assert pixels.shape == (54, 96, 3)
    return np.flatnonzero((pixels[27, :, 0] > 200) & (pixels[27, :, 1] < 60)).tolist()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_each_frame_shows_its_time_and_a_stopped_render_goes_on(blend, tmp_path):
    """10 pixels are a unit, and the camera's left edge is at -1.8."""
    folder, wanted = tmp_path / "deep" / "frames", range(1, 121)
    work = frames(blend, folder, wanted)
    while next(work).done < 2:
        pass
    work.close()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*.png")}
    assert 2 <= len(kept) < 120
    assert names(folder) == [*(f"{i:04d}.png" for i in wanted[: len(kept)]), "frames.json"]
    seen = list(frames(blend, folder, wanted))
    assert (seen[0].done, seen[0].total) == (len(kept), 120)
    assert (seen[-1].done, seen[-1].total, seen[-1].what) == (120, 120, "120 of 120")
    assert any(progress.what.endswith(" s left") for progress in seen)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert names(folder) == [*(f"{i:04d}.png" for i in wanted), "frames.json"]
    for i in FRAMES:
        assert columns(folder / f"{i:04d}.png") == list(range(10 * i + 8, 10 * i + 18))
    # No paths and no dates: equal frames are equal files.
    assert b"moving.blend" not in (folder / "0001.png").read_bytes()


def test_frames_that_look_alike_are_rendered_once(blend, tmp_path):
    same = {1: 1, 2: 1, 3: 1, 5: 4, 6: 5, 4: 9}
    finish(frames(blend, tmp_path / "f", same=same))
    red = {i: columns(tmp_path / "f" / f"{i:04d}.png")[0] for i in FRAMES}
    # 6 is like 5, which has no picture of its own, and 4 like none: both are rendered.
    assert red == {1: 18, 2: 18, 3: 18, 4: 48, 5: 48, 6: 68}


def test_frames_of_another_animation_go_and_other_files_stay(blend, tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "9999.png").write_bytes(b"mine, too")
    finish(frames(blend, folder, range(1, 4)))
    (folder / ".frames-left-by-a-crash").mkdir()
    before = (folder / "0002.png").stat().st_mtime_ns
    finish(frames(blend, folder, range(2, 3), digest="b"))
    assert (folder / "0002.png").stat().st_mtime_ns > before
    assert names(folder) == ["0002.png", "9999.png", "frames.json", "notes.txt"]
    assert json.loads((folder / "frames.json").read_text())["digest"] == "b"
    # One that was cut short by a crash is rendered again.
    whole = (folder / "0002.png").read_bytes()
    (folder / "0002.png").write_bytes(whole[:100])
    finish(frames(blend, folder, range(2, 3), digest="b"))
    assert (folder / "0002.png").read_bytes() == whole


def test_a_picture_that_is_not_ours_is_not_overwritten(blend, tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    mine = folder / "0003.png"
    mine.write_bytes(b"mine")
    with pytest.raises(OutputFolderError, match=r"0003\.png is there already and is no frame"):
        finish(frames(blend, folder))
    for strange in ("{}", "[1]", "no JSON", '{"format": "weightwalk-frames", "version": 2}'):
        (folder / "frames.json").write_text(strange)
        with pytest.raises(OutputFolderError, match=r"frames\.json is not what"):
            finish(frames(blend, folder))
    assert mine.read_bytes() == b"mine"
    assert names(folder) == ["0003.png", "frames.json"]
    with pytest.raises(OutputFolderError, match="cannot write into"):
        finish(frames(blend, blend / "f"))


def test_a_disk_that_takes_only_part_of_a_picture(blend, tmp_path):
    """The kernel cuts files at a size between that of the block and that of noise."""
    folder = tmp_path / "f"
    finish(frames(blend, folder, range(1, 3)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
    try:
        with pytest.raises(OutputError, match=r"0003\.png: the disk .* 2 of 6 frames .* stay"):
            finish(frames(blend, folder))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(folder) == ["0001.png", "0002.png", "frames.json"]
    finish(frames(blend, folder))
    assert len(names(folder)) == 7


def test_a_file_that_blender_cannot_open_leaves_no_folder(tmp_path, bpy):
    (tmp_path / "broken.blend").write_bytes(b"no blend")
    with pytest.raises(WeightwalkError, match=r"0001\.png: Blender could not render the frame: ."):
        finish(frames(tmp_path / "broken.blend", tmp_path / "f"))
    assert names(tmp_path) == ["broken.blend"]


def test_finer_pictures_are_as_good_as_samples(bpy, blend, tmp_path):
    """Frames are the mean of four pixels: as near to that of 64 as Workbench's own 5 samples."""
    from weightwalk.scene.render import render_steps

    scene = bpy.context.scene
    bpy.data.objects["Block"].rotation_euler.z = 0.35
    scene.frame_set(3)
    fine = tmp_path / "fine.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    scene.render.resolution_percentage, scene.display.render_aa = 800, "OFF"
    bpy.ops.wm.save_as_mainfile(filepath=str(fine))
    finish(render_steps(blend, tmp_path / "samples.png", "workbench"))
    finish(render_steps(fine, tmp_path / "fine.png", "workbench"))
    finish(frames(blend, tmp_path, range(3, 4)))
    truth = np.asarray(Image.open(tmp_path / "fine.png").convert("RGB").reduce(8), float)
    errors = {}
    for name in ("samples", "0003"):
        seen = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"), float)
        errors[name] = np.sqrt(((seen - truth) ** 2).mean())
    assert 0 < errors["0003"] <= errors["samples"]


@pytest.fixture
def pictures(tmp_path):
    """Return a function that saves six pictures of eight bars, whose colours move on by one."""
    bars = [(230, 60, 60), (60, 200, 80), (50, 80, 220), (240, 220, 90),
            (120, 40, 160), (17, 19, 22), (255, 255, 255), (0, 0, 0)]  # fmt: skip

    def save(width, height):
        paths = [tmp_path / f"{i:04d}.png" for i in FRAMES]
        for i, path in enumerate(paths):
            colors = np.roll(np.array(bars, np.uint8), -i, axis=0)
            row = colors[np.arange(width) * 8 // width]
            Image.fromarray(np.tile(row, (height, 1, 1))).save(path)
        return paths

    return save


def frame_of(bpy, movie, frame, out):
    """Return a frame of a movie as Blender plays it."""
    from weightwalk.scene import compat
    from weightwalk.scene.render_child import assign

    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    strip = scene.sequence_editor_create().strips.new_movie("m", str(movie), 1, 1)
    assert bpy.data.images.load(str(movie)).frame_duration == 6
    assert strip.fps == pytest.approx(24)
    render = scene.render
    render.resolution_x, render.resolution_y = (
        strip.elements[0].orig_width, strip.elements[0].orig_height
    )  # fmt: skip
    assign(scene, [*compat.PICTURE_ONLY, ("view_settings.view_transform", "Standard")])
    render.filepath, render.dither_intensity = str(out), 0.0
    scene.frame_set(frame)
    bpy.ops.render.render(write_still=True)
    return np.asarray(Image.open(out).convert("RGB"), float)


@pytest.mark.parametrize("size", [(160, 90), (161, 91)])
def test_a_movie_has_the_pictures_and_their_colors(bpy, pictures, tmp_path, size):
    from weightwalk.scene.movie import movie_steps

    paths = pictures(*size)
    finish(movie_steps(paths, tmp_path / "a.mp4", 24))
    assert [p for p in names(tmp_path) if not p.endswith(".png")] == ["a.mp4"]
    seen = frame_of(bpy, tmp_path / "a.mp4", 3, tmp_path / "seen.png")
    # H.264 packs colour in squares of two, so of odd sizes a row and a column are cut off.
    assert seen.shape == (90, 160, 3)
    wanted = np.asarray(Image.open(paths[2]), float)[size[1] - 90 :, :160]
    middles = (np.arange(8) * 2 + 1) * 160 // 16
    assert np.abs(seen[:, middles] - wanted[:, middles]).max() <= 8
    # Pixel on pixel: where one bar ends and the next begins, brightness is that of the picture.
    light = np.array([0.2126, 0.7152, 0.0722])
    assert np.abs((seen - wanted) @ light).max() <= 20


def test_a_movie_that_cannot_be_made_or_is_stopped_leaves_nothing(bpy, pictures, tmp_path):
    from weightwalk.scene.movie import movie_steps

    paths = pictures(160, 90)
    before = names(tmp_path)
    work = movie_steps(paths, tmp_path / "a.mp4", 24)
    next(work)
    work.close()
    assert names(tmp_path) == before
    with pytest.raises(OutputError, match="cannot write"):
        finish(movie_steps(paths, tmp_path / "nowhere" / "a.mp4", 24))


@pytest.mark.blender
def test_a_real_blender_renders_and_films(blender, blend, tmp_path):
    root = Path(__file__).resolve().parents[2]
    script = tmp_path / "script.py"
    script.write_text(f"""
import importlib.util, sys
from pathlib import Path
source = Path({str(root / "blender_addon")!r})
spec = importlib.util.spec_from_file_location(
    "weightwalk", source / "__init__.py", submodule_search_locations=[str(source)])
sys.modules["weightwalk"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from weightwalk.core.stages import finish
from weightwalk.scene.movie import movie_steps
from weightwalk.scene.render import frames_steps
here = Path({str(tmp_path)!r})
finish(frames_steps(Path({str(blend)!r}), here / "f", range(1, 7), "workbench", digest="a"))
finish(movie_steps(sorted((here / "f").glob("*.png")), here / "a.mp4", 24))
""")
    command = [blender, "--background", "--factory-startup", "--python-exit-code", "1"]
    subprocess.run([*command, "--python", str(script)], check=True, timeout=120)
    assert columns(tmp_path / "f" / "0003.png") == list(range(38, 48))
    assert (tmp_path / "a.mp4").read_bytes()[4:8] == b"ftyp"
