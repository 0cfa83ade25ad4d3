"""Carrying out what the core wants done: requests of the proxy's own, exchanges that wait, and its timer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ..core.client import ProcessLike
from ..core.core import Core
from ..core.decisions import (
    DELIVER,
    Conclude,
    Consult,
    Counsel,
    Decision,
    Outcome,
    Release,
    Request,
    Send,
    Watch,
)
from ..core.session import Session
from ..wire.text import printable
from . import clock
from .failing import described
from .flows import Live
from .outbound import OwnRequests
from .tasks import Tasks

logger = logging.getLogger(__name__)


class Others(Protocol):
    """Other proxies."""

    async def consult(self, consult: Consult) -> Counsel:
        """What they say; never raises."""

    def conclude(self, conclude: Conclude) -> None:
        """What was asked for is done."""


class Memory(Protocol):
    """Where sessions are written down, and what is known of the proxies that share a ledger."""

    @property
    def others(self) -> Others | None:
        """Those that are asked and told of what is done for a session, where all of them may see to it."""

    async def elsewhere(self, session: Session) -> bool:
        """Whether another proxy sees to the end of a session."""

    async def kept(self, session: Session) -> None:
        """Wait, shortly, until it is written down how a session stands."""


class Effects:
    """Fetches the core's effects: to be asked after every input. All methods are for the event loop."""

    def __init__(self, core: Core, own: OwnRequests, memory: Callable[[], Memory | None]) -> None:
        self.core = core
        self._own = own
        self._memory = memory
        self._tasks = Tasks()
        self._waiting: dict[str, tuple[Live, asyncio.Future[Decision]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._fetched = asyncio.Event()
        self._closed = False
        self.watch: Callable[[ProcessLike], None] = lambda _: None
        """Has the core told when a process has ended."""
        self.patience = 120.0
        """Seconds that an exchange is kept waiting at most."""

    @property
    def waiting(self) -> int:
        """How many exchanges are kept waiting."""
        return len(self._waiting)

    def kept(self, session: Session) -> Coroutine[Any, Any, None] | None:
        """To be awaited before somebody is given a session's id: until it is written down, if sessions are."""
        memory = self._memory()
        return None if memory is None else memory.kept(session)

    def fetch(self) -> None:
        """Carry out what has come about, and set the timer."""
        self._fetched.set()
        if self._closed or (self._due is None and self.core.still):
            return
        try:
            effects = self.core.effects()
        except Exception as e:
            logger.error(f"mcp: error in what is to be done: {described(e)}")
            effects = ()
        for effect in effects:
            match effect:
                case Send():
                    self._tasks.start(self._send(effect))
                case Consult():
                    self._tasks.start(self._consult(effect))
                case Watch(process):
                    self.watch(process)
                case Conclude():
                    if (others := self._others) is not None:
                        others.conclude(effect)
                case Release(x, decision):
                    _, waiting = self._waiting.get(x.id, (None, None))
                    if waiting is not None and not waiting.done():
                        waiting.set_result(decision)
        due = self.core.next_timer()
        if due != self._due:
            self._set_timer(due)

    async def _send(self, send: Send) -> None:
        request, memory = send.request, self._memory()
        outcome = await _elsewhere(request, memory) if request.unless_elsewhere and memory is not None else None
        if outcome is None:
            outcome = await self._own.send(request)
        try:
            self.core.sent(send.tag, outcome, clock.now())
        except Exception as e:
            logger.error(f"mcp: error in what follows {request.what}: {described(e)}")
        self.fetch()

    @property
    def _others(self) -> Others | None:
        memory = self._memory()
        return None if memory is None else memory.others

    async def _consult(self, consult: Consult) -> None:
        others = self._others
        counsel = await others.consult(consult) if others is not None else Counsel(alone=True)
        try:
            self.core.ending.sharing.advised(consult.tag, counsel, clock.now())
        except Exception as e:
            logger.error(f"mcp: error in what follows from other proxies: {described(e)}")
        self.fetch()

    def _set_timer(self, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due = due
        if due is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, due - clock.now()), self._go_off)

    def _go_off(self) -> None:
        self._timer = self._due = None
        try:
            self.core.timer(clock.now())
        except Exception as e:
            logger.error(f"mcp: error while weighing evidence: {described(e)}")
        self.fetch()

    # Exchanges that wait

    def expect(self, live: Live) -> None:
        """Keep an exchange waiting: whatever is decided from now on is kept for it. Before the next `fetch`."""
        waiting: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._waiting[live.x.id] = (live, waiting)
        if self._closed:  # another instance carries on, and does not know of it
            waiting.set_result(DELIVER)

    async def decision(self, live: Live) -> Decision:
        """Wait for what becomes of an exchange that is kept waiting.

        How long that takes is up to the core; if nothing has come of it by `patience`, something has gone wrong.
        """
        _, waiting = self._waiting[live.x.id]
        try:
            return await asyncio.wait_for(waiting, self.patience)
        except TimeoutError:
            self.core.hung_up(live.x, clock.now())
            logger.error(f"mcp: {printable(live.x.what)} waited too long for a recovery: it goes on without")
            return DELIVER
        finally:
            self._waiting.pop(live.x.id, None)

    def disconnected(self, connection_id: str) -> None:
        """A client closed a connection: none of its exchanges waits any longer."""
        for live, _ in list(self._waiting.values()):
            if live.x.connection.id == connection_id:
                self.hung_up(live.x.id)

    def hung_up(self, exchange_id: str) -> None:
        """A client wants an answer no more: the exchange waits no longer, if it does."""
        live, waiting = self._waiting.get(exchange_id, (None, None))
        if live is not None and waiting is not None and not waiting.done():
            self.core.hung_up(live.x, clock.now())
            waiting.set_result(DELIVER)

    # The end

    def give_up(self) -> None:
        """Send nothing more, and let all who wait have what there is."""
        self._closed = True
        self._set_timer(None)
        self._tasks.cancel()
        for _, waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(DELIVER)

    async def finish(self, within: float) -> int:
        """End what is to be ended, without second attempts; how many sessions are left after so many seconds."""
        try:
            async with asyncio.timeout(within):
                while self.core.ending.busy:
                    self._fetched.clear()
                    await self._fetched.wait()
        except TimeoutError:
            pass
        return self.core.ending.left


async def _elsewhere(request: Request, memory: Memory) -> Outcome | None:
    """What came of a request that is no matter of this proxy's any more; None if it is to be sent."""
    try:
        async with asyncio.timeout(request.patience):
            return Outcome(elsewhere=True) if await memory.elsewhere(request.session) else None
    except Exception as e:
        return Outcome(problem=f"it is not known whether another proxy has the session ({type(e).__name__})")
