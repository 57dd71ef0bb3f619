"""What a scene remembers comes back as it was, and nothing else passes for it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from weightwalk import pipeline
from weightwalk.core.color import ColorScale
from weightwalk.core.errors import BadInputError
from weightwalk.core.layout import Stop
from weightwalk.core.legend import captions
from weightwalk.core.model import steps
from weightwalk.core.plain import from_plain, to_plain
from weightwalk.core.plans import Skip
from weightwalk.core.record import Record
from weightwalk.core.settings import FieldSettings, Selection, Settings, SurfaceSettings

texts = st.text(max_size=20) | st.binary(max_size=9).map(os.fsdecode)
paths = texts.filter(lambda text: "\0" not in text).map(Path)
finite = st.floats(allow_nan=False, allow_infinity=False)
vectors = st.tuples(finite, finite, finite)
layers = st.none() | st.tuples(st.integers(0, 9), st.integers(9, 99))
names = st.lists(texts, max_size=3).map(tuple)
selections = st.builds(Selection, names, layers, st.none() | st.integers(1, 9), names)
field_settings = st.builds(
    FieldSettings,
    st.sampled_from(["slab", "depth", "heads", "experts"]),
    st.none() | st.integers(2, 4096),
    st.none() | st.integers(2, 4096),
    st.sampled_from(["rms", "absmax", "mean"]),
    st.floats(0, 64),
    st.sampled_from(["tensor", "all"]),
    st.booleans(),
)
surface_settings = (
    st.builds(SurfaceSettings, faces=st.none() | st.integers(16, 10**8))
    | st.builds(SurfaceSettings, level=st.floats(1e-9, 1e9))
    | st.builds(SurfaceSettings, quantile=st.floats(0.001, 0.999))
)
maps = st.sampled_from(["ember", "ice", "gray"])
chosen = st.builds(Settings, paths, selections, field_settings, surface_settings, maps)
records = st.builds(
    Record,
    texts, texts, texts, chosen,
    st.builds(ColorScale, finite, finite, st.booleans(), maps),
    st.lists(st.builds(Stop, texts, finite, finite), max_size=3).map(tuple),
    vectors, vectors, names,
    st.lists(st.builds(Skip, texts, texts), max_size=2).map(tuple),
    names,
)  # fmt: skip


@hypothesis_settings(deadline=None)
@given(records)
def test_a_record_comes_back_as_it_was(record):
    text = record.to_json()
    assert text.isascii()
    assert Record.from_json(text) == record
    assert from_plain(Settings, json.loads(json.dumps(to_plain(record.settings)))) == (
        record.settings
    )


def sound():
    return Record(
        "m", "/m", "[]", Settings(Path("m")), ColorScale(0, 1, False), (Stop("a", 0.0, 1.0),),
        (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), ("c",), (Skip("a", "b"),), (),
    )  # fmt: skip


@given(st.text() | st.recursive(st.none() | st.integers(), st.lists).map(json.dumps))
def test_garbage_is_refused_in_a_sentence(text):
    with pytest.raises(BadInputError, match="cannot be read; build it again"):
        Record.from_json(text)


ODD = [None, True, -1, 1e400, float("nan"), 10**400, "x", [], [1, 2], ["a"] * 3, {}, {"a": 1}]


@pytest.mark.parametrize("odd", ODD, ids=[f"{odd!r:.9}" for odd in ODD])
def test_every_key_is_checked(odd):
    """Whatever stands at a key, the result is a sentence or a record of the right types."""

    def places(content, path=()):
        if isinstance(content, dict):
            for key, value in content.items():
                yield (*path, key)
                yield from places(value, (*path, key))

    plain = json.loads(sound().to_json())
    for *above, last in places(plain):
        damaged = json.loads(sound().to_json())
        inner = damaged
        for key in above:
            inner = inner[key]
        inner[last] = odd
        try:
            record = Record.from_json(json.dumps(damaged))
        except BadInputError as error:
            assert "\n" not in str(error)
        else:
            assert Record.from_json(record.to_json()) == record


def test_foreign_newer_and_deep_content():
    plain = json.loads(sound().to_json())
    assert plain["version"] == 1
    with pytest.raises(BadInputError, match="newer Weightwalk"):
        Record.from_json(json.dumps(plain | {"version": 2, "more": 1}))
    for text in (
        "[" * 100_000, "9" * 9000, "{}", json.dumps(plain | {"more": 1}),
        json.dumps(plain | {"version": True}), json.dumps(plain | {"version": "1"}),
        json.dumps({k: v for k, v in plain.items() if k != "stops"}),
    ):  # fmt: skip
        with pytest.raises(BadInputError, match="cannot be read"):
            Record.from_json(text)


def test_a_key_that_came_later_has_its_default():
    plain = json.loads(sound().to_json())
    del plain["settings"]["colors"], plain["settings"]["selection"]["names"], plain["scale"]["map"]
    assert Record.from_json(json.dumps(plain)) == sound()


def test_a_run_is_recorded(tmp_path, monkeypatch):
    save_file({"w": np.eye(9, dtype=np.float32), "z": np.zeros(4)}, tmp_path / "m.safetensors")
    monkeypatch.chdir(tmp_path)
    model = pipeline.drain(steps(Settings(Path("m.safetensors"))))
    record = Record.of(model)
    assert record.path == str(tmp_path / "m.safetensors")
    assert (record.model, record.stamp, record.scale) == (model.name, model.stamp, model.scale)
    assert (record.stops, record.low, record.high) == (
        model.layout.stops, model.layout.low, model.layout.high,
    )  # fmt: skip
    assert record.captions == captions(model)
    assert [skip.name for skip in record.skips] == ["z"]
    assert Record.from_json(record.to_json()) == record
    assert replace(record, model="x") != record
