"""Who makes the surfaces, by the options of `arguments.add_workers`."""

from __future__ import annotations

import argparse
from functools import partial

from ..core.crew import Hiring, nobody
from ..core.errors import SettingsError
from .cluster import cluster_crew
from .workers import local_crew

MOST_WORKERS = 256


def hiring(chosen: argparse.Namespace) -> Hiring:
    """Return who makes the surfaces.

    Raises
    ------
    SettingsError
        The options contradict one another.
    """
    count, address, shared = chosen.workers, chosen.scheduler, chosen.shared
    if count is not None and address is not None:
        raise SettingsError("workers and scheduler exclude one another; give one of them")
    if count is not None and not 1 <= count <= MOST_WORKERS:
        raise SettingsError(f"workers: {count} is not between 1 and {MOST_WORKERS}")
    if address is not None:
        if shared is None:
            raise SettingsError(
                "scheduler: give --shared, a folder that this machine and all workers see"
            )
        return partial(cluster_crew, address, shared)
    if count is not None:
        return partial(local_crew, count, shared)
    if shared is not None:
        raise SettingsError("shared: it is for what --workers or --scheduler make")
    return nobody
