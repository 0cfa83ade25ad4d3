"""Requests as they arrive: told to the core once it is known who sends them, and what they mean by their id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ..core.core import Core
from ..core.session import Endpoint
from . import clock
from .flows import Live
from .identification import PATIENCE, Identifying
from .tasks import Tasks

RECALL_PATIENCE = 1.0
"""Seconds that a request may wait for the ledger's store."""

type Answering = Coroutine[Any, Any, None] | None
"""What is left to be awaited before a request goes out, if anything."""


class Memory(Protocol):
    """What an earlier run, or another proxy, has written down."""

    async def loaded(self) -> None:
        """Wait until what an earlier run left is known."""

    async def recall(self, endpoint: Endpoint, session_id: str) -> None:
        """Look for a session that the ledger does not know."""


class Arriving:
    """Keeps a request back where it must be, and has `go_on` called for each in the end."""

    def __init__(
        self,
        tasks: Tasks,
        identifying: Identifying,
        memory: Callable[[], Memory | None],
        go_on: Callable[[Live], Answering],
    ) -> None:
        self._tasks = tasks
        self._identifying = identifying
        self._memory = memory
        self._go_on = go_on

    def take(self, core: Core, live: Live) -> Answering:
        """A request was read."""
        x = live.x
        ask = core.arrived(x, clock.now())
        needed = not x.connection.identified or (ask is not None and ask.identity)
        look_up = self._identifying.identify(x.connection.id, core.senders.likely(x)) if needed else None
        if ask is None:
            return self._go_on(live)
        memory = self._memory() if ask.recall else None
        if memory is not None:
            return self._recalled(core, live, memory, look_up)
        if ask.identity and look_up is not None:
            return self._after({look_up}, PATIENCE, live)
        return self._go_on(live)

    async def _recalled(self, core: Core, live: Live, memory: Memory, look_up: asyncio.Task[None] | None) -> None:
        """Something that the ledger does not know: an earlier run, or another proxy, may have written it down."""
        wanted = {self._tasks.start(memory.loaded())} | ({look_up} if look_up is not None else set())
        await asyncio.wait(wanted, timeout=RECALL_PATIENCE)
        x = live.x
        awaited = {self._tasks.start(memory.recall(x.endpoint, name)) for name in core.claims.names(x)}
        await self._after(awaited, RECALL_PATIENCE, live)

    async def _after(self, awaited: set[asyncio.Task[None]], patience: float, live: Live) -> None:
        if awaited:
            await asyncio.wait(awaited, timeout=patience)
        pending = self._go_on(live)
        if pending is not None:
            await pending
