"""Streams that are still open, as they can be looked at: a flow's body follows what has passed, a little later."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mitmproxy import http

from ..proxy.streams import StreamReader

DELAY = 0.25
"""Seconds from a stream's event until those who look at it see it; what comes within is shown together."""


class LiveStreams:
    """Shows open streams. `refresh` tells mitmproxy's views that a flow has changed."""

    def __init__(self, refresh: Callable[[http.HTTPFlow], None]) -> None:
        self._refresh = refresh
        self._due: dict[str, asyncio.TimerHandle] = {}

    def changed(self, flow: http.HTTPFlow, reader: StreamReader) -> None:
        """Something has passed on this flow's stream."""
        if flow.id not in self._due:
            self._due[flow.id] = asyncio.get_running_loop().call_later(DELAY, self._show, flow, reader)

    def over(self, flow: http.HTTPFlow) -> None:
        """The stream has ended: what is shown from now on is its recorded body."""
        due = self._due.pop(flow.id, None)
        if due is not None:
            due.cancel()

    def close(self) -> None:
        """Show nothing more."""
        for due in self._due.values():
            due.cancel()
        self._due.clear()

    def _show(self, flow: http.HTTPFlow, reader: StreamReader) -> None:
        self._due.pop(flow.id, None)
        reader.show()
        self._refresh(flow)
