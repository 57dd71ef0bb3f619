"""A volume of a model's outputs: isosurfaces, a set for each moment."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import numpy as np

from ..core.flow.volume import Volume
from ..core.model import Progress
from ..core.readers import printable
from ..core.stages import told
from .flow_plot import Plot
from .labels import LONGEST
from .mesh import CELL, VALUE, Attribute, color_attribute, mesh_steps, new_object

_SIDES = {1: "+", -1: "-", 0: "non-finite"}


def volume_in_steps(volume: Volume, plot: Plot, name: str) -> Generator[Progress, None, None]:
    """Make the surfaces and put them on the plot, each to be seen at its moment."""
    done, total = 0, max(volume.faces, 1)
    for i, (moment, surfaces) in enumerate(zip(volume.moments, volume.surfaces, strict=True)):
        label = f" {printable(moment.label, LONGEST)}" if len(volume.moments) > 1 else ""
        for surface in surfaces:
            now = Progress("scene", done, total, f"{name}{label}")
            yield now
            part = volume.part(surface, f"{name}{label} {_SIDES[surface.sign]}")
            attributes = (
                color_attribute(part.colors),
                Attribute(VALUE, "FLOAT", np.nan_to_num(surface.values)),
                Attribute(CELL, "INT", volume.cells(surface)),
            )
            yield now
            making = mesh_steps(part.name, part.vertices, part.faces, attributes)
            with closing(making):
                mesh = yield from told(making, now)
            mesh.materials.append(plot.materials.surface)
            thing = plot.put(new_object(part.name, mesh), "Flow")
            plot.show(thing, [j == i for j in range(len(volume.moments))])
            done += len(part.faces)
