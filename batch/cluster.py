"""Units of work on a Dask cluster: its scheduler hands them out, and again where a worker dies.

Only text travels: an order out, an empty answer or an error back. What is made goes through a
folder that this process and all workers see.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import secrets
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from ..core.crew import raise_said
from ..core.errors import MissingDependencyError, SettingsError, WeightwalkError
from ..core.shelf import Shelf
from ..core.stages import Ticks
from ..core.text import printable
from ..core.units import Order, performed
from ..version import VERSION
from .workers import shared_folder

# Seconds for the scheduler to answer, and to part from it.
ANSWER, PART = 10.0, 3.0
# Seconds between two looks at what has come, and at who is there.
LOOK, OFTEN = 0.1, 2.0
# How often an order that fails for another reason than ours is tried again; workers that die are
# counted by the scheduler (distributed.scheduler.allowed-failures).
RETRIES = 2


@contextmanager
def cluster_crew(address: str, shared: Path, _staging: Path) -> Iterator[Cluster]:
    """Give the workers of a cluster; what they were not done with is taken back at the end.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``"tcp://10.0.0.5:8786"``.
    shared : Path
        A folder that this process and all workers see under this name.

    Raises
    ------
    MissingDependencyError
        Dask is not installed.
    SettingsError
        There is no scheduler.
    """
    client = _client(address)
    try:
        cluster = Cluster(client, address, shared_folder(shared))
        try:
            yield cluster
        finally:
            cluster.stop()
            Shelf(cluster.folder, cluster.run).sweep()
    finally:
        with suppress(Exception):
            client.close(timeout=PART)


def _client(address: str) -> Any:
    try:
        import distributed
    except ImportError:
        raise MissingDependencyError(
            "scheduler: this takes Dask: install weightwalk[cluster], here and on the workers"
        ) from None
    # It tells of each connection that is lost, which we do in a sentence of our own; and of other
    # versions of packages, of which those that matter are compared with each order.
    theirs = [n for n in logging.root.manager.loggerDict if n.startswith("distributed")]
    for name in theirs:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=distributed.versions.VersionMismatchWarning)
    try:
        # First, for a client that was never one waits for twenty seconds at its end.
        distributed.comm.resolve_address(address)
        asyncio.run(_greet(address))
        return distributed.Client(address, timeout=ANSWER, set_as_default=False)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        why = printable(str(error) or type(error).__name__, 300)
        raise SettingsError(f"scheduler: {printable(address)} does not answer: {why}") from None


async def _greet(address: str) -> None:
    """Wait so long and no longer for a word of a scheduler: a client would wait for ever."""
    import distributed

    security = distributed.Security().get_connection_args("client")
    try:
        async with asyncio.timeout(ANSWER):
            comm = await distributed.comm.connect(address, timeout=ANSWER, **security)
    except TimeoutError:
        raise TimeoutError(f"nothing came for {ANSWER:g} s") from None
    comm.abort()


class Cluster:
    """A crew of Dask workers; see `core.crew.Crew`.

    Parameters
    ----------
    client : distributed.Client
    address : str
        Of its scheduler.
    folder : Path
        For what they make; absolute.
    """

    def __init__(self, client: Any, address: str, folder: Path) -> None:
        self.folder, self.run = folder, secrets.token_hex(6)
        self.doing, self.waits = "", False
        self.notes: list[str] = []
        self._client, self._address = client, printable(address)
        self._asked: dict[Any, Order] = {}
        self._known: set[str] = set()
        self._news: SimpleQueue[Any] = SimpleQueue()

    def work(self, orders: Sequence[Order]) -> Ticks[None]:
        """Hand all units to the scheduler, and wait."""
        self._look()
        for i, order in enumerate(orders):
            self._ask(order, -i)
            if i % 100 == 99:
                yield 0
        looked = monotonic()
        while self._asked:
            if monotonic() - looked > OFTEN:
                self._look()
                looked = monotonic()
            try:
                future = self._news.get(timeout=LOOK)
            except Empty:
                yield 0
            else:
                order = self._asked.pop(future)
                self._end(order, future)
                yield order.unit.work

    def _ask(self, order: Order, priority: int) -> None:
        future = self._client.submit(
            performed,
            order.text,
            key=f"weightwalk-{order.unit.kind}-{self.run}-{order.unit.key}",
            pure=False,
            retries=RETRIES,
            priority=priority,
        )
        self._asked[future] = order
        future.add_done_callback(self._news.put)

    def _look(self) -> None:
        """Say how many work for us; there may be none yet, where machines are started on demand."""
        identity = self._client.scheduler.identity
        try:
            told = self._client.sync(identity, n_workers=-1, callback_timeout=ANSWER)
        except TimeoutError:
            why = f"the scheduler {self._address} has not answered for {ANSWER:g} s"
            raise WeightwalkError(why) from None
        except OSError as error:
            why = f"the scheduler {self._address} is gone: {printable(error, 300)}"
            raise WeightwalkError(why) from None
        there = set(told["workers"])
        self._check(there - self._known)
        self._known, count = there, len(there)
        self.waits = not count
        self.doing = f"{count} worker{'s' * (count != 1)} of {self._address}"
        if self.waits:
            self.doing = f"waiting for a worker of {self._address}"

    def _check(self, new: set[str]) -> None:
        """Raise where a worker has no Weightwalk: Dask would only see it break off."""
        if not new:
            return
        module = performed.__module__

        async def ask() -> dict[str, Any]:
            run = self._client.run
            return await run(importlib.import_module, module, workers=list(new), on_error="return")  # type: ignore[no-any-return]

        try:
            found = self._client.sync(ask, callback_timeout=ANSWER)
        except TimeoutError:
            return  # what is wrong with one that says nothing is for the scheduler to find out
        for where, what in found.items():
            if isinstance(what, ImportError):
                raise SettingsError(
                    f"the worker {printable(where)} cannot import Weightwalk ({printable(what)}): "
                    f"install weightwalk {VERSION} there"
                )

    def _end(self, order: Order, future: Any) -> None:
        """Look at how an order went; raises `WeightwalkError` where it failed."""
        name, gone = printable(order.unit.name), f"the scheduler {self._address} is gone"
        if future.cancelled():
            raise WeightwalkError(f"{name}: {gone}")
        try:
            reply = future.result()
        except OSError as error:  # of a connection
            raise WeightwalkError(f"{name}: {gone}: {printable(error, 300)}") from None
        except Exception as error:
            why = f"{type(error).__name__}: {printable(error, 300)}"
            raise WeightwalkError(f"{name}: it could not be made on the cluster: {why}") from None
        raise_said(reply)

    def stop(self) -> None:
        """Take back what is not done."""
        if self._asked:
            with suppress(Exception):
                self._client.cancel(list(self._asked), force=True)
            self._asked.clear()
