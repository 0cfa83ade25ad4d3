"""The moment at which a process is gone.

On Linux the kernel tells it: a pidfd becomes readable when the last thread of its process has ended. Everywhere else,
and where no pidfd is to be had, processes are looked at in intervals, and at once when a hint comes in.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from mcp_sessions.processes.process import Process, is_alive

_log = logging.getLogger(__name__)

# Seconds after a hint. Sockets close a little before their process is gone.
_LOOKS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)

_PIDFDS_LIMIT = 1024
_POLLED_LIMIT = 8192


class Liveness:
    """Calls `on_gone(process)` in the event loop, once for each process watched, when it is gone.

    All methods are called in the event loop, do not block and do not raise; nor does an exception of `on_gone` reach
    anyone, it is logged. `interval` is the polling interval in seconds. `max_pidfds` bounds the file descriptors used,
    one a process, 0 for polling only; by default 1024, but no more than a quarter of what this process may open.
    `max_polled` bounds the processes polled; whoever exceeds it is not watched, which is logged.
    """

    def __init__(
        self,
        on_gone: Callable[[Process], None],
        *,
        interval: float = 1.0,
        max_pidfds: int | None = None,
        max_polled: int = _POLLED_LIMIT,
    ) -> None:
        self._on_gone = on_gone
        self._interval = interval
        self._max_pidfds = _affordable_pidfds() if max_pidfds is None else max_pidfds
        self._max_polled = max_polled
        self._pidfds: dict[Process, int] = {}
        self._gone: dict[Process, asyncio.Handle] = {}
        self._polled: dict[Process, None] = {}
        self._looks: dict[Process, asyncio.Task[None]] = {}
        self._poll: asyncio.Task[None] | None = None
        self._executor: ThreadPoolExecutor | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def watch(self, process: Process) -> None:
        """Have `on_gone` called when the process is gone; soon, but not before this returns, if it already is.

        Does nothing for a process that is watched already.
        """
        if self._closed or process in self._pidfds or process in self._polled or process in self._gone:
            return
        self._loop = asyncio.get_running_loop()
        if self._watch_pidfd(self._loop, process):
            return
        if len(self._polled) >= self._max_polled:
            _log.warning("Not watching %s: %d processes are watched by polling already.", process, len(self._polled))
            return
        self._polled[process] = None
        self._look(process, _LOOKS[:1])
        if self._poll is None or self._poll.done():
            self._poll = self._loop.create_task(self._poll_all(), name="mcp liveness poll")

    def unwatch(self, process: Process) -> None:
        """Forget a process; `on_gone` is not called for it."""
        fd = self._pidfds.pop(process, None)
        if fd is not None:
            self._release(fd)
        handle = self._gone.pop(process, None)
        if handle is not None:
            handle.cancel()
        self._polled.pop(process, None)
        look = self._looks.pop(process, None)
        if look is not None:
            look.cancel()

    def check(self, process: Process) -> None:
        """Look at a watched process now, and a few times within half a second: one of its connections has closed."""
        if process in self._polled:
            self._look(process, _LOOKS)

    def close(self) -> None:
        """Forget all processes and release everything; `on_gone` is not called any more. Does not wait."""
        self._closed = True
        for process in [*self._pidfds, *self._gone, *self._polled]:
            self.unwatch(process)
        if self._poll is not None:
            self._poll.cancel()
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    # --- told by the kernel

    def _watch_pidfd(self, loop: asyncio.AbstractEventLoop, process: Process) -> bool:
        """Whether nothing is left to do: the process is watched by pidfd, or gone."""
        if sys.platform != "linux" or not hasattr(os, "pidfd_open") or len(self._pidfds) >= self._max_pidfds:
            return False
        try:
            fd = os.pidfd_open(process.pid)
        except ProcessLookupError:
            self._tell_soon(loop, process)
            return True
        except (OSError, OverflowError):
            return False
        # Only now is it certain whom the descriptor stands for: its pid cannot pass on to another one unnoticed.
        if not is_alive(process):
            os.close(fd)
            self._tell_soon(loop, process)
            return True
        try:
            loop.add_reader(fd, self._readable, process)
        except (NotImplementedError, OSError, RuntimeError):
            os.close(fd)
            return False
        self._pidfds[process] = fd
        return True

    def _readable(self, process: Process) -> None:
        fd = self._pidfds.pop(process, None)
        if fd is not None:
            self._release(fd)
            self._tell(process)

    def _release(self, fd: int) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(fd)
        with contextlib.suppress(OSError):
            os.close(fd)

    def _tell_soon(self, loop: asyncio.AbstractEventLoop, process: Process) -> None:
        self._gone[process] = loop.call_soon(self._tell_gone, process)

    def _tell_gone(self, process: Process) -> None:
        if self._gone.pop(process, None) is not None:
            self._tell(process)

    # --- seen by looking

    def _look(self, process: Process, moments: tuple[float, ...]) -> None:
        running = self._looks.pop(process, None)
        if running is not None:
            running.cancel()
        if self._loop is not None and not self._loop.is_closed():
            self._looks[process] = self._loop.create_task(self._look_at(process, moments), name="mcp liveness look")

    async def _look_at(self, process: Process, moments: tuple[float, ...]) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for moment in moments:
            await asyncio.sleep(max(0.0, start + moment - loop.time()))
            if await self._dead((process,)):
                # Not in the table any more: telling cancels what is there.
                self._looks.pop(process, None)
                self._tell_polled(process)
                return
        if self._looks.get(process) is asyncio.current_task():
            del self._looks[process]

    async def _poll_all(self) -> None:
        while self._polled:
            await asyncio.sleep(self._interval)
            for process in await self._dead(tuple(self._polled)):
                self._tell_polled(process)

    async def _dead(self, processes: tuple[Process, ...]) -> list[Process]:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="mcp-liveness")
        return await asyncio.get_running_loop().run_in_executor(self._executor, _gone_among, processes)

    def _tell_polled(self, process: Process) -> None:
        # A process that was forgotten while the thread looked is none of ours any more.
        if process in self._polled:
            self.unwatch(process)
            self._tell(process)

    def _tell(self, process: Process) -> None:
        try:
            self._on_gone(process)
        except Exception:
            _log.exception("Nobody could be told that %s is gone.", process)


def _gone_among(processes: Iterable[Process]) -> list[Process]:
    return [process for process in processes if not is_alive(process)]


def _affordable_pidfds() -> int:
    if sys.platform == "win32":
        return 0
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _PIDFDS_LIMIT if soft == resource.RLIM_INFINITY else min(_PIDFDS_LIMIT, soft // 4)
