"""The command `weightwalk`.

Exit status: 0 done, 1 the work failed, 2 bad input, 3 done with parts skipped, 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
from collections.abc import Sequence
from math import inf
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from ..core import settings as s
from ..core.errors import SettingsError, WeightwalkError
from ..core.text import printable
from ..version import VERSION

if TYPE_CHECKING:
    from ..core.model import Progress

SKIPPED = 3
INTERRUPTED = 130


def console() -> NoReturn:
    """Run the command as a program of its own."""
    leave(main())


def leave(status: int) -> NoReturn:
    """End the process, after Ctrl-C without waiting for threads that cannot be told to stop."""
    if status == INTERRUPTED:
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error of the program."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; see {self.prog} --help")


class _Interrupt:
    """Stops the work; an impatient second Ctrl-C does not stop the tidying up after the first."""

    def __init__(self) -> None:
        self.last = -inf

    def __call__(self, _number: int, _frame: object) -> None:
        if monotonic() - self.last > 2.0:
            self.last = monotonic()
            raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    argv : sequence of str or None
        Arguments without the program's name; None takes the process's own.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    debug = "--debug" in arguments
    # Blender in the background ignores Ctrl-C, and a container is stopped by SIGTERM.
    interrupt = _Interrupt()
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal or pipe that is not UTF-8 gets escapes instead of an error.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        chosen = _parser().parse_args(arguments)
        status: int = chosen.run(chosen)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("\nweightwalk: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone, as in `weightwalk inspect … | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except WeightwalkError as error:
        if debug:
            raise
        print(f"weightwalk: {printable(error, 2000)}", file=sys.stderr)
        return error.exit_status
    except MemoryError:
        if debug:
            raise
        print("weightwalk: there is not enough memory for this", file=sys.stderr)
        return 1
    except Exception as error:
        if debug:
            raise
        kind = type(error).__name__
        said = printable(error, 2000)
        print(f"weightwalk: {kind}: {said} (--debug shows where)", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="weightwalk",
        description="See the weights of a neural network.",
        epilog="Exit status: 0 done, 1 the work failed, 2 bad input, 3 done with parts skipped.",
    )
    parser.add_argument("--version", action="version", version=f"weightwalk {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    inspect = commands.add_parser("inspect", help="list the tensors of a model")
    inspect.add_argument("model", type=Path, metavar="MODEL", help="checkpoint file or folder")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(run=_inspect)
    mesh = commands.add_parser("mesh", help="turn tensors into meshes, a scene and pictures")
    _add_mesh_arguments(mesh)
    mesh.set_defaults(run=_mesh)
    for command in (inspect, mesh):
        command.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _add_mesh_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="checkpoint file or folder")
    add("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    add("--name", help="file name without ending (default: the model's name)")
    add(
        "--export",
        default="stl,glb",
        metavar="LIST",
        help="of stl, glb, png, blend (default: stl,glb)",
    )
    add(
        "--glb-compression", choices=get_args(s.Compression), default="draco", help="default: draco"
    )
    which = parser.add_argument_group("which tensors")
    add = which.add_argument
    add("--tensors", action="append", default=[], metavar="GLOB", help="by name; repeatable")
    add("--layers", type=_layers, metavar="A-B", help="only these layers, both ends included")
    add("--max-layers", type=int, metavar="N", help="at most N layers")
    what = parser.add_argument_group("what is seen")
    add = what.add_argument
    add(
        "--field", choices=get_args(s.FieldKind), default="slab",
        help="slab: a plate a tensor, thicker where weights are larger (default); depth: a role "
        "through the layers; heads: a projection by attention head; experts: a layer's experts",
    )  # fmt: skip
    add("--rows", type=int, metavar="N", help="grid rows (slab: 64, others: 256)")
    add("--cols", type=int, metavar="N", help="grid columns (slab: 64, others: 256)")
    add(
        "--pool",
        choices=get_args(s.Pooling),
        default="rms",
        help="entries of a cell to its value (default: rms)",
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
    cut = parser.add_argument_group("where it is cut (one of)")
    add = cut.add_argument
    add("--faces", type=int, metavar="N", help="budget a field (slab: 20000, others: 200000)")
    add("--level", type=float, metavar="SIGMA", help="level in σ")
    add("--quantile", type=float, metavar="Q", help="fraction of cells below the level")
    picture = parser.add_argument_group("the picture")
    add = picture.add_argument
    add("--engine", choices=get_args(s.Engine), default="workbench", help="default: workbench")
    add("--width", type=int, default=1600, metavar="PIXELS", help="default: 1600")
    add("--height", type=int, default=900, metavar="PIXELS", help="default: 900")
    add("--samples", type=int, default=32, metavar="N", help="for Cycles and EEVEE (default: 32)")


def _layers(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        return int(first), int(last if dash else first)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form A-B") from None


def _settings(chosen: argparse.Namespace) -> tuple[s.Settings, s.OutputSettings]:
    formats = tuple(dict.fromkeys(f.strip() for f in chosen.export.split(",") if f.strip()))
    if not formats:
        raise SettingsError("export: no format is given")
    settings = s.Settings(
        model=chosen.model,
        selection=s.Selection(tuple(chosen.tensors), chosen.layers, chosen.max_layers),
        field=s.FieldSettings(
            chosen.field,
            chosen.rows,
            chosen.cols,
            chosen.pool,
            chosen.smooth,
            chosen.sigma,
            chosen.magnitude,
        ),
        surface=s.SurfaceSettings(chosen.faces, chosen.level, chosen.quantile),
        colors=chosen.colors,
    )
    render = s.RenderSettings(chosen.engine, chosen.width, chosen.height, chosen.samples)
    output = s.OutputSettings(chosen.out, formats, chosen.name, chosen.glb_compression, render)
    return settings, output


def _mesh(chosen: argparse.Namespace) -> int:
    from .. import pipeline

    settings, output = _settings(chosen)
    result = pipeline.run(settings, output, _show_progress())
    model = result.model
    faces = sum(len(e.part.faces) for e in model.exhibits)
    count = len(model.exhibits)
    print(f"{printable(model.name)}: {count} surface{'s' * (count != 1)}, {faces:,} faces")
    for file in result.files:
        print(f"  {printable(file, 1000)}  ({_size(file.stat().st_size)})")
    for note in model.notes:
        print(f"weightwalk: note: {printable(note)}", file=sys.stderr)
    for skip in model.skips:
        print(f"weightwalk: skipped {printable(skip.name)}: {skip.reason}", file=sys.stderr)
    return SKIPPED if model.skips else 0


def _inspect(chosen: argparse.Namespace) -> int:
    from ..core.readers import open_checkpoint

    with open_checkpoint(chosen.model) as checkpoint:
        tensors: list[dict[str, Any]] = [
            {
                "name": t.name,
                "shape": list(t.shape),
                "dtype": t.dtype,
                "bytes": t.nbytes,
                "layer": t.layer,
                "role": t.role,
            }
            for t in checkpoint.values()
        ]
        if chosen.json:
            print(json.dumps({"model": checkpoint.name, "tensors": tensors}, indent=1))
            return 0
        total = sum(t["bytes"] for t in tensors)
        print(f"{printable(checkpoint.name)}: {len(tensors)} tensors, {_size(total)}")
        for t, tensor in zip(tensors, checkpoint.values(), strict=True):
            shape = "×".join(map(str, t["shape"])) or "scalar"
            layer = "" if t["layer"] is None else f"layer {t['layer']}"
            reason = f"  ({tensor.reason})" if tensor.reason else ""
            print(
                f"  {layer:>9}  {t['role']:<18} {t['dtype']:<8} {shape:>14}  "
                f"{_size(t['bytes']):>9}  {printable(t['name'])}{reason}"
            )
    return 0


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _show_progress() -> Any:
    """Return what shows progress on stderr: one line that changes, or a line for each tenth."""
    live = sys.stderr.isatty()
    last = ""

    def show(progress: Progress) -> None:
        nonlocal last
        if progress.stage in {"open", "imports"}:
            return  # done in a moment, and a bad model is to be said in one line
        if live:
            percent = 100 * progress.done // max(progress.total, 1)
            line = f"{progress.stage} {percent} %  {progress.what}"
            print(f"\r\x1b[K{line[:100]}", end="", file=sys.stderr, flush=True)
            if progress.what == "report.json":
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            return
        tenth = 10 * progress.done // max(progress.total, 1)
        step = progress.what if progress.stage == "files" else f"{10 * tenth} %"
        line = f"{progress.stage}: {step}"
        if line != last:
            print(line, file=sys.stderr, flush=True)
        last = line

    return show
