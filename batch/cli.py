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
from time import monotonic
from typing import Any, NoReturn

from ..core import settings as s
from ..core.errors import SettingsError, WeightwalkError
from ..core.text import printable
from ..version import VERSION
from . import animate, catalog, flow, probe
from .arguments import (
    add_cut,
    add_field,
    add_model,
    add_output,
    add_picture,
    add_selection,
    add_stl_limit,
    add_workers,
    build_settings,
    names_in,
    render_settings,
)
from .catalog_children import end_with_parent
from .telling import show_progress, size_of, tell_company, tell_files

INTERRUPTED = 130
ALONE = "This process makes all of it: --workers and --scheduler are for mesh."


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
    end_with_parent()
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
        if sys.stdout is not None:  # closed by who called
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
        epilog="Exit status: 0 done, 1 the work failed, 2 bad input, 3 done with parts skipped, "
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"weightwalk {VERSION}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    inspect = commands.add_parser("inspect", help="list the tensors of a model")
    add_model(inspect)
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.set_defaults(run=_inspect)
    mesh = commands.add_parser("mesh", help="turn tensors into meshes, a scene and pictures")
    _add_mesh_arguments(mesh)
    mesh.set_defaults(run=_mesh, check=_settings)
    about = "turn a training run into an animation"
    film = commands.add_parser("animate", help=about, description=f"{about.capitalize()}. {ALONE}")
    animate.add_arguments(film)
    film.set_defaults(run=animate.run, check=animate.settings_of)
    picture = commands.add_parser("flow", help="draw what the layers of a model put out")
    flow.add_arguments(picture)
    picture.set_defaults(run=flow.run)
    asking = commands.add_parser("probe", help="ask a model what its layers put out, and draw it")
    probe.add_arguments(asking)
    asking.set_defaults(run=probe.run)
    # Started by `mesh --workers`; without help it is not listed.
    commands.add_parser("worker").set_defaults(run=_worker)
    many = commands.add_parser("catalog", help="make files and a web page of many models")
    catalog.add_arguments(many)
    many.set_defaults(run=catalog.run, mesh=mesh, animate=film)
    for command in (inspect, mesh, film, picture, asking, many):
        command.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def _add_mesh_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument(
        "--export",
        default="stl,glb",
        metavar="LIST",
        help="of stl, glb, png, blend (default: stl,glb)",
    )
    add_output(parser)
    add_stl_limit(parser)
    add_selection(parser)
    add_field(parser)
    add_cut(parser)
    add_picture(parser, "the picture", 1600, 900)
    add_workers(parser)


def _settings(chosen: argparse.Namespace) -> tuple[s.Settings, s.OutputSettings]:
    formats = names_in(chosen.export)
    if not formats:
        raise SettingsError("export: no format is given")
    settings = build_settings(chosen, chosen.model, chosen.field, chosen.pool)
    output = s.OutputSettings(
        chosen.out,
        formats,  # type: ignore[arg-type]  # checked by the class
        chosen.name,
        chosen.glb_compression,
        render_settings(chosen),
        chosen.max_stl_mb,
    )
    return settings, output


def _worker(chosen: argparse.Namespace) -> int:
    from .worker import run

    return run(chosen)


def _mesh(chosen: argparse.Namespace) -> int:
    from .. import pipeline
    from .hiring import hiring

    settings, output = _settings(chosen)
    result = pipeline.run(settings, output, show_progress(), hiring(chosen))
    model = result.model
    faces = sum(len(e.part.faces) for e in model.exhibits)
    count = len(model.exhibits)
    print(f"{printable(model.name)}: {count} surface{'s' * (count != 1)}, {faces:,} faces")
    tell_files(result.files)
    return tell_company(model.notes, model.skips)


def _inspect(chosen: argparse.Namespace) -> int:
    from ..core.readers import open_checkpoint

    with open_checkpoint(chosen.model) as checkpoint:
        tensors: list[dict[str, Any]] = [
            {
                "name": t.name,
                "shape": list(t.shape),
                "dtype": t.dtype,
                "bits": t.packing.bits if t.packing else None,
                "group": t.packing.group if t.packing else None,
                "bytes": t.nbytes,
                "layer": t.layer,
                "role": t.role,
            }
            for t in checkpoint.values()
        ]
        if chosen.json:
            said = {"model": checkpoint.name, "notes": checkpoint.notes, "tensors": tensors}
            print(json.dumps(said, indent=1))
            return 0
        count, total = (
            len(tensors),
            sum(t.nbytes for t in checkpoint.values() if not t.values.parts),
        )
        print(f"{printable(checkpoint.name)}: {count} tensor{'s' * (count != 1)}, {size_of(total)}")
        packings = [str(tensor.packing or "") for tensor in checkpoint.values()]
        wide = max(map(len, packings), default=0)  # no column where nothing is packed
        packed = f"{'packed as':<{wide}}  " if wide else ""
        print(f"  {'':>9}  {'role':<18} {'dtype':<8} {'shape':>14}  {'size':>9}  {packed}name")
        for t, tensor, packing in zip(tensors, checkpoint.values(), packings, strict=True):
            shape = "×".join(map(str, t["shape"])) or "scalar"
            layer = "" if t["layer"] is None else f"layer {t['layer']}"
            reason = f"  ({tensor.reason})" if tensor.reason else ""
            print(
                f"  {layer:>9}  {t['role']:<18} {t['dtype']:<8} {shape:>14}  "
                f"{size_of(t['bytes']):>9}  {packing:<{wide}}{'  ' * (wide > 0)}"
                f"{printable(t['name'])}{reason}"
            )
        return tell_company(checkpoint.notes, ())
