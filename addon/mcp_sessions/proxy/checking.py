"""What the judge does beside the traffic: checks that take their time, made in a thread, and what is overdue."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from mitmproxy import http

from ..rules import Deferred, Finding, Judge
from . import clock
from .failing import described

logger = logging.getLogger(__name__)

OVERDUE_EVERY = 5.0
"""Seconds between two looks at what should have happened by now."""
WAITING_LIMIT = 2_000
"""Messages that may wait to be checked."""
WAITING_BYTES = 32 * 1024 * 1024
"""Bytes, as they came over the wire, of the messages that may wait."""


class _Item(NamedTuple):
    judge: Judge
    deferred: Deferred
    flow: http.HTTPFlow | None


class Checking:
    """Takes checks from the judge, and tells it what came of them.

    `flow_of` finds the flow of an exchange that is under way; `found` is told of each flow in which something was
    found, be it under way or over. All methods are for the event loop and do not block.
    """

    def __init__(
        self, flow_of: Callable[[str], http.HTTPFlow | None], found: Callable[[http.HTTPFlow, list[str]], None]
    ) -> None:
        self._flow_of = flow_of
        self._found = found
        self._queue: queue.SimpleQueue[_Item | asyncio.Event | None] = queue.SimpleQueue()
        self._taken = self._taken_bytes = 0
        self._made = self._made_bytes = 0
        """Written by the thread alone, so that it need not wake the event loop for each message."""
        self._missed = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None

    def serve(self, judge: Judge) -> None:
        """Make the checks of this judge."""
        self._judge = judge
        judge.later = lambda deferred: self._take(judge, deferred)

    async def watch(self) -> None:
        """Have the judge look at what should have happened by now, every now and then."""
        while True:
            await asyncio.sleep(OVERDUE_EVERY)
            try:
                self._judge.overdue(clock.now())
            except Exception as e:
                logger.error(f"mcp: error in what should have happened by now: {described(e)}")

    @property
    def waiting(self) -> int:
        """Messages that wait to be checked."""
        return self._taken - self._made

    def _take(self, judge: Judge, deferred: Deferred) -> None:
        if self._closed:
            return
        if self.waiting >= WAITING_LIMIT or self._taken_bytes - self._made_bytes + deferred.size > WAITING_BYTES:
            if not self._missed:
                logger.warning("mcp: messages come faster than they are checked against the schema: some are not")
            self._missed += 1
            return
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            threading.Thread(target=self._run, name="mcp-checks", daemon=True).start()
        self._taken += 1
        self._taken_bytes += deferred.size
        self._queue.put(_Item(judge, deferred, self._flow_of(deferred.x.id)))

    async def finish(self, within: float) -> int:
        """Wait, at most so many seconds, until all is checked; how many messages were not, from the beginning on."""
        if self._loop is not None:
            done = asyncio.Event()
            self._queue.put(done)  # also if none waits: what was found may not have been told yet
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await done.wait()
        return self._missed + self.waiting

    def close(self) -> None:
        """Take no more checks; those that wait are still made."""
        self._closed = True
        if self._loop is not None:
            self._queue.put(None)

    # In the thread

    def _run(self) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            while (item := self._queue.get()) is not None:
                if isinstance(item, asyncio.Event):
                    self._loop.call_soon_threadsafe(item.set)
                    continue
                finding = item.deferred.make()
                if finding is not None:
                    self._loop.call_soon_threadsafe(self._settle, item, finding)
                self._made += 1
                self._made_bytes += item.deferred.size

    # In the event loop

    def _settle(self, item: _Item, finding: Finding) -> None:
        try:
            item.judge.settle(item.deferred, finding)
            if item.flow is not None:
                self._found(item.flow, [item.deferred.rule.id])
        except Exception as e:
            logger.error(f"mcp: error in telling of a check: {described(e)}")
