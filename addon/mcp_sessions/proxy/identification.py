"""Telling the core which process is behind a connection, and when a process is gone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from ..core.client import Client, ClientKey, Connection, ProcessLike
from ..core.core import Core
from ..processes import Identifier, Liveness, Process, Unknown
from ..wire.text import printable
from . import clock
from .tasks import Tasks

logger = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds that a request, or an answer, is kept back, at most, until it is known which process sent it."""

LAST_CLOSING = 0.05
"""Seconds within which the connections of a process that has ended are seen to close, unless another one holds them."""

SETTLING = 0.2
"""Seconds in which who has been left behind is settled."""

BLIND = {
    "remote": "a client on another host",
    "hidden": "a client whose process can't be seen, another user's or in a container",
    "denied": "the system does not tell which process is behind a connection",
    "off": "mcp_identify is off",
}
"""Why the process behind a connection is not known, in words for the log."""


class Identifying:
    """Looks up processes off the event loop, and watches those that it has found."""

    def __init__(self, core: Core, tasks: Tasks, fetch: Callable[[], None]) -> None:
        self.core = core
        self._tasks = tasks
        self._fetch = fetch
        self._identifier = Identifier()
        self._liveness: Liveness | None = None
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._said: set[str] = set()

    def enable(self, enabled: bool) -> None:
        """Look up processes, or do not."""
        self._identifier.enabled = enabled

    def start(self) -> None:
        """Begin to watch. To be called in the event loop."""
        self._liveness = Liveness(self._gone)

    def close(self) -> None:
        """Watch and look up no more."""
        if self._liveness is not None:
            self._liveness.close()
            self._liveness = None
        self._identifier.close()

    def watch(self, clients: Iterable[Client]) -> None:
        """Watch clients that are known from before."""
        for client in clients:
            if (process := _process(client)) is not None:
                self._watch(process)

    def watch_process(self, process: ProcessLike) -> None:
        """Watch a process that is no client, or not known as one."""
        if isinstance(process, Process):
            self._watch(process)

    def identify(self, connection_id: str, likely: Iterable[Client] = ()) -> asyncio.Task[None]:
        """Find out who is behind a connection, probably one of these; one look-up serves all who ask meanwhile."""
        task = self._under_way.get(connection_id)
        if task is None:
            processes = tuple(process for one in likely if (process := _process(one)) is not None)
            task = self._under_way[connection_id] = self._tasks.start(self._look_up(connection_id, processes))
            task.add_done_callback(lambda _: self._under_way.pop(connection_id, None))
        return task

    async def known(self, connection_id: str) -> None:
        """Wait, shortly, until it is known who is behind a connection."""
        await asyncio.wait({self.identify(connection_id)}, timeout=PATIENCE)

    def disconnected(self, connection: Connection) -> None:
        """A connection was closed: perhaps because its process is ending."""
        self._identifier.forget(connection.id)
        process = _process(connection.client) if connection.client else None
        if self._liveness is not None and process is not None:
            self._liveness.check(process)

    def _watch(self, process: Process) -> None:
        if self._liveness is not None:
            self._liveness.watch(process)

    async def _look_up(self, connection_id: str, likely: tuple[Process, ...]) -> None:
        connection = self.core.ledger.connections.get(connection_id)
        if connection is None:
            return
        found = await self._identifier.identify(connection_id, connection.peer, connection.local, likely)
        if isinstance(found, Process):
            visited = self.core.senders.wonders(found) and await self._identifier.visited(found)
            self.core.identified(connection, found, clock.now(), visited=visited)
            self._fetch()
            self._watch(found)
            return
        self._say_blind(found, connection.peer[0])
        self.core.identified(connection, None, clock.now(), vanished=found.reason == "gone")
        self._fetch()

    def _say_blind(self, unknown: Unknown, host: str) -> None:
        """Say once for each reason why processes are not known."""
        text = BLIND.get(unknown.reason)
        if text is not None and unknown.reason not in self._said:
            self._said.add(unknown.reason)
            logger.info(f"mcp: {printable(host)}: {text}: sessions of such clients are ended by evidence only")

    def _gone(self, process: Process) -> None:
        if self.core.ending.departures.concern(process):
            self._tasks.start(self._departed(process))
        else:
            self.core.gone(process, clock.now())
            self._fetch()

    async def _departed(self, process: Process) -> None:
        """A process has ended that used sessions."""
        left: tuple[Process, ...] = ()
        try:
            left = await self._identifier.left_behind(process)
            if left:  # which may be about to leave others behind, as who puts itself into the background does
                await asyncio.sleep(SETTLING)
                left = tuple(dict.fromkeys((*left, *await self._identifier.left_behind(process))))
            client = self.core.ledger.clients.get(ClientKey(pid=process.pid, started=process.started))
            if client is not None and client.connections:
                await self._outlived(process, client)
        finally:
            self.core.gone(process, clock.now(), left)
            self._fetch()

    async def _outlived(self, process: Process, client: Client) -> None:
        """A process has ended, and its connections are open: they are about to close, or another process holds them."""
        deadline = time.monotonic() + LAST_CLOSING
        while client.connections and time.monotonic() < deadline:  # noqa: ASYNC110  # rare, short, and bounded
            await asyncio.sleep(LAST_CLOSING / 10)
        for connection_id in list(client.connections):
            connection = self.core.ledger.connections.get(connection_id)
            if connection is None:
                continue  # closed while another was looked at
            self._identifier.forget(connection_id)
            heir = await self._identifier.identify(connection_id, connection.peer, connection.local)
            if isinstance(heir, Process) and heir != process:
                self.core.identified(connection, heir, clock.now())
                self.core.outlived(process, heir, clock.now())
                self._watch(heir)


def _process(client: Client) -> Process | None:
    if client.pid is None or client.started is None:
        return None
    return Process(client.pid, client.started, client.name)
