"""How late the event loop is: what is due to run waits for what runs."""

from __future__ import annotations

import asyncio

from ...core.tally import Spread

EVERY = 0.25
"""Seconds between two looks."""


class Lag:
    """Asks to be called at a time, and notes how much later it was."""

    def __init__(self) -> None:
        self.seconds = Spread(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Begin."""
        self._set(asyncio.get_running_loop())

    def close(self) -> None:
        """Cease."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + EVERY
        self._timer = loop.call_at(due, self._look, loop, due)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.seconds.add(max(0.0, loop.time() - due))
        self._set(loop)
