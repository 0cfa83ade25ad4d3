"""Carrying out a recovery: exchanges are kept waiting, hands are shaken, and refused requests are sent again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import WeakSet

from mitmproxy import connection as mconnection
from mitmproxy import ctx, eventsequence, exceptions, http

from ..core.core import Core
from ..core.decisions import Deliver, End, OnAnswer, OnRequest, Release, Reply, Resend, Shake, Wait
from ..core.session import Session
from ..wire import headers as h
from ..wire.headers import HeaderMap
from ..wire.text import printable
from . import marks, resend
from .failing import described
from .flows import Live, set_session_id
from .metadata import OWN, PRESENTED, REFUSED, SENT_AGAIN
from .outbound import Order, OwnRequests
from .shaking import Shaking
from .streams import content
from .tasks import Tasks

logger = logging.getLogger(__name__)


WAITING = 20.0
"""Seconds beyond two handshakes after which an exchange that waits is let go: something has gone wrong."""


class Recovering:
    """Does what the core decides about refused answers, and about requests that are held."""

    def __init__(
        self,
        core: Core,
        own: OwnRequests,
        tasks: Tasks,
        route: Callable[[Session], mconnection.Client | None],
        end: Callable[[list[End]], None],
        over: Callable[[Live], None],
    ) -> None:
        """`over` is told of each exchange whose answer is given to the client now."""
        self.core = core
        self.patience = 30.0
        """Seconds within which an `initialize` must be answered."""
        self.in_place = False
        """Whether mitmproxy's HTTP layer can send a request again, so that the second answer streams."""
        self.shown: WeakSet[http.HTTPFlow] = WeakSet()
        """Flows that were made here and only shown to other addons."""
        self._own = own
        self._tasks = tasks
        self._route = route
        self._end = end
        self._over = over
        self._waiting: dict[str, tuple[Live, asyncio.Future[OnRequest | OnAnswer]]] = {}

    # Waiting

    async def outcome(self, live: Live) -> OnRequest | OnAnswer:
        """Wait for what becomes of an exchange that is kept waiting; it has to be expected before it can come."""
        _, waiting = self._waiting[live.x.id]
        try:
            return await asyncio.wait_for(waiting, 2 * self.patience + WAITING)
        except TimeoutError:
            self.core.recoveries.hung_up(live.x)
            logger.error(f"mcp: {printable(live.x.what)} waited too long for a recovery: it goes on without")
            return Deliver()
        finally:
            self._waiting.pop(live.x.id, None)

    def expect(self, live: Live) -> None:
        """Keep an exchange waiting: whatever is decided from now on is kept for it."""
        self._waiting[live.x.id] = (live, asyncio.get_running_loop().create_future())

    def disconnected(self, connection_id: str) -> None:
        """A client closed a connection: none of its exchanges waits any longer."""
        for live, waiting in list(self._waiting.values()):
            if live.x.connection.id == connection_id and not waiting.done():
                self.core.recoveries.hung_up(live.x)
                waiting.set_result(Deliver())

    def give_up(self) -> None:
        """Let all who wait have what there is."""
        for _, waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(Deliver())

    def settle(self, releases: list[Release], ends: list[End]) -> None:
        """A handshake has come to its end."""
        for release in releases:
            _, waiting = self._waiting.get(release.exchange_id, (None, None))
            if waiting is not None and not waiting.done():
                waiting.set_result(release.decision)
        self._end(ends)

    # Shaking hands

    def reinit(self, session: Session) -> None:
        """Begin a handshake for a session because the user wants it.

        Raises:
            ValueError: when that is not possible; says why.
        """
        self.core.reinit(session, time.time())
        self._tasks.start(self._shake(session, None))

    async def _shake(self, session: Session, live: Live | None) -> None:
        """Perform the handshake in the client's place, with the headers of the refused request if there is one."""
        fields, url, client = session.fields, session.url, self._route(session)
        if live is not None:
            fields, url, client = live.flow.request.headers.fields, live.x.url, live.flow.client_conn
        try:
            problem = await Shaking(self._own, self.core, session, url, fields, client).perform(self.patience)
        except Exception as e:
            logger.error(f"mcp: error in a handshake: {described(e)}")
            problem = "internal error"
        at = time.time()
        self.settle(*(self.core.not_recovered(session, problem, at) if problem else self.core.recovered(session, at)))

    # What becomes of an answer

    def carry_out(self, live: Live, decision: OnRequest | OnAnswer) -> Coroutine[Any, Any, None] | None:
        """Do what was decided about an answer that was read."""
        match decision:
            case Shake(session):
                self.expect(live)  # before the task: mitmproxy begins tasks at once
                self._tasks.start(self._shake(session, live))
                return self._refused(live)
            case Wait():
                self.expect(live)
                return self._refused(live)
            case Resend():
                return self._resend(live, decision)
            case Reply(status):
                live.flow.response = http.Response.make(status)
            case Deliver(original=True) if live.refused is not None:
                live.flow.response = live.refused
            case _:
                pass
        self._over(live)
        return None

    async def _refused(self, live: Live) -> None:
        """Wait for the handshake, then do as it has turned out."""
        pending = self.carry_out(live, await self.outcome(live))
        if pending is not None:
            await pending

    async def _resend(self, live: Live, decision: Resend) -> None:
        flow = live.flow
        self.core.recoveries.resent(live.x)
        refused = self._keep_refused(live)
        live.refused = live.refused or refused
        flow.metadata[SENT_AGAIN] = live.x.attempts
        if live.x.presented is not None:
            flow.metadata[PRESENTED] = live.x.presented
        set_session_id(flow.request.headers, decision.session_id)
        if decision.drop_last_event_id:
            flow.request.headers.pop(h.LAST_EVENT_ID, None)
        if self.in_place:
            resend.again(flow)
            # Nobody else needs to see the refusal under this flow's id: it has a flow of its own.
            raise exceptions.AddonHalt
        await self._resend_buffered(live)

    async def _resend_buffered(self, live: Live) -> None:
        flow = live.flow
        request = flow.request
        own_headers = tuple(request.headers.items(multi=False))
        again = f"{live.x.what} again"
        order = Order(again, request.method, live.x.url, (), own_headers, request.raw_content or b"")
        sent = await self._own.fetch(order, flow.client_conn, self.patience)
        if sent is None:
            flow.response = live.refused
            self._over(live)
            return
        flow.response = sent
        self.core.answering(live.x, sent.status_code, HeaderMap(sent.headers.fields), time.time())
        pending = self.carry_out(live, self.core.answered(live.x, content(sent), time.time()))
        if pending is not None:
            await pending

    def _keep_refused(self, live: Live) -> http.Response:
        """Keep the refused exchange as a flow of its own, for whoever looks at the flow list or the saved file."""
        flow = live.flow
        assert flow.response
        refused = flow.response.copy()
        copy = flow.copy()
        copy.metadata[OWN] = REFUSED
        self.shown.add(copy)
        live.note_process(copy)
        marks.refused(copy, live.x, refused.status_code, flow.id)
        self._tasks.start(_show(copy))
        return refused


async def _show(flow: http.HTTPFlow) -> None:
    """Let mitmproxy's other addons see a flow that the proxy made, as if it had just happened."""
    await asyncio.sleep(0)  # mitmproxy begins tasks at once, and the client waits for its answer: that comes first
    for event in eventsequence.iterate(flow):
        await ctx.master.addons.handle_lifecycle(event)
    if flow.intercepted:
        flow.resume()
