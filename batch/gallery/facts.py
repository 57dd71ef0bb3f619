"""What pages tell of a part, out of its report: the same for `mesh` and `animate`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.color import ColorScale
from ...core.legend import level_text
from ...core.naming import parse
from ...core.text import printable
from . import Part
from .words import number, plural, span

COLUMNS = (
    "solid", "shape", "dtype", "grid", "σ", "entries", "faces", "pieces", "pieces of noise",
)  # fmt: skip
_SIGNS = {"positive": 1, "negative": -1, "nonfinite": 0}
_HEADER = 20  # bytes of a GLB before its JSON: 12, and length and type of the first chunk


@dataclass(frozen=True)
class Surface:
    """A surface of a part, at one step of a series.

    Attributes
    ----------
    key : str
        Of its field, as the viewer finds it in the GLB.
    name : str
        Of the tensor or field, printable.
    layer : int or None
    role : str
    cells : tuple of str
        One for each of `COLUMNS`, "" where it is not known.
    """

    key: str
    name: str
    layer: int | None
    role: str
    cells: tuple[str, ...]


def scale_of(part: Part) -> ColorScale | None:
    """Return the colour scale of a part with surfaces."""
    where = part.report.get("lock", {}) if part.kind == "animate" else part.report
    scale = where.get("scale") or {}
    if part.kind == "flow" or not {"low", "high", "diverging", "map"} <= scale.keys():
        return None
    return ColorScale(scale["low"], scale["high"], scale["diverging"], scale["map"])


def surfaces(part: Part) -> list[list[Surface]]:
    """Return the surfaces of each step; other than in a series there is one."""
    report = part.report
    if part.kind == "mesh":
        return [[_surface(s, s["tensor"], s["shape"]) for s in report["surfaces"]]]
    if part.kind == "flow":
        return []
    shapes, steps = _shapes(part), report["steps"] if _plays(part) else report["steps"][-1:]
    return [
        [_surface(s, s["field"], shapes.get(s["tensors"][0], ())) for s in step["surfaces"]]
        for step in steps
    ]


def _shapes(part: Part) -> dict[str, list[int]]:
    """Return the shape of each tensor of a series."""
    return {unit["name"]: unit["shape"] for unit in part.report["lock"]["units"]}


def _plays(part: Part) -> bool:
    """Whether what is seen changes with time; all steps in one surface do not."""
    return part.kind == "animate" and part.report["settings"].get("view") != "time"


def _surface(said: Mapping[str, Any], name: str, shape: Iterable[int]) -> Surface:
    tensor = ", ".join(dict.fromkeys(said["tensors"]))
    sigma, low = said.get("sigma") or [], said.get("lowest")
    cells = (
        _solid(said),
        _times(shape),
        said.get("dtype", ""),
        _times(said.get("grid", ())),
        span(min(sigma), max(sigma)) if sigma else "",
        "" if low is None else _entries(said),
        f"{said['faces']:,}",
        _pieces(said.get("components")),
        _pieces(said.get("permuted")),
    )
    key = f"{tensor}\n{said['role']}"
    return Surface(
        key, printable(name, 120), said["layer"], printable(said["role"], 40),
        tuple(printable(cell) for cell in cells),
    )  # fmt: skip


def _times(extent: Iterable[int]) -> str:
    return " × ".join(map(str, extent))


def _solid(said: Mapping[str, Any]) -> str:
    """Say what the surface encloses."""
    if said["level"] is None:
        return "where there is NaN or infinity"
    sign = _SIGNS[said["part"]]
    return (
        f"above {level_text(said['level'])} σ"
        if sign > 0
        else f"below −{level_text(said['level'])} σ"
    )


def _entries(said: Mapping[str, Any]) -> str:
    odd = [
        f"{said[what]:,} {word}"
        for what, word in (("nan", "NaN"), ("inf", "infinite"))
        if said[what]
    ]
    return ", ".join([span(said["lowest"], said["highest"]), *odd])


def _pieces(said: Mapping[str, Any] | None) -> str:
    if said is None:
        return ""
    share = 100.0 * said["largest"]
    return f"{said['count']:,}" + (f", largest {number(share)} %" if said["count"] > 1 else "")


@dataclass(frozen=True)
class Facts:
    """What a card says of a model: counts of what is shown, and the scale."""

    weights: int
    tensors: int
    layers: int
    faces: int


def facts(part: Part) -> Facts:
    """Count what a part shows; of a series, at its last step."""
    report = part.report
    if part.kind == "flow":
        return Facts(0, 0, len(report.get("layers", ())), 0)
    if part.kind == "mesh":
        faces = sum(s["faces"] for s in report["surfaces"])
        sizes = {n: math.prod(s["shape"]) for s in report["surfaces"] for n in s["tensors"]}
    else:
        faces = report["steps"][-1]["faces"]
        sizes = {u["name"]: math.prod(u["shape"]) for u in report["lock"]["units"]}
    # An encoder's first layer and a decoder's are two.
    layers = {(name.group, name.layer) for name in map(parse, sizes) if name.layer is not None}
    return Facts(sum(sizes.values()), len(sizes), len(layers), faces)


def files(part: Part, directory: Path) -> dict[str, dict[str, Any]]:
    """Return the part's files that are there, by their name; names that lead elsewhere are not."""
    folder = directory / part.folder
    return {
        file["name"]: file
        for file in part.report.get("files", ())
        if "/" not in file["name"]
        and "\\" not in file["name"]
        and (folder / file["name"]).is_file()
    }


def glb(part: Part, directory: Path) -> dict[str, Any] | None:
    """Return the file that the viewer shows."""
    there = files(part, directory).values()
    return next((file for file in there if file["name"].endswith(".glb")), None)


def shown(parts: Iterable[Part], directory: Path) -> list[Part]:
    """Return the parts that the viewer can show."""
    return [part for part in parts if part.kind != "flow" and glb(part, directory)]


def foremost(parts: Sequence[Part], directory: Path) -> Part | None:
    """Return the part with which a page opens and that its card describes.

    It is the densest mesh that can be shown, or else what comes first.
    """
    choice = shown(parts, directory) or [p for p in parts if p.kind != "flow"] or list(parts)
    meshes = [part for part in choice if part.kind == "mesh"]
    return max(meshes, key=lambda p: facts(p).faces) if meshes else next(iter(choice), None)


def slabs(part: Part) -> bool:
    """Whether each plate of a part is a tensor."""
    settings = part.report.get("settings", {})
    if part.kind == "animate":
        settings = settings.get("build", {}) if settings.get("view") == "iso" else {}
    return part.kind != "flow" and settings.get("field", {}).get("kind") == "slab"


def captions(part: Part, directory: Path) -> list[str]:
    """Return the legend's lines, as the part's GLB has them."""
    if "captions" in part.report:
        return [str(line) for line in part.report["captions"]]
    file = glb(part, directory)
    if file is None:
        return []
    try:
        with (directory / part.folder / file["name"]).open("rb") as opened:
            header = opened.read(_HEADER)
            said = json.loads(opened.read(int.from_bytes(header[12:16], "little")))
        return [str(line) for line in said["asset"]["extras"]["captions"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # what is said on a page is no reason to have no page


def for_viewer(part: Part, directory: Path) -> dict[str, Any]:
    """Return what the viewer is told of a part: the file, its surfaces and its time line."""
    file = glb(part, directory)
    assert file is not None
    steps = surfaces(part)
    items = {s.key: s for step in steps for s in step}
    items |= {sheet.key: sheet for sheet in _sheets(part)}
    index = {key: i for i, key in enumerate(items)}
    return {
        "folder": part.folder.split("/"),
        "file": file["name"],
        "bytes": file["bytes"],
        "columns": COLUMNS,
        "items": [[s.key, s.name, s.role, s.cells[1]] for s in items.values()],
        "stats": [[[index[s.key], s.cells] for s in step] for step in steps],
        "steps": list(_time(part)),
    }


def _sheets(part: Part) -> list[Surface]:
    """Return the sheets of a relief; the report has their names, and the GLB their roles."""
    if part.kind != "animate":
        return []
    shapes, none = _shapes(part), ("",) * (len(COLUMNS) - 2)
    names = dict.fromkeys(name for step in part.report["steps"] for name in step["reliefs"])
    return [
        Surface(f"{n}\n", printable(n, 120), None, "", ("", _times(shapes.get(n, ())), *none))
        for n in names
    ]


def _step_name(step: Mapping[str, Any]) -> str:
    """Return what a step is called: its number, and a word for it where it has one."""
    name, number = printable(step["name"], 40), step.get("number")
    return f"step {name}" if number is None or name == str(number) else f"{name}, step {number:,}"


def _time(part: Part) -> Iterator[dict[str, Any]]:
    """Give each step's name and frames."""
    if not _plays(part):
        return
    start, fps = part.report["timeline"]["start"], part.report["timeline"]["fps"]
    for step in part.report["steps"]:
        first, last = step["first_frame"], step["last_frame"]
        yield {
            "label": _step_name(step),
            "first": first,
            "last": last,
            "begin": (first - start) / fps,
            "end": (last + 1 - start) / fps,
        }


def problems(part: Part) -> list[str]:
    """Return what was not shown and what is to be known, in sentences."""
    skipped = [
        f"{printable(s['name'], 120)} {printable(s['reason'])}"
        for s in part.report.get("skipped", ())
    ]
    most = 40
    if len(skipped) > most:
        rest = plural(len(skipped) - most, "more tensor")
        skipped = [*skipped[:most], f"and {rest}, in the report"]
    return skipped


def notes(part: Part) -> list[str]:
    """Return what a reader of the result should know."""
    return [printable(note, 400) for note in part.report.get("notes", ())]
