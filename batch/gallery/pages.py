"""The pages' frame, and the page of cards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...version import VERSION
from . import Entry, Part
from .facts import Facts, facts, files, foremost, scale_of, slabs
from .words import address, amount, facts_list, items, number, outside, plural, prose, size, text

# Nothing from elsewhere, nothing inline: what a model's names say cannot run.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)
CARD = "card.webp"
_PLATES = """ A plate is a tensor: solid where its weights are large, and the larger, the thicker
and the brighter."""


@dataclass(frozen=True)
class Frame:
    """What surrounds a page's content.

    Attributes
    ----------
    title : str
        Of the page.
    up : str
        From the page to the site's folder.
    kind : {"index", "model"}
        Class of the body; the index has no script.
    """

    title: str
    up: str
    kind: str

    def around(self, content: str) -> str:
        """Return the whole page."""
        viewer = f'<script src="{self.up}assets/viewer.js"></script>\n'
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark light">
<meta name="generator" content="Weightwalk {text(VERSION)}">
<title>{text(self.title)}</title>
<link rel="icon" href="{self.up}assets/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{self.up}assets/style.css">
</head>
<body class="{self.kind}">
{content}
<footer><p>Made by Weightwalk {text(VERSION)}: what is seen is what is in the files.</p></footer>
{viewer if self.kind == "model" else ""}</body>
</html>
"""


def index(title: str, entries: Sequence[Entry], directory: Path, pictures: set[str]) -> str:
    """Return the page with a card for each model; `pictures` has the slugs of those with one."""
    cards = "\n".join(_card(entry, directory, entry.slug in pictures) for entry in entries)
    none = "" if entries else "<p>There is nothing here yet.</p>"
    plates = _PLATES if any(slabs(part) for entry in entries for part in entry.parts) else ""
    return Frame(title, "", "index").around(f"""<header>
<h1>{text(title, 300)}</h1>
<p class="lead">The weights of {plural(len(entries), "model")} as places to walk
through.{plates}</p>
</header>
<main>
<ul class="cards">
{cards}
</ul>{none}
</main>""")


def _card(entry: Entry, directory: Path, picture: bool) -> str:
    page = f"{address(entry.slug)}/index.html"
    source = address(entry.slug, CARD) if picture else "assets/placeholder.svg"
    image = f'<img src="{source}" alt="" width="800" height="450">'
    about = f'<p class="about">{prose(entry.about)}</p>' if entry.about else ""
    parts = "".join(_part_line(part, directory) for part in entry.parts)
    return f"""<li class="card">
<h2><a href="{page}">{image}<span>{text(entry.name)}</span></a></h2>
<div class="words">{about}{_shape(entry, directory)}
<ul class="parts">{parts}</ul>
{could_not(entry)}</div>
</li>"""


def _shape(entry: Entry, directory: Path) -> str:
    """Return what is to be known of a model in one list: that of the part its page opens with."""
    part = foremost(entry.parts, directory)
    return facts_list(fact_pairs(part, facts(part))) if part else ""


def fact_pairs(part: Part, said: Facts) -> list[tuple[str, str]]:
    """Return names and values, "" where there is none."""
    scale = scale_of(part)
    return [
        ("weights", amount(said.weights) if said.weights else ""),
        ("tensors", f"{said.tensors:,}" if said.tensors else ""),
        ("layers", f"{said.layers:,}" if said.layers else ""),
        ("faces", amount(said.faces) if said.faces else ""),
        ("colour scale", f"{number(scale.low)} to {number(scale.high)} σ" if scale else ""),
    ]


def _part_line(part: Part, directory: Path) -> str:
    return f"<li>{text(part.label)}{downloads(part, directory, '')}</li>"


def downloads(part: Part, directory: Path, up: str) -> str:
    """Return links to a part's files and its report."""
    names = {
        "glb": "GLB",
        "stl": "STL",
        "blend": ".blend",
        "png": "PNG",
        "gif": "GIF",
        "mp4": "MP4",
    }
    links, usual = [], f"{part.folder.replace('/', '-')}-"
    for file in files(part, directory).values():
        stem, kind = Path(file["name"]).stem, Path(file["name"]).suffix[1:]
        if kind in names:
            where = up + address(*part.folder.split("/"), file["name"])
            # Such as a difference, beside the picture itself.
            which = f" {text(stem.removeprefix(usual))}" if stem.startswith(usual) else ""
            said = f"{names[kind]}{which} <small>{text(size(file['bytes']))}</small>"
            links.append(f'<a href="{where}" download title="{text(file["name"])}">{said}</a>')
    report = up + address(*part.folder.split("/"), "report.json")
    links.append(f'<a href="{report}">report</a>')
    return f'<span class="files">{" ".join(links)}</span>'


def could_not(entry: Entry) -> str:
    """Return the list of what could not be made, if there is any."""
    if not entry.problems:
        return ""
    return f'<ul class="problems" aria-label="Could not be made">{items(entry.problems)}</ul>'


def link_line(entry: Entry) -> str:
    """Return the link to where a model comes from, if there is one that may be followed."""
    found = outside(entry.link)
    if not found:
        return ""
    return f'<a class="source" href="{found[0]}" rel="noopener noreferrer">{found[1]}</a>'
