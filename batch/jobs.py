"""A job file → what a catalog has to make; its keys are in docs/catalog.md."""

from __future__ import annotations

import argparse
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..core.errors import SettingsError
from ..core.location import Location, cached_model, is_hub_name, is_url, location
from ..core.readers.describe import location_name
from .job_options import Options
from .toml_lines import Toml

if TYPE_CHECKING:
    from .gallery import Kind

DENSITIES = ("faces", "level", "quantile")
# Keys that are no options: what they are, for the texts, and for the two tables.
TOP = ("title", "defaults", "model", "series")
ABOUT = {"path": str, "name": str, "about": str, "link": str}
# Folders of the site that are no model's, and what Windows takes for a device.
_TAKEN = re.compile(r"assets|con|prn|aux|nul|com\d|lpt\d")
SLUG = 60  # characters


@dataclass(frozen=True)
class Job:
    """One part: a command that makes a folder.

    Attributes
    ----------
    kind : {"mesh", "animate", "flow"}
        The command.
    slug, part : str
        Names of the model's folder and, in it, of the part's.
    sources : tuple of str
        Files, folders, patterns or URLs as they are in the job file; relative to its folder.
    options : tuple of str
        Words of the command line, without sources and folder.
    label : str
        For people: what tells it from the other parts of the model.
    """

    kind: Kind
    slug: str
    part: str
    sources: tuple[str, ...]
    options: tuple[str, ...]
    label: str

    @property
    def folder(self) -> str:
        """Where its files lie, from the catalog's folder."""
        return f"{self.slug}/{self.part}"

    @property
    def file_name(self) -> str:
        """Name of its files without ending: they have it also where they were downloaded to."""
        return f"{self.slug}-{self.part}"


@dataclass(frozen=True)
class Wanted:
    """A model or a training run, and the parts that are to be made of it."""

    slug: str
    name: str
    about: str
    link: str
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Jobs:
    """All that a job file asks for.

    Attributes
    ----------
    base : Path
        Folder of the file, to which paths in it are relative.
    title : str
    wanted : tuple of Wanted
        At least one.
    """

    base: Path
    title: str
    wanted: tuple[Wanted, ...]


@dataclass(frozen=True)
class Commands:
    """The commands whose options are keys, and options that all models have unless they say so."""

    mesh: argparse.ArgumentParser
    animate: argparse.ArgumentParser
    defaults: Mapping[str, Any]
    blender: bool


def read_jobs(path: Path, commands: Commands) -> Jobs:
    """Read a job file, and check all that can be checked before anything is made.

    Parameters
    ----------
    path : Path
    commands : Commands

    Raises
    ------
    SettingsError
        Naming the line, the table and the key.
    """
    return _Reader(Toml(path), commands).read()


class _Reader:
    """Goes through a job file from top to bottom."""

    def __init__(self, toml: Toml, commands: Commands) -> None:
        self.toml, self.commands = toml, commands
        # Without links: from here paths lead upwards as well.
        self.base = toml.path.absolute().parent.resolve()
        self.mesh, self.animate = Options(commands.mesh), Options(commands.animate)
        self.defaults: dict[str, Any] = {}
        self.slugs: set[str] = set()
        self.names: dict[str, int] = {}

    def read(self) -> Jobs:
        content = self.toml.content
        for key in content:
            if key not in TOP:
                raise self.toml.error([key], f"unknown key {key!r}; known are {', '.join(TOP)}")
        title = content.get("title", "Weights")
        if not isinstance(title, str):
            raise self.toml.error(["title"], "title: this is not a text")
        self._read_defaults()
        wanted = [
            *(self._model(i, table) for i, table in enumerate(self._tables("model"))),
            *(self._series(i, table) for i, table in enumerate(self._tables("series"))),
        ]
        if not wanted:
            raise SettingsError(f"{self.toml.path}: there is no [[model]] and no [[series]] in it")
        return Jobs(self.base, title, tuple(wanted))

    def _read_defaults(self) -> None:
        table = self.toml.content.get("defaults", {})
        if not isinstance(table, dict):
            raise self.toml.error(["defaults"], "defaults: this is not a table: write [defaults]")
        where = _Where(self.toml, ("defaults",), "[defaults]")
        for key, value in table.items():
            with where.at(key):
                self.mesh.check_key(key, {})
                for each in _densities(key, value):
                    self.mesh.words(key, each)
        self.defaults = dict(table)

    def _tables(self, kind: str) -> list[dict[str, Any]]:
        tables = self.toml.content.get(kind, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise self.toml.error([kind], f"{kind}: write [[{kind}]], with two brackets")
        return tables

    def _model(self, index: int, table: dict[str, Any]) -> Wanted:
        where = _Where(self.toml, ("model", index), f"[[model]] {index + 1}")
        slug, name, sources = self._who(table, where)
        for key in table:
            with where.at(key):
                self.mesh.check_key(key, {**ABOUT, "flow": None})
        options = dict(self.commands.defaults) | self.defaults | table
        if any(key in table for key in DENSITIES):
            options = {k: v for k, v in options.items() if k in table or k not in DENSITIES}
        jobs = self._meshes(slug, sources, options, where)
        return Wanted(
            slug, name, table.get("about", ""), table.get("link", ""),
            (*jobs, *self._flow(slug, table, where)),
        )  # fmt: skip

    def _meshes(
        self, slug: str, sources: tuple[str, ...], options: dict[str, Any], where: _Where
    ) -> list[Job]:
        """Return a job for each density."""
        formats = ["glb", "stl", *(["png", "blend"] * self.commands.blender)]
        words = ["--glb-compression=quantize"]
        for key, value in {"export": formats, **options}.items():
            if key not in ABOUT and key != "flow" and key not in DENSITIES:
                with where.at(key):
                    words += self.mesh.words(key, value)
        given = [key for key in DENSITIES if key in options]
        if len(given) > 1:
            with where.at(given[1]):
                raise SettingsError(f"{given[0]} and {given[1]} exclude one another; give one")
        key = given[0] if given else ""
        jobs: list[Job] = []
        with where.at(key):
            values = _densities(key, options[key]) if key else [None]
        for value in values:
            with where.at(key):
                cut = [] if value is None else self.mesh.words(key, value)
                chosen = self._parse(self.commands.mesh, sources, [*words, *cut], where)
                part, label = _part_of(chosen.check(chosen)[0])
                if any(job.part == part for job in jobs):
                    raise SettingsError(f"{key}: {value} is there twice")
                name = f"--name={slug}-{part}"
                jobs.append(Job("mesh", slug, part, sources, (*words, *cut, name), label))
        return jobs

    def _flow(self, slug: str, table: dict[str, Any], where: _Where) -> list[Job]:
        if "flow" not in table:
            return []
        with where.at("flow"):
            sources = _paths("flow", table["flow"])
        options = (f"--name={slug}-flow",)
        return [Job("flow", slug, "flow", sources, options, "what its layers put out")]

    def _series(self, index: int, table: dict[str, Any]) -> Wanted:
        where = _Where(self.toml, ("series", index), f"[[series]] {index + 1}")
        slug, name, sources = self._who(table, where)
        options = {k: v for k, v in table.items() if k not in ABOUT}
        options.setdefault("export", ["glb", *(["gif"] * self.commands.blender)])
        words = ["--glb-compression=quantize", f"--name={slug}-run"]
        for key, value in options.items():
            with where.at(key):
                self.animate.check_key(key, ABOUT)
                words += self.animate.words(key, value)
        with where.at(""):
            chosen = self._parse(self.commands.animate, sources, words, where)
            chosen.check(chosen)
        job = Job("animate", slug, "run", sources, tuple(words), "training run")
        return Wanted(slug, name, table.get("about", ""), table.get("link", ""), (job,))

    def _who(self, table: dict[str, Any], where: _Where) -> tuple[str, str, tuple[str, ...]]:
        """Return folder, name and sources, of which the first two are nobody else's."""
        if "path" not in table:
            with where.at(""):
                raise SettingsError("the key 'path' is missing")
        with where.at("path"):
            several = where.place[0] == "series"
            sources = _paths("path", table["path"] if several else [table["path"]])
        for key in ("name", "about", "link"):
            with where.at(key):
                _check_text(key, table.get(key, "-"))
        name = str(table.get("name", "")).strip() or _name_of(self.base, sources[0])
        with where.at("name" if "name" in table else ""):
            if name in self.names:
                first = self.names[name]
                raise SettingsError(f"the name {name!r} is taken in line {first}; set 'name'")
        self.names[name] = self.toml.line(where.place)
        slug = slug_of(name, self.slugs)
        self.slugs.add(slug)
        return slug, name, sources

    def _parse(
        self,
        parser: argparse.ArgumentParser,
        sources: tuple[str, ...],
        words: list[str],
        where: _Where,
    ) -> argparse.Namespace:
        try:
            return parser.parse_args([*sources, "--out=.", *words])
        except SettingsError as error:
            # "argument --colors: …; see … --help" is meant for the command line.
            said = str(error).removeprefix("argument --").rpartition("; see ")[0]
            raise SettingsError(said or str(error)) from None


class _Where:
    """A table: errors within `at` get file, line and table."""

    def __init__(self, toml: Toml, place: tuple[str | int, ...], name: str) -> None:
        self.toml, self.place, self.name = toml, place, name
        self.key = ""

    def at(self, key: str) -> _Where:
        """Be at a key; "" or one that is not in it stands for the table."""
        self.key = key
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, SettingsError):
            place = self._found(str(error))
            name = "[defaults]" if place[0] == "defaults" else self.name
            raise self.toml.error(place, f"{name}: {error}") from None

    def _found(self, said: str) -> tuple[str | int, ...]:
        """Return where the key at hand is, or else that with which a sentence begins."""
        table: Any = self.toml.content
        for step in self.place:
            table = table[step]
        for key in (said.partition(":")[0], self.key):
            if key in table:
                return (*self.place, key)
            if key in self.toml.content.get("defaults", {}):
                return "defaults", key
        return self.place


def _densities(key: str, value: Any) -> list[Any]:
    """Return the values of a key that may be a list where it says how dense a mesh is."""
    if key not in DENSITIES or not isinstance(value, list):
        return [value]
    if not value:
        raise SettingsError(f"{key}: the list is empty")
    return value


def _paths(key: str, value: Any) -> tuple[str, ...]:
    """Return paths such that none is taken for an option."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise SettingsError(f"{key}: the list is empty")
    for each in values:
        if not isinstance(each, str) or not each.strip() or "\0" in each:
            raise SettingsError(f"{key}: this is not a path")
    return tuple(f"./{each}" if each.startswith("-") else each for each in values)


def _name_of(base: Path, source: str) -> str:
    """Return what a checkpoint is called, also where it cannot be looked at."""
    try:
        return location_name(located(base, source))
    except OSError:
        return Path(source).name


def located(base: Path, source: str) -> Location:
    """Return where a model of a job file is: `base` is the file's folder."""
    if is_url(source):
        return location(source)
    beside = base / source
    if os.path.lexists(beside):
        return location(beside)
    found = cached_model(source) if is_hub_name(source) else None
    return found or beside


def _check_text(key: str, value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise SettingsError(f"{key}: this is not a text")
    if key == "link" and value != "-":
        try:
            parts = urlsplit(value)
            good = parts.scheme in {"http", "https"} and bool(parts.hostname)
        except ValueError:
            good = False
        if not good or not value.isprintable() or " " in value:
            raise SettingsError("link: this is no address that begins with https://")


def _part_of(settings: Any) -> tuple[str, str]:
    """Return the folder of a density, and what people call it."""
    surface, kind = settings.surface, settings.field.kind
    if surface.level is not None:
        return f"level-{surface.level!r}", f"level {surface.level:g} σ"
    if surface.quantile is not None:
        return f"quantile-{surface.quantile!r}", f"quantile {surface.quantile:g}"
    faces = surface.budget(kind)
    return f"faces-{faces}", f"{faces:,} faces a {'tensor' if kind == 'slab' else 'field'}"


def slug_of(name: str, taken: set[str]) -> str:
    """Return a folder's name for a name: ASCII lower-case letters, digits and dashes.

    Parameters
    ----------
    name : str
    taken : set of str
        What it must differ from.
    """
    letters = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(c for c in letters if not unicodedata.combining(c))
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:SLUG].strip("-") or "model"
    if _TAKEN.fullmatch(slug):
        slug = f"model-{slug}"
    candidate, number = slug, 2
    while candidate in taken:
        candidate, number = f"{slug}-{number}", number + 1
    return candidate
