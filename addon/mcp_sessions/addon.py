"""The hooks: what mitmproxy reports becomes a call of the core, and what the core decides is carried out.

No policy lives here. A hook that fails says so in the log and lets the traffic pass as if the addon were not there.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from mitmproxy import connection as mconnection
from mitmproxy import ctx, eventsequence, exceptions, flowfilter, hooks, http
from mitmproxy.tools.dump import DumpMaster

from . import resend
from .clients import Identifier, Liveness, Process
from .commands import Commands
from .core import Core
from .decisions import Deliver, End, Forward, Hold, OnAnswer, OnRequest, Release, Reply, Resend, Shake, Wait
from .exchange import Exchange, Finish
from .inject import OWN, Order, OwnRequests
from .ledger import ClientKey, Endpoint, Session
from .options import Settings, declare, settings
from .records import AnyRecord, Weight
from .recovery import handshake
from .streams import StreamReader
from .views import contentview, marks
from .views.journal import Journal
from .views.live import LiveStreams
from .views.status import Screen, Status
from .wire import headers as h
from .wire.headers import HeaderMap
from .wire.recognition import is_mcp
from .wire.sse import Event

logger = logging.getLogger(__name__)

DELETES_AT_ONCE = 8
IDENTIFY_PATIENCE = 1.0
"""Seconds that a handshake is kept back, at most, until it is known which process it comes from."""
STEP_PATIENCE = 5.0
"""Seconds within which each message after a handshake's `initialize` must be answered; it is not waited for longer."""

LEVELS = {Weight.INFO: logging.INFO, Weight.WARNING: logging.WARNING, Weight.ERROR: logging.ERROR}


@dataclass(slots=True)
class Live:
    """An exchange under way, and what belongs to it on mitmproxy's side."""

    x: Exchange
    flow: http.HTTPFlow
    reader: StreamReader | None = None
    refused: http.Response | None = None
    """The server's original answer, once the request has been sent again."""
    settled: bool = False
    """Nothing more is to be decided: what answer there is now is given to the client."""


def fail_open[**P](hook: Callable[P, Any]) -> Callable[P, Any]:
    """Let the traffic pass when a hook fails, and say so."""

    def said(error: Exception) -> None:
        logger.error(f"mcp: error in {hook.__name__}, the traffic passes: {error!r:.200}", exc_info=error)

    async def guarded(awaitable: Awaitable[None]) -> None:
        try:
            await awaitable
        except exceptions.AddonHalt:
            raise
        except Exception as e:
            said(e)

    @wraps(hook)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
        try:
            result = hook(*args, **kwargs)
        except exceptions.AddonHalt:
            raise
        except Exception as e:
            return said(e)
        return guarded(result) if isinstance(result, Coroutine) else None

    return wrapper


class McpSessions:
    """The addon."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.core = Core(self.settings, self._tell)
        self.began = time.time()
        self.journal = Journal()
        self.own = OwnRequests()
        self.commands = Commands(self)
        self.addons = [self.commands]
        self.identifier = Identifier()
        self.liveness: Liveness | None = None
        self.streams: LiveStreams | None = None
        self.status: Status | None = None
        self._live: dict[str, Live] = {}
        self._waiting: dict[str, asyncio.Future[OnRequest | OnAnswer]] = {}
        self._identifying: dict[str, asyncio.Task[None]] = {}
        self._routes: WeakKeyDictionary[Session, mconnection.Client] = WeakKeyDictionary()
        self._filter: Callable[[http.HTTPFlow], bool] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._deletes = asyncio.Semaphore(DELETES_AT_ONCE)
        self._uninstall: Callable[[], None] | None = None
        self._leave_web: Callable[[], None] | None = None

    # Life of the addon

    def load(self, loader: Any) -> None:
        """Declare the options."""
        declare(loader)
        contentview.register()

    def configure(self, updated: set[str]) -> None:
        """Take over the options; a wrong value is refused in one line."""
        if not any(name.startswith("mcp_") for name in updated):
            return
        values = {name: getattr(ctx.options, name) for name in Settings.model_fields}
        try:
            self.settings = settings(values)
        except ValueError as e:
            raise exceptions.OptionsError(str(e)) from None
        if "mcp_filter" in updated:
            try:
                self._filter = flowfilter.parse(self.settings.mcp_filter) if self.settings.mcp_filter else None
            except ValueError as e:
                raise exceptions.OptionsError(f"mcp_filter: {e}") from None
        self.core.configure(self.settings)
        self.identifier.enabled = self.settings.mcp_identify == "on"

    def running(self) -> None:
        """Mitmproxy is up: find a place in its HTTP layer."""
        self.liveness = Liveness(self._gone)
        if ctx.master.addons.get("view") is not None:
            self.streams = LiveStreams(_refresh)
        self._start_status()
        application = getattr(ctx.master, "app", None)
        if application is not None:
            from .views import web  # only mitmweb has what it needs

            self._leave_web = web.install(application, self)
        try:
            self._uninstall = resend.install()
        except RuntimeError as e:
            logger.warning(
                f"mcp: this mitmproxy is not as expected ({e}): requests are sent again in a buffered way, "
                "so that their progress arrives at the end"
            )

    def _start_status(self) -> None:
        wanted = self.settings.mcp_status
        terminal = sys.stdout.isatty() and isinstance(ctx.master, DumpMaster)
        if wanted == "off" or (wanted == "auto" and not terminal):
            return
        screen = Screen(sys.stdout) if terminal else None
        self.status = Status(self.core.ledger, self.journal, screen, logger.info)
        self.status.start()

    def done(self) -> None:
        """Leave mitmproxy as it was found."""
        if self._uninstall:
            self._uninstall()
            self._uninstall = None
        for task in self._tasks:
            task.cancel()
        if self.liveness:
            self.liveness.close()
            self.liveness = None
        if self.streams:
            self.streams.close()
        if self.status:
            self.status.close()
            self.status = None
        if self._leave_web:
            self._leave_web()
            self._leave_web = None
        self.identifier.close()

    # What a client sends

    @fail_open
    def request(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """A request was read."""
        if OWN in flow.metadata or flow.client_conn.peername is None:
            return None
        request = flow.request
        endpoint = Endpoint(request.scheme, request.host, request.port, request.path.partition("?")[0])
        headers = HeaderMap(request.headers.fields)
        content = request.raw_content
        if not is_mcp(request.method, headers, content, self.core.ledger.knows(endpoint)):
            return None
        if self._filter is not None and not self._filter(flow):
            return None
        at = time.time()
        peer, local = _address(flow.client_conn.peername), _address(flow.client_conn.sockname)
        connection = self.core.ledger.connection(flow.client_conn.id, peer, local, at)
        if not connection.identified:
            look_up = self._identify(connection.id)
            presented = headers.get(h.SESSION_ID)
            session = self.core.ledger.find(endpoint, presented) if presented else None
            # Whoever opens a session, or uses a mapping, has to be known first.
            if (content and b'"initialize"' in content) or (session is not None and session.mapped):
                return self._request_after(look_up, flow, endpoint, headers, content)
        return self._request(flow, endpoint, headers, content)

    async def _request_after(
        self,
        look_up: asyncio.Task[None],
        flow: http.HTTPFlow,
        endpoint: Endpoint,
        headers: HeaderMap,
        content: bytes | None,
    ) -> None:
        await asyncio.wait({look_up}, timeout=IDENTIFY_PATIENCE)
        pending = self._request(flow, endpoint, headers, content)
        if pending is not None:
            await pending

    def _request(
        self, flow: http.HTTPFlow, endpoint: Endpoint, headers: HeaderMap, content: bytes | None
    ) -> Coroutine[Any, Any, None] | None:
        at = time.time()
        peer, local = _address(flow.client_conn.peername), _address(flow.client_conn.sockname)
        connection = self.core.ledger.connection(flow.client_conn.id, peer, local, at)
        x = self.core.exchange(
            flow.id, flow.request.method, flow.request.url, endpoint, headers, content, connection, at
        )
        live = self._live[flow.id] = Live(x, flow)
        decision = self.core.requested(x)
        marks.annotate(flow, x)
        if x.session is not None:
            self._routes[x.session] = flow.client_conn
            self.journal.touch(x.session)
        if isinstance(decision, Hold):
            return self._held(live)
        self._carry_out_request(live, decision)
        return None

    async def _held(self, live: Live) -> None:
        decision = await self._outcome(live)
        self.core.released(live.x, time.time())
        self._carry_out_request(live, decision)

    def _carry_out_request(self, live: Live, decision: OnRequest | OnAnswer) -> None:
        match decision:
            case Forward(session_id):
                _set_session_id(live.flow.request.headers, session_id)
            case Reply(status):
                live.settled = True
                live.flow.response = http.Response.make(status)
            case _:
                pass

    # What a server answers

    @fail_open
    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """The head of an answer was read."""
        if OWN in flow.metadata:
            self.own.responseheaders(flow)
            return
        live = self._live.get(flow.id)
        if live is None or live.settled or flow.response is None:
            return
        x = live.x
        own_id = self.core.answering(x, flow.response.status_code, HeaderMap(flow.response.headers.fields), time.time())
        if own_id is not None:
            flow.response.headers[h.SESSION_ID] = own_id
        session = x.facts.get("opened") or x.session
        if session is not None:
            self._routes[session] = flow.client_conn
            self.journal.touch(session)
        if self.core.wants_stream(x):

            def on_event(event: Event, at: float) -> None:
                self.core.streamed(x, event, at)

            reader = live.reader = StreamReader(flow, on_event, self.settings.body_limit, self._showing(live))
            marks.annotate(flow, x)
            flow.response.stream = reader

    def _showing(self, live: Live) -> Callable[[], None] | None:
        """What is to be called when a stream moves on, so that those who look at it see it."""
        streams = self.streams
        if streams is None:
            return None

        def show() -> None:
            if live.reader is not None:
                streams.changed(live.flow, live.reader)

        return show

    @fail_open
    def response(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """An answer was read whole, or a stream has ended."""
        live = self._live.get(flow.id)
        if live is None or flow.response is None:
            return None
        if live.reader is not None or live.settled:
            self._over(live, Finish.COMPLETE)
            return None
        try:
            content = flow.response.get_content(strict=False) or b""
        except ValueError:
            content = b""
        decision = self.core.answered(live.x, content, time.time())
        return self._carry_out_answer(live, decision)

    def _carry_out_answer(self, live: Live, decision: OnRequest | OnAnswer) -> Coroutine[Any, Any, None] | None:
        flow = live.flow
        match decision:
            case Shake(session):
                self._task(self._shake(session, live))
                return self._refused(live)
            case Wait():
                return self._refused(live)
            case Resend():
                return self._resend(live, decision)
            case Reply(status):
                flow.response = http.Response.make(status)
            case Deliver(original=True) if live.refused is not None:
                flow.response = live.refused
            case _:
                pass
        self._over(live, Finish.COMPLETE)
        return None

    async def _refused(self, live: Live) -> None:
        """Wait for the handshake, then do as it has turned out."""
        decision = await self._outcome(live)
        pending = self._carry_out_answer(live, decision)
        if pending is not None:
            await pending

    async def _resend(self, live: Live, decision: Resend) -> None:
        flow = live.flow
        assert flow.response
        self.core.recoveries.resent(live.x)
        refused = self._keep_refused(live)
        live.refused = live.refused or refused
        _set_session_id(flow.request.headers, decision.session_id)
        if decision.drop_last_event_id:
            flow.request.headers.pop(h.LAST_EVENT_ID, None)
        if self._uninstall is not None:
            resend.again(flow)
            # Nobody else needs to see the refusal under this flow's id: it has a flow of its own.
            raise exceptions.AddonHalt
        await self._resend_buffered(live)

    async def _resend_buffered(self, live: Live) -> None:
        flow = live.flow
        request = flow.request
        order = Order(
            f"{live.x.what} again",
            request.method,
            request.url,
            request.headers.fields,
            tuple(request.headers.items(multi=False)),
            request.raw_content or b"",
        )
        sent = await self.own.fetch(order, flow.client_conn, self.settings.mcp_recover_timeout)
        if sent is None:
            flow.response = live.refused
            self._over(live, Finish.COMPLETE)
            return
        flow.response = sent
        self.core.answering(live.x, sent.status_code, HeaderMap(sent.headers.fields), time.time())
        decision = self.core.answered(live.x, sent.get_content(strict=False) or b"", time.time())
        pending = self._carry_out_answer(live, decision)
        if pending is not None:
            await pending

    def _keep_refused(self, live: Live) -> http.Response:
        """Keep the refused exchange as a flow of its own, for whoever looks at the flow list or the saved file."""
        flow = live.flow
        assert flow.response
        refused = flow.response.copy()
        copy = flow.copy()
        copy.metadata[OWN] = "refused"
        marks.refused(copy, live.x, refused.status_code, flow.id)
        self._task(_show(copy))
        return refused

    @fail_open
    def error(self, flow: http.HTTPFlow) -> None:
        """A flow broke off."""
        by_client = resend.broken_by_client(flow)
        live = self._live.get(flow.id)
        if live is None:
            return
        if live.reader is not None:
            live.reader.finish()
        self._over(live, Finish.CLIENT if by_client else Finish.SERVER)

    def _over(self, live: Live, finish: Finish) -> None:
        self._live.pop(live.flow.id, None)
        if self.streams is not None:
            self.streams.over(live.flow)
        ends = self.core.finished(live.x, finish, time.time())
        marks.annotate(live.flow, live.x)
        self._changed(live.x.facts.get("opened") or live.x.session)
        self._end(ends)

    # Clients

    @fail_open
    def client_disconnected(self, client: mconnection.Client) -> None:
        """A client closed a connection."""
        connection = self.core.disconnected(client.id, time.time())
        if connection is None:
            return
        self.identifier.forget(client.id)
        for live in [live for live in self._live.values() if live.x.connection is connection]:
            waiting = self._waiting.get(live.x.id)
            if waiting is not None and not waiting.done():
                self.core.recoveries.hung_up(live.x)
                waiting.set_result(Deliver())
        found = connection.client
        if self.liveness and found and found.pid is not None and found.started is not None:
            self.liveness.check(Process(found.pid, found.started, found.name))

    def _identify(self, connection_id: str) -> asyncio.Task[None]:
        task = self._identifying.get(connection_id)
        if task is None:
            task = self._identifying[connection_id] = self._task(self._look_up(connection_id))
            task.add_done_callback(lambda _: self._identifying.pop(connection_id, None))
        return task

    async def _look_up(self, connection_id: str) -> None:
        connection = self.core.ledger.connections[connection_id]
        found = await self.identifier.identify(connection_id, connection.peer, connection.local)
        process = found if isinstance(found, Process) else None
        self.core.identified(connection, process, time.time())
        if process is not None and self.liveness is not None:
            self.liveness.watch(process)

    def _gone(self, process: Process) -> None:
        ends = self.core.gone(process, time.time())
        client = self.core.ledger.clients.get(ClientKey(pid=process.pid, started=process.started))
        for session in client.sessions if client else ():
            self._changed(session)
        self._end(ends)

    def reinit(self, session: Session) -> None:
        """Begin a handshake for a session because the user wants it; raises ValueError if that is not possible."""
        self.core.reinit(session, time.time())
        self._changed(session)
        self._task(self._shake(session, None))

    def _changed(self, session: Session | None) -> None:
        if session is not None:
            self.journal.touch(session)

    # What the core decides

    async def _shake(self, session: Session, live: Live | None) -> None:
        """Perform the handshake in the client's place, with the headers of the refused request if there is one."""
        fields, url, client = session.fields, session.url, self._routes.get(session)
        if live is not None:
            fields, url, client = live.flow.request.headers.fields, live.flow.request.url, live.flow.client_conn
        version = ((h.PROTOCOL_VERSION, session.revision),) if h.PROTOCOL_VERSION in HeaderMap(fields) else ()
        try:
            order = Order("initialize", "POST", url, fields, content=handshake.opening(session), session=session)
            sent = await self.own.send(order, client, self.settings.mcp_recover_timeout)
            headers = sent.headers or HeaderMap()
            if not self.core.shaken(session, sent.status or 0, headers, sent.answer, time.time()):
                reason = sent.problem or f"initialize was answered {sent.status}"
                self._settle(*self.core.not_recovered(session, reason, time.time()))
                self._changed(session)
                return
            for what, body in handshake.following(None, []):
                order = Order(
                    what, "POST", url, fields, ((h.SESSION_ID, session.server_id), *version), body, session=session
                )
                await self.own.send(order, client, STEP_PATIENCE)
        except Exception as e:
            logger.error(f"mcp: error in a handshake: {e!r:.200}", exc_info=e)
            self._settle(*self.core.not_recovered(session, "internal error", time.time()))
            self._changed(session)
            return
        self._settle(*self.core.recovered(session, time.time()))
        self._changed(session)

    def _settle(self, releases: list[Release], ends: list[End]) -> None:
        for release in releases:
            waiting = self._waiting.get(release.exchange_id)
            if waiting is not None and not waiting.done():
                waiting.set_result(release.decision)
        self._end(ends)

    async def _outcome(self, live: Live) -> OnRequest | OnAnswer:
        waiting = self._waiting.get(live.x.id)
        if waiting is None:
            waiting = self._waiting[live.x.id] = asyncio.get_running_loop().create_future()
        try:
            return await waiting
        finally:
            self._waiting.pop(live.x.id, None)

    def _end(self, ends: list[End]) -> None:
        for end in ends:
            self._task(self._delete(end))

    async def _delete(self, end: End) -> None:
        session = end.session
        headers = [(h.SESSION_ID, end.server_id)]
        if session.revision:
            headers.append((h.PROTOCOL_VERSION, session.revision))
        order = Order("DELETE session", "DELETE", session.url, session.fields, tuple(headers), session=session)
        async with self._deletes:
            sent = await self.own.send(order, self._routes.get(session), self.settings.mcp_end_timeout)
        self.core.ended(end, sent.status, sent.problem, time.time())
        self._changed(session)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _tell(self, record: AnyRecord) -> None:
        self.journal.told(record)
        logger.log(LEVELS[record.weight], record.line())


async def _show(flow: http.HTTPFlow) -> None:
    """Let mitmproxy's other addons see a flow that the proxy made, as if it had just happened."""
    for event in eventsequence.iterate(flow):
        await ctx.master.addons.handle_lifecycle(event)
    if flow.intercepted:
        flow.resume()


def _refresh(flow: http.HTTPFlow) -> None:
    """Let mitmproxy's views draw a flow again."""
    ctx.master.addons.trigger(hooks.UpdateHook([flow]))


def _address(address: Any) -> tuple[str, int]:
    return (str(address[0]), int(address[1]))


def _set_session_id(headers: http.Headers, session_id: str | None) -> None:
    if session_id:
        headers[h.SESSION_ID] = session_id
    elif session_id is not None:
        headers.pop(h.SESSION_ID, None)
