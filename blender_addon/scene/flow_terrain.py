"""A terrain of a model's outputs: a sheet that lies on the floor, with a shape for each moment."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import numpy as np

from ..core.color import NONFINITE
from ..core.flow.legend import ABOVE, BELOW
from ..core.flow.terrain import Terrain
from ..core.model import Progress
from ..core.stages import told
from ..core.timeline import Timeline
from .flow_plot import Plot
from .labels import LONGEST
from .mesh import color_attribute, mesh_steps, new_object
from .relief import flow, new_colors, sheet_steps

COLORS, ACTION = "Weightwalk terrain colours", "Weightwalk terrain"


def terrain_in_steps(
    terrain: Terrain, plot: Plot, timeline: Timeline
) -> Generator[Progress, None, None]:
    """Make the terrain, and boxes around what is not finite, and put them on the plot."""
    made, count = plot.made, len(terrain.moments)
    colors = new_colors(
        terrain.scale, terrain.height, name=COLORS, lying=True, beyond=(BELOW, ABOVE)
    )
    made.named(colors, COLORS)
    names = [moment.label[:LONGEST] for moment in terrain.moments]
    now = Progress("scene", 0, 1, "terrain")
    yield now
    material = plot.materials.surface
    with closing(sheet_steps(terrain, names, material, colors, axis=2)) as making:
        thing = yield from told(making, now)
    plot.put(thing, "Flow")
    flow([thing], timeline, made, ACTION)
    # A box that stays for several moments is made once.
    alike: dict[bytes, list[int]] = {}
    for moment in range(count):
        if terrain.nonfinite[moment].any():
            alike.setdefault(terrain.nonfinite[moment].tobytes(), []).append(moment)
    for held in alike.values():
        yield now
        yield from _marker(terrain, plot, held, now)


def _marker(
    terrain: Terrain, plot: Plot, moments: list[int], now: Progress
) -> Generator[Progress, None, None]:
    marker = terrain.marker(moments[0])
    assert marker is not None
    vertices, faces = marker
    colors = np.tile(np.array(NONFINITE, np.uint8), (len(vertices), 1))
    name = f"{terrain.part.name} non-finite"
    with closing(mesh_steps(name, vertices, faces, (color_attribute(colors),))) as making:
        mesh = yield from told(making, now)
    mesh.materials.append(plot.materials.surface)
    boxes = plot.put(new_object(name, mesh), "Flow")
    plot.show(boxes, [i in moments for i in range(len(terrain.moments))])
