"""The one form in which a request travels, from the command line or the panel to the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from .errors import SettingsError
from .location import Location

FieldKind = Literal["slab", "depth", "heads", "experts", "time"]
Pooling = Literal["rms", "absmax", "mean"]
SigmaScope = Literal["tensor", "all"]
ColorMap = Literal["ember", "ice", "gray"]
Format = Literal["stl", "glb", "png", "blend"]
Compression = Literal["draco", "quantize", "none"]
Engine = Literal["workbench", "cycles", "eevee"]
Device = Literal["cpu", "gpu"]
View = Literal["iso", "relief", "time"]
Delta = Literal["none", "first", "previous"]
Moving = Literal["glb", "gif", "mp4", "frames", "blend"]

SLAB_GRID = 64
VOLUME_GRID = 256
SLAB_FACES = 20_000
VOLUME_FACES = 200_000
MIN_GRID = 2
MAX_GRID = 4096
# A single cell above the level is an octahedron of 8 faces; a signed pair needs two.
MIN_FACES = 16


def _one_of(what: str, value: str, choices: object) -> None:
    names = get_args(choices)
    if value not in names:
        raise SettingsError(f"{what}: {value!r} is not one of {', '.join(names)}")


@dataclass(frozen=True)
class Selection:
    """Which tensors of a checkpoint are meant.

    Attributes
    ----------
    patterns : tuple of str
        Shell patterns over tensor names; empty means every floating-point tensor. A pattern without
        wildcards that is a tensor's exact name also selects integer tensors.
    layers : tuple of (int, int) or None
        First and last layer index, both included; tensors outside of layers are then left out.
    max_layers : int or None
        At most this many layers, the first ones of the selection.
    names : tuple of str
        Exact names, each as a pattern without wildcards; empty means that the patterns alone count.
    """

    patterns: tuple[str, ...] = ()
    layers: tuple[int, int] | None = None
    max_layers: int | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.layers is not None and not 0 <= self.layers[0] <= self.layers[1]:
            raise SettingsError(
                f"layers: {self.layers[0]}-{self.layers[1]} is not a range A-B with 0 <= A <= B"
            )
        if self.max_layers is not None and self.max_layers < 1:
            raise SettingsError(f"max-layers: {self.max_layers} is less than 1")


@dataclass(frozen=True)
class FieldSettings:
    """How tensors become scalar fields.

    Attributes
    ----------
    kind : {"slab", "depth", "heads", "experts"}
        What the three axes of the field are; see `core.fields`.
    rows, cols : int or None
        Largest grid, in cells; None stands for 64 (slab) or 256 (the others).
    pool : {"rms", "absmax", "mean"}
        How the entries under one cell become one value.
    smooth : float
        Standard deviation of a Gaussian over rows and columns, in cells; 0 for none.
    sigma : {"tensor", "all"}
        Whether values are divided by their own tensor's standard deviation or by one for all.
    magnitude : bool
        Whether pooled values lose their sign.
    """

    kind: FieldKind = "slab"
    rows: int | None = None
    cols: int | None = None
    pool: Pooling = "rms"
    smooth: float = 0.0
    sigma: SigmaScope = "tensor"
    magnitude: bool = False

    def __post_init__(self) -> None:
        _one_of("field", self.kind, FieldKind)
        _one_of("pool", self.pool, Pooling)
        _one_of("sigma", self.sigma, SigmaScope)
        for what, cells in (("rows", self.rows), ("cols", self.cols)):
            if cells is not None and not MIN_GRID <= cells <= MAX_GRID:
                raise SettingsError(f"{what}: {cells} is not between {MIN_GRID} and {MAX_GRID}")
        if not 0.0 <= self.smooth <= 64.0:
            raise SettingsError(f"smooth: {self.smooth} is not between 0 and 64 cells")

    @property
    def grid(self) -> tuple[int, int]:
        """Largest number of rows and columns, in cells."""
        default = SLAB_GRID if self.kind == "slab" else VOLUME_GRID
        return self.rows or default, self.cols or default

    @property
    def signed(self) -> bool:
        """Whether the pooled values keep their sign."""
        return self.pool != "rms" and not self.magnitude


@dataclass(frozen=True)
class SurfaceSettings:
    """Where the isosurface lies: by a face budget, a level or a quantile; at most one is set.

    Attributes
    ----------
    faces : int or None
        Budget of triangles for each field, never exceeded.
    level : float or None
        In standard deviations.
    quantile : float or None
        Fraction of cells, by magnitude, that lie below the level.
    """

    faces: int | None = None
    level: float | None = None
    quantile: float | None = None

    def __post_init__(self) -> None:
        given = {"faces": self.faces, "level": self.level, "quantile": self.quantile}
        names = [name for name, value in given.items() if value is not None]
        if len(names) > 1:
            raise SettingsError(f"{' and '.join(names)} exclude one another; give one of them")
        if self.faces is not None and not MIN_FACES <= self.faces <= 100_000_000:
            raise SettingsError(f"faces: {self.faces} is not between {MIN_FACES} and 100,000,000")
        if self.level is not None and not 0.0 < self.level < float("inf"):
            raise SettingsError(f"level: {self.level} is not a positive number of σ")
        if self.quantile is not None and not 0.0 < self.quantile < 1.0:
            raise SettingsError(f"quantile: {self.quantile} is not between 0 and 1")

    def budget(self, kind: FieldKind) -> int | None:
        """Return the face budget of one field, or None where a level or quantile was given."""
        if self.level is not None or self.quantile is not None:
            return None
        # Worldlines are lines: with more faces they would be a block.
        return self.faces or (SLAB_FACES if kind in {"slab", "time"} else VOLUME_FACES)


def check_file_name(name: str | None) -> None:
    """Raise `SettingsError` where a text cannot be a file's name without ending; None is none."""
    if name is None:
        return
    if not name or name in {".", ".."} or set(name) & set('/\\:*?"<>|\0\n\r'):
        raise SettingsError(f"name: {name[:80]!r} cannot be a file name")
    if len(name.encode("utf-8", "replace")) > 200:
        raise SettingsError("name: longer than 200 bytes cannot be a file name")


@dataclass(frozen=True)
class RenderSettings:
    """The picture: engine, width and height in pixels, samples for a pixel (Cycles and EEVEE).

    The device is that of Cycles.
    """

    engine: Engine = "workbench"
    width: int = 1600
    height: int = 900
    samples: int = 32
    device: Device = "cpu"

    def __post_init__(self) -> None:
        _one_of("engine", self.engine, Engine)
        _one_of("device", self.device, Device)
        if self.device == "gpu" and self.engine != "cycles":
            raise SettingsError(
                f"device: gpu goes with the engine cycles only, not with {self.engine}"
            )
        for what, pixels in (("width", self.width), ("height", self.height)):
            if not 16 <= pixels <= 16_384:
                raise SettingsError(f"{what}: {pixels} is not between 16 and 16384 pixels")
        if not 1 <= self.samples <= 65_536:
            raise SettingsError(f"samples: {self.samples} is not between 1 and 65536")


@dataclass(frozen=True)
class OutputSettings:
    """What is written where.

    Attributes
    ----------
    directory : Path
        Made when it is not there.
    formats : tuple of {"stl", "glb", "png", "blend"}
    name : str or None
        File name without ending; None stands for the model's own name.
    compression : {"draco", "quantize", "none"}
        Of the GLB.
    render : RenderSettings
    max_stl_mb : float or None
        Most that an STL may have, in millions of bytes: the face budget is lowered until it fits.
    """

    directory: Path
    formats: tuple[Format, ...] = ("stl", "glb")
    name: str | None = None
    compression: Compression = "draco"
    render: RenderSettings = field(default_factory=RenderSettings)
    max_stl_mb: float | None = None

    def __post_init__(self) -> None:
        for name in self.formats:
            _one_of("export", name, Format)
        _one_of("glb-compression", self.compression, Compression)
        check_file_name(self.name)
        if self.max_stl_mb is not None and not 0.0 < self.max_stl_mb < float("inf"):
            raise SettingsError(f"max-stl-mb: {self.max_stl_mb} is not a positive number")

    @property
    def needs_blender(self) -> bool:
        """Whether any of the formats can only come out of Blender."""
        return bool({"png", "blend"} & set(self.formats))

    @property
    def stl_limit(self) -> int | None:
        """Largest size of an STL in bytes; None where there is none, or no STL."""
        if self.max_stl_mb is None or "stl" not in self.formats:
            return None
        return int(self.max_stl_mb * 1e6)


@dataclass(frozen=True)
class Settings:
    """A whole request: from a model on disk to surfaces.

    Attributes
    ----------
    model : Path or Url
        A checkpoint file or folder.
    selection, field, surface
        See their classes.
    colors : {"ember", "ice", "gray"}
        Colour map of unsigned fields; signed ones have blue and red.
    """

    model: Location
    selection: Selection = Selection()
    field: FieldSettings = FieldSettings()
    surface: SurfaceSettings = SurfaceSettings()
    colors: ColorMap = "ember"

    def __post_init__(self) -> None:
        _one_of("colors", self.colors, ColorMap)


@dataclass(frozen=True)
class FlightSettings:
    """How the camera flies the corridor.

    Attributes
    ----------
    start, end : str
        Names of the stops ("layer 3") between which it flies; "" for the first and the last.
    speed : float or None
        In metres a second; None arrives with the last frame.
    look_at : str
        Name of the stop that it looks at all the way; "" looks ahead.
    """

    start: str = ""
    end: str = ""
    speed: float | None = None
    look_at: str = ""

    def __post_init__(self) -> None:
        if self.speed is not None and not 0.01 <= self.speed <= 10_000.0:
            raise SettingsError(f"speed: {self.speed} is not between 0.01 and 10000 m/s")


@dataclass(frozen=True)
class TimelineSettings:
    """Frames of each step, the first frame, frames a second; and a flight, if there is one."""

    frames: int = 12
    start: int = 1
    fps: int = 24
    flight: FlightSettings | None = None

    def __post_init__(self) -> None:
        for what, value, least, most in (
            ("frames", self.frames, 1, 10_000),
            ("start", self.start, 0, 1_000_000),
            ("fps", self.fps, 1, 240),
        ):
            if not least <= value <= most:
                raise SettingsError(f"{what}: {value} is not between {least} and {most}")


@dataclass(frozen=True)
class AnimationSettings:
    """A series of checkpoints, and how it becomes an animation.

    Attributes
    ----------
    targets : tuple of str
        A folder, a pattern, or checkpoints one by one.
    build : Settings
        How each step is seen; its model is the folder that holds the series.
    view : {"iso", "relief", "time"}
        Surfaces that come and go; terrain that flows; or one still surface with the steps as its
        third axis.
    delta : {"none", "first", "previous"}
        Weights, or how they differ from those of the first or of the previous step.
    timeline : TimelineSettings
    """

    targets: tuple[str, ...]
    build: Settings
    view: View = "iso"
    delta: Delta = "none"
    timeline: TimelineSettings = TimelineSettings()

    def __post_init__(self) -> None:
        _one_of("view", self.view, View)
        _one_of("delta", self.delta, Delta)
        if not self.targets:
            raise SettingsError("series: no folder and no file is given")
        kind = self.build.field.kind
        if self.view == "relief" and kind != "slab":
            raise SettingsError(f"view: a relief shows one matrix; it cannot show {kind} fields")
        if (self.view == "time") != (kind == "time"):
            raise SettingsError("view: time fields and the view time go together")
        if self.delta != "none" and not self.build.field.signed:
            raise SettingsError(
                "delta: change has a sign, which the root mean square loses; pool by mean or absmax"
            )


@dataclass(frozen=True)
class AnimationOutput:
    """What of an animation is written where.

    Attributes
    ----------
    directory : Path
        Made when it is not there.
    formats : tuple of {"glb", "gif", "mp4", "frames", "blend"}
    name : str or None
        File name without ending; None stands for the series' own name.
    compression : {"draco", "quantize", "none"}
        Of the GLB; a relief's is always "quantize".
    render : RenderSettings
    dataset : Path or None
        Folder for the shapes of every step as arrays.
    """

    directory: Path
    formats: tuple[Moving, ...] = ("glb", "gif")
    name: str | None = None
    compression: Compression = "draco"
    render: RenderSettings = field(default_factory=lambda: RenderSettings(width=960, height=540))
    dataset: Path | None = None

    def __post_init__(self) -> None:
        for name in self.formats:
            _one_of("export", name, Moving)
        _one_of("glb-compression", self.compression, Compression)
        check_file_name(self.name)

    @property
    def needs_frames(self) -> bool:
        """Whether pictures have to be rendered."""
        return bool({"gif", "mp4", "frames"} & set(self.formats))

    @property
    def needs_blender(self) -> bool:
        """Whether any of the formats can only come out of Blender."""
        return self.needs_frames or "blend" in self.formats
