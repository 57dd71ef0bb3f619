"""What the gallery writes: text that stays text, links that lead where they say, whole files."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from weightwalk.batch.gallery import Entry, Part, handover, write_site
from weightwalk.batch.gallery.facts import COLUMNS, Facts, facts, for_viewer, foremost, surfaces
from weightwalk.batch.gallery.legend import legend
from weightwalk.batch.gallery.pages import POLICY
from weightwalk.batch.gallery.pictures import card
from weightwalk.batch.gallery.words import address, data, number, outside, size
from weightwalk.core.color import ColorScale
from weightwalk.core.errors import OutputError, OutputFolderError
from weightwalk.core.text import printable

from .conftest import CLOSING, FILE, LONG, REVERSED, SCRIPT

ROOT = Path(__file__).resolve().parents[2]


class Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def pages(site):
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_name_is_text(gallery):
    site, _ = gallery
    found = pages(site)
    assert len(found) == 5
    for path, page in found.items():
        assert page.all("meta")[1]["content"] == POLICY
        scripts = page.all("script")
        index = path.parent == site
        assert {s.get("src", "data") for s in scripts} == (
            set() if index else {"../assets/viewer.js", "data"}
        )
        for tag, attributes in page.elements:
            assert not any(name.startswith("on") or name == "style" for name in attributes), tag
        assert "\u202e" not in page.source
        assert not re.search(r"javascript:", page.source)
    index = found[site / "index.html"].text
    assert SCRIPT in index and CLOSING in index
    assert "(500 characters)" in index and LONG not in index
    told = re.search(r'id="data">(.*?)</script>', found[site / "bad" / "index.html"].source)
    names = [item[1] for item in json.loads(told[1])[0]["items"]]
    assert SCRIPT in names and CLOSING in names
    assert REVERSED.replace("\u202e", "\\u202e") in names


def test_the_policy_allows_the_site_itself_and_nothing_inline():
    rules = dict(rule.split(" ", 1) for rule in POLICY.split("; "))
    for what in ("default-src", "base-uri", "form-action"):
        assert rules.pop(what) == "'none'"
    assert rules.pop("img-src") == "'self' data: blob:"
    assert rules == dict.fromkeys(("script-src", "style-src", "connect-src"), "'self'")


def test_links_lead_to_files_of_the_site(gallery):
    site, _ = gallery
    seen = set()
    for path, page in pages(site).items():
        ids = [a["id"] for _, a in page.elements if "id" in a]
        assert len(ids) == len(set(ids))
        links = [(a, a.get("href") or a.get("src")) for _, a in page.elements]
        for attributes, link in links:
            if link and link.startswith("https:"):
                assert attributes["rel"] == "noopener noreferrer"
            elif link:
                target = (path.parent / unquote(link)).resolve()
                assert target.is_file() and target.is_relative_to(site.resolve()), link
                seen.add(target.name)
    assert {f"{FILE}.glb", f"{FILE}.stl", "report.json", "flow.png", "card.webp"} <= seen


def test_cards_have_pictures_or_a_calm_place_for_one(gallery):
    site, _ = gallery
    sources = [image["src"] for image in pages(site)[site / "index.html"].all("img")]
    assert sources == ["assets/placeholder.svg"] * 2 + ["flow/card.webp", "assets/placeholder.svg"]
    with Image.open(site / "flow" / "card.webp") as card:
        assert card.format == "WEBP" and max(card.size) <= 800


def test_a_glb_is_handed_over_whole_and_written_once(gallery):
    site, entries = gallery
    for part in (part for entry in entries for part in entry.parts):
        for glb in (site / part.folder).glob("*.glb"):
            script = glb.with_name(f"{glb.name}.js")
            first, *lines = script.read_text("ascii").splitlines()
            sums = {file["name"]: file["sha256"] for file in part.report["files"]}
            assert first == f"// {sums[glb.name]}"
            pieces = [re.fullmatch(r'weightwalk\.take\("([\w+/=]+)"\)', line)[1] for line in lines]
            assert b"".join(map(base64.b64decode, pieces)) == glb.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*.glb.js")}
    made = write_site(site, CLOSING, entries)
    assert made[-1] == site / "index.html" and all(path.is_file() for path in made)
    assert before == {path: path.stat().st_mtime_ns for path in site.rglob("*.glb.js")}
    assert len(before) == 4 and set(before) <= set(made)
    assert not list(site.rglob(".weightwalk-*"))


@pytest.mark.parametrize("count", [0, 1, 2, 3, (3 << 20) - 1, 3 << 20, (3 << 20) + 1])
def test_a_hand_over_is_known_again_by_its_size(tmp_path, count):
    glb, script = tmp_path / "a.glb", tmp_path / "a.glb.js"
    glb.write_bytes(bytes(count))
    handover.write(glb, script, "0" * 64)
    assert handover.is_of(script, "0" * 64, count)
    assert not handover.is_of(script, "1" * 64, count)
    script.write_bytes(script.read_bytes()[:-1])
    assert not handover.is_of(script, "0" * 64, count)


def test_what_a_report_promises_need_not_be_there(gallery, tmp_path):
    site, entries = gallery
    part = entries[0].parts[0]
    shutil.copytree(site / part.folder, tmp_path / part.folder)
    next((tmp_path / part.folder).glob("*.glb")).unlink()
    (tmp_path / "secret").write_text("not of this part")
    extra = [{"name": "../../secret", "bytes": 1, "sha256": "0" * 64}]
    report = {**part.report, "files": part.report["files"] + extra}
    entry = dataclasses.replace(entries[0], parts=(dataclasses.replace(part, report=report),))
    write_site(tmp_path, "broken", [entry])
    page = Page(tmp_path / "bad" / "index.html")
    assert "secret" not in page.source and not [a for a in page.all("a") if ".glb" in a["href"]]
    assert not page.all("noscript"), "a viewer without anything to see"
    assert "surfaces in numbers" in page.text


@pytest.mark.parametrize(
    "change",
    [
        {"surfaces": None},
        {"surfaces": [{}]},
        {"scale": {"low": "<b>", "high": 1, "diverging": False, "map": "ember"}},
        {"scale": {"low": 0, "high": float("nan"), "diverging": False, "map": "ember"}},
        {"files": [{}]},
        {"skipped": ["<script>"]},
        {"notes": 3},
        {"captions": 3},
    ],
)
def test_a_report_that_cannot_be_read_costs_its_part_alone(gallery, tmp_path, change):
    site, entries = gallery
    good, bad = entries[0].parts
    for part in (good, bad):
        shutil.copytree(site / part.folder, tmp_path / part.folder)
    bad = dataclasses.replace(bad, report={**bad.report, **change})
    write_site(tmp_path, "t", [dataclasses.replace(entries[0], parts=(good, bad))])
    page = Page(tmp_path / "bad" / "index.html")
    assert f"{bad.label}: its report cannot be read" in page.text
    told = json.loads(re.search(r'id="data">(.*?)</script>', page.source)[1])
    assert [part["folder"] for part in told] == [good.folder.split("/")]


@pytest.mark.parametrize(
    "scale", [ColorScale(0.5, 3.0, False, "ember"), ColorScale(-2.0, 2.0, True, "ember")]
)
def test_the_legend_has_the_colours_of_the_surfaces(scale):
    drawn = legend(scale, "x")
    stops = re.findall(r'offset="([\d.]+)%" stop-color="#(\w{6})"', drawn)
    assert len(stops) > 10
    for offset, color in stops:
        value = scale.low + float(offset) / 100.0 * (scale.high - scale.low)
        exact = scale.colors(np.array([value]))[0, :3].astype(int)
        assert np.abs(exact - list(bytes.fromhex(color))).max() <= 1
    ticks = re.findall(r'x="([\d.]+)%" y="34" text-anchor="middle">([^<]+)<', drawn)
    assert ticks
    for place, said in ticks:
        value = scale.low + float(place) / 100.0 * (scale.high - scale.low)
        assert value == pytest.approx(float(said.replace("−", "-")), abs=0.01)


def test_cells_are_what_the_report_says(gallery):
    _, entries = gallery
    part = entries[0].parts[0]
    for made, said in zip(surfaces(part)[0], part.report["surfaces"], strict=True):
        cells = dict(zip(COLUMNS, made.cells, strict=True))
        assert cells["shape"] == " × ".join(map(str, said["shape"]))
        assert cells["entries"] == f"{said['lowest']:.3g} to {said['highest']:.3g}".replace(
            "-", "−"
        )
        assert cells["faces"] == f"{said['faces']:,}"
        assert cells["pieces"].startswith(str(said["components"]["count"]))
        assert cells["pieces of noise"].startswith(str(said["permuted"]["count"]))
        assert (made.layer, made.role) == (said["layer"], printable(said["role"], 40))


def test_a_card_and_its_page_begin_with_the_densest_mesh(gallery):
    site, entries = gallery
    few, many = (facts(part).faces for part in entries[0].parts)
    found = pages(site)
    radios = [i for i in found[site / "bad" / "index.html"].all("input") if i.get("name") == "part"]
    assert few < many and ["checked" in radio for radio in radios] == [False, True]
    assert f"<dt>faces</dt><dd>{many:,}</dd>" in found[site / "index.html"].source.split("</ul>")[0]
    assert foremost(entries[0].parts[::-1], site) is entries[0].parts[1]
    assert foremost(entries[1].parts, site) is entries[1].parts[0]
    assert foremost(entries[2].parts, site) is entries[2].parts[0]
    assert foremost((), site) is None


def test_plates_are_told_of_where_there_are_some(gallery, tmp_path):
    site, entries = gallery
    assert "A plate" in Page(site / "index.html").text
    write_site(tmp_path, "t", entries[2:])
    assert "A plate" not in Page(tmp_path / "index.html").text


def test_steps_follow_one_another_without_a_gap(gallery):
    site, entries = gallery
    part = entries[1].parts[0]
    steps = for_viewer(part, site)["steps"]
    fps = part.report["timeline"]["fps"]
    assert [step["begin"] for step in steps] == [0.0, *(step["end"] for step in steps[:-1])]
    assert steps[-1]["end"] == steps[-1]["last"] / fps == 36 / fps


def test_layers_are_counted_as_they_are_seen(tmp_path):
    names = [
        f"{stack}.block.{i}.layer.0.q.weight" for stack in ("encoder", "decoder") for i in (0, 1)
    ]
    shown = [{"tensors": [name], "shape": [2, 3], "layer": 0, "faces": 5} for name in names]
    part = Part("mesh", "m/p", "p", {"surfaces": [*shown, *shown]})
    assert facts(part) == Facts(weights=24, tensors=4, layers=4, faces=40)


def test_a_card_shows_the_surfaces_and_not_the_words_and_the_legend(tmp_path):
    scene = Image.new("RGB", (1600, 900), (20, 20, 24))
    scene.paste((240, 240, 240), (200, 60, 700, 120))  # words
    scene.paste((250, 120, 60), (100, 850, 440, 870))  # the legend's bar
    for x in range(700, 1020, 40):
        for y in range(300, 620, 40):
            scene.paste((220, 60, 110), (x, y, x + 8, y + 8))
    scene.save(tmp_path / "scene.png")
    assert card([tmp_path / "scene.png"], [], tmp_path / "card.webp")
    with Image.open(tmp_path / "card.webp") as made:
        pixels = np.asarray(made.convert("RGB")).astype(int)
    assert pixels.shape == (450, 800, 3)
    rows, columns = np.nonzero(pixels.max(axis=2) - pixels.min(axis=2) > 60)
    assert abs(rows.mean() - 225) < 40 and abs(columns.mean() - 400) < 40
    assert pixels.min(axis=2).max() < 200, "words"
    # A chart is shown whole.
    assert card([], [tmp_path / "scene.png"], tmp_path / "card.webp")
    with Image.open(tmp_path / "card.webp") as made:
        assert made.getpixel((200, 45))[0] > 200


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (2, 900), (49, 31), (1600, 30)])
def test_a_card_is_made_of_a_picture_of_any_size(tmp_path, size):
    Image.new("RGB", size, (255, 0, 0)).save(tmp_path / "a.png")
    assert card([tmp_path / "a.png"], [], tmp_path / "card.webp")


def test_a_picture_that_is_broken_is_no_picture(tmp_path):
    folder = tmp_path / "m" / "flow"
    folder.mkdir(parents=True)
    (folder / "flow.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    report = {"files": [{"name": "flow.png", "bytes": 48, "sha256": "0" * 64}]}
    write_site(tmp_path, "t", [Entry("m", "m", "", "", (Part("flow", "m/flow", "x", report),))])
    assert Page(tmp_path / "index.html").all("img")[0]["src"] == "assets/placeholder.svg"
    assert not (tmp_path / "m" / "card.webp").exists()


def test_an_empty_gallery_says_so(tmp_path):
    assert write_site(tmp_path, "", [])[-1] == tmp_path / "index.html"
    assert "nothing here yet" in Page(tmp_path / "index.html").text


def test_an_earlier_site_stays_where_a_new_one_cannot_be_written(gallery, tmp_path):
    site, entries = gallery
    copy = tmp_path / "site"
    shutil.copytree(site, copy)
    (copy / "index.html").unlink()
    (copy / "index.html").mkdir()
    before = {path: path.read_bytes() for path in copy.rglob("*.html") if path.is_file()}
    with pytest.raises(OutputError, match="it is a folder"):
        write_site(copy, CLOSING, entries)
    assert before == {path: path.read_bytes() for path in before}
    assert not list(copy.rglob(".weightwalk-*"))
    (copy / "index.html").rmdir()
    shutil.rmtree(copy / "assets")
    (copy / "assets").write_text("")
    with pytest.raises(OutputError, match=r"cannot write into .*assets: File exists"):
        write_site(copy, CLOSING, entries)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFolderError, match="cannot write into"):
        write_site(tmp_path / "file", "t", entries)


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", " jAvAsCrIpT:x", "data:text/html,x", "//host/", "http://", "/a",
             "https://[", "ftp://a", "\x01javascript:x", ""]
)  # fmt: skip
def test_only_http_is_followed(link):
    assert outside(link) is None


def test_words():
    assert outside(' https://a.org/"><b>?x= y') == ("https://a.org/%22%3E%3Cb%3E?x=%20y", "a.org")
    assert address("a b", "c#d?é%.glb") == "a%20b/c%23d%3F%C3%A9%25.glb"
    assert address("\udcff") == "%FF"
    assert "<" not in data({"a": "</script><!--"})
    assert [size(n) for n in (0, 999, 999_600, 50e6, 1.5e9)] == [
        "0 bytes", "999 bytes", "1,000 KB", "50 MB", "1.5 GB"
    ]  # fmt: skip
    assert [number(x) for x in (-0.5, 12345.6, 1e-9)] == ["−0.5", "12,346", "1e−09"]


@pytest.mark.node
def test_the_bundle_is_that_of_its_sources(tmp_path):
    subprocess.run([ROOT / "scripts" / "build_viewer", tmp_path], check=True)
    for made in tmp_path.iterdir():
        committed = ROOT / "batch" / "gallery" / "assets" / made.name
        assert made.read_bytes() == committed.read_bytes(), "run scripts/build_viewer"
