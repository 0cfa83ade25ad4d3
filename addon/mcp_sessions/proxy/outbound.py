"""Requests of the proxy's own, sent through mitmproxy itself.

So certificates, the upstream proxy, other addons' hooks and the flow list apply to them as to any other request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from mitmproxy import connection, ctx, http
from mitmproxy.addons.clientplayback import ReplayHandler
from mitmproxy.proxy import mode_specs

from ..core.decisions import Outcome, Request
from ..wire.headers import JSON, SSE, Fields, HeaderMap
from ..wire.jsonrpc import Body, Kind, parse
from ..wire.sse import Decoder, encode
from . import clock, marks
from .failing import described
from .flows import Live, Route
from .metadata import OWN
from .streams import unpacked

logger = logging.getLogger(__name__)

CLOSING = 2.0
"""Seconds that a request which was given up has for closing its connection."""


class OwnRequests:
    """Sends requests of the proxy's own, and knows which flows they are."""

    def __init__(self) -> None:
        self.told: Callable[[Request, float, Outcome], None] = lambda *_: None
        """Told of each request in a client's place that is over: when it was sent, and what came of it."""
        self._under_way: dict[str, asyncio.Future[Body]] = {}

    async def send(self, request: Request) -> Outcome:
        """Send it and wait for the answer, as long as it has. Never raises."""
        began = clock.now()
        outcome = await self._outcome(request)
        self.told(request, began, outcome)
        return outcome

    async def _outcome(self, request: Request) -> Outcome:
        try:
            flow, body, problem = await self._replay(_flow_of(request), request.patience)
        except Exception as e:
            logger.error(f"mcp: error in {request.what}: {described(e)}")
            return Outcome(problem="internal error")
        if flow.response is None or problem:
            return Outcome(problem=problem)
        body = body or parse(await unpacked(flow.response))
        return Outcome(flow.response.status_code, HeaderMap(flow.response.headers.fields), body)

    async def fetch(self, live: Live, patience: float) -> http.Response | None:
        """Send the request of an exchange once more and wait for the whole answer; None if there is none."""
        request, client = live.flow.request, live.flow.client_conn
        own_headers = tuple(request.headers.items(multi=False))
        flow = _flow(request.method, live.x.url, (), own_headers, request.raw_content or b"", client)
        flow.metadata[OWN] = f"{live.x.what} again"
        flow, _, problem = await self._replay(flow, patience, whole=True)
        return None if problem else flow.response

    async def _replay(
        self, flow: http.HTTPFlow, patience: float, *, whole: bool = False
    ) -> tuple[http.HTTPFlow, Body | None, str]:
        handler = ReplayHandler(flow, ctx.options)
        answered: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        if not whole:
            self._under_way[flow.id] = answered
        replay = asyncio.ensure_future(handler.replay())
        try:
            # An event stream may stay open for good after the one message that matters.
            either: set[asyncio.Future[Any]] = {replay, answered}
            done, _ = await asyncio.wait(either, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            body = answered.result() if answered.done() else None
            if not done:
                return flow, None, f"not answered within {patience:g} s"
            if body is None and flow.error:
                return flow, None, flow.error.msg
            return flow, body, "" if flow.response else "no answer"
        finally:
            self._under_way.pop(flow.id, None)
            await _close(handler, replay)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """To be called for each flow marked as own: reads along when the answer is a stream."""
        answered = self._under_way.get(flow.id)
        if answered is None or flow.response is None:
            return
        if HeaderMap(flow.response.headers.fields).content_type == SSE:
            flow.response.stream = _FirstResponse(flow, answered)


class _FirstResponse:
    """Waits on a stream for the first response, and keeps what was read."""

    def __init__(self, flow: http.HTTPFlow, answered: asyncio.Future[Body]) -> None:
        self._flow = flow
        self._answered = answered
        self._decoder = Decoder()

    def __call__(self, data: bytes) -> bytes:
        for event in self._decoder.feed(data):
            body = parse(event.data) if event.data else None
            if body and body.first and body.first.kind is Kind.RESPONSE and not self._answered.done():
                assert self._flow.response
                self._flow.response.data.content = encode(event.data or b"")
                self._answered.set_result(body)
        return data


def _flow_of(request: Request) -> http.HTTPFlow:
    """A request in a client's place, as a flow of the proxy's own."""
    route = request.session.route
    client = route.client() if isinstance(route, Route) else _anybody()
    flow = _flow(request.verb, request.url, request.carried, request.headers, request.content, client)
    flow.metadata[OWN] = request.what
    marks.own(flow, request.session, request.what, ending=request.verb == "DELETE")
    return flow


def _anybody() -> connection.Client:
    client = connection.Client(peername=("127.0.0.1", 0), sockname=("127.0.0.1", 0), timestamp_start=time.time())
    if ctx.options.mode:
        client.proxy_mode = mode_specs.ProxyMode.parse(ctx.options.mode[0])
    return client


def _flow(
    verb: str,
    url: str,
    carried: Fields,
    headers: Iterable[tuple[str, str]],
    content: bytes,
    client: connection.Client,
) -> http.HTTPFlow:
    target = urlsplit(url)
    port = target.port or (443 if target.scheme == "https" else 80)
    host = target.hostname or ""
    request = http.Request(
        host=host,
        port=port,
        method=verb.encode(),
        scheme=target.scheme.encode(),
        authority=b"",
        path=(target.path + (f"?{target.query}" if target.query else "") or "/").encode("latin-1", "replace"),
        http_version=b"HTTP/1.1",
        headers=http.Headers(carried),
        content=content,
        trailers=None,
        timestamp_start=time.time(),
        timestamp_end=time.time(),
    )
    if "host" not in request.headers:
        request.headers["host"] = target.netloc.rpartition("@")[2]
    if content:
        request.headers["content-type"] = JSON
        request.headers["content-length"] = str(len(content))
        request.headers["accept"] = f"{JSON}, {SSE}"
    for name, value in headers:
        request.headers[name] = value.encode("latin-1", "replace")
    flow = http.HTTPFlow(client.copy(), connection.Server(address=(host, port)))
    flow.request = request
    return flow


async def _close(handler: ReplayHandler, replay: asyncio.Future[None]) -> None:
    """Close what is still open, and let mitmproxy say so to whoever listens."""
    if replay.done():
        return
    for transport in handler.transports.values():
        if transport.handler:
            transport.handler.cancel()
    await asyncio.wait({replay}, timeout=CLOSING)
    replay.cancel()
