"""The command `weightwalk animate`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ..core import settings as s
from ..core.errors import SettingsError
from ..core.location import Location, Url, is_url
from ..core.text import printable
from .arguments import (
    add_cut,
    add_field,
    add_output,
    add_picture,
    add_selection,
    build_settings,
    names_in,
    render_settings,
)
from .telling import show_progress, tell_company, tell_files

if TYPE_CHECKING:
    from ..core.animation import Animation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all that the command takes."""
    add = parser.add_argument
    add(
        "series",
        nargs="+",
        metavar="SERIES",
        help="a Trainer's output folder, a folder of snapshots, a pattern, or checkpoints (or "
        "their URLs)",
    )
    add(
        "--export",
        default="glb,gif",
        metavar="LIST",
        help="of glb, gif, mp4, frames, blend, or none (default: glb,gif)",
    )
    add("--dataset", type=Path, metavar="DIR", help="folder for every step's shapes as arrays")
    add(
        "--follow",
        action="store_true",
        help="wait for further checkpoints, and write all anew after each; ends with the final "
        "model, or with Ctrl-C: what was written stays",
    )
    add_output(parser)
    _add_time(parser)
    _add_flight(parser)
    add_selection(parser)
    add_field(parser, None)
    add_cut(parser)
    add_picture(parser, "the pictures", 960, 540)


def _add_time(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how time is seen").add_argument
    add(
        "--view", choices=get_args(s.View), default="iso",
        help="iso: surfaces that come and go (default); relief: terrain that flows; time: one "
        "still surface with the steps as its third axis",
    )  # fmt: skip
    add(
        "--delta", choices=get_args(s.Delta),
        help="weights (none), or their change since the first or the previous step "
        "(default: none; of the view time: first)",
    )  # fmt: skip
    add("--frames", type=int, default=12, metavar="N", help="frames a step (default: 12)")
    add("--start", type=int, default=1, metavar="FRAME", help="first frame (default: 1)")
    add("--fps", type=int, default=24, metavar="N", help="frames a second (default: 24)")


def _add_flight(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the camera").add_argument
    add("--fly", action="store_true", help="fly through the corridor (default: stand and see all)")
    add("--fly-from", default="", metavar="STOP", help='such as "layer 0" (default: the first)')
    add("--fly-to", default="", metavar="STOP", help="(default: the last)")
    add("--fly-speed", type=float, metavar="M/S", help="(default: arrives with the last frame)")
    add("--look-at", default="", metavar="STOP", help="(default: ahead)")


def settings_of(chosen: argparse.Namespace) -> tuple[s.AnimationSettings, s.AnimationOutput]:
    """Return the request that the arguments stand for."""
    time = chosen.view == "time"
    if time and chosen.field != "slab":
        raise SettingsError(f"view: time has fields of its own; it cannot show {chosen.field}")
    if chosen.view == "relief" and (chosen.faces or chosen.level or chosen.quantile):
        raise SettingsError("view: a relief is not cut; leave out --faces, --level and --quantile")
    delta = chosen.delta or ("first" if time else "none")
    pool = chosen.pool or ("rms" if delta == "none" else "mean")
    kind = "time" if time else chosen.field
    flight = s.FlightSettings(chosen.fly_from, chosen.fly_to, chosen.fly_speed, chosen.look_at)
    flies = chosen.fly or flight != s.FlightSettings()
    timeline = s.TimelineSettings(
        chosen.frames, chosen.start, chosen.fps, flight if flies else None
    )
    settings = s.AnimationSettings(
        tuple(chosen.series),
        build_settings(chosen, _folder_of(chosen.series), kind, pool),
        chosen.view,
        delta,  # type: ignore[arg-type]  # checked by the class
        timeline,
    )
    formats = () if chosen.export.strip() == "none" else names_in(chosen.export)
    if not formats and chosen.dataset is None:
        raise SettingsError("export: no format is given, and no data set")
    output = s.AnimationOutput(
        chosen.out,
        formats,  # type: ignore[arg-type]  # checked by the class
        chosen.name,
        chosen.glb_compression,
        render_settings(chosen),
        chosen.dataset,
    )
    return settings, output


def _folder_of(targets: list[str]) -> Location:
    """Return the folder that holds a series, as far as names tell; of URLs, the first of them."""
    if urls := list(filter(is_url, targets)):
        return Url(urls[0])
    paths = [Path(target) for target in targets]
    if len(paths) == 1 and paths[0].is_dir():
        return paths[0]
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def run(chosen: argparse.Namespace) -> int:
    """Do it and return the exit status."""
    from ..animate import animate
    from ..files import safe_name

    settings, output = settings_of(chosen)
    result = animate(settings, output, show_progress(), follow=chosen.follow)
    animation = result.animation
    print(_summary(animation))
    tell_files(result.files)
    if "frames" in output.formats:
        name = output.name or safe_name(animation.name)
        print(f"  {printable(output.directory / f'{name}-frames', 1000)}  (a picture a frame)")
    if output.dataset is not None:
        print(f"  {printable(output.dataset, 1000)}  (data set)")
    return tell_company(animation.notes, animation.skips)


def _summary(animation: Animation) -> str:
    faces = sum(actor.faces for actor in animation.actors)
    meshes = len({actor.mesh for actor in animation.actors})
    reliefs = len(animation.reliefs)
    shapes = [f"{meshes} surface{'s' * (meshes != 1)}, {faces:,} faces"] * bool(meshes)
    shapes += [f"{reliefs} relief{'s' * (reliefs != 1)}"] * bool(reliefs)
    steps = f"{len(animation.steps)} steps, {animation.timeline.seconds:.1f} s"
    return f"{printable(animation.name)}: {steps}, {', '.join(shapes)}"
