"""Streams that are still open, as they can be looked at: a flow's body follows what has passed, a little later."""

from __future__ import annotations

import asyncio

from mitmproxy import ctx, http

from ..proxy.streams import StreamReader
from .shown import Shown, View

DELAY = 0.25
"""Seconds from a stream's event until those who look at it see it; what comes within is shown together."""


class LiveStreams(View):
    """Shows open streams to those who look at the flow list; mitmdump has none."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self._due: dict[str, asyncio.TimerHandle] = {}

    def running(self) -> None:
        """Watch, if there is somebody to show it to."""
        if ctx.master.addons.get("view") is not None:
            self.shown.watchers.append(self)

    def done(self) -> None:
        """Show nothing more of what has passed until now."""
        for due in self._due.values():
            due.cancel()
        self._due.clear()

    def changed(self, flow: http.HTTPFlow, reader: StreamReader) -> None:
        """Something has passed on this flow's stream."""
        if flow.id not in self._due:
            self._due[flow.id] = asyncio.get_running_loop().call_later(DELAY, self._show, flow, reader)

    def over(self, flow: http.HTTPFlow) -> None:
        """The stream has ended: what is shown from now on is its recorded body."""
        due = self._due.pop(flow.id, None)
        if due is not None:
            due.cancel()

    def _show(self, flow: http.HTTPFlow, reader: StreamReader) -> None:
        self._due.pop(flow.id, None)
        reader.show()
        self.shown.refresh(flow)
