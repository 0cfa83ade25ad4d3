"""Sending a refused request again, and giving the client what answer there is in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import WeakSet

from mitmproxy import ctx, eventsequence, exceptions, http

from ..core.core import Core
from ..core.decisions import Decision, Deliver, Hold, Reply, Resend
from ..core.session import Session
from ..wire import headers as h
from ..wire.headers import HeaderMap
from . import clock, marks, resend
from .effects import Effects
from .flows import Live, set_session_id
from .metadata import OWN, PRESENTED, REFUSED, SENT_AGAIN
from .outbound import OwnRequests
from .streams import unpacked
from .tasks import Tasks


class Answers:
    """Does what the core decides about an answer that was read. `over` is told of each that is given to its client."""

    def __init__(
        self, core: Core, effects: Effects, own: OwnRequests, tasks: Tasks, over: Callable[[Live], None]
    ) -> None:
        self.core = core
        self.effects = effects
        self.patience = 30.0
        """Seconds within which a request that is sent again in a buffered way must be answered."""
        self.in_place = False
        """Whether mitmproxy's HTTP layer can send a request again, so that the second answer streams."""
        self.shown: WeakSet[http.HTTPFlow] = WeakSet()
        """Flows that were made here and only shown to other addons."""
        self._own = own
        self._tasks = tasks
        self._over = over

    def carry_out(self, live: Live, decision: Decision) -> Coroutine[Any, Any, None] | None:
        """Do what was decided."""
        match decision:
            case Hold():
                self.effects.expect(live)
                return self._wait(live)
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

    async def _wait(self, live: Live) -> None:
        """Wait for the handshake, then do as it has turned out."""
        pending = self.carry_out(live, await self.effects.decision(live))
        if pending is not None:
            await pending

    async def _resend(self, live: Live, decision: Resend) -> None:
        flow, session = live.flow, live.x.session
        if self.in_place and session is not None:  # else nobody would notice a client that hangs up meanwhile
            await self._kept(session)
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
        sent = await self._own.fetch(live, self.patience)
        if sent is None:
            live.flow.response = live.refused
            self._over(live)
            return
        live.flow.response = sent
        self.core.head(live.x, sent.status_code, HeaderMap(sent.headers.fields), clock.now())
        if live.x.opened is not None:
            await self._kept(live.x.opened)
        pending = self.carry_out(live, self.core.answered(live.x, await unpacked(sent), clock.now()))
        self.effects.fetch()
        if pending is not None:
            await pending

    async def _kept(self, session: Session) -> None:
        written = self.effects.kept(session)
        if written is not None:
            await written

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
