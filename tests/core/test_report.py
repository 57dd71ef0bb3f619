"""The report: figures that hold against the mesh, and a schema that says what each key is."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import trimesh
from safetensors.numpy import save_file
from weightwalk import pipeline
from weightwalk.core.model import steps
from weightwalk.core.record import Record
from weightwalk.core.report import make_report, surface_entry
from weightwalk.core.report import report_of as stored_report
from weightwalk.core.settings import (
    FieldSettings,
    OutputSettings,
    Selection,
    Settings,
    SurfaceSettings,
)
from weightwalk.core.stages import Stages

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[2] / "docs" / "report.schema.json").read_text("utf-8")
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A model with matrices in layers, experts, integers, and entries that are not finite."""
    rng = np.random.default_rng(11)
    layer = "model.layers.{}."
    tensors = {}
    for i in range(3):
        tensors[layer.format(i) + "self_attn.q_proj.weight"] = rng.standard_normal((64, 64))
        for e in range(2):
            name = f"block_sparse_moe.experts.{e}.w1.weight"
            tensors[layer.format(i) + name] = rng.standard_normal((24, 40))
    tensors["model.layers.1.self_attn.q_proj.weight"][3, 4] = np.nan
    tensors["model.layers.2.self_attn.q_proj.weight"][:2] = np.inf
    tensors["model.norm.weight"] = rng.standard_normal(64)
    folder = tmp_path_factory.mktemp("report")
    config = {"model_type": "mixtral", "num_attention_heads": 4, "num_key_value_heads": 4}
    config |= {"hidden_size": 64, "num_hidden_layers": 3}
    (folder / "config.json").write_text(json.dumps(config))
    arrays = {name: t.astype(np.float32) for name, t in tensors.items()}
    save_file(arrays | {"count": np.arange(9)}, folder / "model.safetensors")
    return folder


def report_of(settings):
    model = pipeline.drain(steps(settings))
    report = make_report(model, OutputSettings(Path("out")), (), {"weightwalk": "0"})
    # As it is in the file, where NaN has no place.
    return model, json.loads(json.dumps(report, allow_nan=False))


@pytest.mark.parametrize("kind", ["slab", "depth", "heads", "experts"])
@pytest.mark.parametrize(
    ("pool", "sigma", "surface"),
    [
        ("rms", "tensor", SurfaceSettings(faces=3000)),
        ("absmax", "all", SurfaceSettings(level=0.8)),
        ("mean", "tensor", SurfaceSettings(quantile=0.9)),
    ],
)
def test_every_report_fits_the_schema_and_its_meshes(checkpoint, kind, pool, sigma, surface):
    field = FieldSettings(kind, 32, 32, pool, sigma=sigma)
    model, report = report_of(Settings(checkpoint, field=field, surface=surface))
    jsonschema.validate(report, SCHEMA)
    assert len(report["surfaces"]) == len(model.exhibits)
    for entry, exhibit in zip(report["surfaces"], model.exhibits, strict=True):
        mesh = trimesh.Trimesh(exhibit.part.vertices, exhibit.part.faces, process=False)
        assert entry["faces"] == len(mesh.faces)
        assert entry["area"] == pytest.approx(mesh.area, rel=1e-4)
        if entry["part"] != "nonfinite":
            assert entry["volume"] == pytest.approx(mesh.volume, rel=1e-3)
            assert entry["euler"] == mesh.euler_number
            assert entry["volume"] > 0
        values = exhibit.surface.values
        assert entry["nonfinite"] == np.count_nonzero(~np.isfinite(values))
        beyond = (values < report["scale"]["low"]) | (values > report["scale"]["high"])
        assert entry["clipped"] == np.count_nonzero(beyond & np.isfinite(values))
    for key in ("vertices", "clipped", "nonfinite"):
        assert report["scale"][key] == sum(s[key] for s in report["surfaces"])
    by_tensor = {(s["tensor"], s["part"]): s for s in report["surfaces"]}
    if kind == "slab":
        assert by_tensor["model.layers.1.self_attn.q_proj.weight", "nonfinite"]["nan"] == 1
        assert by_tensor["model.layers.2.self_attn.q_proj.weight", "nonfinite"]["inf"] == 128
        assert not any(s["tensor"] == "count" for s in report["surfaces"])


def test_a_report_of_stored_entries_is_that_of_the_run(checkpoint):
    name = "model.layers.0.self_attn.q_proj.weight"
    chosen = Settings(checkpoint, Selection(("*w1*",), names=(name,)), colors="ice")
    model, report = report_of(chosen)
    assert report["settings"]["selection"]["names"] == [name]
    assert report["settings"]["colors"] == report["scale"]["map"] == "ice"
    # As a scene keeps them: through JSON.
    record = Record.from_json(Record.of(model).to_json())
    entries = [json.loads(json.dumps(surface_entry(e), allow_nan=False)) for e in model.exhibits]
    options = {"files": (), "versions": {"weightwalk": "0"}}
    again = stored_report(
        record, entries, OutputSettings(Path("out")), stages=model.stages, **options
    )
    assert json.loads(json.dumps(again)) == report
    part = stored_report(
        record, entries[:1], OutputSettings(Path("out")), stages=Stages(), **options
    )
    jsonschema.validate(json.loads(json.dumps(part)), SCHEMA)
    assert part["scale"]["vertices"] == entries[0]["vertices"] < report["scale"]["vertices"]


def test_structure_differs_from_its_permutation_and_noise_does_not(tmp_path):
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((64, 64)).astype(np.float32)
    block = noise * np.where(np.arange(64) < 20, 6.0, 1.0).astype(np.float32)[:, None]
    path = tmp_path / "model.safetensors"
    save_file({"noise": noise, "block": block}, path)
    settings = Settings(path, surface=SurfaceSettings(quantile=0.8))
    of = {s["tensor"]: s for s in report_of(settings)[1]["surfaces"]}
    assert of["noise"]["components"]["count"] > 0.7 * of["noise"]["permuted"]["count"]
    assert of["block"]["components"]["largest"] > 2 * of["block"]["permuted"]["largest"]


def test_the_schema_describes_every_key():
    def undescribed(schema, path):
        for key, value in schema.get("properties", {}).items():
            target = SCHEMA["$defs"][value["$ref"].split("/")[-1]] if "$ref" in value else value
            nested = target.get("properties") or target.get("items", {}).get("properties")
            if not (value.get("description") or target.get("description") or nested):
                yield f"{path}.{key}"
            yield from undescribed(target, f"{path}.{key}")
            yield from undescribed(target.get("items", {}), f"{path}.{key}")

    def objects(schema):
        if isinstance(schema, dict):
            if "properties" in schema and "type" in schema:
                yield schema
            for value in schema.values():
                yield from objects(value)

    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert not list(undescribed(SCHEMA, ""))
    assert all(found["additionalProperties"] is False for found in objects(SCHEMA))
    assert all(set(found["required"]) == set(found["properties"]) for found in objects(SCHEMA))
