"""The process behind each connection, looked up once and off the event loop."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from mcp_sessions.processes import lookup
from mcp_sessions.processes.lookup import Address, Unknown, holders
from mcp_sessions.processes.orphans import left_behind
from mcp_sessions.processes.process import Process
from mcp_sessions.processes.together import Together
from mcp_sessions.processes.visitors import has_visitors

_log = logging.getLogger(__name__)

type Find = Callable[[Address, Address, tuple[Process, ...]], Process | Unknown]
"""What `lookup.find` does."""

_OFF = Unknown("off")

CROWD = 4
"""Look-ups at a time beyond which all processes are looked at for several together, for each would look at many."""


class Identifier:
    """Answers who is behind a connection. Belongs to one event loop.

    `max_connections` bounds the answers kept, `max_known` the processes that are looked at before all others; in both
    the oldest is dropped. With `enabled=False` nothing is ever looked up.
    """

    def __init__(
        self, *, enabled: bool = True, max_connections: int = 1024, max_known: int = 64, find: Find = lookup.find
    ) -> None:
        self.enabled = enabled
        self._max_connections = max_connections
        self._max_known = max_known
        self._find = find
        self._answers: OrderedDict[str, asyncio.Task[Process | Unknown]] = OrderedDict()
        self._known: OrderedDict[Process, None] = OrderedDict()
        # Two, so that a look-up stuck in the kernel does not hold up the others; more would only compete for the GIL.
        self._executor = ThreadPoolExecutor(2, thread_name_prefix="mcp-identify")
        self._closed = False
        self._left_behind = Together(self._executor, left_behind, "mcp look for children")
        self._holders = Together(self._executor, holders, "mcp look for holders")
        self._looking = 0
        """Look-ups under way."""

    async def identify(
        self, connection_id: str, peer: Address, local: Address, likely: tuple[Process, ...] = ()
    ) -> Process | Unknown:
        """The process at the other end of a connection: `peer` is its address there, `local` the one here.

        Those who are `likely` are looked at before all others.

        Looked up at the first call for a `connection_id`; callers meanwhile wait for the same look-up, later ones get
        the same answer, also when that process is gone by then. To look again, `forget` first. Unknown("off") when
        disabled or closed. Raises nothing but the caller's own cancellation, which leaves the look-up to the others.
        """
        if not self.enabled or self._closed:
            return _OFF
        task = self._answers.get(connection_id)
        if task is None:
            task = asyncio.create_task(self._look_up(peer, local, likely), name=f"mcp identify {connection_id}")
            self._answers[connection_id] = task
            while len(self._answers) > self._max_connections:
                self._answers.popitem(last=False)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._closed and task.cancelled() and not (caller and caller.cancelling()):
                return _OFF
            raise

    async def visited(self, process: Process) -> bool:
        """Whether others are connected to a process at this moment; False where that can't be seen."""
        if not self.enabled or self._closed:
            return False
        return await asyncio.get_running_loop().run_in_executor(self._executor, has_visitors, process)

    async def left_behind(self, process: Process) -> tuple[Process, ...]:
        """The children of a process that has ended that live on, as far as that can be seen.

        One look serves all who ask before it begins, for many may end at the same time.
        """
        if not self.enabled or self._closed:
            return ()
        return await self._left_behind.ask(process) or ()

    def forget(self, connection_id: str) -> None:
        """Drop the answer for a connection, for it is closed. Whoever waits for it still gets it."""
        self._answers.pop(connection_id, None)

    def close(self) -> None:
        """Answer Unknown("off") from now on, also to those who wait. Does not wait for a look-up that runs."""
        self._closed = True
        for task in self._answers.values():
            task.cancel()
        self._answers.clear()
        self._known.clear()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, peer: Address, local: Address, likely: tuple[Process, ...]) -> Process | Unknown:
        # Then those seen last: a client opens its connections together.
        known = (*likely, *reversed(self._known))
        loop = asyncio.get_running_loop()
        self._looking += 1
        try:
            if self._looking > CROWD and not likely and (holder := await self._holders.ask((peer, local))) is not None:
                known = (holder, *known)
            answer = await loop.run_in_executor(self._executor, self._find, peer, local, known)
        except Exception:
            if not self._closed:
                _log.exception("The look-up of who is at %s failed.", peer)
            return _OFF if self._closed else Unknown("denied")
        finally:
            self._looking -= 1
        if isinstance(answer, Process) and not self._closed:
            self._known[answer] = None
            self._known.move_to_end(answer)
            while len(self._known) > self._max_known:
                self._known.popitem(last=False)
        return answer
