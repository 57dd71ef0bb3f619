"""A model, or two, probed and drawn at once; either may be a probe file that is there already."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from ..core.errors import SeriesError, SettingsError
from ..core.flow.probe import Probe, alike, is_probe, read_probe
from ..core.flow.run import FlowRun
from ..core.flow.settings import FlowOutput, FlowSettings, ProbeSettings
from ..core.model import Progress
from ..core.readers import open_checkpoint
from ..core.text import printable
from ..files import staging_in
from ..flow import Drawn, draw_steps
from .load import probe_steps
from .source import find_source

Probing = Generator[Progress, None, Probe]


def draw_probe_steps(
    settings: ProbeSettings, against: Path | None, drawing: FlowSettings, output: FlowOutput
) -> Generator[Progress, None, Drawn]:
    """Probe, compare and draw; either all files are written or none.

    Parameters
    ----------
    settings : ProbeSettings
        Its model may be a probe file; then its prompts are those of the file.
    against : Path or None
        The model, or the probe file, to compare with; probed after the first one is gone.
    drawing : FlowSettings
    output : FlowOutput
        Beside the pictures ``probe.safetensors`` is written, and ``against.safetensors``.

    Raises
    ------
    WeightwalkError
        With a message fit to show; nothing is left behind then.
    """
    with staging_in(output.directory):  # may refuse, before minutes of work
        return (yield from _drawn_steps(settings, against, drawing, output))


def _drawn_steps(
    settings: ProbeSettings, against: Path | None, drawing: FlowSettings, output: FlowOutput
) -> Generator[Progress, None, Drawn]:
    against_settings = settings
    first = read_if_probe(settings.model)
    other = read_if_probe(against) if against is not None else None
    if against is not None and other is None:
        find_source(against, trust_remote_code=settings.trust_remote_code)
        if first is None:
            settings, against_settings = sharing(settings, against)
    read = first is not None
    if first is None:
        chosen = settings if other is None else like(settings, other)
        first = yield from probe_steps(chosen)
    elif settings.prompts or settings.images:
        name = printable(settings.model, 1000)
        raise SettingsError(f"{name}: a probe file has its prompts already")
    also = {"probe.safetensors": first}
    if against is not None:
        if other is None:
            same = replace(against_settings, model=against)
            if read:
                same = like(same, first)
            other = yield from probe_steps(same)
        if apart := alike(first.info, other.info):
            a, b = printable(settings.model, 1000), printable(against, 1000)
            raise SeriesError(f"{a} and {b} cannot be compared: {apart}")
        also["against.safetensors"] = other
    run = FlowRun(first.info.model, settings.model, (first,))
    return (yield from draw_steps(run, drawing, output, other, also))


def sharing(settings: ProbeSettings, against: Path) -> tuple[ProbeSettings, ProbeSettings]:
    """Return settings for a model and for the one it is compared with.

    A Trainer's checkpoint often has no tokenizer: it then takes the other's.
    """
    if settings.tokenizer is not None:
        return settings, settings
    trust = settings.trust_remote_code
    mine = find_source(settings.model, trust_remote_code=trust)
    theirs = find_source(against, trust_remote_code=trust)
    has = [s.has_processor if settings.images else s.has_tokenizer for s in (mine, theirs)]
    return (
        settings if has[0] or not has[1] else replace(settings, tokenizer=against),
        settings if has[1] or not has[0] else replace(settings, tokenizer=settings.model),
    )


def read_if_probe(path: Path) -> Probe | None:
    """Read a probe file; return None where the path is a model's.

    Raises
    ------
    CheckpointError
        It is a damaged probe file.
    """
    if path.is_dir() or not path.name.lower().endswith(".safetensors"):
        return None
    with open_checkpoint(path) as file:
        if not is_probe(file):
            return None
    return read_probe(path)


def like(settings: ProbeSettings, probe: Probe) -> ProbeSettings:
    """Return settings that give the same prompts as a probe, and take the same of them.

    Prompts or images that the settings have are kept: these may be those of the probe.

    Raises
    ------
    SettingsError
        The probe is of images, whose files it does not have.
    """
    prompts = probe.info.prompts
    outputs = tuple(dict.fromkeys((*settings.outputs, *probe.outputs)))
    # One that was asked for is kept, and told of if it is another.
    token = _token(probe) if settings.token == "last" else settings.token
    settings = replace(settings, token=token, outputs=outputs)
    if settings.prompts or settings.images:
        return settings
    if any(prompt.image for prompt in prompts):
        names = ", ".join(printable(prompt.image, 60) for prompt in prompts[:6])
        raise SettingsError(f"the other probe is of images: give them with --image ({names})")
    return replace(settings, prompts=tuple(prompt.text for prompt in prompts))


def _token(probe: Probe) -> str | int:
    prompts = probe.info.prompts
    if all(prompt.positions == tuple(range(len(prompt.tokens))) for prompt in prompts):
        return "all"
    from_end = {prompt.positions[-1] - len(prompt.tokens) for prompt in prompts}
    return from_end.pop() if len(from_end) == 1 else prompts[0].positions[-1]
