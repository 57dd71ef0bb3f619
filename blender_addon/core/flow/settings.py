"""What is to be probed and drawn: the one form in which such a request travels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ..errors import SettingsError
from ..settings import check_file_name
from .probe import OUTPUTS, Output

Device = Literal["auto", "cpu", "cuda", "mps"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
Arrangement = Literal["bands", "layers"]
Palette = Literal["diverging", "classic"]
Sigma = Literal["layer", "all"]
Reference = Literal["first", "run"]
FlowFormat = Literal["png", "gif", "mp4", "blend"]
FlowView = Literal["terrain", "volume"]
Over = Literal["steps", "tokens"]
FlowValues = Literal["outputs", "changes"]

# Short, unlike each other, and about as long: what a base model is sure to have seen.
DEFAULT_PROMPTS = (
    "The capital of France is",
    "Once upon a time there was",
    "Water boils at a temperature of",
    "def add(a, b):",
    "My favourite food is",
    "The stock market fell because",
    "In 1969 humans first",
    "She opened the door and",
    "The best way to learn is",
    "Photosynthesis is the process",
    "Dear Sir or Madam,",
    "2 + 2 =",
    "The opposite of hot is",
    "To bake bread you need",
    "Dogs and cats are",
    "The president said that",
)


@dataclass(frozen=True)
class ProbeSettings:
    """A model, what it is given, and what is taken of it.

    Attributes
    ----------
    model : Path
        A folder, or a GGUF file.
    prompts : tuple of str
    images : tuple of Path
        For a vision model. With neither prompts nor images, `DEFAULT_PROMPTS`.
    token : "last", "all" or int
        Which tokens are kept; an index may be negative.
    outputs : tuple of str
        Of `OUTPUTS`; "hidden" is always taken.
    layers_path : str
        The list of layers in the model, such as "model.layers"; "" to find it.
    device, dtype : str
        "auto" is the fastest device, and the dtype in the file.
    trust_remote_code : bool
        Run Python code that lies in the model's folder.
    tokenizer : Path or None
        A folder with the tokenizer or the image processor, where the model's has none.
    """

    model: Path
    prompts: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    token: str | int = "last"
    outputs: tuple[Output, ...] = ("hidden",)
    layers_path: str = ""
    device: Device = "auto"
    dtype: DType = "auto"
    trust_remote_code: bool = False
    tokenizer: Path | None = None

    def __post_init__(self) -> None:
        check_probing(self.token, self.outputs)
        for number, prompt in enumerate(self.prompts, 1):
            if not prompt.strip():
                raise SettingsError(f"prompt {number} is empty")
        if self.prompts and self.images:
            raise SettingsError("give prompts or images, not both")
        _one_of("device", self.device, get_args(Device))
        _one_of("dtype", self.dtype, get_args(DType))


def check_probing(token: str | int, outputs: tuple[Output, ...]) -> None:
    """Raise `SettingsError` where a token or an output is none."""
    if isinstance(token, str) and token not in {"last", "all"}:
        raise SettingsError(f"token: {token!r} is not last, all or a number")
    for output in outputs:
        _one_of("outputs", output, OUTPUTS)


@dataclass(frozen=True)
class FlowSettings:
    """How outputs become values that are drawn.

    Attributes
    ----------
    prompt : int
        Index of the prompt.
    token : int
        Index among the tokens that were kept; -1 is the last one.
    output : str
    width : int
        Features in a row of the picture.
    layout : {"bands", "layers"}
        Chunk k of every layer together, or all chunks of a layer.
    palette : {"diverging", "classic"}
    limit : float
        The end of the colour scale, in σ.
    sigma : {"layer", "all"}
        Each layer's own standard deviation as its unit, or one for all.
    reference : {"first", "run"}
        Of what σ is: the first step, or all steps.
    reference_file : Path or None
        Another probe file, of which σ is instead.
    zoom : int or None
        Pixels a value has on a side; None chooses, and then a value may be higher than wide.
    """

    prompt: int = 0
    token: int = -1
    output: Output = "hidden"
    width: int = 512
    layout: Arrangement = "bands"
    palette: Palette = "diverging"
    limit: float = 3.0
    sigma: Sigma = "layer"
    reference: Reference = "first"
    reference_file: Path | None = None
    zoom: int | None = None

    def __post_init__(self) -> None:
        if self.prompt < 0:
            raise SettingsError("prompts are counted from 1")
        if not 1 <= self.width <= 16384:
            raise SettingsError(f"width: {self.width} is not between 1 and 16384")
        if not 0.0 < self.limit <= 1e6:
            raise SettingsError(f"scale: {self.limit:g} is not a positive number of σ")
        if self.zoom is not None and not 1 <= self.zoom <= 64:
            raise SettingsError(f"zoom: {self.zoom} is not between 1 and 64")
        _one_of("reference", self.reference, get_args(Reference))
        if self.output == "router":
            raise SettingsError("router has numbers of experts, which are no values to draw")
        _one_of("output", self.output, OUTPUTS)
        _one_of("layout", self.layout, get_args(Arrangement))
        _one_of("palette", self.palette, get_args(Palette))
        _one_of("sigma", self.sigma, get_args(Sigma))


@dataclass(frozen=True)
class FlowOutput:
    """Which files are written, and where.

    Attributes
    ----------
    directory : Path
    formats : tuple of {"png", "gif", "mp4", "blend"}
        gif and mp4 are made of two steps or more; blend is a scene with the run in it.
    name : str
        File name without ending.
    seconds : float
        How long a step is seen.
    """

    directory: Path
    formats: tuple[FlowFormat, ...] = ("png", "gif")
    name: str = "flow"
    seconds: float = 0.4

    def __post_init__(self) -> None:
        for each in self.formats:
            _one_of("export", each, get_args(FlowFormat))
        if not self.formats:
            raise SettingsError("export: no format is given")
        check_file_name(self.name)
        if not 0.02 <= self.seconds <= 600.0:
            raise SettingsError(f"seconds: {self.seconds:g} is not between 0.02 and 600")


@dataclass(frozen=True)
class FlowShape:
    """How a flow stands in Blender.

    Attributes
    ----------
    view : {"terrain", "volume"}
        A height field of (layer, feature), or an isosurface of (layer, token, feature).
    over : {"steps", "tokens"}
        What the frames of a terrain are.
    faces : int
        Budget of a volume, and of a terrain, whose features are pooled where it would have more.
    frames, start, fps : int
        Frames a step, the first frame, frames a second.
    values : {"outputs", "changes"}
        What the layers put out, or how far that lies from the run's first step.
    """

    view: FlowView = "terrain"
    over: Over = "steps"
    faces: int = 400_000
    frames: int = 12
    start: int = 1
    fps: int = 24
    values: FlowValues = "outputs"

    def __post_init__(self) -> None:
        _one_of("view", self.view, get_args(FlowView))
        _one_of("over", self.over, get_args(Over))
        _one_of("values", self.values, get_args(FlowValues))
        if self.faces < 100:
            raise SettingsError(f"faces: {self.faces} is less than 100")


@dataclass(frozen=True)
class FlowRequest:
    """Everything that `weightwalk flow` is asked for.

    Attributes
    ----------
    targets : tuple of str
        Probe files, a folder of them, or a pattern.
    settings : FlowSettings
    output : FlowOutput
    against : Path or None
        A probe file of the same prompts: what the run departs from.
    shape : FlowShape
        How the run stands in the scene.
    """

    targets: tuple[str, ...]
    settings: FlowSettings
    output: FlowOutput
    against: Path | None = None
    shape: FlowShape = field(default_factory=FlowShape)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{name}: {value!r} is not one of {', '.join(allowed)}")
