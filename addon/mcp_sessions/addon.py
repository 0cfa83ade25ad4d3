"""The hooks: what mitmproxy reports becomes a call of the core, and what the core decides is carried out.

No policy lives here. A hook that fails says so in the log and lets the traffic pass as if the addon were not there.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from mitmproxy import connection as mconnection
from mitmproxy import ctx, eventsequence, exceptions, flowfilter, hooks, http
from mitmproxy.log import ALERT
from mitmproxy.tools.dump import DumpMaster

from . import outcome, resend
from .clients import Identifier, Liveness, Process, Unknown
from .commands import Commands
from .core import Core
from .decisions import Deliver, End, Forward, Hold, OnAnswer, OnRequest, Release, Reply, Resend, Shake, Wait
from .deleting import Deleting
from .eventlog import EventLog
from .exchange import Exchange, Finish
from .inject import OWN, REFUSED, Order, OwnRequests
from .ledger import Client, ClientKey, Endpoint, Session, State, printable
from .options import Settings, declare, settings
from .outcome import Outcome
from .playback import AGAIN, PRESENTED, PROCESS, Playback
from .records import AnyRecord, Violation, Weight
from .remembering import FILE as LEDGER_FILE
from .remembering import Remembering
from .shaking import Shaking
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

RELOADED_WITHIN = 5.0
"""Seconds between the end of one instance and the start of the next when a script is loaded anew."""
TICK = 1.0
"""Seconds between two looks at the evidence."""
EXIT_PATIENCE = 5.0
"""Seconds that ending sessions may take when the proxy ends."""
LAST_CLOSING = 0.05
"""Seconds within which the connections of a process that has ended are seen to close, unless another one holds them."""
RECALL_PATIENCE = 1.0
"""Seconds that a request may wait for the ledger on disk."""
IDENTIFY_PATIENCE = 1.0
"""Seconds that a handshake is kept back, at most, until it is known which process it comes from."""

OVERDUE_EVERY = 5
"""Ticks between looks at what should have happened by now."""
PAUSE = 0.5
"""Seconds without another flow after which those read from a file are judged."""

BLIND = {
    "remote": "a client on another host",
    "hidden": "a client whose process can't be seen, another user's or in a container",
    "denied": "the system does not tell which process is behind a connection",
    "off": "mcp_identify is off",
}
"""Why the process behind a connection is not known, in words for the log."""

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


_predecessors: list[tuple[float, McpSessions]] = []
"""The instance that was stopped last though mitmproxy goes on, and when."""


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
        return None if result is None else guarded(result)

    return wrapper


class McpSessions:
    """The addon."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.core = Core(self.settings, self._tell)
        self.playback = Playback(self.settings, self._tell, self._judged)
        self.outcome = Outcome()
        self._log: EventLog | None = None
        self._read: WeakSet[http.HTTPFlow] = WeakSet()
        """Flows that were read from a file."""
        self._made: WeakSet[http.HTTPFlow] = WeakSet()
        """Flows that were made here and only shown to other addons."""
        self.began = time.time()
        self.journal = Journal()
        self.core.telling.followers.append(self.journal.touch)
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
        self.deleting = Deleting(self.core, self.own, self._routes.get, self.settings.mcp_end_timeout)
        self.remembering: Remembering | None = None
        self._blind: set[str] = set()
        self._uninstall: Callable[[], None] | None = None
        self._running = False
        self._leave_web: Callable[[], None] | None = None

    # Life of the addon

    def load(self, loader: Any) -> None:
        """Declare the options."""
        declare(loader)
        contentview.register()

    def configure(self, updated: set[str]) -> None:
        """Take over the options; a wrong value is refused in one line."""
        try:
            self._configure(updated)
        except exceptions.OptionsError as e:
            if self._running:
                raise
            # At the start mitmproxy would show a traceback. An error logged there makes it exit, with status 1.
            logger.error(f"mcp: {e}")

    def _configure(self, updated: set[str]) -> None:
        if not any(name.startswith("mcp_") for name in updated):
            return
        try:
            chosen = settings({name: getattr(ctx.options, name) for name in Settings.model_fields})
            wanted = _filter(chosen.mcp_filter)
        except ValueError as e:
            raise exceptions.OptionsError(str(e)) from None
        self.settings, self._filter = chosen, wanted
        self._open_log(self.settings.mcp_log)
        self.core.configure(self.settings, time.time())
        self.playback.configure(self.settings)
        self.deleting.patience = self.settings.mcp_end_timeout
        self.identifier.enabled = self.settings.mcp_identify == "on"
        if self._running and "mcp_ledger" in updated:
            self._remember()

    def running(self) -> None:
        """Mitmproxy is up: find a place in its HTTP layer."""
        self._running = True
        self.liveness = Liveness(self._gone)
        self._succeed()
        self._task(self._tick())
        self._remember()
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

    def done(self) -> Coroutine[Any, Any, None] | None:
        """Leave mitmproxy as it was found; when it ends, end the sessions that nobody else could end."""
        self.playback.play()
        self.core.overdue(time.time())
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
        if self._ends:
            return self._finish()
        # Removed or loaded anew: nothing may be awaited, and nothing is ended.
        self._close()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(Deliver())
        _predecessors[:] = [(time.monotonic(), self)]
        return None

    def _succeed(self) -> None:
        """When the script was loaded anew, go on where the instance before this one was stopped a moment ago."""
        while _predecessors:
            stopped, before = _predecessors.pop()
            if time.monotonic() - stopped > RELOADED_WITHIN:
                continue
            self.core, self._live, self._routes = before.core, before._live, before._routes
            self.core.telling.tell = self._tell
            self.core.telling.followers[:] = [self.journal.touch]
            self.core.configure(self.settings, time.time())
            self.deleting = Deleting(self.core, self.own, self._routes.get, self.settings.mcp_end_timeout)
            for session in self.core.ledger.live():
                if session.state is State.RECOVERING:
                    self._settle(*self.core.not_recovered(session, "the script was loaded anew", time.time()))
            ends = self.core.endings.resume(time.time())
            self._taken_over([client for client in self.core.ledger.clients.values() if not client.gone], ends)

    @property
    def _ends(self) -> bool:
        """Whether mitmproxy itself is about to end."""
        return self._running and ctx.master.should_exit.is_set()

    async def _finish(self) -> None:
        try:
            self.end(self.core.at_exit(time.time()))
            left = await self.deleting.finish(EXIT_PATIENCE)
            if left:
                logger.warning(f"mcp: {left} sessions could not be ended before the proxy ends")
        except Exception as e:
            logger.error(f"mcp: error while ending sessions at exit: {e!r:.200}", exc_info=e)
        finally:
            self._sum_up()
            self._close()

    def _close(self) -> None:
        self._open_log("")
        self.deleting.close()
        if self.remembering is not None:
            self.remembering.close()
            self.remembering = None

    def _remember(self) -> None:
        """Begin to keep the ledger on disk, or cease to, as the option says."""
        if self.remembering is not None:
            self.remembering.close()
            self.remembering = None
        where = self.settings.mcp_ledger
        # Reading saved flows is no traffic: nothing of it is worth remembering.
        if where != "off" and ctx.options.server:
            path = Path(where or Path(ctx.options.confdir) / LEDGER_FILE).expanduser()
            self.remembering = Remembering(self.core, path, self._taken_over)

    def _taken_over(self, living: list[Client], ends: list[End]) -> None:
        for client in living:
            if self.liveness is not None and client.pid is not None and client.started is not None:
                self.liveness.watch(Process(client.pid, client.started, client.name))
        self.end(ends)

    async def _tick(self) -> None:
        for number in itertools.count(1):
            await asyncio.sleep(TICK)
            try:
                if number % OVERDUE_EVERY == 0:
                    self.core.overdue(time.time())
                self.end(self.core.tick(time.time()))
                if self.remembering is not None:
                    self.remembering.tick()
            except Exception as e:
                logger.error(f"mcp: error while weighing evidence: {e!r:.200}", exc_info=e)

    # What a client sends

    @fail_open
    def request(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """A request was read."""
        if not flow.live and (flow.response or flow.error) and flow not in self._made:
            self._read.add(flow)
            return None
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
        presented = headers.get(h.SESSION_ID)
        session = self.core.ledger.find(endpoint, presented) if presented else None
        if self.remembering is not None and session is None and presented:
            return self._request_recalled(self.remembering, flow, endpoint, headers, content, presented)
        if not connection.identified:
            look_up = self._identify(connection.id)
            # Whoever opens a session, or uses a mapping, has to be known first.
            if (content and b'"initialize"' in content) or (session is not None and session.mapped):
                return self._request_after(look_up, flow, endpoint, headers, content)
        return self._request(flow, endpoint, headers, content)

    async def _request_recalled(
        self,
        remembering: Remembering,
        flow: http.HTTPFlow,
        endpoint: Endpoint,
        headers: HeaderMap,
        content: bytes | None,
        presented: str,
    ) -> None:
        """An id that the ledger does not know: an earlier run, or another proxy, may have written it down."""
        look_up = self._identify(flow.client_conn.id)
        recalling = {look_up, self._task(remembering.loaded())}
        await asyncio.wait(recalling, timeout=RECALL_PATIENCE)
        if self.core.ledger.find(endpoint, presented) is None:
            await asyncio.wait({self._task(remembering.recall(endpoint, presented))}, timeout=RECALL_PATIENCE)
        pending = self._request(flow, endpoint, headers, content)
        if pending is not None:
            await pending

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
                if session_id is not None and live.x.presented is not None:
                    live.flow.metadata[PRESENTED] = live.x.presented
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
            if reader.can_prepend:
                reader.prefix = self.core.first_events(x)
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
        if flow in self._read and flow.error is None:
            self._play(flow)
            return None
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
        flow.metadata[AGAIN] = live.x.attempts
        if live.x.presented is not None:
            flow.metadata[PRESENTED] = live.x.presented
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
        copy.metadata[OWN] = REFUSED
        self._made.add(copy)
        self._note(copy, live)
        marks.refused(copy, live.x, refused.status_code, flow.id)
        self._task(_show(copy))
        return refused

    @fail_open
    def error(self, flow: http.HTTPFlow) -> None:
        """A flow broke off."""
        if flow in self._read:
            self._play(flow)
            return
        by_client = resend.broken_by_client(flow)
        live = self._live.get(flow.id)
        if live is None:
            return
        if live.reader is not None:
            live.reader.finish()
        self._over(live, self._finish_of(live, by_client))

    def _finish_of(self, live: Live, by_client: bool) -> Finish:
        if not by_client:
            return Finish.SERVER
        last = max(live.x.connection.last_active, live.reader.read_at if live.reader else 0.0)
        if self._ends or time.time() - last >= ctx.options.tcp_timeout - 1:
            return Finish.PROXY  # it was mitmproxy that closed the connection
        return Finish.CLIENT

    def _over(self, live: Live, finish: Finish) -> None:
        self._live.pop(live.flow.id, None)
        if live.reader is not None and live.reader.unread:
            live.x.facts["unread"] = True
        if self.streams is not None:
            self.streams.over(live.flow)
        ends = self.core.finished(live.x, finish, time.time())
        self._note(live.flow, live)
        marks.annotate(live.flow, live.x)
        if live.x.session is not None:
            self.journal.touch(live.x.session)
        self.end(ends)

    def _note(self, flow: http.HTTPFlow, live: Live) -> None:
        """Note on a flow what can't be seen from it when it is read from a file again."""
        client = live.x.connection.client or live.x.client
        if client.pid is not None and client.started is not None:
            flow.metadata[PROCESS] = [client.name, client.pid, client.started, client.parent or 0]

    # Flows from a file

    def _play(self, flow: http.HTTPFlow) -> None:
        if not self.playback.waiting:
            asyncio.get_running_loop().call_later(PAUSE, self._play_all, -1)
        self.playback.add(flow)

    def _play_all(self, before: int) -> None:
        """Judge what was read, once nothing more comes."""
        waiting = self.playback.waiting
        if waiting and waiting != before:
            asyncio.get_running_loop().call_later(PAUSE, self._play_all, waiting)
            return
        self.playback.play()

    def _judged(self, flow: http.HTTPFlow, rule_ids: list[str]) -> None:
        if rule_ids:
            marks.mark_rules(flow, rule_ids)
            _refresh(flow)

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
        if isinstance(found, Unknown):
            self._say_blind(found, connection.peer[0])
        vanished = isinstance(found, Unknown) and found.reason == "gone"
        self.end(self.core.identified(connection, process, time.time(), vanished=vanished))
        if process is not None and self.liveness is not None:
            self.liveness.watch(process)

    def _say_blind(self, unknown: Unknown, host: str) -> None:
        """Say once for each reason why processes are not known."""
        text = BLIND.get(unknown.reason)
        if text is not None and unknown.reason not in self._blind:
            self._blind.add(unknown.reason)
            logger.info(f"mcp: {printable(host)}: {text}: sessions of such clients are ended by evidence only")

    def _gone(self, process: Process) -> None:
        client = self.core.ledger.clients.get(ClientKey(pid=process.pid, started=process.started))
        if client is not None and client.connections:
            self._task(self._outlived(process, client))
        else:
            self.end(self.core.gone(process, time.time()))

    async def _outlived(self, process: Process, client: Client) -> None:
        """A process has ended, and its connections are open: they are about to close, or another process holds them."""
        deadline = time.monotonic() + LAST_CLOSING
        while client.connections and time.monotonic() < deadline:  # noqa: ASYNC110  # rare, short, and bounded
            await asyncio.sleep(LAST_CLOSING / 10)
        for connection_id in list(client.connections):
            connection = self.core.ledger.connections[connection_id]
            self.identifier.forget(connection_id)
            heir = await self.identifier.identify(connection_id, connection.peer, connection.local)
            if isinstance(heir, Process) and heir != process:
                self.end(self.core.identified(connection, heir, time.time()))
                self.core.outlived(process, heir, time.time())
                if self.liveness is not None:
                    self.liveness.watch(heir)
        self.end(self.core.gone(process, time.time()))

    def reinit(self, session: Session) -> None:
        """Begin a handshake for a session because the user wants it; raises ValueError if that is not possible."""
        self.core.reinit(session, time.time())
        self._task(self._shake(session, None))

    # What the core decides

    async def _shake(self, session: Session, live: Live | None) -> None:
        """Perform the handshake in the client's place, with the headers of the refused request if there is one."""
        fields, url, client = session.fields, session.url, self._routes.get(session)
        if live is not None:
            fields, url, client = live.flow.request.headers.fields, live.flow.request.url, live.flow.client_conn
        try:
            problem = await Shaking(self.own, self.core, session, url, fields, client).perform(
                self.settings.mcp_recover_timeout
            )
        except Exception as e:
            logger.error(f"mcp: error in a handshake: {e!r:.200}", exc_info=e)
            problem = "internal error"
        at = time.time()
        self._settle(*(self.core.not_recovered(session, problem, at) if problem else self.core.recovered(session, at)))

    def _settle(self, releases: list[Release], ends: list[End]) -> None:
        for release in releases:
            waiting = self._waiting.get(release.exchange_id)
            if waiting is not None and not waiting.done():
                waiting.set_result(release.decision)
        self.end(ends)

    async def _outcome(self, live: Live) -> OnRequest | OnAnswer:
        waiting = self._waiting.get(live.x.id)
        if waiting is None:
            waiting = self._waiting[live.x.id] = asyncio.get_running_loop().create_future()
        try:
            return await waiting
        finally:
            self._waiting.pop(live.x.id, None)

    def end(self, ends: list[End]) -> None:
        """Have these sessions ended."""
        self.deleting.submit(ends)

    def _task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _tell(self, record: AnyRecord) -> None:
        self.journal.told(record)
        logger.log(LEVELS[record.weight], record.line())
        if isinstance(record, Violation):
            self.outcome.add(record)
        if self._log is not None:
            self._log.put(record)

    def _open_log(self, path: str) -> None:
        if self._log is not None and self._log.path == path:
            return
        opened = None
        if path:
            try:
                opened = EventLog(path)
            except OSError as e:
                raise exceptions.OptionsError(f"mcp_log: {path}: {e.strerror}") from None
        if self._log is not None:
            self._log.close()
        self._log = opened

    def _sum_up(self) -> None:
        """Say how it went, and what that means for the exit status of the wrapper commands."""
        summary = self.outcome.summary()
        if summary:
            logger.log(ALERT, summary)
        if self.outcome.fails(self.settings.fail_on):
            outcome.FAILED.append(f"mcp_fail_on is {self.settings.mcp_fail_on}, and such a violation was seen")


async def _show(flow: http.HTTPFlow) -> None:
    """Let mitmproxy's other addons see a flow that the proxy made, as if it had just happened."""
    await asyncio.sleep(0)  # mitmproxy begins tasks at once, and the client waits for its answer: that comes first
    for event in eventsequence.iterate(flow):
        await ctx.master.addons.handle_lifecycle(event)
    if flow.intercepted:
        flow.resume()


def _filter(text: str) -> Callable[[http.HTTPFlow], bool] | None:
    try:
        return flowfilter.parse(text) if text else None
    except ValueError as e:
        raise ValueError(f"mcp_filter: {e}") from None


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
