"""The command `weightwalk flow`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from ..core.flow import settings as f
from ..core.flow.probe import OUTPUTS
from ..core.text import printable
from .arguments import names_in
from .telling import show_progress, tell_company, tell_files

if TYPE_CHECKING:
    from ..core.flow.compare import Massive
    from ..flow import Drawn

TOLD = 5  # massive activations on the terminal; the report has all


def add_drawing(parser: argparse.ArgumentParser) -> None:
    """Say where pictures go and how they look: --out, --name, --export and all that is seen.

    Which prompt, token and output are shown is not among it, see `add_arguments`: without these it
    is the first prompt's last token, and the output of the whole layer.
    """
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--name", default="flow", help="file name without ending (default: flow)")
    add(
        "--export", metavar="LIST",
        help="of png, gif, mp4, blend (default: png, and of a series gif)",
    )  # fmt: skip
    look = parser.add_argument_group("how it is seen").add_argument
    look("--width", type=int, default=512, metavar="N", help="features a row (default: 512)")
    look(
        "--layout", choices=get_args(f.Arrangement), default="bands",
        help="bands: the same features of all layers together (default); layers: all features of "
        "a layer together",
    )  # fmt: skip
    look(
        "--palette", choices=get_args(f.Palette), default="diverging",
        help="classic is NeuralFlow's, for comparison with old pictures (default: diverging)",
    )  # fmt: skip
    look(
        "--scale",
        type=float,
        default=3.0,
        metavar="SIGMA",
        help="end of the colours, in σ (default: 3)",
    )
    look("--sigma", choices=get_args(f.Sigma), default="layer", help="default: layer")
    look(
        "--reference", default="first", metavar="WHICH",
        help="of what σ is: first, what the run is compared with, or else its first step "
        "(default); run, all steps; or a probe file",
    )  # fmt: skip
    look("--zoom", type=int, metavar="N", help="pixels a value has on a side (default: as fits)")
    look("--seconds", type=float, default=0.4, metavar="S", help="of a step (default: 0.4)")


def drawing_of(chosen: argparse.Namespace) -> tuple[f.FlowSettings, f.FlowOutput]:
    """Return the request that the arguments of `add_drawing` stand for."""
    named = chosen.reference in {"first", "run"}
    settings = f.FlowSettings(
        prompt=getattr(chosen, "shown_prompt", 1) - 1,
        token=getattr(chosen, "shown_token", -1),
        output=getattr(chosen, "shown_output", "hidden"),
        width=chosen.width,
        layout=chosen.layout,
        palette=chosen.palette,
        limit=chosen.scale,
        sigma=chosen.sigma,
        reference=chosen.reference if named else "first",
        reference_file=None if named else Path(chosen.reference),
        zoom=chosen.zoom,
    )
    formats = ("png", "gif") if chosen.export is None else names_in(chosen.export)
    output = f.FlowOutput(chosen.out, formats, chosen.name, chosen.seconds)  # type: ignore[arg-type]
    return settings, output


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all that the command takes."""
    parser.add_argument(
        "probes", nargs="+", metavar="PROBE", help="probe files, a folder of them, or a pattern"
    )
    add_drawing(parser)
    add = parser.add_argument_group("what is shown").add_argument
    add("--prompt", type=int, default=1, metavar="N", dest="shown_prompt", help="(default: 1)")
    add(
        "--token", type=int, default=-1, metavar="K", dest="shown_token",
        help="of those that were kept, from 0 (default: -1, the last)",
    )  # fmt: skip
    add(
        "--output", choices=[o for o in OUTPUTS if o != "router"], default="hidden",
        dest="shown_output", help="of each layer: all of it (hidden, default), or a part",
    )  # fmt: skip
    add("--against", type=Path, metavar="PROBE", help="what the run is compared with")
    add = parser.add_argument_group("how it stands in the .blend").add_argument
    add(
        "--view", choices=get_args(f.FlowView), default="terrain",
        help="terrain: layers and features as a landscape (default); volume: layers, tokens and "
        "features as solids",
    )  # fmt: skip
    add("--values", choices=get_args(f.FlowValues), default="outputs",
        help="what the layers put out (default), or its changes since the first step")  # fmt: skip
    add("--over", choices=get_args(f.Over), default="steps", help="the frames (default: steps)")
    add("--faces", type=int, default=400_000, metavar="N", help="at most (default: 400,000)")


def run(chosen: argparse.Namespace) -> int:
    """Do it and return the exit status."""
    from ..flow import flow

    settings, output = drawing_of(chosen)
    shape = f.FlowShape(chosen.view, chosen.over, chosen.faces, values=chosen.values)
    request = f.FlowRequest(tuple(chosen.probes), settings, output, chosen.against, shape)
    return tell_drawn(flow(request, show_progress()))


def tell_drawn(drawn: Drawn) -> int:
    """Print what was drawn and found; return the exit status."""
    info = drawn.run.probes[0].info
    counts = {"step": len(drawn.run.probes), "layer": len(info.layers), "prompt": len(info.prompts)}
    said = ", ".join(f"{n} {what}{'s' * (n != 1)}" for what, n in counts.items())
    print(f"{printable(drawn.run.name)}: {said}")
    if drawn.comparisons:
        what, comparison = drawn.comparisons[-1]
        print(f"  {printable(what)}: {printable(comparison.said, 1000)}")
    _tell_massive(drawn.massive)
    tell_files(drawn.files)
    return tell_company(drawn.notes, drawn.skips)


def _tell_massive(found: Sequence[Massive]) -> None:
    if not found:
        return
    print(f"  {len(found):,} massive activation{'s' * (len(found) != 1)}:")
    for each in found[:TOLD]:
        where = f"layer {each.layer}, token {each.token} {printable(each.text, 30)!r}"
        size = f"{each.value:.4g}, {each.ratio:,.1f} times the median"
        print(f"    {where} of prompt {each.prompt + 1}, feature {each.feature}: {size}")
    if len(found) > TOLD:
        print(f"    and {len(found) - TOLD:,} more in the report")
