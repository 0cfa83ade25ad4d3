"""Requests as they arrive: passed on once it is known who sends them, and what they mean by their id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from mitmproxy import http

from ..core.client import Connection
from ..core.core import Core
from ..core.session import Endpoint
from ..store.keeping import Remembering
from ..wire import headers as h
from ..wire.headers import HeaderMap
from .identification import Identifying
from .tasks import Tasks

RECALL_PATIENCE = 1.0
"""Seconds that a request may wait for the ledger on disk."""
IDENTIFY_PATIENCE = 1.0
"""Seconds that a handshake is kept back, at most, until it is known which process it comes from."""


class Incoming(NamedTuple):
    """A request that is MCP, and not yet an exchange: it may first have to be found out whose it is."""

    flow: http.HTTPFlow
    endpoint: Endpoint
    headers: HeaderMap
    content: bytes | None
    connection: Connection


type Answering = Coroutine[Any, Any, None] | None
"""What is left to be awaited before a request goes out, if anything."""


class Arriving:
    """Keeps a request back where it must be, and has `go_on` called for each in the end."""

    def __init__(
        self,
        tasks: Tasks,
        identifying: Identifying,
        remembering: Callable[[], Remembering | None],
        go_on: Callable[[Incoming], Answering],
    ) -> None:
        self._tasks = tasks
        self._identifying = identifying
        self._remembering = remembering
        self._go_on = go_on

    def take(self, core: Core, incoming: Incoming) -> Answering:
        """A request was read."""
        presented = incoming.headers.get(h.SESSION_ID)
        session = core.ledger.find(incoming.endpoint, presented) if presented else None
        if presented and session is None and (remembering := self._remembering()) is not None:
            return self._recalled(core, incoming, remembering, presented)
        if not incoming.connection.identified:
            look_up = self._identifying.identify(incoming.connection.id)
            if core.wants_identity(session, incoming.content):
                return self._after({look_up}, IDENTIFY_PATIENCE, incoming)
        return self._go_on(incoming)

    async def _recalled(self, core: Core, incoming: Incoming, remembering: Remembering, presented: str) -> None:
        """An id that the ledger does not know: an earlier run, or another proxy, may have written it down."""
        look_up = self._identifying.identify(incoming.connection.id)
        await asyncio.wait({look_up, self._tasks.start(remembering.loaded())}, timeout=RECALL_PATIENCE)
        awaited: set[asyncio.Task[None]] = set()
        if core.ledger.find(incoming.endpoint, presented) is None:
            awaited.add(self._tasks.start(remembering.recall(incoming.endpoint, presented)))
        await self._after(awaited, RECALL_PATIENCE, incoming)

    async def _after(self, awaited: set[asyncio.Task[None]], patience: float, incoming: Incoming) -> None:
        if awaited:
            await asyncio.wait(awaited, timeout=patience)
        pending = self._go_on(incoming)
        if pending is not None:
            await pending
