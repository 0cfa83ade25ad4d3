"""Sending the DELETEs that the core decides on: a few at a time, so that live traffic goes on beside them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from mitmproxy import connection as mconnection

from ..core.core import Core
from ..core.decisions import End
from ..core.session import Session
from ..wire import headers as h
from .failing import described
from .outbound import Order, OwnRequests

logger = logging.getLogger(__name__)

AT_ONCE = 4
"""More would not end a thousand sessions sooner, for one event loop does it all, but make live calls wait longer."""

GAP = 0.005
"""Seconds that a worker leaves to live traffic after each DELETE while others wait."""

QUEUE_LIMIT = 200_000
"""Beyond what the ledger can hold at all: 50,000 sessions, some with earlier ids."""


class Deleting:
    """Carries out every `End`, again if the core says so."""

    def __init__(
        self, core: Core, own: OwnRequests, route: Callable[[Session], mconnection.Client | None], patience: float
    ) -> None:
        """`route` tells over which client's connection settings a session's server is reached."""
        self.core = core
        self.patience = patience
        """Seconds within which each DELETE must be answered."""
        self._own = own
        self._route = route
        self._queue: deque[End] = deque()
        self._waiting: dict[End, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers = 0
        self._closed = False
        self._idle = asyncio.Event()

    def submit(self, ends: Iterable[End]) -> None:
        """Have these sent, and those that the core has in store. Returns at once."""
        for end in ends:
            self._put(end)
        self._fill()

    def _fill(self) -> None:
        """Have the core decide on a few more, as soon as the queue is short: that takes its time, too."""
        while self.core.endings.has_more and len(self._queue) < AT_ONCE and not self._closed:
            for end in self.core.more(time.time()):
                self._put(end)

    def _put(self, end: End) -> None:
        self._waiting.pop(end, None)
        if self._closed:
            return
        if len(self._queue) >= QUEUE_LIMIT:
            logger.error(f"mcp: session {end.session.label} is not ended: {QUEUE_LIMIT} others wait for it")
            return
        self._queue.append(end)
        self._idle.clear()
        if self._workers < AT_ONCE:
            self._workers += 1
            self._start(self._work())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            while self._queue:
                end = self._queue.popleft()
                try:
                    await self._delete(end)
                except Exception as e:
                    logger.error(f"mcp: error in a DELETE: {described(e)}")
                    retry = self.core.ended(end, None, "internal error", time.time())
                    if retry is not None:
                        self._later(retry.end, retry.seconds)
                self._fill()
                if self._queue:
                    await asyncio.sleep(GAP)
        finally:
            self._workers -= 1
            if not self._workers:
                self._idle.set()

    async def _delete(self, end: End) -> None:
        seconds = self.core.endings.wait(end, time.time())
        if seconds is None:
            return
        if seconds > 0:
            self._later(end, seconds)
            return
        session = end.session
        headers = [(h.SESSION_ID, end.server_id)]
        if session.revision:
            headers.append((h.PROTOCOL_VERSION, session.revision))
        # The URL and headers of the latest request: with the latest credentials.
        order = Order("DELETE session", "DELETE", session.url, session.fields, tuple(headers), session=session)
        sent = await self._own.send(order, self._route(session), self.patience)
        message = sent.answer.first if sent.answer else None
        said = str((message.error or {}).get("message", "")) if message else ""
        retry_after = sent.headers.get("retry-after") if sent.headers else None
        retry = self.core.ended(end, sent.status, sent.problem, time.time(), said=said, retry_after=retry_after)
        if retry is not None:
            self._later(retry.end, retry.seconds)

    def _later(self, end: End, seconds: float) -> None:
        if not self._closed:
            self._waiting[end] = asyncio.get_running_loop().call_later(seconds, self._put, end)

    async def finish(self, within: float) -> int:
        """Send what waits, without waiting for second attempts; returns how many are left after `within` seconds."""
        try:
            async with asyncio.timeout(within):
                while self._workers:
                    await self._idle.wait()
        except TimeoutError:
            pass
        return len(self._queue) + len(self._waiting) + self._workers

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        self._queue.clear()
        for handle in self._waiting.values():
            handle.cancel()
        self._waiting.clear()
        for task in self._tasks:
            task.cancel()
