"""The section of what flows through a model: pictures, films and their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import Part
from .facts import files, notes
from .pages import downloads
from .words import address, facts_list, items, number, plural, table, text

_PICTURES = {
    "": "What each layer puts out: a row is a layer, a column a feature; red is above zero.",
    "-difference": "What has changed of it since the first.",
    "-curve": "How far it has moved, layer by layer.",
}
_MOST = 12


def flow_section(part: Part, directory: Path, i: int) -> str:
    """Return the section of a part; `i` tells it from others in the page."""
    report = part.report
    found, folder = enumerate(_found(part, directory)), part.folder.split("/")
    pictures = "".join(_picture(folder, f"flow-{i}-{n}", one) for n, one in found)
    said = items(notes(part))
    return f"""<section class="flow">
<h2>What flows through it <small>{text(part.label)}</small></h2>
{pictures}
{facts_list(_facts(report))}
{_comparisons(report)}{_massive(report)}
{f"<h3>To be known</h3><ul>{said}</ul>" if said else ""}
{downloads(part, directory, "../")}
</section>"""


def _found(part: Part, directory: Path) -> list[tuple[str, str, str]]:
    """Return picture, film or "", and what is seen, of each picture that is there."""
    there = files(part, directory)
    found = []
    for name in sorted((n for n in there if n.endswith(".png")), key=len):
        ending = next((e for e in _PICTURES if e and name.endswith(f"{e}.png")), "")
        film = f"{name[:-4]}.gif"
        found.append((name, film if film in there else "", _PICTURES[ending]))
    return sorted(found, key=lambda f: list(_PICTURES.values()).index(f[2]))


def _picture(folder: list[str], name: str, found: tuple[str, str, str]) -> str:
    """Return a picture that leads to itself, with a button for the film; `name` is its id."""
    file, film, said = found
    source = "../" + address(*folder, file)
    play = (
        f'<button type="button" data-film="../{address(*folder, film)}" data-picture="{name}" '
        'aria-pressed="false" hidden>Play as a film</button>'
        if film
        else ""
    )
    image = f'<img id="{name}" src="{source}" alt="{text(said)}" loading="lazy">'
    return f"""<figure><a href="{source}">{image}</a>
<figcaption>{said} {play}</figcaption></figure>"""


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    prompts, probes = report.get("prompts", []), report.get("probes", [])
    scale = report.get("scale", {})
    last = (report.get("steps") or [{}])[-1]
    at = report.get("settings", {}).get("prompt", 0)
    beyond = last.get("below", 0) + last.get("above", 0)
    return [
        ("layers", f"{len(report.get('layers', [])):,}"),
        ("prompts", f"{len(prompts):,}"),
        (
            "shown",
            f"“{prompts[at]['text']}”" if at < len(prompts) and prompts[at].get("text") else "",
        ),
        ("steps", f"{len(probes):,}" if len(probes) > 1 else ""),
        ("colours", f"{number(scale['low'])} to {number(scale['high'])} σ" if scale else ""),
        ("beyond them", plural(beyond, "value") if beyond else ""),
        ("not finite", plural(last["nonfinite"], "value") if last.get("nonfinite") else ""),
    ]


def _comparisons(report: dict[str, Any]) -> str:
    said = [f"{c['what']}: {c['said']}" for c in report.get("comparisons", [])]
    if not said:
        return ""
    return f"<h3>Where it departs</h3><ul>{items(said[-_MOST:])}</ul>"


def _massive(report: dict[str, Any]) -> str:
    found = report.get("massive", [])
    if not found:
        return ""
    rows = "".join(
        f"<tr><td>{m['layer']:,}</td><td>{m['token']:,} <q>{text(m.get('text', ''), 40)}</q></td>"
        f"<td>{m['feature']:,}</td><td>{number(m['value'])}</td>"
        f"<td>{number(m['ratio'])} ×</td></tr>"
        for m in found[:_MOST]
    )
    more = f"<p>And {len(found) - _MOST:,} more, in the report.</p>" if len(found) > _MOST else ""
    head = ("layer", "token", "feature", "value", "to the median")
    return f"""<h3>Massive activations</h3>
<p>Values above 100 times the median of their layer.</p>
{table("Massive activations", head, rows)}{more}"""
