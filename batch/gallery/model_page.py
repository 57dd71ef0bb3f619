"""The page of a model: the viewer, what it shows in words and numbers, and the files."""

from __future__ import annotations

from pathlib import Path

from . import Entry, Part
from .facts import (
    COLUMNS,
    Surface,
    captions,
    facts,
    for_viewer,
    foremost,
    notes,
    problems,
    scale_of,
    shown,
    surfaces,
)
from .flow_part import flow_section
from .legend import legend
from .pages import Frame, could_not, downloads, fact_pairs, link_line
from .words import data, facts_list, items, plural, prose, table, text

MOST_ROWS = 1000  # of a table; the report has them all


def page(title: str, entry: Entry, directory: Path) -> str:
    """Return the page of an entry of the gallery called `title`."""
    seen = shown(entry.parts, directory)
    still = [part for part in entry.parts if part.kind != "flow" and part not in seen]
    told = [for_viewer(part, directory) for part in seen]
    about = prose(entry.about)
    sections = [
        *(_part_section(part, directory, i) for i, part in enumerate(seen)),
        *(_part_section(part, directory, None) for part in still),
        *(
            flow_section(part, directory, i)
            for i, part in enumerate(entry.parts)
            if part.kind == "flow"
        ),
    ]
    viewer = _viewer(entry, seen, directory) if seen else ""
    return Frame(f"{entry.name}, {title}", "../", "model").around(f"""<header>
<nav aria-label="Gallery"><a href="../index.html">← {text(title)}</a></nav>
<h1>{text(entry.name)}</h1>
{f'<p class="lead">{about} {link_line(entry)}</p>' if about or entry.link else ""}
{could_not(entry)}
</header>
<main>
{viewer}
{"".join(sections) or "<p>There is nothing to see of it yet.</p>"}
</main>
<script type="application/json" id="data">{data(told)}</script>""")


def _viewer(entry: Entry, seen: list[Part], directory: Path) -> str:
    name = f"The weights of {text(entry.name)} as a corridor"
    return f"""<noscript><p class="problems">The 3-D view needs JavaScript; numbers, pictures and
files are below.</p></noscript>
<section id="viewer" aria-label="3-D view" hidden>
<div id="stage" tabindex="0" role="application" aria-label="{name}" aria-describedby="keys">
<p id="message" hidden><span role="status"></span><progress max="1" aria-label="Loading"></progress>
<button type="button" id="retry" hidden>Try again</button></p>
<div id="crosshair"></div>
<div id="touch"><div data-touch="stick"><i></i></div>
<button type="button" data-touch="up" aria-label="Up">↑</button>
<button type="button" data-touch="down" aria-label="Down">↓</button></div>
<div id="foot"><p id="readout" role="status"></p>
{"".join(_scale(part, i) for i, part in enumerate(seen))}</div>
</div>
<div class="bar">
<div class="buttons" role="group" aria-label="View">
<button type="button" id="overview">Overview</button>
<button type="button" id="walk" aria-pressed="false">Walk</button>
<button type="button" id="previous" aria-label="Previous layer">‹</button>
<button type="button" id="next" aria-label="Next layer">›</button>
<button type="button" id="only" aria-pressed="false">Only this layer</button>
</div>
{_choice(seen, foremost(seen, directory))}
{_TIMELINE}
</div>
<aside aria-label="What is shown">
<h2 id="layers-title">Layers</h2>
<ol id="layers" aria-labelledby="layers-title"></ol>
<h2>In <span id="surfaces-of">this layer</span></h2>
<ol id="surfaces" aria-label="Surfaces of the layer"></ol>
<h2 id="stats-of">Point at a plate</h2>
<div id="stats"><p>Its numbers stand here.</p></div>
</aside>
<div class="legends"><h2>What is seen</h2>
{"".join(_captions(part, directory, i) for i, part in enumerate(seen))}</div>
{_KEYS}
</section>"""


_KEYS = """<details id="keys"><summary>Mouse, keys and fingers</summary><dl>
<dt>Look from outside</dt><dd>Drag to turn, scroll or pinch to come nearer, drag with the right
button or two fingers to shift. Arrow keys turn, + and − come nearer and go back, Shift and arrows
shift. A click keeps a plate's numbers.</dd>
<dt>Walk</dt><dd>W begins. W A S D go, the mouse or the arrows look, Shift is faster, E and Q are up
and down, Esc ends it. On a phone: the stick goes, a finger on the picture looks.</dd>
<dt>Layers</dt><dd>Page Down and Page Up go from one to the next, Home shows everything. The
page's address leads to the layer that is looked at.</dd>
</dl></details>"""

_TIMELINE = """<div id="timeline" role="group" aria-label="Training" hidden>
<button type="button" data-time="back" aria-label="Previous step">‹</button>
<button type="button" data-time="play">Play</button>
<button type="button" data-time="on" aria-label="Next step">›</button>
<input type="range" data-time="slider" min="0" aria-label="Time">
<output data-time="output"></output>
</div>"""


def _choice(seen: list[Part], first: Part | None) -> str:
    """Return the choice of the part that is seen, where there are several."""
    if len(seen) < 2:
        return ""
    radio = 'type="radio" name="part" autocomplete="off"'
    options = "".join(
        f'<label><input {radio} value="{i}"{" checked" if part is first else ""}>'
        f"<span>{text(part.label, 60)}</span></label>"
        for i, part in enumerate(seen)
    )
    return f'<fieldset class="choice"><legend>Shown</legend>{options}</fieldset>'


def _scale(part: Part, i: int) -> str:
    """Return the colours of the surfaces."""
    scale = scale_of(part)
    return (
        f'<div class="scale" data-part="{i}">{legend(scale, f"scale-{i}")}</div>' if scale else ""
    )


def _captions(part: Part, directory: Path, i: int) -> str:
    """Return what is seen, in words."""
    return f'<ul class="captions" data-part="{i}">{items(captions(part, directory))}</ul>'


def _part_section(part: Part, directory: Path, i: int | None) -> str:
    """Return what a part has in numbers; `i` is its number in the viewer, which shows one."""
    marked = "" if i is None else f' data-part="{i}"'
    skipped, said = items(problems(part)), items(notes(part))
    steps = surfaces(part)
    return f"""<section{marked}>
<h2>{text(part.label)}</h2>
{facts_list(fact_pairs(part, facts(part)))}
{downloads(part, directory, "../")}
{f"<h3>Not shown</h3><ul>{skipped}</ul>" if skipped else ""}
{f"<h3>To be known</h3><ul>{said}</ul>" if said else ""}
{_table(part, steps[-1]) if steps and steps[-1] else ""}
</section>"""


def _table(part: Part, rows: list[Surface]) -> str:
    """Return all surfaces with their numbers."""
    used = [i for i in range(len(COLUMNS)) if any(row.cells[i] for row in rows)]
    head = ["name", "layer", "role", *(COLUMNS[i] for i in used)]
    body = "".join(_row(row, used) for row in rows[:MOST_ROWS])
    when = ", at the last step" if part.kind == "animate" else ""
    more = f"<p>The first {MOST_ROWS:,}; the report has all.</p>" if len(rows) > MOST_ROWS else ""
    return f"""<details>
<summary>{plural(len(rows), "surface")} in numbers{when}</summary>{more}
{table("Surfaces", head, body)}</details>"""


def _row(row: Surface, used: list[int]) -> str:
    layer = "" if row.layer is None else f"{row.layer:,}"
    cells = (layer, text(row.role), *(text(row.cells[i]) for i in used))
    values = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr><th scope="row">{text(row.name)}</th>{values}</tr>'
