"""The arguments that the commands share, and the settings that they stand for."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from ..core import settings as s
from ..core.location import Location, location

SLAB = (
    "slab: a plate a tensor, thicker where weights are larger (default); depth: a role through the "
    "layers; heads: a projection by attention head; experts: a layer's experts"
)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Say which model."""
    parser.add_argument(
        "model",
        type=location,
        metavar="MODEL",
        help="a file or folder, the name of a model in the Hugging Face cache (org/name), or a URL "
        "(https://…, hf://org/name; others take weightwalk[remote]), of which what is needed is "
        "fetched and kept in WEIGHTWALK_CACHE (default: ~/.cache/weightwalk/blocks, 4 GB at most)",
    )


def on_disk(text: str) -> Path:
    """Return the path of a model that has to be on this machine."""
    found = location(text)
    if isinstance(found, Path):
        return found
    what = "is a URL: the model has to be on a disk for this"
    raise argparse.ArgumentTypeError(f"{str(found)!r} {what}")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Say where files go and what they are called."""
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--name", help="file name without ending (default: what is shown)")
    add(
        "--glb-compression", choices=get_args(s.Compression), default="draco", help="default: draco"
    )


def add_stl_limit(parser: argparse.ArgumentParser) -> None:
    """Say how large an STL may be."""
    parser.add_argument(
        "--max-stl-mb",
        type=float,
        metavar="MB",
        help="where the STL would be larger, lower the face budget until it fits",
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Say which tensors."""
    add = parser.add_argument_group("which tensors").add_argument
    add("--tensors", action="append", default=[], metavar="GLOB", help="by name; repeatable")
    add("--layers", type=_layers, metavar="A-B", help="only these layers, both ends included")
    add("--max-layers", type=int, metavar="N", help="at most N layers")


def add_field(parser: argparse.ArgumentParser, pool: str | None = "rms") -> None:
    """Say what is seen; `pool` is the default, None where it depends on something else."""
    add = parser.add_argument_group("what is seen").add_argument
    kinds = [kind for kind in get_args(s.FieldKind) if kind != "time"]
    add("--field", choices=kinds, default="slab", help=SLAB)
    add("--rows", type=int, metavar="N", help="grid rows (slab: 64, others: 256)")
    add("--cols", type=int, metavar="N", help="grid columns (slab: 64, others: 256)")
    shown = pool or "rms, of changes mean"
    add(
        "--pool",
        choices=get_args(s.Pooling),
        default=pool,
        help=f"entries of a cell to its value (default: {shown})",
    )
    add("--magnitude", action="store_true", help="values without their sign (absmax, mean)")
    add("--smooth", type=float, default=0.0, metavar="CELLS", help="Gaussian blur, in cells")
    add(
        "--sigma",
        choices=get_args(s.SigmaScope),
        default="tensor",
        help="whose σ is the unit (default: tensor)",
    )
    add(
        "--colors",
        choices=get_args(s.ColorMap),
        default="ember",
        help="of values without a sign (default: ember); signed ones are blue and red",
    )


def add_cut(parser: argparse.ArgumentParser) -> None:
    """Say where the surfaces lie."""
    add = parser.add_argument_group("where it is cut (one of)").add_argument
    add("--faces", type=int, metavar="N", help="budget a field (slab: 20000, others: 200000)")
    add("--level", type=float, metavar="SIGMA", help="level in σ")
    add("--quantile", type=float, metavar="Q", help="fraction of cells below the level")


def add_picture(parser: argparse.ArgumentParser, title: str, width: int, height: int) -> None:
    """Say how pictures are made."""
    add = parser.add_argument_group(title).add_argument
    add("--engine", choices=get_args(s.Engine), default="workbench", help="default: workbench")
    add("--width", type=int, default=width, metavar="PIXELS", help=f"default: {width}")
    add("--height", type=int, default=height, metavar="PIXELS", help=f"default: {height}")
    add("--samples", type=int, default=32, metavar="N", help="for Cycles and EEVEE (default: 32)")
    add("--device", choices=get_args(s.Device), default="cpu", help="of Cycles (default: cpu)")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Say who makes the surfaces."""
    add = parser.add_argument_group("who makes the surfaces (default: this process)").add_argument
    add("--workers", type=int, metavar="N", help="so many processes on this machine")
    add(
        "--scheduler",
        metavar="ADDRESS",
        help="the workers of a Dask cluster, such as tcp://host:8786 (takes weightwalk[cluster])",
    )
    add(
        "--shared",
        type=Path,
        metavar="DIR",
        help="folder for what they make, which is kept and not made again; all workers of a "
        "cluster must see it and the model under the same names",
    )


def _layers(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        return int(first), int(last if dash else first)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form A-B") from None


def names_in(text: str) -> tuple[str, ...]:
    """Return the formats of a list with commas, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def build_settings(chosen: argparse.Namespace, model: Location, kind: str, pool: str) -> s.Settings:
    """Return how a model is seen."""
    return s.Settings(
        model=model,
        selection=s.Selection(tuple(chosen.tensors), chosen.layers, chosen.max_layers),
        field=s.FieldSettings(
            kind,  # type: ignore[arg-type]  # checked by the class
            chosen.rows,
            chosen.cols,
            pool,  # type: ignore[arg-type]
            chosen.smooth,
            chosen.sigma,
            chosen.magnitude,
        ),
        surface=s.SurfaceSettings(chosen.faces, chosen.level, chosen.quantile),
        colors=chosen.colors,
    )


def render_settings(chosen: argparse.Namespace) -> s.RenderSettings:
    """Return how pictures are made."""
    return s.RenderSettings(
        chosen.engine, chosen.width, chosen.height, chosen.samples, chosen.device
    )
