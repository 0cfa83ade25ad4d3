"""A script for mitmproxy: says which turn of its event loop took longest, in processor time of the loop's thread.

Wall time would lie on a busy machine. The start is left out: with no addon at all mitmproxy takes 35 ms
after the line that says that it listens.
"""

import asyncio
import gc
import sys
import time
from typing import Any

MARK = "loop-watch:"
"""How a line of this script's begins, on stdout: seconds, then what was run."""

WORTH_TELLING = 0.002
"""Seconds below which nothing is said."""


class Watch:
    """Looks at each turn from the first after the start on."""

    def __init__(self) -> None:
        self._longest = WORTH_TELLING
        self._collecting = 0.0
        """Seconds of this turn that went into collecting garbage."""

    def running(self) -> None:
        """Mitmproxy listens; the rest of its start is in the present turn."""
        asyncio.get_running_loop().call_soon(self._begin)

    @property
    def _collected(self) -> str:
        return f" ({self._collecting * 1000:.0f} ms of it to collect garbage)" if self._collecting > 0.001 else ""

    def _begin(self) -> None:
        run = asyncio.Handle._run

        def collecting(phase: str, _: object) -> None:
            now = time.thread_time()
            self._collecting += -now if phase == "start" else now

        gc.callbacks.append(collecting)

        def watched(handle: asyncio.Handle) -> None:
            self._collecting = 0.0
            before = time.thread_time()
            run(handle)
            took = time.thread_time() - before
            if took > self._longest:
                self._longest = took
                # Not a log line: mitmproxy would hand it to the addons.
                sys.stdout.write(f"{MARK} {took:.4f} {_named(handle)}{self._collected}\n")
                sys.stdout.flush()

        setattr(asyncio.Handle, "_run", watched)  # noqa: B010  # the type checker knows no methods to be replaced


def _named(handle: asyncio.Handle) -> str:
    callback: Any = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    if isinstance(task, asyncio.Task):
        return f"{task.get_name()}: {getattr(task.get_coro(), '__qualname__', task.get_coro())}"[:200]
    return repr(callback)[:200].replace("\n", " ")


addons = [Watch()]
