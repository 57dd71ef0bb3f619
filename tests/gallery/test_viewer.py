"""The gallery in headless Chromium: what is seen, walked through, reached and asked for."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ..programs import chromium
from .conftest import CLOSING, LONG, SCRIPT

pytestmark = [pytest.mark.node, pytest.mark.browser]


@pytest.fixture(scope="module")
def visit(gallery, tmp_path_factory):
    """Return what a visitor saw, and the folder of pictures."""
    out = tmp_path_factory.mktemp("pictures")
    script = Path(__file__).with_name("visit.mjs")
    done = subprocess.run(
        ["node", script, chromium(), gallery[0], out],
        capture_output=True, text=True, check=False, timeout=280, cwd=script.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), out


def colors(path):
    """Return how many pixels of a picture have strong colours, and how many colours there are."""
    pixels = np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)
    strong = pixels[pixels.max(axis=1) - pixels.min(axis=1) > 60]
    return len(strong), len(np.unique(strong, axis=0))


def test_nothing_is_asked_of_anyone_else_and_nothing_goes_wrong(visit):
    seen, _ = visit
    assert seen["strangers"] == []
    assert seen["said"] == []


def test_axe_finds_nothing_serious(visit):
    seen, _ = visit
    assert set(seen["axe"]) == {
        "index", "index, dark", "model", "model, dark", "model, phone", "run", "flow",
        "model, no WebGL",
    }  # fmt: skip
    assert {name: found for name, found in seen["axe"].items() if found} == {}


def test_a_card_for_each_model_leads_to_its_page(visit):
    seen, _ = visit
    assert seen["cards"][:3] == [SCRIPT, "a run", "probed"]
    assert seen["cards"][3].startswith(LONG[:40])
    assert seen["clicked"] == SCRIPT


@pytest.mark.parametrize(
    "name",
    ["overview", "layer", "walk", "first", "last", "terrain", "file", "only"],
)
def test_there_is_something_to_see(visit, name):
    strong, distinct = colors(visit[1] / f"{name}.png")
    assert strong > 500
    assert distinct > 50


def test_layers_surfaces_and_densities(visit):
    seen, _ = visit
    assert seen["layers"] == ["layer 0", "layer 1", "other"]
    assert "layer 1: q, model.layers.1.self_attn.q_proj.weight, 40 × 40" in seen["hovered"][0]
    assert seen["nearest"] == "layer 0"
    for word in ("above", "40 × 40", "F32", "pieces of noise"):
        assert word in seen["hovered"][1]
    # It opens with the densest, and with all layers.
    assert seen["opened"] == [0, "All layers. Drag to turn, W walks."]
    assert seen["facesFirst"] > seen["facesSecond"] > 1000
    assert set(seen["shownParts"]) == {"0"} and len(seen["shownParts"]) == 3
    assert seen["drawnAtRest"] == 0


def test_the_numbers_are_those_of_the_report(visit, gallery):
    first, before, second, after = visit[0]["numbers"]
    assert first == second == "layer 1: q"
    for told, part in zip((after, before), gallery[1][0].parts, strict=True):
        name = "model.layers.1.self_attn.q_proj.weight"
        (surface,) = (s for s in part.report["surfaces"] if s["tensor"] == name)
        (numbers,) = told
        assert numbers["faces"] == f"{surface['faces']:,}"
        assert numbers["pieces"].startswith(f"{surface['components']['count']:,}")
        assert numbers["pieces of noise"].startswith(f"{surface['permuted']['count']:,}")
        assert numbers["solid"].startswith(f"above {surface['level']:.2f}"[:9])
        assert numbers["σ"] == f"{surface['sigma'][0]:.3g}"


def test_the_keyboard_reaches_everything_and_is_seen_there(visit):
    seen, _ = visit
    reached = [name for name, _ in seen["reached"]]
    assert {"stage", "overview", "walk", "previous", "next", "layers", "surfaces", "keys"} <= {
        *reached
    }
    assert all(outline for name, outline in seen["reached"] if name not in ("BODY", "HTML"))
    turned = np.subtract(*seen["walked"])
    assert abs(turned[0]) > 0.5
    assert seen["paged"] == "layer 1"
    assert seen["entered"][0].startswith("layer ")
    assert "model.layers." in seen["entered"][1] and "faces" in seen["entered"][1]
    # What was ahead before is not told of as if it still were.
    assert seen["chosen"].startswith("layer 0: ")
    assert seen["nothingAhead"] == "Point at a plate"


def test_an_address_leads_to_a_layer_and_goes_with_it(visit):
    seen, _ = visit
    assert seen["address"] == [
        [0, "layer 1", "#layer-1/faces-400", 3],
        [0, "layer 1", "#layer-1/faces-400", 1],
        [0, "layer 0", "#layer-0/faces-400", 1],
        [0, "", "#/faces-400", 3],
        [1, "layer 0", "#layer-0", 3],
    ]
    assert seen["fileAddress"] == "#layer-1"


def test_keys_are_heard_before_a_click_and_a_walk_begins_before_the_layer(visit):
    assert visit[0]["fresh"] == [True, "layer 0", "stage", True, True, 0]


def test_w_walks_down_the_corridor_and_escape_ends_it(visit):
    seen, _ = visit
    before, after = seen["walking"]
    assert after[2] < before[2] - 1.0
    assert abs(after[0] - before[0]) < 0.01 and abs(after[1] - before[1]) < 0.01
    assert seen["escaped"]


def test_the_time_line(visit):
    seen, _ = visit
    said, faces = zip(*seen["time"], strict=True)
    assert [word.split(",")[0] for word in said] == ["step 30", "step 10", "step 20", "step 30"]
    assert said[1].endswith("frame 1 of 36")
    # The run's weights shrink, and with them what stands above the level.
    assert faces[0] == faces[3] < faces[2] < faces[1]
    assert seen["terrain"][0].startswith("step 30")


def test_numbers_go_with_the_step_that_is_seen(visit, gallery):
    report = gallery[1][1].parts[0].report
    (name, *last), (same, *first) = visit[0]["surface"]
    assert name == same
    # The weights have shrunk; nothing of them is above the level in the end.
    assert name not in [s["field"] for s in report["steps"][-1]["surfaces"]]
    assert last == ["no surface at this step"]
    (surface,) = (s for s in report["steps"][0]["surfaces"] if s["field"] == name)
    assert first[first.index("faces") + 1] == f"{surface['faces']:,}"


def test_a_phone_shows_it_all_and_walks(visit):
    seen, _ = visit
    assert seen["phoneWidth"] == seen["indexWidth"] == 360
    before, after = seen["stick"]
    assert after[2] < before[2] - 0.5


def test_a_film_plays_when_asked(visit):
    seen, _ = visit
    assert seen["film"] == ["../flow/flow/flow.png", "../flow/flow/flow.gif"]


def test_what_cannot_be_shown_is_said(visit):
    seen, _ = visit
    assert "could not be loaded" in seen["gone"] and "Try again" in seen["gone"]
    assert "no WebGL" in seen["without"][0] and seen["without"][1] == 2
    assert CLOSING not in seen["gone"]
