"""A run's flow → a Blender scene: terrain or volume, the picture behind it, and all that explains.

As with a corridor, everything is made out of sight and enters the scene at one go; a flow replaces
the flow before it, and stands beside a corridor.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import product

import bpy
import numpy as np

from ..core.errors import WeightwalkError
from ..core.estimate import BYTES_A_FACE, available_memory, size_text
from ..core.flow.change import Changes, changes_steps
from ..core.flow.legend import ABOVE, BELOW
from ..core.flow.run import FlowRun
from ..core.flow.settings import FlowSettings, FlowShape
from ..core.flow.standing import (
    features_of,
    picture_shape,
    pictures_of,
    record_of,
    tokens_of,
)
from ..core.flow.terrain import Terrain, terrain_lines, terrain_steps
from ..core.flow.units import Units, reference_units
from ..core.flow.volume import Volume, volume_lines, volume_steps
from ..core.flow.words import what_of
from ..core.layout import Layout, Stop
from ..core.model import Progress
from ..core.readers import printable
from ..core.settings import TimelineSettings
from ..core.timeline import Timeline
from .build import furniture, new_floor, new_lights, new_world
from .camera import overview
from .flow_ground import aside, box_of, flow_record, new_basin, settle
from .flow_labels import Axes, caption_of, labels_of, pointers_of
from .flow_plane import screens_in_steps
from .flow_plot import Plot
from .flow_terrain import terrain_in_steps
from .flow_volume import volume_in_steps
from .labels import LONGEST, Legend, legend
from .made import Made
from .markers import set_markers
from .ours import FLOW, find_root, is_ours, materials_of, objects_in, ours_among, stands
from .swap import swap, take_away

__all__ = ["clear_flow", "flow_record", "stand_flow_steps"]

TOWARD = {"terrain": (0.0, 1.0, -0.62), "volume": (-0.3, 1.0, -0.5)}
# The share of the free memory that a scene may take.
SHARE = 0.75
# Metres: from the shape to the screen, from the floor to its lower edge, and its largest height.
BEHIND, FOOT, TALLEST = 2.5, 0.5, 6.0
ROW = 0.1  # metres of a row of the picture


@dataclass(frozen=True, eq=False)
class Show:
    """A shape and what it is a shape of."""

    run: FlowRun
    settings: FlowSettings
    shape: FlowShape
    units: Units
    body: Terrain | Volume
    changes: Changes | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """What is seen one after the other."""
        return tuple(moment.label for moment in self.body.moments)

    @property
    def lines(self) -> tuple[str, ...]:
        """The legend's lines."""
        said = (self.changes.said,) if self.changes is not None else ()
        if isinstance(self.body, Terrain):
            return (*terrain_lines(self.body, self.run, self.settings, self.units), *said)
        return (*volume_lines(self.body, self.run, self.settings, self.units), *said)

    @property
    def nonfinite(self) -> bool:
        """Whether there is anything green."""
        if isinstance(self.body, Terrain):
            return bool(self.body.nonfinite.any())
        return any(s.sign == 0 for held in self.body.surfaces for s in held)


def stand_flow_steps(
    scene: bpy.types.Scene, run: FlowRun, settings: FlowSettings, shape: FlowShape
) -> Generator[Progress, None, bpy.types.Collection]:
    """Stand a run's flow in a scene.

    Nothing of it is in the scene until the last step, and what was made is removed when that is not
    reached. A run of several moments gives the scene its range of frames, and markers; beside a
    corridor that plays already, the range grows where it must.

    Parameters
    ----------
    scene : bpy.types.Scene
    run : FlowRun
    settings : FlowSettings
    shape : FlowShape

    Yields
    ------
    Progress

    Returns
    -------
    bpy.types.Collection

    Raises
    ------
    SettingsError
        There is no such token, a volume was asked for of one token, changes of one step, or the
        budget is too small.
    CheckpointError
        There is no such prompt or output.
    WeightwalkError
        Nothing is finite, or it would not fit into memory.
    """
    show = yield from _show_steps(run, settings, shape)
    times = TimelineSettings(shape.frames, shape.start, shape.fps)
    timeline = Timeline(len(show.labels), times)
    _check_memory(show)
    made = Made()
    try:
        yield Progress("scene", 0, 1, "materials")
        known = materials_of(find_root(scene)) | materials_of(find_root(scene, FLOW))
        materials = furniture(known, made)
        root = made.collection(f"Weightwalk flow {show.run.name[:LONGEST]}")
        plot = Plot(made, root, materials, show.labels, timeline)
        record = record_of(
            run, settings, shape, labels=show.labels, captions=show.lines, box=show.body.box,
            faces=show.body.faces, scale=show.body.scale,
        )  # fmt: skip
        root[FLOW] = record.to_json()
        yield from _furnish(show, plot, timeline)
        yield Progress("scene", 1, 1, "all into place")
        _enter(scene, show, plot)
    except BaseException:
        made.take_back()
        raise
    _settle(scene, root, timeline, show.labels, changed=shape.values == "changes")
    return root


def _show_steps(
    run: FlowRun, settings: FlowSettings, shape: FlowShape
) -> Generator[Progress, None, Show]:
    """Make the shape of a run, or of its changes."""
    changes = None
    if shape.values == "changes":
        changes = yield from changes_steps(run, settings, shape)
        run, settings, units = changes.run, changes.settings, changes.units
    else:
        units = reference_units(run, settings)
    make = terrain_steps if shape.view == "terrain" else volume_steps
    body = yield from make(run, settings, shape, units)
    return Show(run, settings, shape, units, body, changes)


def _check_memory(show: Show) -> None:
    """Raise `WeightwalkError` where the scene would not fit into memory."""
    layers = show.run.probes[0].layers(show.settings.prompt, show.settings.output)
    pixels, count = sum(layer.shape[1] for layer in layers), len(show.labels)
    keys = 1 + (count + 1) // 8 if isinstance(show.body, Terrain) else 1
    needed = BYTES_A_FACE * (show.body.faces * keys + 2 * pixels) + 20 * pixels * count
    free = available_memory()
    if free is not None and needed > SHARE * free:
        raise WeightwalkError(
            f"a scene of this flow takes about {size_text(needed)} of memory, and "
            f"{size_text(free)} are free; choose fewer steps or faces"
        )


def _furnish(show: Show, plot: Plot, timeline: Timeline) -> Generator[Progress, None, None]:
    """Make everything but light, floor and camera."""
    body, ink = show.body, plot.materials.ink
    name = printable(show.run.name, LONGEST)
    if isinstance(body, Terrain):
        yield from terrain_in_steps(body, plot, timeline)
    else:
        yield from volume_in_steps(body, plot, name)
    axes = _axes(show)
    plot.points.append(np.array(list(product(*zip(axes.low, axes.high, strict=True)))))
    yield from _screens(show, plot, axes)
    for layer, shown in show.changes.marks(body.moments).items() if show.changes else ():
        for pointer in pointers_of(axes, layer, ink):
            plot.show(plot.label(pointer, "Labels"), shown)
    said = Legend(
        name, show.lines, body.scale, show.nonfinite,
        show.labels if len(show.labels) > 1 else (), True, (BELOW, ABOVE),
    )  # fmt: skip
    stops = tuple(Stop(str(i), i * axes.stride, 0.0) for i in range(axes.layers))
    front = (axes.low[0] - 1.0, axes.low[1] - 1.0, 0.0)
    layout = Layout({}, {}, stops, front, axes.high)
    turn = float(np.arctan2(-TOWARD[show.shape.view][0], TOWARD[show.shape.view][1]))
    for group, labels in (
        ("Labels", labels_of(axes, ink)),
        ("Legend", legend(said, layout, ink, turn)),
    ):
        held = []
        for label in labels:
            held.append(plot.label(label, group))
            yield Progress("scene", 0, 1, group)
        plot.show_names(held, len(show.labels))


def _axes(show: Show) -> Axes:
    body = show.body
    low, high = body.box
    if isinstance(body, Terrain):
        column, stride = body.step
        return Axes(low, high, body.layers, stride, body.features, body.columns, column)
    column, stride, _ = body.step
    names = tokens_of(show.run, show.settings)
    tokens = tuple((name, body.height_of(i)) for i, name in enumerate(names))
    layers, _, columns = body.shape
    return Axes(low, high, layers, stride, body.features, columns, column, tokens)


def _screens(show: Show, plot: Plot, axes: Axes) -> Generator[Progress, None, None]:
    """Stand the picture behind the shape, and say below it what it is."""
    run, settings = show.run, show.settings
    pictures = pictures_of(run, settings, show.units, show.body.moments)
    rows, columns = picture_shape(run, settings)
    size = axes.high[0] - axes.low[0], float(np.clip(ROW * rows, 1.2, TALLEST))
    y = axes.high[1] + BEHIND
    yield from screens_in_steps(
        pictures, show.labels, plot, shape=(rows, columns), at=(0.0, y, FOOT), size=size
    )
    x = size[0] / 2.0
    plot.points.append(np.array([(-x, y, FOOT), (x, y, FOOT + size[1])]))
    chunks = -(-features_of(run, settings) // columns)
    rows_are = "a row is a layer, layer 0 on top"
    if chunks > 1:
        rows_are = (
            f"{chunks} bands of {columns} features; in each, a row is a layer, layer 0 on top"
            if settings.layout == "bands"
            else f"{chunks} rows a layer, of {columns} features each, layer 0 on top"
        )
    which = "the same values" if isinstance(show.body, Terrain) else what_of(run, settings)
    colors = ", in the colours of NeuralFlow" if settings.palette == "classic" else ""
    token = tokens_of(run, settings)[settings.token]
    of = "" if isinstance(show.body, Terrain) else f"{',' * bool(run.since)} for token {token}"
    lines = (f"{which}{of} as a picture{colors}: {rows_are}",)
    for label in caption_of(lines, (0.0, y, FOOT + size[1] + 0.25), 0.32, plot.materials.ink):
        plot.label(label, "Picture")


def _enter(scene: bpy.types.Scene, show: Show, plot: Plot) -> None:
    """Put all that was made into the scene, in the place of an earlier flow."""
    made, points = plot.made, np.concatenate(plot.points)
    by = aside(box_of(find_root(scene)), float(points[:, 0].min()), float(points[:, 0].max()))
    plot.anchor.location.x = by
    points += (by, 0.0, 0.0)
    render = scene.render
    shot = overview(
        points, np.array(TOWARD[show.shape.view]), render.resolution_x / render.resolution_y
    )
    low, high = show.body.box
    if low[2] < 0.0:
        plot.put(new_basin(low, high, plot.materials.floor), "Stage")
    plot.put(new_floor(points, shot.far, plot.materials.floor), "Stage", tied=False)
    first = not stands(scene)
    for lamp in new_lights() if first else ():
        plot.put(lamp, "Stage", tied=False)
    world = made.keep(new_world()) if first and scene.world is None else scene.world
    swap(scene, plot.root, made, shot, mark=FLOW)
    scene.world = world


def _settle(
    scene: bpy.types.Scene,
    root: bpy.types.Collection,
    timeline: Timeline,
    labels: tuple[str, ...],
    *,
    changed: bool,
) -> None:
    """Open the floor, set the frames and the markers."""
    _forget_images()
    settle(scene)
    if len(labels) < 2:
        return
    alone = find_root(scene) is None
    # In this order, for Blender keeps the one behind the other.
    scene.frame_end = timeline.end if alone else max(timeline.end, scene.frame_end)
    scene.frame_start = timeline.start if alone else min(timeline.start, scene.frame_start)
    if alone:
        scene.render.fps, scene.render.fps_base = timeline.settings.fps, 1.0
    names = (printable(label, LONGEST) for label in labels)
    marks = ((name, timeline.middle(i)[0]) for i, name in enumerate(names))
    set_markers(scene, root, marks)
    # Of changes there is none at the first step.
    scene.frame_current = timeline.middle(len(labels) - 1)[0] if changed else timeline.start


def clear_flow(scene: bpy.types.Scene) -> None:
    """Remove the flow from a scene; what a person made or changed by hand stays."""
    root, corridor = find_root(scene, FLOW), find_root(scene)
    if root is None:
        return
    if corridor is not None:
        _hand_over(root, corridor)
    take_away(scene, FLOW)
    _forget_images()
    settle(scene)


def _hand_over(root: bpy.types.Collection, corridor: bpy.types.Collection) -> None:
    """Leave our lights to a corridor that was built beside the flow and has none of its own."""
    lights = [thing for thing in ours_among(objects_in(root)) if thing.type == "LIGHT"]
    for light in lights:
        for collection in (root, *root.children_recursive):
            if light.name in collection.objects:
                collection.objects.unlink(light)
        corridor.objects.link(light)
        del light[FLOW]


def _forget_images() -> None:
    """Remove pictures of ours that no screen shows any more."""
    unused = [image for image in bpy.data.images if not image.users and is_ours(image)]
    bpy.data.batch_remove(unused)
