"""Names out of bad files, as far as they go: file names, the report, objects in GLB and .blend."""

from __future__ import annotations

import json
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import numpy as np
import pygltflib
import pytest
from weightwalk.batch.cli import main

from . import cases_arrays as arrays
from . import cases_onnx as onnx
from .corpus import ROOT
from .ggufs import STRING, U32, Part, entry, gguf
from .making import stored
from .pickled import state, storage, tensor, torch_zip
from .zips import Entry, archive

NAMES = (
    *("../../up", "/etc/x", "..\\..\\up", "C:\\x", "a\nb\x1b[31m\x07", "\x1b]0;title\x07"),
    *("\u202ertl", ".", "..", "con", "层.0.権", "%s%n", "{0}", "-rf", "x" * 3000),
    *("layers.0/../../x.q_proj.weight", "model.layers.3.\x1b[2J.weight"),
    *("model.layers.3.\r.self_attn.q_proj.weight", "$(touch x)", "<script>", '"', "\u2028"),
)  # fmt: skip
NUMBERS = np.random.default_rng(0).standard_normal((24, 24)).astype("<f4").tobytes()


def _safetensors(folder: Path) -> Path:
    tensors = dict.fromkeys((*NAMES, "", "a\0b"), ("F32", (24, 24), NUMBERS))
    config = json.dumps({"model_type": "\x1b[2J../x", "_name_or_path": "../../\x1bx"})
    (folder / "config.json").write_text(config)
    return _put(folder, "../\x1b[2Jevil\n", "model.safetensors", stored(tensors, **{"\x1b": "\n"}))


def _gguf(folder: Path) -> Path:
    entries = (
        entry("general.architecture", STRING, "../\x1b[2J"),
        entry("general.name", STRING, "../../\x1b[2Jevil/\n" + "n" * 400),
        entry("../\x1b.block_count", U32, 1),
    )
    parts = (Part(name, (24, 24), 0, NUMBERS) for name in NAMES)
    return _put(folder, "", "model.gguf", gguf(*parts, entries=entries))


def _torch(folder: Path) -> Path:
    one = tensor(storage(numel=576), shape=(24, 24), stride=(24, 1))
    whole = torch_zip(state(dict.fromkeys(NAMES, one)), storages={"0": NUMBERS})
    return _put(folder, "", "\x1b[31m\n.pt", whole)


def _npz(folder: Path) -> Path:
    kept = [name for name in NAMES if "/" not in name and "\\" not in name and name not in ".."]
    one = arrays.npy(arrays.of(shape=(24, 24)), NUMBERS)
    return _put(folder, "", "w\x1b.npz", archive(*(Entry(f"{n}.npy", one) for n in kept)))


def _onnx(folder: Path) -> Path:
    parts = (onnx.tensor(name, (24, 24), raw=NUMBERS) for name in NAMES)
    return _put(folder, "", "\x1b]0;x\x07.onnx", onnx.model(*parts))


def _put(folder: Path, below: str, name: str, data: bytes) -> Path:
    below = below.replace("/", "")
    (folder / below).mkdir(exist_ok=True)
    (folder / below / name).write_bytes(data)
    return folder / below / name


MODELS: dict[str, Callable[[Path], Path]] = {
    "safetensors": _safetensors,
    "gguf": _gguf,
    "torch": _torch,
    "npz": _npz,
    "onnx": _onnx,
}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def made(capsys: pytest.CaptureFixture[str], folder: Path, form: str, *more: str) -> Path:
    """Make files of a model with bad names and return their folder; all that is said is checked."""
    (folder / "in").mkdir()
    path = MODELS[form](folder / "in")
    inside = sorted((folder / "in").rglob("*"))
    status = main(["mesh", str(path), "--out", str(folder / "out"), "--faces", "200", *more])
    said = "".join(capsys.readouterr())
    assert status == 0, said
    assert said.replace("\n", "").isprintable()
    assert sorted((folder / "in").rglob("*")) == inside
    assert sorted(p.name for p in folder.iterdir()) == ["in", "out"]
    return folder / "out"


@pytest.mark.parametrize("form", MODELS)
def test_names_stay_in_the_folder_and_in_their_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str
) -> None:
    out = made(capsys, tmp_path, form, "--export", "stl,glb", "--glb-compression", "none")
    files = {path.suffix: path for path in out.iterdir()}
    assert sorted(files) == [".glb", ".json", ".stl"]
    assert files[".stl"].stem == files[".glb"].stem
    assert len(files[".stl"].name) < 200
    assert all(c.isprintable() and c not in '/\\:<>|"' for c in files[".stl"].name)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    schema = json.loads((ROOT / "docs" / "report.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(report, schema)
    assert {f["name"] for f in report["files"]} == {files[".stl"].name, files[".glb"].name}
    names = {surface["tensor"] for surface in report["surfaces"]}
    assert len(names) >= len(NAMES) - 8
    assert names <= {*NAMES, "", "a\0b"}
    header = files[".stl"].read_bytes()[:80]
    assert header.rstrip(b"\0 ").decode("ascii").isprintable()
    triangles = struct.unpack_from("<I", files[".stl"].read_bytes(), 80)[0]
    assert files[".stl"].stat().st_size == 84 + 50 * triangles
    whole = pygltflib.GLTF2().load_binary(str(files[".glb"]))
    assert len([node for node in whole.nodes if node.mesh is not None]) == len(report["surfaces"])
    shown = [node.name for node in whole.nodes] + [mesh.name for mesh in whole.meshes]
    assert all("\0" not in (name or "") for name in shown)


@pytest.mark.parametrize("form", ["safetensors", "gguf"])
def test_what_inspect_shows_is_harmless(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str
) -> None:
    path = MODELS[form](tmp_path)
    assert main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable()
    assert len(said.splitlines()) == 2 + len(NAMES) + 2 * (form == "safetensors")
    assert main(["inspect", str(path), "--json"]) == 0
    assert capsys.readouterr().out.replace("\n", "").isprintable()


@pytest.mark.bpy
def test_objects_in_a_blend_have_harmless_names(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import bpy

    out = made(capsys, tmp_path, "safetensors", "--export", "blend")
    (path,) = out.glob("*.blend")
    bpy.ops.wm.open_mainfile(filepath=str(path))
    kinds = (bpy.data.objects, bpy.data.meshes, bpy.data.collections, bpy.data.scenes)
    names = [item.name for kind in (*kinds, bpy.data.texts) for item in kind]
    assert len(names) > 2 * len(NAMES)
    assert [name for name in names if not name.isprintable()] == []
    bodies = [curve.body for curve in bpy.data.curves if isinstance(curve, bpy.types.TextCurve)]
    assert all(body.replace("\n", "").isprintable() for body in bodies)
    assert not bpy.data.libraries
