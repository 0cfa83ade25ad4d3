"""Exchanges under way: told to the core as they proceed, and its decisions carried out on their flows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol
from weakref import WeakSet

from mitmproxy import http

from ..core.client import Connection
from ..core.core import Core
from ..core.decisions import Decision, Forward, Hold, Outcome, Reply, Request
from ..core.exchange import Exchange, Finish
from ..core.session import Endpoint, Session
from ..wire import headers as h
from ..wire.headers import header_map
from ..wire.recognition import is_mcp
from ..wire.sse import Event
from ..wire.text import printable
from . import clock, marks, resend
from .answers import Answers
from .arriving import Arriving, Memory
from .effects import Effects
from .flows import Live, address, dialled, exchange_of, note_route, set_session_id, target_of
from .identification import Identifying
from .in_use import InUse, tcp_timeout
from .metadata import PRESENTED
from .outbound import OwnRequests
from .streams import StreamReader, content
from .tasks import Tasks

logger = logging.getLogger(__name__)

URL_LIMIT = 8_000
"""Characters of an URL that is kept; servers take no longer ones (RFC 9110, 4.1)."""


class Onlookers(Protocol):
    """Whoever looks at flows while they are under way."""

    @property
    def any(self) -> bool:
        """Whether there is anybody."""

    def changed(self, flow: http.HTTPFlow, reader: StreamReader) -> None:
        """Something has passed on a stream."""

    def over(self, flow: http.HTTPFlow) -> None:
        """A flow is over."""

    def touch(self, session: Session) -> None:
        """An exchange of a session is over."""

    def exchange(self, x: Exchange, flow: http.HTTPFlow) -> None:
        """An exchange is over, and nothing more is to be found out about it."""

    def sent(self, request: Request, began: float, outcome: Outcome) -> None:
        """A request of the proxy's own is over."""


class Exchanges:
    """All exchanges, from the hooks' point of view."""

    def __init__(
        self,
        core: Core,
        effects: Effects,
        own: OwnRequests,
        tasks: Tasks,
        identifying: Identifying,
        memory: Callable[[], Memory | None],
        onlookers: Onlookers,
        live: dict[str, Live] | None = None,
    ) -> None:
        """`live` are exchanges that were under way before, by the id of their flow."""
        self.core = core
        self.live = live if live is not None else {}
        self.body_limit = 1 << 20
        """Bytes of a stream that are kept in its flow."""
        self.ends: Callable[[], bool] = lambda: False
        """Whether mitmproxy itself is about to end."""
        self._long_said = False
        self.in_use = InUse(self.live)
        self.answers = Answers(core, effects, own, tasks, self._over)
        self._effects = effects
        self._identifying = identifying
        self._onlookers = onlookers
        own.told = onlookers.sent
        self._streamed: WeakSet[http.HTTPFlow] = WeakSet()
        """Flows that were told of before their body was read."""
        self._arriving = Arriving(tasks, identifying, memory, self._go_on)

    # What a client sends

    def streamed(
        self, flow: http.HTTPFlow, wanted: Callable[[http.HTTPFlow], bool] | None
    ) -> Coroutine[Any, Any, None] | None:
        """The head of a request goes out before its body was read: if it is one of a session, this is its beginning."""
        if h.SESSION_ID not in flow.request.headers:
            return None
        pending = self.request(flow, wanted)
        self._streamed.add(flow)
        return pending

    def request(
        self, flow: http.HTTPFlow, wanted: Callable[[http.HTTPFlow], bool] | None
    ) -> Coroutine[Any, Any, None] | None:
        """A request was read; it is looked at if it is MCP and `wanted`."""
        if flow in self._streamed or flow.id in self.live:
            return None
        request, client, core = flow.request, flow.client_conn, self.core
        data = request.data
        verb, (endpoint, url), headers = request.method, target_of(request), header_map(data.headers.fields)
        if not is_mcp(verb, endpoint.path, headers, data.content, core.ledger.knows(endpoint)):
            return None
        if len(url) > URL_LIMIT:
            self._say_long(endpoint)
            return None
        if wanted is not None and not wanted(flow):
            return None
        connection = core.ledger.connections.get(client.id)
        if connection is None:
            peer, local = address(client.peername), address(client.sockname)
            connection = core.connected(client.id, peer, local, clock.now())
            connection.dialled = dialled(client)
        return self._arriving.take(
            core, Live(exchange_of(flow.id, verb, endpoint, url, headers, data.content, connection), flow)
        )

    def _say_long(self, endpoint: Endpoint) -> None:
        if not self._long_said:
            self._long_said = True
            where = printable(endpoint.origin, 200)
            logger.warning(f"mcp: not looked at: requests with an URL of more than {URL_LIMIT} characters, to {where}")

    def _go_on(self, live: Live) -> Coroutine[Any, Any, None] | None:
        """Enough is known about who sends a request."""
        x, flow = live.x, live.flow
        self.live[flow.id] = live
        decision = self.core.requested(x, clock.now())
        if self._onlookers.any:  # somebody may look at it before it is answered
            marks.annotate(flow, x)
        note_route(live)
        if isinstance(decision, Hold):
            self._effects.expect(live)
            self._effects.fetch()
            return self._held(live)
        self._effects.fetch()
        self._send_on(live, decision)
        return None

    async def _held(self, live: Live) -> None:
        self._send_on(live, await self._effects.decision(live))

    def _send_on(self, live: Live, decision: Decision) -> None:
        match decision:
            case Forward(session_id):
                if session_id is not None and live.x.presented is not None:
                    live.flow.metadata[PRESENTED] = live.x.presented
                set_session_id(live.flow.request.headers, session_id)
            case Reply(status, body):
                live.settled = True
                live.flow.response = http.Response.make(status, body, {"content-type": h.JSON} if body else {})
            case _:
                pass

    # A server that can't be reached

    async def unreachable(self, flow: http.HTTPFlow) -> None:
        """The connect for a request has failed: have it tried again later, or answer it, or leave it to mitmproxy."""
        live, problem = self.live.get(flow.id), resend.problem(flow)
        if live is None or live.settled:
            return
        decision = self.core.unreachable(live.x, problem, clock.now())
        if isinstance(decision, Hold):
            self._effects.expect(live)
            self._effects.fetch()
            decision = await self._effects.decision(live)
            if isinstance(decision, Forward):
                resend.again(flow)
        else:
            self._effects.fetch()
        if isinstance(decision, Reply):
            live.unreached = True
            self._send_on(live, decision)

    def reached(self, flow: http.HTTPFlow) -> None:
        """A request that has waited for its server is about to go out."""
        live = self.live.get(flow.id)
        if live is not None:
            self._send_on(live, self.core.reached(live.x, clock.now()))
            self._effects.fetch()

    def hung_up(self, flow: http.HTTPFlow) -> None:
        """The client of a request that waits for its server has hung up."""
        self._effects.hung_up(flow.id)
        self._effects.fetch()

    # What a server answers

    def responseheaders(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """The head of an answer was read."""
        live, response = self.live.get(flow.id), flow.response
        if live is None or live.settled or response is None:
            return None
        x = live.x
        head = self.core.head(x, response.status_code, header_map(response.headers.fields), clock.now())
        set_session_id(response.headers, head.session_id)
        if x.opened is not None:
            note_route(live)
        if head.stream:

            def on_event(event: Event, at: float) -> None:
                self.core.event(x, event, at)
                self._effects.fetch()

            live.reader = StreamReader(flow, on_event, self.body_limit, self._showing(live))
            live.reader.prefix = head.first
            marks.annotate(flow, x)
            response.stream = live.reader
            self._effects.fetch()
        if x.opened is not None:
            return self._effects.kept(x.opened)
        return self._identifying.known(x.connection.id) if self.core.senders.doubts(x) else None

    def _showing(self, live: Live) -> Callable[[], None] | None:
        """What is to be called when a stream moves on, so that those who look at it see it."""
        if not self._onlookers.any:
            return None

        def show() -> None:
            if live.reader is not None:
                self._onlookers.changed(live.flow, live.reader)

        return show

    def response(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """An answer was read whole, or a stream has ended."""
        live = self.live.get(flow.id)
        if live is None or flow.response is None:
            return None
        # Another addon, or an option, may have it streamed: then the client has it already.
        if live.reader is not None or live.settled or flow.response.stream:
            return self._ended(live, Finish.SERVER if live.unreached else Finish.COMPLETE)
        found = content(flow.response)
        return self._unpacked(live, found) if isinstance(found, Coroutine) else self._answered(live, found)

    async def _unpacked(self, live: Live, found: Coroutine[Any, Any, bytes | None]) -> None:
        pending = self._answered(live, await found)
        if pending is not None:
            await pending

    def _answered(self, live: Live, found: bytes | None) -> Coroutine[Any, Any, None] | None:
        try:
            pending = self.answers.carry_out(live, self.core.answered(live.x, found, clock.now()))
        except Exception:
            self.live.pop(live.flow.id, None)
            raise
        if pending is not None:
            self._effects.fetch()
        return pending

    def error(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """A flow broke off."""
        by_client = resend.broken_by_client(flow)
        live = self.live.get(flow.id)
        if live is None:
            return None
        if live.reader is not None:
            live.reader.finish()
        return self._ended(live, self._finish_of(live, by_client))

    def _ended(self, live: Live, finish: Finish = Finish.COMPLETE) -> Coroutine[Any, Any, None] | None:
        """An exchange is over, as soon as all of its stream was looked at."""
        if live.reader is not None and live.reader.behind:
            return self._caught_up(live, live.reader, finish)
        self._over(live, finish)
        return None

    async def _caught_up(self, live: Live, reader: StreamReader, finish: Finish) -> None:
        await reader.caught_up()
        if self.live.get(live.flow.id) is live:  # it may have broken off meanwhile
            self._over(live, finish)

    def _finish_of(self, live: Live, by_client: bool) -> Finish:
        if not by_client:
            return Finish.SERVER
        if self.ends():
            return Finish.PROXY
        if self.in_use.works:
            return Finish.PROXY if self.in_use.vanished(live.flow.client_conn) else Finish.CLIENT
        last = max(live.x.connection.last_active, live.reader.read_at if live.reader else 0.0)
        if clock.now() - last >= tcp_timeout() - 1:
            return Finish.PROXY  # it was mitmproxy that closed the connection
        return Finish.CLIENT

    def _over(self, live: Live, finish: Finish = Finish.COMPLETE) -> None:
        flow, x = live.flow, live.x
        self.live.pop(flow.id, None)
        if live.reader is not None and live.reader.unread:
            x.unread = True
        self._onlookers.over(flow)
        self.core.finished(x, finish, clock.now())
        live.note_process(flow)
        marks.annotate(flow, x)
        if x.session is not None:
            self._onlookers.touch(x.session)
        self._onlookers.exchange(x, flow)
        self._effects.fetch()

    def disconnected(self, connection_id: str) -> Connection | None:
        """A client closed a connection; it, if it was one that carried MCP."""
        connection = self.core.disconnected(connection_id, clock.now())
        if connection is not None:
            self._effects.disconnected(connection_id)
            self._effects.fetch()
        return connection

    def flow_of(self, flow_id: str) -> http.HTTPFlow | None:
        """The flow of an exchange that is under way."""
        live = self.live.get(flow_id)
        return None if live is None else live.flow
