"""The command line: what it writes, what it says, and how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import trimesh
from safetensors.numpy import save_file

DOCS = Path(__file__).resolve().parent.parent / "docs"
COMMAND = [sys.executable, "-m", "weightwalk", "mesh"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of two layers."""
    folder = tmp_path_factory.mktemp("models") / "little"
    folder.mkdir()
    rng = np.random.default_rng(0)
    shapes = {"q_proj": (96, 96), "up_proj": (200, 96), "input_layernorm": (96,)}
    names = {f"model.layers.{i}.{name}.weight": s for i in range(2) for name, s in shapes.items()}
    tensors = {name: rng.standard_normal(s).astype(np.float32) for name, s in names.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


def schema(name):
    return json.loads((DOCS / f"{name}.schema.json").read_text(encoding="utf-8"))


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def world(path):
    """Return the mesh of a file with all transforms applied, as trimesh reads it."""
    loaded = trimesh.load(path)
    return loaded.to_mesh() if isinstance(loaded, trimesh.Scene) else loaded


def test_files_and_report_agree(run, model, tmp_path):
    status, said, _ = run("mesh", model, "--out", tmp_path, "--glb-compression", "none")
    assert status == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, schema("report"))
    assert set(contents(tmp_path)) == {"little.stl", "little.glb", "report.json"}
    for file in report["files"]:
        data = (tmp_path / file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    faces = sum(surface["faces"] for surface in report["surfaces"])
    stl, glb = world(tmp_path / "little.stl"), world(tmp_path / "little.glb")
    assert len(stl.faces) == len(glb.faces) == faces
    assert f"{faces:,} faces" in said
    # glTF has Y up: (x, y, z) of the STL is (x, z, -y) there.
    turned = stl.bounds[:, [0, 2, 1]] * (1, 1, -1)
    np.testing.assert_allclose(np.sort(turned, axis=0), glb.bounds, atol=1e-4)


def test_colours_and_signs_are_in_the_report(run, model, tmp_path):
    chosen = ("--colors", "ice", "--pool", "absmax", "--magnitude")
    assert run("mesh", model, "--out", tmp_path, "--export", "stl", *chosen)[0] == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, schema("report"))
    assert report["settings"]["colors"] == report["scale"]["map"] == "ice"
    assert not report["scale"]["diverging"]
    assert {surface["part"] for surface in report["surfaces"]} == {"positive"}


def test_the_same_request_gives_the_same_bytes(run, model, tmp_path):
    for out in ("a", "b"):
        assert run("mesh", model / "model.safetensors", "--out", tmp_path / out)[0] == 0
    for name in ("little.stl", "little.glb"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_inspect_prints_its_schema_and_imports_nothing_heavy(model):
    code = (
        "import sys, weightwalk, weightwalk.batch.cli as c; s = c.main(sys.argv[1:]);"
        "bad = {'bpy', 'torch', 'skimage', 'scipy'} & set(sys.modules); assert not bad, bad;"
        "sys.exit(s)"
    )
    command = [sys.executable, "-c", code, "inspect", str(model), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    listed = json.loads(done.stdout)
    jsonschema.validate(listed, schema("inspect"))
    assert [t["layer"] for t in listed["tensors"]].count(1) == 3


@pytest.mark.parametrize(
    ("package", "formats", "without", "says"),
    [
        ("bpy", "stl,png", "stl,glb", "weightwalk[blender]"),
        ("DracoPy", "stl,glb", "stl", "quantize"),
    ],
)
def test_what_needs_a_missing_package_is_refused_before_any_work(
    *, run, model, tmp_path, monkeypatch, package, formats, without, says
):
    monkeypatch.setitem(sys.modules, package, None)
    status, _, said = run("mesh", model, "--out", tmp_path / "out", "--export", formats)
    assert (status, len(said.splitlines())) == (2, 1)
    assert says in said
    assert not (tmp_path / "out").exists()
    assert run("mesh", model, "--out", tmp_path / "out", "--export", without)[0] == 0


def make_bad(kind, model, folder):
    """Write a bad file and return its path."""
    path = folder / f"{kind}.safetensors"
    good = (model / "model.safetensors").read_bytes()
    if kind == "index":
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": {"a.weight": "model-00001.safetensors"}}))
        return folder
    data = {
        "missing": None,
        "empty": b"",
        "cut": good[: len(good) // 2],
        "pickle": pickle.dumps({"a": 1}),
        "not JSON": (8).to_bytes(8, "little") + b"{oh no}}",
    }[kind]
    if data is not None:
        path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such file"),
        ("empty", "empty"),
        ("cut", "was cut"),
        ("pickle", "never opened"),
        ("not JSON", "not JSON"),
        ("index", "model-00001.safetensors is missing"),
    ],
)
def test_a_bad_model_is_status_2_in_one_line(run, model, tmp_path, kind, says):
    bad = make_bad(kind, model, tmp_path)
    status, out, said = run("mesh", bad, "--out", tmp_path / "new" / "out")
    assert (status, out, len(said.splitlines())) == (2, "", 1)
    assert says in said
    assert bad.name in said
    assert not (tmp_path / "new").exists(), "a folder for results that there are not"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--tensors nothing*", "6, such as model.layers.0"),
        ("--layers 7-9", "layers 0 to 1"),
        ("--layers x", "A-B"),
        ("--faces 3", "faces"),
        ("--rows 1", "rows"),
        ("--smooth nan", "smooth"),
        ("--level -1", "level"),
        ("--level inf", "level"),
        ("--level 1 --faces 100", "exclude"),
        ("--quantile 1", "quantile"),
        ("--field experts", "no experts"),
        ("--export stl,obj", "obj"),
        ("--export ,", "no format"),
        ("--name ../up", "name"),
        ("--colour red", "--colour"),
        ("--colors red", "invalid choice: 'red'"),
        ("--export png --device gpu", "engine cycles only, not with workbench"),
        ("--export png --engine eevee --device gpu", "not with eevee"),
        ("--device tpu", "invalid choice: 'tpu'"),
    ],
)
def test_a_bad_request_is_status_2_in_one_line(run, model, tmp_path, arguments, says):
    out = tmp_path / "out"
    status, printed, said = run("mesh", model, "--out", out, *arguments.split())
    assert (status, printed, len(said.splitlines())) == (2, "", 1)
    assert says in said
    assert not out.exists()


def test_a_folder_that_cannot_be_written(run, model, tmp_path):
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "below"):
        status, _, said = run("mesh", model, "--out", out)
        assert (status, len(said.splitlines())) == (2, 1)
        assert str(out) in said


@pytest.mark.parametrize("target", ["little.glb", "report.json"])
def test_a_result_that_cannot_take_its_place_leaves_the_earlier_ones(run, model, tmp_path, target):
    (tmp_path / "little.stl").write_bytes(b"earlier")
    (tmp_path / target).mkdir()
    status, _, said = run("mesh", model, "--out", tmp_path)
    assert status == 1
    assert target in said
    assert {p.name for p in tmp_path.iterdir()} == {"little.stl", target}
    assert (tmp_path / "little.stl").read_bytes() == b"earlier"


@pytest.mark.skipif(os.name == "nt", reason="limits the size of files by a POSIX call")
@pytest.mark.parametrize("formats", ["stl,glb", pytest.param("blend", marks=pytest.mark.bpy)])
def test_a_disk_that_fills_leaves_the_earlier_results(model, tmp_path, formats):
    import resource

    (tmp_path / "little.stl").write_bytes(b"earlier")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [*COMMAND, str(model), "--out", str(tmp_path), "--export", formats]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"weightwalk: cannot write {tmp_path}")
    assert "Traceback" not in done.stderr
    assert contents(tmp_path) == {"little.stl": b"earlier"}


def test_tensors_without_a_surface_are_skipped_with_their_reason(run, tmp_path):
    bad = {
        "zero": np.zeros((8, 8)),
        "constant": np.full((8, 8), 3.0),
        "nan": np.full((8, 8), np.nan),
        "none": np.zeros((0, 8)),
    }
    path = tmp_path / "model.safetensors"
    save_file(bad, path)
    status, _, said = run("mesh", path, "--out", tmp_path / "out")
    assert (status, len(said.splitlines()) - said.count("surfaces: ")) == (1, 1)
    assert not (tmp_path / "out").exists()
    save_file(bad | {"good": np.random.default_rng(0).standard_normal((40, 40))}, path)
    status, _, said = run("mesh", path, "--out", tmp_path / "out")
    assert status == 3
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, schema("report"))
    reasons = {skip["name"]: skip["reason"] for skip in report["skipped"]}
    assert set(reasons) == set(bad)
    assert all(f"skipped {name}: {reason}" in said for name, reason in reasons.items())
    assert [surface["tensor"] for surface in report["surfaces"]] == ["good"]


def test_names_from_a_hostile_file_reach_neither_folders_nor_the_terminal(run, tmp_path):
    values = np.random.default_rng(0).standard_normal((24, 24)).astype(np.float32)
    values[3, 4] = np.nan
    names = ["../../up", "/etc/x", "a\nb\x1b[31m\x00", "x" * 5000, "", "層.0.権", "\u202ertl", "."]
    folder = tmp_path / "in" / "e\x1b[31mvil"
    folder.mkdir(parents=True)
    save_file(dict.fromkeys(names, values), folder / "model.safetensors")
    status, out, said = run("mesh", folder, "--out", tmp_path / "out", "--smooth", "1")
    assert status == 0
    assert (out + said).replace("\n", "").isprintable()
    assert {p.name for p in tmp_path.iterdir()} == {"in", "out"}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "e--31mvil.stl",
        "e--31mvil.glb",
        "report.json",
    }
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, schema("report"))
    assert {surface["tensor"] for surface in report["surfaces"]} == set(names)


def test_a_name_may_have_dots_and_the_folder_be_relative(run, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("mesh", model, "--out", "a/b", "--name", "x.y", "--export", "stl")[0] == 0
    assert {p.name for p in Path("a/b").iterdir()} == {"x.y.stl", "report.json"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow_with_the_model(tmp_path):
    """1.6 GB of BF16, mostly holes in the file, within 300 MB of memory."""
    rows, columns, count = 16384, 8192, 6
    size = 2 * rows * columns
    header = json.dumps(
        {
            f"layers.{i}.up_proj.weight": {
                "dtype": "BF16",
                "shape": [rows, columns],
                "data_offsets": [i * size, (i + 1) * size],
            }
            for i in range(count)
        }
    ).encode()
    block = np.random.default_rng(0).standard_normal(columns * 64).astype(np.float32)
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(file.tell() + count * size)
        for i in range(count):
            file.seek(8 + len(header) + i * size)
            file.write((block.view(np.uint32) >> 16).astype("<u2").tobytes())
    # Not getrusage: its peak counts that of the process that started this one.
    code = (
        "import sys; from weightwalk.batch.cli import main; status = main(sys.argv[1:]);"
        "print(open('/proc/self/status').read()); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "mesh", str(path), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak = int(done.stdout.partition("VmHWM:")[2].split()[0])  # KiB
    assert peak < 300 * 1024
