"""The command `weightwalk probe`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import get_args

from ..core.errors import SettingsError
from ..core.flow import settings as f
from ..core.text import printable
from .arguments import names_in, on_disk
from .flow import add_drawing, drawing_of, tell_drawn
from .telling import show_progress

PARTS = ("attention", "mlp", "router")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all that the command takes."""
    parser.add_argument(
        "model", type=on_disk, metavar="MODEL",
        help="a model's folder, a GGUF file, or a probe file that is there already",
    )  # fmt: skip
    add = parser.add_argument_group("what the model is given").add_argument
    add(
        "--prompt", action="append", default=[], metavar="TEXT",
        help=f"repeatable (default: {len(f.DEFAULT_PROMPTS)} short ones)",
    )  # fmt: skip
    add("--prompts", type=Path, metavar="FILE", help="texts, one a line")
    add("--image", action="append", type=Path, default=[], metavar="FILE", help="repeatable")
    add = parser.add_argument_group("what is taken of it").add_argument
    add(
        "--token", type=_token, default="last", metavar="last|all|INDEX",
        help="which tokens are kept; -1 is the last (default: last)",
    )  # fmt: skip
    add(
        "--outputs", default="", metavar="LIST",
        help="of attention, mlp, router: beside each layer's output, what its parts give",
    )  # fmt: skip
    add(
        "--layers-path", default="", metavar="PATH",
        help="the list of layers in the model, such as encoder.layer (default: found)",
    )  # fmt: skip
    add(
        "--against", type=on_disk, metavar="MODEL",
        help="the base model, an earlier checkpoint or a probe file to compare with",
    )  # fmt: skip
    add = parser.add_argument_group("how the model is loaded").add_argument
    add(
        "--tokenizer", type=Path, metavar="DIR",
        help="a folder with the tokenizer or image processor (default: the model's, or else that "
        "of the model that it is compared with)",
    )  # fmt: skip
    add("--device", choices=get_args(f.Device), default="auto", help="default: the fastest")
    add("--dtype", choices=get_args(f.DType), default="auto", help="default: as in the file")
    add(
        "--trust-remote-code", action="store_true",
        help="run Python code that lies in the model's folder",
    )  # fmt: skip
    add_drawing(parser)


def _token(text: str) -> str | int:
    if text in {"last", "all"}:
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not last, all or a number") from None


def settings_of(chosen: argparse.Namespace) -> f.ProbeSettings:
    """Return the request that the arguments stand for."""
    outputs = names_in(chosen.outputs)
    for name in outputs:
        if name not in (*PARTS, "hidden"):
            raise SettingsError(f"outputs: {name!r} is not one of {', '.join(PARTS)}")
    if chosen.prompt and chosen.prompts is not None:
        raise SettingsError("give --prompt or --prompts, not both")
    prompts = tuple(chosen.prompt)
    if chosen.prompts is not None:
        prompts = _lines(chosen.prompts)
    return f.ProbeSettings(
        chosen.model,
        prompts,
        tuple(chosen.image),
        chosen.token,
        ("hidden", *(name for name in outputs if name != "hidden")),  # type: ignore[arg-type]
        chosen.layers_path,
        chosen.device,
        chosen.dtype,
        chosen.trust_remote_code,
        chosen.tokenizer,
    )


def _lines(path: Path) -> tuple[str, ...]:
    """Return the lines of a file that are not empty."""
    try:
        lines = path.read_text("utf-8-sig").split("\n")  # not at what else ends a line
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise SettingsError(f"prompts: {printable(path, 1000)}: {reason}") from None
    found = tuple(line for line in lines if line.strip())
    if not found:
        raise SettingsError(f"prompts: {printable(path, 1000)} has no line that is not empty")
    return found


def run(chosen: argparse.Namespace) -> int:
    """Do it and return the exit status."""
    from ..pipeline import drain
    from ..probing.drawn import draw_probe_steps

    # Threads that wait for work would take the cores from whatever else runs there.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    settings = settings_of(chosen)
    drawing, output = drawing_of(chosen)
    if "mp4" in output.formats or not {"png", "blend"} & set(output.formats):
        raise SettingsError("export: a probe is one step, which does not move; png shows it")
    work = draw_probe_steps(settings, chosen.against, drawing, output)
    return tell_drawn(drain(work, show_progress()))
