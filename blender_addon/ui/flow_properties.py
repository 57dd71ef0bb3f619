"""What the panel of a flow shows, and the request that it stands for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bpy

from ..core.errors import WeightwalkError
from ..core.flow.compare import compare
from ..core.flow.cost import Cost, cost_of
from ..core.flow.settings import FlowOutput, FlowSettings, FlowShape
from ..core.readers import printable
from .places import absolute

if TYPE_CHECKING:
    from ..core.flow.run import FlowRun

Items = list[tuple[str, str, str]]

BETWEEN = "; "  # two files in the field
# So many features are one band of the picture, which can be read as one sees the terrain.
ONE_BAND = 1024

# What of a layer has a terrain; a router's choices are numbers of experts.
SHOWN = {
    "hidden": ("Block", "What the whole layer passes on to the next one"),
    "attention": ("Attention", "What the layer's attention adds to what passes through"),
    "mlp": ("MLP", "What the layer's MLP adds to what passes through"),
}


def _typed(flow: Flow, _context: bpy.types.Context) -> None:
    """Load what was typed or dropped into the field of the files."""
    if flow.target and flow.target != flow.shown:
        how = "EXEC_DEFAULT" if bpy.app.background else "INVOKE_DEFAULT"
        with suppress(RuntimeError):  # it has said why
            bpy.ops.weightwalk.load_flow(how, filepath=flow.target)
        flow.target = flow.shown


def _choice_changed(flow: Flow, _context: bpy.types.Context) -> None:
    flow.tell_cost()


def _prompt_changed(flow: Flow, _context: bpy.types.Context) -> None:
    """Another prompt has other tokens: its last one has seen all of them."""
    flow.token = str(max(len(flow.tokens) - 1, 0))


@lru_cache(maxsize=8)
def _read(facts: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(facts) if facts else {"prompts": [], "outputs": []}
    return found


# Blender holds no copy of the texts of a choice: as long as it shows them, they have to be kept.


@lru_cache(maxsize=8)
def _prompt_items(facts: str) -> Items:
    names = [prompt["name"] for prompt in _read(facts)["prompts"]]
    items = [(str(i), printable(name, 48), printable(name, 400)) for i, name in enumerate(names)]
    return items or [("0", "–", "No probe file is loaded")]


@lru_cache(maxsize=64)
def _token_items(facts: str, prompt: int) -> Items:
    prompts = _read(facts)["prompts"]
    tokens = prompts[prompt]["tokens"] if prompt < len(prompts) else []
    items = [
        (str(i), f"{at}: “{printable(text, 24)}”", f"Token {at} of the prompt, counted from 0")
        for i, (at, text) in enumerate(tokens)
    ]
    return items or [("0", "–", "No probe file is loaded")]


@lru_cache(maxsize=8)
def _output_items(facts: str) -> Items:
    there = [output for output in _read(facts)["outputs"] if output in SHOWN]
    return [(output, *SHOWN[output]) for output in there or ["hidden"]]


@lru_cache(maxsize=8)
def _values_items(found: str) -> Items:
    names = json.loads(found) if found else []
    first = printable(names[0], 24) if names else "the first step"
    return [
        ("outputs", "Outputs", "What the layers put out at each step"),
        ("changes", f"Change since {first}", f"What they put out at each step, minus that of "
         f"{first}: shows where they have changed. The colours' scale is found in the changes"),
    ]  # fmt: skip


def _values(flow: Flow, _context: bpy.types.Context) -> Items:
    return _values_items(flow.found)


def _prompts(flow: Flow, _context: bpy.types.Context) -> Items:
    return _prompt_items(flow.facts)


def _tokens(flow: Flow, _context: bpy.types.Context) -> Items:
    return _token_items(flow.facts, int(flow.prompt or 0))


def _outputs(flow: Flow, _context: bpy.types.Context) -> Items:
    return _output_items(flow.facts)


def _facts(run: FlowRun) -> dict[str, Any]:
    """Return what the panel says and asks of a run; its numbers are read when it is built."""
    if not run.probes:
        return {"prompts": [], "outputs": []}
    first = run.probes[0]
    shapes = {layer.shape[-1] for layer in first.layers()}
    prompts = [
        {"name": p.name, "tokens": [(at, p.tokens[at]) for at in p.positions]}
        for p in first.info.prompts
    ]
    return {
        "model": first.info.model,
        "layers": len(first.info.layers),
        "features": sorted(shapes),
        "prompts": prompts,
        "outputs": [o for o in first.outputs if all(o in probe.outputs for probe in run.probes)],
    }


def _departs(run: FlowRun) -> str:
    """Say at which layer the last step departs from the first; how it is tested, a report says."""
    if len(run.probes) < 2:
        return ""
    try:
        found = compare(run.probes[-1], run.probes[0]).said
    except WeightwalkError as error:
        found = str(error)
    return f"{run.labels[-1]} against {run.labels[0]}: {found.partition(': ')[0]}"


class Flow(bpy.types.PropertyGroup):
    """Probe files of one model, and how they are shown."""

    target: bpy.props.StringProperty(
        name="Probe files",
        description="A probe file, a folder of them, or a pattern such as flow/step-*.safetensors",
        subtype="FILE_PATH",
        update=_typed,
    )
    loaded: bpy.props.StringProperty()  # JSON: what `find_run` takes
    found: bpy.props.StringProperty()  # JSON: the names of the steps
    facts: bpy.props.StringProperty()  # JSON: prompts with their tokens, layers, outputs
    departs: bpy.props.StringProperty()  # where the last step departs from the first
    left_out: bpy.props.StringProperty()  # a line for each file that cannot be used
    grows: bpy.props.BoolProperty()  # it is the folder of a training, which may go on
    cost: bpy.props.StringProperty()

    prompt: bpy.props.EnumProperty(
        name="Prompt",
        description="Of what the model was given: which of it is shown",
        items=_prompts,
        update=_prompt_changed,
    )
    token: bpy.props.EnumProperty(
        name="Token",
        description="Above which token of the prompt the layers' outputs are shown",
        items=_tokens,
        update=_choice_changed,
    )
    output: bpy.props.EnumProperty(
        name="Output",
        description="What of each layer is shown",
        items=_outputs,
        update=_choice_changed,
    )
    view: bpy.props.EnumProperty(
        name="Show as",
        description="What the numbers become",
        items=[
            ("terrain", "Terrain", "A landscape: a row for each layer, a column for each feature, "
             "as high as the feature's value; red upward, blue downward"),
            ("volume", "Volume", "Solids in a box of layers, tokens and features: matter where "
             "a value is large. For probes of all tokens"),
        ],
        update=_choice_changed,
    )  # fmt: skip
    values: bpy.props.EnumProperty(
        name="Show",
        description="Which numbers are shown of the steps of a training",
        items=_values,
        update=_choice_changed,
    )
    over: bpy.props.EnumProperty(
        name="Frames are",
        description="What goes by while it plays",
        items=[
            ("steps", "Steps", "The steps of the training: how the outputs for one token change"),
            ("tokens", "Tokens", "The tokens of the prompt, one after the other"),
        ],
        update=_choice_changed,
    )
    faces: bpy.props.IntProperty(
        name="Faces",
        description="Budget, never exceeded: features are pooled where there are more. "
        "In triangles",
        default=FlowShape.faces, min=100, max=100_000_000, update=_choice_changed,
    )  # fmt: skip
    limit: bpy.props.FloatProperty(
        name="Scale to ± σ",
        description="Where the colours end, on both sides of zero; what lies beyond is marked. In "
        "standard deviations σ of the first step",
        default=FlowSettings.limit, min=0.01, soft_max=20.0, max=1e6, update=_choice_changed,
    )  # fmt: skip
    sigma: bpy.props.EnumProperty(
        name="Unit",
        description="Whose standard deviation is the unit σ",
        items=[
            ("layer", "Each layer's σ", "Values are divided by their own layer's standard "
             "deviation, so that early layers, whose outputs are small, are seen as well"),
            ("all", "One σ for all", "All values are divided by one standard deviation: shows "
             "how outputs grow from layer to layer"),
        ],
        update=_choice_changed,
    )  # fmt: skip
    frames: bpy.props.IntProperty(
        name="Frames a step",
        description="How long each step, or token, is seen: 12 frames are half a second of 24",
        default=FlowShape.frames, min=1, max=10_000, update=_choice_changed,
    )  # fmt: skip
    start: bpy.props.IntProperty(
        name="Start frame", description="The first frame of the first step",
        default=FlowShape.start, min=0, max=1_000_000,
    )  # fmt: skip
    fps: bpy.props.IntProperty(
        name="Frames a second", description="How fast it plays; the scene's own rate is set to it",
        default=FlowShape.fps, min=1, max=240, update=_choice_changed,
    )  # fmt: skip

    formats: bpy.props.EnumProperty(
        name="Files",
        description="What is written; a difference and a curve over the layers come with several "
        "steps, a report always",
        items=[
            ("png", "PNG", "A picture of the last step, with scale and layers", 1),
            ("gif", "GIF", "A film of several steps that plays anywhere", 2),
            ("mp4", "MP4", "A film of several steps, smaller and finer than a GIF", 4),
        ],
        options={"ENUM_FLAG"},
        default={"png", "gif"},
    )
    palette: bpy.props.EnumProperty(
        name="Colours",
        description="Of the pictures",
        items=[
            ("diverging", "Blue to Red", "On the stated scale, with a legend"),
            ("classic", "Classic", "The rainbow of the program NeuralFlow, to compare with its "
             "pictures"),
        ],
    )  # fmt: skip

    model: bpy.props.StringProperty(
        name="Model",
        description="The folder of a model that transformers can load, or a GGUF file",
        subtype="FILE_PATH",
    )
    text: bpy.props.StringProperty(
        name="Prompt", description="What the model is given; empty for 16 short sentences"
    )
    keep: bpy.props.EnumProperty(
        name="Tokens",
        description="Which tokens' outputs are kept",
        items=[
            ("last", "The Last", "What the model makes of the whole prompt: a small file"),
            ("all", "All", "Needed for a volume, and to let the tokens go by as frames"),
        ],
    )

    @property
    def targets(self) -> tuple[str, ...]:
        """What `find_run` takes; empty where nothing is loaded."""
        return tuple(json.loads(self.loaded)) if self.loaded else ()

    @property
    def shown(self) -> str:
        """What stands in the field of the files."""
        return BETWEEN.join(self.targets)

    @property
    def names(self) -> list[str]:
        """The names of the steps that were found when the files were loaded."""
        return json.loads(self.found) if self.found else []

    @property
    def about(self) -> dict[str, Any]:
        """Model, layers, features, outputs, and the prompts with the tokens that were kept."""
        return _read(self.facts)

    @property
    def tokens(self) -> list[tuple[int, str]]:
        """Position and text of each token that was kept of the chosen prompt."""
        prompts = self.about["prompts"]
        return prompts[int(self.prompt)]["tokens"] if prompts else []

    @property
    def moments(self) -> int:
        """How many pictures are seen one after the other."""
        over_tokens = self.view == "terrain" and self.over == "tokens"
        return len(self.tokens if over_tokens else self.names)

    def hold(self, targets: Sequence[str], run: FlowRun) -> None:
        """Note what was loaded; choices that it does not offer are made anew."""
        self.loaded = json.dumps(list(targets))
        self.target = self.shown
        self.left_out = "\n".join(f"{printable(s.name)}: {s.reason}" for s in run.skips)
        self.found = json.dumps(list(run.labels))
        self.departs = _departs(run)
        numbered = all(probe.info.step is not None for probe in run.probes)
        self.grows = len(targets) == 1 and Path(targets[0]).is_dir() and numbered
        facts = json.dumps(_facts(run))
        if facts != self.facts:
            self._offer(facts)
        self.tell_cost()

    def _offer(self, facts: str) -> None:
        """Offer the prompts, tokens and outputs of other probes."""
        prompt, output = int(self.prompt or 0), self.output
        self.facts = facts
        self.output = output if output in self.about["outputs"] else "hidden"
        self.prompt = str(prompt if prompt < len(self.about["prompts"]) else 0)
        if len(self.names) < 2 < len(self.tokens):
            self.over = "tokens"
        elif len(self.tokens) < 2:
            self.over = "steps"

    def settings(self) -> FlowSettings:
        """Return what the panel asks to be shown; raises `SettingsError`."""
        last = int(self.token) == len(self.tokens) - 1
        features = self.about["features"][-1] if self.names else ONE_BAND
        return FlowSettings(
            width=features if features <= ONE_BAND else FlowSettings.width,
            prompt=int(self.prompt), token=-1 if last else int(self.token), output=self.output,
            palette=self.palette, limit=float(f"{self.limit:.6g}"), sigma=self.sigma,
        )  # fmt: skip

    def shape(self) -> FlowShape:
        """Return how the panel asks it to stand; raises `SettingsError`."""
        values = self.values if len(self.names) > 1 else "outputs"
        return FlowShape(
            self.view, self.over, self.faces, self.frames, self.start, self.fps, values
        )

    def files(self) -> FlowOutput:
        """Return what the panel's files are; raises `SettingsError`."""
        folder = absolute(self.id_data.weightwalk.export_folder)
        formats = tuple(f for f in ("png", "gif", "mp4") if f in self.formats)
        return FlowOutput(folder, formats, seconds=self.frames / self.fps)

    def tell_cost(self) -> None:
        """Say what building it will cost."""
        if not self.names:
            self.cost = ""
            return
        if self.view == "volume" and len(self.tokens) < 2:
            self.cost = "A volume takes several tokens, and one was kept: probe with --token all"
            return
        self.cost = self.estimate().sentence()

    def estimate(self) -> Cost:
        """Estimate what building it will cost."""
        about = self.about
        return cost_of(about["layers"], about["features"][-1], self.moments, self.shape())
