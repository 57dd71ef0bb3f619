"""Fields made by others, in processes or on machines of their own; here they are put together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol, TypeVar

from . import errors
from .errors import OutputError, WeightwalkError
from .fields import Plan
from .plain import to_plain
from .pooling import Moments
from .readers import Checkpoint, printable
from .results import Made, read_moments, read_surfaces
from .settings import Settings
from .shelf import Shelf
from .sigma import sigma_of_all
from .stages import Ticks
from .units import Job, Keys, Order, Unit, cutting, measuring, order_of, pooling

T = TypeVar("T")

# How long a file that another machine has written may take to be seen, in seconds: network file
# systems look again after so many.
UNSEEN = 60.0
LOOK_AGAIN = 0.1


class Crew(Protocol):
    """Who makes units of work.

    Attributes
    ----------
    folder : Path
        Absolute; all see it. What is made is put into it.
    run : str
        Letters and digits that no other run has.
    doing : str
        What is going on, for the progress.
    waits : bool
        Whether nobody is there yet who could do something.
    notes : list of str
        Sentences on what went wrong and was put right.
    """

    folder: Path
    run: str
    doing: str
    waits: bool
    notes: list[str]

    def work(self, orders: Sequence[Order]) -> Ticks[None]:
        """Have units made, the first ones first; yield at least each tenth of a second.

        Raises
        ------
        WeightwalkError
            One of them cannot be made.
        """
        ...


# Gives a crew, if any, and sends it home; the folder is one for temporary files.
Hiring = Callable[[Path], AbstractContextManager[Crew | None]]


def nobody(_folder: Path) -> AbstractContextManager[None]:
    """Give no crew."""
    return nullcontext()


class Foreman:
    """Has the fields of one build made by a crew.

    Parameters
    ----------
    crew : Crew
    checkpoint : Checkpoint
    settings : Settings
    """

    def __init__(self, crew: Crew, checkpoint: Checkpoint, settings: Settings) -> None:
        self.crew = crew
        self.settings = replace(settings, model=settings.model.absolute())
        self._shelf = Shelf(crew.folder, crew.run)
        self._keys = Keys(checkpoint, self.settings)
        job = Job.of(self.settings, checkpoint.stamp)
        self._job = self._shelf.post(self._keys.job(), json.dumps(to_plain(job)))

    def sigma(self, plans: Sequence[Plan]) -> Ticks[float | None]:
        """Do what `sigma.shared_sigma` does."""
        units = measuring(plans, self._keys)
        yield from self._make(units)
        total = Moments()
        for unit in units:
            total += yield from self._seen(partial(read_moments, self._shelf, unit.key))
        return sigma_of_all(total)

    def surfaces(self, plans: Sequence[Plan], sigma: float | None) -> Ticks[list[Made]]:
        """Return what becomes of each plan."""
        pools = [unit for plan in plans for unit in pooling(plan, self._keys)]
        cuts = [cutting(plan, self._keys, sigma) for plan in plans]
        # A field of one tensor is read and cut in one go, while others are read.
        yield from self._make([*pools, *(cut for cut in cuts if not cut.pools)])
        yield from self._make([cut for cut in cuts if cut.pools])
        made = []
        for plan, cut in zip(plans, cuts, strict=True):
            reading = partial(read_surfaces, self._shelf, cut.key, plan, self.settings.field)
            made += [(yield from self._seen(reading))]
        return made

    def _make(self, units: Sequence[Unit]) -> Ticks[None]:
        """Have made what is not there, the longest first: so they end at about the same time."""
        orders = []
        for unit in units:
            there = self._shelf.has(unit.key)
            yield unit.work if there else 0
            if not there:
                orders.append(order_of(unit, self.crew.folder, self._job))
        orders.sort(key=lambda order: -order.unit.work)
        if orders:
            yield from self.crew.work(orders)

    def _seen(self, read: Callable[[], T]) -> Ticks[T]:
        """Read what was made, as soon as it is seen here."""
        begin = monotonic()
        while True:
            yield 0
            try:
                return read()
            except FileNotFoundError as error:
                if monotonic() - begin > UNSEEN:
                    raise OutputError(
                        f"a worker has put {Path(error.filename).name} into "
                        f"{printable(self.crew.folder, 1000)}, and it is not there: the folder is "
                        "not the same for all who work"
                    ) from None
            # Only a look at the folder makes some file systems ask again.
            list(self.crew.folder.iterdir())
            sleep(LOOK_AGAIN)


def raise_said(reply: Mapping[str, str]) -> None:
    """Raise the error of which a reply of `units.perform` tells, if it does."""
    if "error" in reply:
        kind = getattr(errors, reply["error"], WeightwalkError)
        raise kind(reply["said"])
