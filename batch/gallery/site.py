"""The site's files, each complete before it goes where it belongs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.errors import OutputError, WeightwalkError
from ...files import publish, staging_in
from . import Entry, Part, handover
from .facts import facts, files, foremost, glb
from .model_page import page
from .pages import CARD, index
from .pictures import card, of_card

ASSETS = Path(__file__).parent / "assets"


def write(directory: Path, title: str, entries: Sequence[Entry]) -> tuple[Path, ...]:
    """Write what `write_site` says: all of it beside its place, then moved, and the index last."""
    try:
        with staging_in(directory) as staging:
            batches = [_assets(staging, directory)]
            pictures = set()
            entries = [_legible(title, entry, directory) for entry in entries]
            for entry in entries:
                batches += [_script(part, directory, staging) for part in entry.parts]
                batch = _page(title, entry, directory, staging)
                batches.append(batch)
                if len(batch.files) > 1:
                    pictures.add(entry.slug)
            last = _new(staging / "index") / "index.html"
            last.write_text(index(title, entries, directory, pictures), "utf-8", newline="\n")
            batches.append(Batch([last], directory))
            return tuple(path for batch in batches for path in batch.publish())
    except OSError as error:
        if isinstance(error, WeightwalkError):
            raise
        raise OutputError(f"cannot write the gallery in {directory}: {error.strerror}") from error


@dataclass(frozen=True)
class Batch:
    """Files of one folder, ready to go there, and those that are there already."""

    files: list[Path]
    folder: Path
    there: tuple[Path, ...] = ()

    def publish(self) -> tuple[Path, ...]:
        """Move the files; return where all of them are."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write into {self.folder}: {error.strerror}") from error
        return self.there + (publish(self.files, self.folder) if self.files else ())


def _legible(title: str, entry: Entry, directory: Path) -> Entry:
    """Return the entry without parts whose report no page can be made of, which it says of them.

    Another version of Weightwalk may have written it, or somebody by hand.
    """
    if _tells(title, entry, directory):
        return entry
    alone = {part.folder: replace(entry, parts=(part,)) for part in entry.parts}
    parts = tuple(p for p in entry.parts if _tells(title, alone[p.folder], directory))
    said = tuple(f"{p.label}: its report cannot be read" for p in entry.parts if p not in parts)
    return replace(entry, parts=parts, problems=(*entry.problems, *said))


def _tells(title: str, entry: Entry, directory: Path) -> bool:
    try:
        page(title, entry, directory)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
        return False
    return True


def _assets(staging: Path, directory: Path) -> Batch:
    folder = _new(staging / "assets")
    for file in ASSETS.glob("[!.]*"):
        shutil.copyfile(file, folder / file.name)
    return Batch(sorted(folder.iterdir()), directory / "assets")


def _script(part: Part, directory: Path, staging: Path) -> Batch:
    """Write a part's GLB once more as a script, if that is not there already."""
    file, folder = glb(part, directory), directory / part.folder
    if file is None:
        return Batch([], folder)
    model, checksum = folder / file["name"], file["sha256"]
    script = model.with_name(f"{model.name}.js")
    if handover.is_of(script, checksum, model.stat().st_size):
        return Batch([], folder, (script,))
    made = _new(staging / "scripts" / part.folder) / script.name
    handover.write(model, made, checksum)
    return Batch([made], folder)


def _page(title: str, entry: Entry, directory: Path, staging: Path) -> Batch:
    """Write a model's page, and its card's picture where there is one."""
    folder = _new(staging / "pages" / entry.slug)
    written = folder / "index.html"
    written.write_text(page(title, entry, directory), "utf-8", newline="\n")
    scenes, charts = (_drawn(entry, directory, kinds) for kinds in (("mesh", "animate"), ("flow",)))
    picture = [folder / CARD] if card(scenes, charts, folder / CARD) else []
    return Batch([*picture, written], directory / entry.slug)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _drawn(entry: Entry, directory: Path, kinds: tuple[str, ...]) -> list[Path]:
    """Return the pictures of parts of some kinds, the best for a card first."""
    parts = [part for part in entry.parts if part.kind in kinds]
    first = foremost(entry.parts, directory)
    parts.sort(key=lambda p: (p is not first, kinds.index(p.kind), -facts(p).faces))
    return [
        directory / part.folder / name
        for part in parts
        for name in of_card(list(files(part, directory)))
    ]
