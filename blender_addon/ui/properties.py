"""What the panels show and the operators read: one group of properties of the scene."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

import bpy
import numpy as np

from ..core.errors import WeightwalkError
from ..core.estimate import Estimate, estimate
from ..core.plans import make_plans, select
from ..core.settings import (
    MAX_GRID,
    MIN_FACES,
    MIN_GRID,
    SLAB_FACES,
    SLAB_GRID,
    VOLUME_FACES,
    VOLUME_GRID,
    FieldSettings,
    Selection,
    Settings,
    SurfaceSettings,
)
from .flow_properties import Flow
from .preferences import COLORS
from .run_properties import TrainingRun
from .session import session

MANY = 2000  # tensors, whose plans take longer to make than a blink


def _choice_changed(weights: Weights, _context: bpy.types.Context) -> None:
    weights.cost_changed()


def _item_changed(item: TensorItem, _context: bpy.types.Context) -> None:
    item.id_data.weightwalk.cost_changed()


def _filter_changed(weights: Weights, _context: bpy.types.Context) -> None:
    weights.apply_filter()


def _kind_changed(weights: Weights, _context: bpy.types.Context) -> None:
    """Move grid and budget to the kind's own, where they are at the other kind's."""
    slab = weights.kind == "slab"
    old, new = (VOLUME_GRID, SLAB_GRID) if slab else (SLAB_GRID, VOLUME_GRID)
    for axis in ("rows", "cols"):
        if getattr(weights, axis) == old:
            setattr(weights, axis, new)
    old, new = (VOLUME_FACES, SLAB_FACES) if slab else (SLAB_FACES, VOLUME_FACES)
    if weights.faces == old:
        weights.faces = new
    weights.cost_changed()


def _exact(number: float) -> float:
    """Return a number as the person typed it: Blender's properties hold six or seven digits."""
    return number if isinstance(number, int) else float(f"{number:.6g}")


class TensorItem(bpy.types.PropertyGroup):
    """A line of the tensor list; its name is the tensor's."""

    chosen: bpy.props.BoolProperty(
        name="Build", description="Whether this tensor is built", update=_item_changed
    )
    listed: bpy.props.BoolProperty(default=True)
    label: bpy.props.StringProperty()  # where a narrow list has no room for the name
    kind: bpy.props.StringProperty()
    layer: bpy.props.IntProperty(default=-1)
    shape: bpy.props.StringProperty()
    dtype: bpy.props.StringProperty()
    size: bpy.props.StringProperty()


class Weights(bpy.types.PropertyGroup):
    """All that Weightwalk keeps in a scene."""

    # --- the model -----------------------------------------------------------------------------
    path: bpy.props.StringProperty(name="Model", subtype="FILE_PATH")
    title: bpy.props.StringProperty()
    stamp: bpy.props.StringProperty()
    tensors: bpy.props.CollectionProperty(type=TensorItem)
    active: bpy.props.IntProperty(name="Tensor")
    search: bpy.props.StringProperty(
        name="Search",
        description="Part of a tensor's name, or a pattern: * stands for anything, ? for a letter",
        options={"TEXTEDIT_UPDATE"},
        update=_filter_changed,
    )
    first_layer: bpy.props.IntProperty(
        name="First layer", description="List this layer and those after it", min=0,
        update=_filter_changed,
    )  # fmt: skip
    last_layer: bpy.props.IntProperty(
        name="Last layer", description="List no layer after this one", min=0,
        update=_filter_changed,
    )  # fmt: skip
    by_layer: bpy.props.BoolProperty(
        name="Layers", description="List only tensors of some layers", update=_filter_changed
    )
    cost: bpy.props.StringProperty()

    # --- the shape -----------------------------------------------------------------------------
    kind: bpy.props.EnumProperty(
        name="Field",
        description="What the three axes of a surface are",
        items=[
            ("slab", "Slab", "One plate a tensor, rows downward, columns across. A plate is "
             "thicker where the weights are larger; thickness has no unit", "MESH_GRID", 0),
            ("depth", "Depth", "The same role through the layers (all query projections, say), "
             "stacked: what runs through is a dimension that every layer uses", "AXIS_SIDE", 1),
            ("heads", "Heads", "A projection cut by attention head, a plane a head: what runs "
             "through is used by every head. Needs the model's config.json", "ALIGN_JUSTIFY", 2),
            ("experts", "Experts", "The same matrix of all experts of a layer, a plane an expert: "
             "what differs from plane to plane is what they have specialised in", "COMMUNITY", 3),
        ],
        update=_kind_changed,
    )  # fmt: skip
    rows: bpy.props.IntProperty(
        name="Grid rows",
        description="Cells along the output dimensions (the matrix's first axis). A cell pools a "
        "rectangle of entries; a smaller matrix keeps a cell an entry. In cells",
        default=SLAB_GRID, min=MIN_GRID, max=MAX_GRID, update=_choice_changed,
    )  # fmt: skip
    cols: bpy.props.IntProperty(
        name="Columns",
        description="Cells along the input dimensions (the matrix's other axes). In cells",
        default=SLAB_GRID, min=MIN_GRID, max=MAX_GRID, update=_choice_changed,
    )  # fmt: skip
    pool: bpy.props.EnumProperty(
        name="Pooling",
        description="How the entries under a cell become its value, in σ",
        items=[
            ("rms", "RMS", "Root mean square: the energy of the weights under a cell, as of a "
             "Frobenius norm. Has no sign"),
            ("absmax", "Largest", "The entry of largest magnitude: keeps single outliers that an "
             "average would drown"),
            ("mean", "Mean", "The average: shows a bias of many weights in one direction; "
             "independent weights cancel out"),
        ],
        update=_choice_changed,
    )  # fmt: skip
    signed: bpy.props.BoolProperty(
        name="Signed",
        description="Show positive and negative values as a red and a blue surface. The root mean "
        "square has no sign",
        default=True,
        update=_choice_changed,
    )
    smooth: bpy.props.FloatProperty(
        name="Smoothing",
        description="Standard deviation of a Gaussian blur over rows and columns; layers, heads "
        "and experts are never blurred into each other. In cells",
        min=0.0, max=64.0, update=_choice_changed,
    )  # fmt: skip
    sigma: bpy.props.EnumProperty(
        name="Unit",
        description="Whose standard deviation is the unit σ",
        items=[
            ("tensor", "Each tensor's σ", "Values are divided by their own tensor's standard "
             "deviation: compares patterns, whatever the scale of a tensor"),
            ("all", "One σ for all", "All values are divided by the standard deviation of all "
             "chosen weights together: compares sizes between tensors"),
        ],
        update=_choice_changed,
    )  # fmt: skip
    cut: bpy.props.EnumProperty(
        name="Level by",
        description="How the value is found beyond which there is matter",
        items=[
            ("faces", "Faces", "As low as a budget of triangles allows: each tensor shows as much "
             "as it can"),
            ("level", "Level", "At a value in standard deviations, the same for all tensors"),
            ("quantile", "Quantile", "Such that a fraction of the cells lies below"),
        ],
        update=_choice_changed,
    )  # fmt: skip
    faces: bpy.props.IntProperty(
        name="Faces a tensor",
        description="Budget for each field, never exceeded. In triangles",
        default=SLAB_FACES, min=MIN_FACES, max=100_000_000, update=_choice_changed,
    )  # fmt: skip
    level: bpy.props.FloatProperty(
        name="Level",
        description="There is matter where the magnitude is larger. In standard deviations σ",
        default=2.0, min=0.001, soft_max=20.0, update=_choice_changed,
    )  # fmt: skip
    quantile: bpy.props.FloatProperty(
        name="Quantile",
        description="Fraction of cells, by magnitude, that lie below the level",
        default=0.9, min=0.001, max=0.9999, update=_choice_changed,
    )  # fmt: skip
    colors: bpy.props.EnumProperty(
        name="Colours",
        description="Colour of magnitudes on one scale for all tensors, in σ; signed values are "
        "always blue (negative) and red (positive)",
        items=COLORS,
    )

    # --- a training run ------------------------------------------------------------------------
    run: bpy.props.PointerProperty(
        type=TrainingRun, name="Training run", description="Checkpoints that become keyframes"
    )

    flow: bpy.props.PointerProperty(
        type=Flow, name="Flow", description="What each layer of a model puts out for a prompt"
    )

    # --- walking -------------------------------------------------------------------------------
    walk_speed: bpy.props.FloatProperty(
        name="Speed", description="How fast you walk, in metres a second",
        default=20.0, min=0.1, max=100.0, unit="VELOCITY",
    )  # fmt: skip
    mouse_speed: bpy.props.FloatProperty(
        name="Mouse", description="How far the view turns with the mouse; 1 is Blender's own",
        default=0.1, min=0.01, max=10.0,
    )  # fmt: skip
    head_up: bpy.props.BoolProperty(
        name="Tell where I am",
        description="Name the layer and the nearest surface in the view, with the colour scale",
        default=True,
    )

    # --- the cell that was looked at -----------------------------------------------------------
    reading: bpy.props.StringProperty()
    copy_text: bpy.props.StringProperty()
    refine_plan: bpy.props.StringProperty()
    refine_plane: bpy.props.IntProperty()
    refine_from: bpy.props.IntVectorProperty(
        name="From", description="First row and column of the rectangle, in entries", size=2, min=0
    )
    refine_to: bpy.props.IntVectorProperty(
        name="Before", description="Row and column after the last ones, in entries", size=2, min=0
    )

    # --- files ---------------------------------------------------------------------------------
    export_folder: bpy.props.StringProperty(
        name="Folder", description="Where the files go", subtype="DIR_PATH"
    )
    export_formats: bpy.props.EnumProperty(
        name="Files",
        description="What is written",
        items=[
            ("stl", "STL", "Triangles alone, for 3D printing"),
            ("glb", "GLB", "With colours and provenance, for the web; compressed by Draco"),
            ("png", "Picture", "From the scene's camera, in 1600 × 900"),
        ],
        options={"ENUM_FLAG"},
        default={"glb"},
    )
    export_camera: bpy.props.EnumProperty(
        name="Camera",
        description="What the picture shows",
        items=[
            ("overview", "Overview", "The whole model, from Weightwalk's own camera"),
            ("scene", "Scene's Camera", "What Blender would render"),
        ],
    )
    export_scope: bpy.props.EnumProperty(
        name="Surfaces",
        description="Which surfaces are written",
        items=[
            ("visible", "Visible", "All surfaces that are not hidden"),
            ("selected", "Selected", "The selected surfaces"),
        ],
    )

    def settings(self) -> Settings:
        """Return the request that the panel stands for."""
        chosen = self.chosen()
        floats = self.every_float()
        names = () if chosen == floats else tuple(chosen)
        return Settings(
            session().located(self.path),
            Selection(names=names),
            FieldSettings(
                self.kind,
                self.rows,
                self.cols,
                self.pool,
                _exact(self.smooth),
                self.sigma,
                magnitude=self.pool != "rms" and not self.signed,
            ),
            SurfaceSettings(**{self.cut: _exact(getattr(self, self.cut))}),
            self.colors,
        )

    def chosen(self) -> list[str]:
        """Return the names of the chosen tensors."""
        return [item.name for item in self.tensors if item.chosen]

    def every_float(self) -> list[str]:
        """Return the names of all tensors that are weights."""
        return [item.name for item in self.tensors if item.kind != "integer"]

    def cost_changed(self) -> None:
        """Tell the cost soon, once: a number that is dragged changes many times a second."""
        if len(self.tensors) < MANY or bpy.app.background:
            self.tell_cost()
            return
        name = self.id_data.name

        def tell() -> None:
            scene = bpy.data.scenes.get(name)
            if scene is not None:
                scene.weightwalk.tell_cost()

        session().soon(tell)

    def tell_cost(self) -> None:
        """Say what building the choice will cost."""
        try:
            found = self.estimate()
            self.cost = found.sentence()
        except WeightwalkError as error:
            self.cost = str(error)
        self.run.tell_cost()

    def estimate(self) -> Estimate:
        """Estimate what building costs; raises `WeightwalkError` where nothing can be built."""
        checkpoint = session().headers(self.path, self.stamp)
        settings = self.settings()
        if not any(item.chosen for item in self.tensors):
            raise WeightwalkError("no tensor is chosen")
        tensors, _ = select(checkpoint, settings.selection)
        plans, _ = make_plans(tensors, settings.field)
        return estimate(plans, settings)

    def apply_filter(self) -> None:
        """List the tensors that the search and the layers leave."""
        pattern = self.search.lower()
        whole = any(c in pattern for c in "*?[")
        listed = []
        for item in self.tensors:
            name, label = item.name.lower(), item.label.lower()
            fits = fnmatchcase(name, pattern) if whole else pattern in name or pattern in label
            if self.by_layer:
                fits = fits and self.first_layer <= item.layer <= self.last_layer
            listed.append(fits)
        self.tensors.foreach_set("listed", np.array(listed, dtype=np.bool_))

    def choose(self, what: str) -> int:
        """Choose the listed tensors of a kind, and no others; return how many that are."""
        listed, chosen = self.column("listed"), self.column("chosen")
        kinds = np.array([item.kind for item in self.tensors], dtype=object)
        if what == "none":
            chosen[:] = False
        elif what == "invert":
            chosen[listed] = ~chosen[listed]
        else:
            fits = ~np.isin(kinds, ("integer", "part")) if what == "all" else (kinds == what)
            chosen[:] = listed & fits
        self.tensors.foreach_set("chosen", chosen)
        self.tell_cost()
        return int(chosen.sum())

    def column(self, name: str) -> Any:
        """Return a yes or no of all tensors, as an array."""
        values = np.zeros(len(self.tensors), np.bool_)
        self.tensors.foreach_get(name, values)
        return values
