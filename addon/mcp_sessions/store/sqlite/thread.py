"""One thread for all that blocks: it does what it is given in turn, and is awaited in an event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future


class Thread:
    """A daemon, unlike the thread of an executor: a disk that hangs is not to keep the program from ending."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    async def do[T](self, call: Callable[[], T]) -> T:
        """What this call returns or raises, made in the thread. It is made, too, where nobody waits for it any more."""
        return await asyncio.wrap_future(self._put(call))

    def last[T](self, call: Callable[[], T], within: float) -> T:
        """The same for the last call of all, without an event loop: blocks, for so many seconds at most.

        Raises:
            TimeoutError: it was not made in time.
        """
        future = self._put(call)
        self._calls.put(None)
        return future.result(within)

    def _put[T](self, call: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # from now on it can't be cancelled

        def make() -> None:
            try:
                made = call()
            except BaseException as e:
                future.set_exception(e)
            else:
                future.set_result(made)

        self._calls.put(make)
        return future

    def _run(self) -> None:
        while (make := self._calls.get()) is not None:
            make()
