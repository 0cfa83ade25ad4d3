"""The list of views: whatever stands in it is made, started and ended, and can follow what happens."""

from __future__ import annotations

import pytest
from mitmproxy import http
from mitmproxy.test import taddons

from mcp_sessions.addon import McpSessions
from mcp_sessions.proxy.streams import StreamReader
from mcp_sessions.views import views
from mcp_sessions.views.shown import Shown, View

from .flows import CALL, open_session, post


class Toy(View):
    """A view more."""

    def __init__(self, shown: Shown) -> None:
        super().__init__(shown)
        self.seen: list[str] = []

    def running(self) -> None:
        self.seen.append("running")
        self.shown.journal.listeners.add(self._look)
        self.shown.watchers.append(self)

    def done(self) -> None:
        self.seen.append("done")

    def changed(self, flow: http.HTTPFlow, reader: StreamReader) -> None:
        self.seen.append("stream")

    def over(self, flow: http.HTTPFlow) -> None:
        self.seen.append("over")

    def _look(self) -> None:
        self.seen.append(f"{len(self.shown.ledger().sessions)} sessions")


async def test_a_view_more_is_an_entry_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "VIEWS", [*views.VIEWS, Toy])
    addon = McpSessions()
    with taddons.context(addon):
        toy = addon.views[-1]
        assert isinstance(toy, Toy)
        toy.running()
        await open_session(addon, "7f3a9c1e5b2d4680aa")
        flow = post(CALL, "7f3a9c1e5b2d4680aa")
        assert addon.request(flow) is None
        flow.response = http.Response.make(200, b"", {"content-type": "text/event-stream"})
        pending = addon.responseheaders(flow)
        if pending is not None:  # it is not known yet whose this connection is
            await pending
        assert callable(flow.response.stream)
        flow.response.stream(b"data: 1\n\n")
        addon.error(flow)
        addon.done()
    assert [word for word, before in zip(toy.seen, ["", *toy.seen], strict=False) if word != before] == [
        "running",
        "1 sessions",
        "over",
        "1 sessions",
        "stream",
        "over",
        "1 sessions",
        "done",
    ]
