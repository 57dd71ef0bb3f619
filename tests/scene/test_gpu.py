"""Pictures on a GPU: where there is none that is said, and the CPU does not step in unasked."""

from __future__ import annotations

import sys

import pytest
from weightwalk.core.errors import WeightwalkError
from weightwalk.core.settings import RenderSettings
from weightwalk.core.stages import finish

pytestmark = [
    pytest.mark.bpy,
    pytest.mark.skipif(sys.platform == "darwin", reason="nothing hides a GPU from Metal"),
]


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    """Hide the GPUs that there may be from the processes that look for them."""
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "-1")
    monkeypatch.setenv("ONEAPI_DEVICE_SELECTOR", "opencl:cpu")


@pytest.fixture
def blend(bpy, tmp_path):
    """Return a file that asks for a GPU."""
    from weightwalk.scene.render import configure

    scene = bpy.context.scene
    configure(scene, RenderSettings("cycles", 32, 32, 1, "gpu"))
    scene.camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    scene.collection.objects.link(scene.camera)
    path = tmp_path / "scene.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    return path


@pytest.mark.parametrize(("command", "formats"), [("mesh", "stl,png"), ("animate", "gif")])
def test_without_a_gpu_the_command_says_what_to_do_before_any_work(
    *, checkpoint, tmp_path, capsys, command, formats
):
    from weightwalk.batch.cli import main

    out = ["--out", str(tmp_path / "new" / "out"), "--export", formats]
    # There is no series there: it would be missed next.
    status = main([command, str(checkpoint), *out, "--engine", "cycles", "--device", "gpu"])
    said = capsys.readouterr().err
    assert (status, len(said.splitlines())) == (1, 1)
    assert "finds no GPU" in said
    assert "NVIDIA container toolkit and compose/nvidia.yaml" in said
    assert not list(tmp_path.iterdir())


def test_what_makes_no_picture_needs_no_gpu(checkpoint, tmp_path):
    from weightwalk.batch.cli import main

    given = [str(checkpoint), "--out", str(tmp_path), "--export", "stl", "--layers", "0"]
    # 3: a layer's vector is no matrix.
    assert main(["mesh", *given, "--engine", "cycles", "--device", "gpu"]) in (0, 3)


def test_a_gpu_that_is_gone_when_rendering_begins_is_told(blend, tmp_path):
    from weightwalk.scene.render import frames_steps, render_steps

    with pytest.raises(WeightwalkError, match=r"a\.png: .*there is no GPU that Cycles can use"):
        finish(render_steps(blend, tmp_path / "a.png", "cycles"))
    with pytest.raises(WeightwalkError, match=r"0001\.png: .*there is no GPU that Cycles can use"):
        finish(frames_steps(blend, tmp_path / "frames", [1], "cycles", digest="a"))
    assert {p.name for p in tmp_path.iterdir()} == {"scene.blend"}


def test_for_the_cpu_no_gpu_is_looked_for_whatever_the_scene_says(bpy, blend, tmp_path):
    from weightwalk.scene.render import Changes, choices, render_steps

    # A person's scene may have been set to the GPU: the pictures say for themselves.
    cpu = choices(RenderSettings("cycles", 32, 32, 1))
    changes = Changes(bpy.context.scene.name, "Camera", (), cpu)
    assert finish(render_steps(blend, tmp_path / "a.png", "cycles", changes)) == "cycles"
