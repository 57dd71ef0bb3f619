"""The site's files, each complete before it goes where it belongs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import OutputError, WeightwalkError
from ...files import publish, staging_in
from . import Entry, Part, handover
from .facts import facts, files, glb
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
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.there + (publish(self.files, self.folder) if self.files else ())


def _assets(staging: Path, directory: Path) -> Batch:
    folder = staging / "assets"
    shutil.copytree(ASSETS, folder, ignore=shutil.ignore_patterns(".*"))
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
    picture = [folder / CARD] if card(_sources(entry, directory), folder / CARD) else []
    return Batch([*picture, written], directory / entry.slug)


def _new(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _sources(entry: Entry, directory: Path) -> list[Path]:
    """Return the pictures that may be a card's, the best first."""
    kinds = ("mesh", "animate", "flow")
    parts = sorted(entry.parts, key=lambda p: (kinds.index(p.kind), -facts(p).faces))
    return [
        directory / part.folder / name
        for part in parts
        for name in of_card(list(files(part, directory)))
    ]
