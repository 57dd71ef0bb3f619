"""The shapes of a training run as arrays, read back by safetensors and jsonschema."""

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import trimesh
from safetensors import safe_open
from safetensors.numpy import load_file
from weightwalk.core.errors import OutputError, OutputFolderError
from weightwalk.core.stages import finish
from weightwalk.core.writers.dataset import check_dataset_folder, write_dataset

from .playing import DOWN, NAMES, UP, Q, animation_of, tensors_of_run

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = json.loads((DOCS / "dataset.schema.json").read_text("utf-8"))


def read(folder):
    """Check index, checksums and dtypes; return the index and each step's surfaces by name."""
    index = json.loads((folder / "index.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator
    validator.check_schema(SCHEMA)
    jsonschema.validate(index, SCHEMA, validator)
    files = index["steps"] + ([index["whole"]] if index["whole"] else [])
    assert {path.name for path in folder.iterdir()} == {"index.json", *(f["file"] for f in files)}
    steps = []
    for entry in files:
        data = (folder / entry["file"]).read_bytes()
        assert len(data) == entry["bytes"]
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        arrays = load_file(folder / entry["file"])
        steps.append({})
        for surface in entry["surfaces"]:
            own = [arrays.pop(f"{surface['key']}.{name}") for name in NAMES_OF_ARRAYS]
            assert hashlib.sha256(b"".join(map(bytes, own))).hexdigest() == surface["sha256"]
            assert [a.dtype.str for a in own] == ["<f4", "<i4", "<f4", "<f4"]
            n, m = surface["vertices"], surface["faces"]
            assert [a.shape for a in own] == [(n, 3), (m, 3), (n, 3), (n,)]
            steps[-1][surface["name"]] = surface, *own
        assert not arrays
    return index, steps


NAMES_OF_ARRAYS = ("vertices", "faces", "normals", "values")


def test_isosurfaces_of_every_step(tmp_path):
    animation = animation_of(tmp_path)
    folder = tmp_path / "new" / "shapes"
    finish(write_dataset(folder, animation))
    index, steps = read(folder)
    assert [step["name"] for step in index["steps"]] == list(NAMES)
    assert [step["number"] for step in index["steps"]] == [100, 200, None, 400, None]
    assert [step["checkpoint"] for step in index["steps"]] == [
        f"checkpoint-{k}.safetensors" for k in range(5)
    ]
    assert index["whole"] is None
    for k, surfaces in enumerate(steps):
        assert sorted(surfaces) == sorted(a.shell.name for a in animation.actors if a.step == k)
        for said, vertices, faces, normals, values in surfaces.values():
            np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
            mesh = trimesh.Trimesh(vertices, faces, process=False)
            assert mesh.is_watertight or said["part"] == "nonfinite"
            assert mesh.volume > 0
            assert (np.einsum("ni,ni->n", mesh.vertex_normals, normals) > 0.5).mean() > 0.9
            if said["part"] == "nonfinite":
                assert np.isnan(values).all()
                assert said["level"] is None
            else:
                side = {"positive": 1, "negative": -1}[said["part"]]
                assert (side * values >= said["level"]).all()
                # σ and the values give entries of the tensor back.
                entries = values.astype(float) * said["sigma"][0]
                away = np.abs(entries[:, None] - tensors_of_run()[k][said["tensor"]].ravel())
                assert np.nanmin(away, axis=1).max() < 1e-5
            assert said["translation"] == list(animation.layout.placements[said["tensor"]].origin)
    assert any("non-finite" in name for name in steps[3])
    assert not any(DOWN in name for name in steps[3])
    shas = [step[f"{Q} +"][0]["sha256"] for step in steps]
    assert (shas[1] == shas[2], len(set(shas))) == (True, 4)
    with safe_open(folder / index["steps"][4]["file"], "np") as file:
        assert file.metadata() == {"format": "weightwalk-shapes", "version": "1", "step": "final"}


def test_a_relief_is_the_moved_sheet(tmp_path):
    animation = animation_of(tmp_path, view="relief")
    finish(write_dataset(tmp_path / "shapes", animation))
    index, steps = read(tmp_path / "shapes")
    sigma = {unit["name"]: unit["sigma"] for unit in index["lock"]["units"]}
    for k, (surfaces, tensors) in enumerate(zip(steps, tensors_of_run(), strict=True)):
        assert {n for n, said in surfaces.items() if said[0]["part"] == "relief"} == {
            name for name, entries in tensors.items() if entries.ndim > 1
        }
        assert (f"{UP} non-finite" in surfaces) is (k >= 3)
        for name in set(tensors) & {Q, UP, DOWN}:
            said, vertices, faces, normals, values = surfaces[name]
            expected = np.nan_to_num(tensors[name] / sigma[name]).ravel()
            np.testing.assert_allclose(values, expected, atol=1e-5)
            np.testing.assert_allclose(
                vertices[:, 1], -index["lock"]["height"] * expected, atol=1e-5
            )
            assert said["sigma"] == [sigma[name]]
            assert (normals[:, 1] < 0).all()  # toward the visitor
            np.testing.assert_array_equal(faces, steps[0][name][2])


def test_surfaces_through_time_belong_to_no_step(tmp_path):
    finish(write_dataset(tmp_path / "shapes", animation_of(tmp_path, view="time")))
    index, steps = read(tmp_path / "shapes")
    assert [len(step) for step in steps[:-1]] == [0] * 5
    assert {s[0]["field"] for s in steps[-1].values()} == {"time"}
    assert any(len(s[0]["planes"]) == 5 for s in steps[-1].values())
    assert index["whole"]["file"] == "whole.safetensors"


def test_the_documented_way_to_read_it(tmp_path, monkeypatch, capsys):
    finish(write_dataset(tmp_path / "FOLDER", animation_of(tmp_path)))
    [code] = re.findall(r"```python\n(.*?)```", (DOCS / "dataset.md").read_text("utf-8"), re.S)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert f"final {Q} +" in capsys.readouterr().out


def test_hostile_names(tmp_path):
    long = "model.layers.3." + "x" * 5000
    rng = np.random.default_rng(0)
    tensors = (long, "a/b [0]:é", "")
    steps = [{n: rng.standard_normal((6, 5)).astype(np.float32) for n in tensors} for _ in "1234"]
    names = ("../a", "..\\A", "☃\n\ud800", "x" * 5000)
    for view in ("iso", "relief"):
        (tmp_path / view).mkdir()
        folder = tmp_path / view / "shapes"
        animation = animation_of(tmp_path / view, steps, view, names=names)
        finish(write_dataset(folder, animation))
        index, _ = read(folder)
        assert [step["name"] for step in index["steps"]] == list(names)
        found = {path.name.casefold() for path in folder.iterdir()}
        assert len(found) == 5
        assert all(len(name) < 120 and name.isascii() for name in found)


def test_an_earlier_data_set_is_replaced_and_nothing_else(tmp_path):
    animation = animation_of(tmp_path)
    folder = tmp_path / "shapes"
    folder.mkdir()
    finish(write_dataset(folder, animation))
    shorter = dataclasses.replace(
        animation,
        steps=animation.steps[:2],
        actors=tuple(a for a in animation.actors if a.step < 2),
    )
    finish(write_dataset(folder, shorter))
    index, _ = read(folder)
    assert len(index["steps"]) == 2
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "thesis.txt").write_text("mine")
    for refused in (folder, folder / "thesis.txt"):
        with pytest.raises(
            OutputFolderError, match=r"cannot write the data set into .*(is in it|file)"
        ):
            check_dataset_folder(refused)
        with pytest.raises(OutputFolderError):
            next(write_dataset(refused, animation))
    (folder / "thesis.txt").unlink()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # An index that names files elsewhere, or those of another make, gives no leave to touch them.
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(b"mine")
    (folder / "index.json").write_text(
        json.dumps(index | {"whole": {"file": "../outside.safetensors"}})
    )
    finish(write_dataset(folder, animation))
    assert outside.read_bytes() == b"mine"
    (folder / "index.json").write_text('{"format": "another"}')
    with pytest.raises(OutputFolderError, match="no part of a data set"):
        check_dataset_folder(folder)


def test_a_stop_leaves_everything_as_it_was(tmp_path):
    animation = animation_of(tmp_path)
    folder = tmp_path / "new" / "shapes"
    writing = write_dataset(folder, animation)
    for _ in range(5):
        progress = next(writing)
    assert (progress.done, progress.total) == (4, len(animation.actors))
    writing.close()
    assert not folder.parent.exists()


@pytest.mark.skipif(os.name == "nt", reason="limits the size of files by a POSIX call")
def test_a_disk_that_fills_leaves_the_earlier_data_set(tmp_path):
    import resource

    animation = animation_of(tmp_path)
    folder = tmp_path / "shapes"
    finish(write_dataset(folder, dataclasses.replace(animation, notes=["earlier"])))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OutputError, match=rf"cannot write {folder}/step-\S+: File too large"):
            finish(write_dataset(folder, animation))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_animation_without_surfaces(tmp_path):
    animation = dataclasses.replace(animation_of(tmp_path), actors=())
    with pytest.raises(OutputError, match="there is no surface to write"):
        finish(write_dataset(tmp_path / "shapes", animation))
    assert not (tmp_path / "shapes").exists()
