"""The hooks: what mitmproxy reports becomes a call of the core, and what the core decides is carried out.

No policy lives here. A hook that fails says so in the log and lets the traffic pass as if the addon were not there.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from mitmproxy import connection as mconnection
from mitmproxy import ctx, exceptions, flowfilter, hooks, http

from .core.client import Client
from .core.core import Core
from .core.decisions import End, Forward, Hold, OnAnswer, OnRequest, Reply
from .core.exchange import Finish
from .core.session import Endpoint, Session
from .options import Settings, declare, settings
from .proxy import marks, resend
from .proxy import reload as succession
from .proxy.arriving import Arriving, Incoming
from .proxy.checking import Checking
from .proxy.deleting import Deleting
from .proxy.failing import described, fail_open
from .proxy.flows import Live, set_session_id
from .proxy.identification import Identifying
from .proxy.metadata import OWN, PRESENTED
from .proxy.outbound import OwnRequests
from .proxy.recovering import Recovering
from .proxy.streams import StreamReader, content
from .proxy.tasks import Tasks
from .recordings.addon import Recordings
from .recordings.playback import Playback
from .rules import Judge
from .store.keeping import FILE as LEDGER_FILE
from .store.keeping import Remembering
from .views.journal import Journal
from .views.reporting import Reporting
from .views.shown import Shown, View
from .views.views import install
from .wire import headers as h
from .wire.headers import HeaderMap
from .wire.recognition import is_mcp
from .wire.sse import Event
from .wire.text import counted

logger = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks at the evidence."""
EXIT_PATIENCE = 5.0
"""Seconds that ending sessions may take when the proxy ends."""
CHECK_PATIENCE = 5.0
"""Seconds that checks of messages may go on when the proxy ends."""

OVERDUE_EVERY = 5
"""Ticks between looks at what should have happened by now."""


class McpSessions:
    """The addon."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.reporting = Reporting()
        self.judge = Judge(self.reporting.tell)
        self.core = Core(self.settings.policy, self.reporting.tell, self.judge)
        self.core.telling.followers.append(self.reporting.journal.touch)
        self.playback = Playback(self.reporting.tell, _judged)
        self.own = OwnRequests()
        self.recordings = Recordings()
        self.shown = Shown(
            ledger=lambda: self.core.ledger,
            journal=self.reporting.journal,
            end=lambda session: self.end(self.core.end_by_hand(session, time.time())),
            reinit=lambda session: self.recovering.reinit(session),
            keep=lambda session, keep: self.core.keep(session, keep, time.time()),
            refresh=_refresh,
        )
        self.views: list[View] = []
        self.remembering: Remembering | None = None
        self._live: dict[str, Live] = {}
        self._routes: WeakKeyDictionary[Session, mconnection.Client] = WeakKeyDictionary()
        self._tasks = Tasks()
        self._read: WeakSet[http.HTTPFlow] = WeakSet()
        """Flows that were read from a file."""
        self._filter: Callable[[http.HTTPFlow], bool] | None = None
        self._uninstall: Callable[[], None] | None = None
        self._running = False
        self.checking = Checking(self._flow_of, _judged)
        self.identifying = Identifying(self.core, self._tasks, self.end)
        self.arriving = Arriving(self._tasks, self.identifying, lambda: self.remembering, self._go_on)
        self._act_on(self.core, self.judge)

    def _act_on(self, core: Core, judge: Judge) -> None:
        """Carry out what this core decides, while this judge looks on."""
        self.core = self.identifying.core = core
        self.judge = judge
        self.checking.serve(judge)
        self.deleting = Deleting(core, self.own, self._routes.get, self.settings.mcp_end_timeout)
        self.recovering = Recovering(core, self.own, self._tasks, self._routes.get, self.end, self._over)
        self.recovering.patience = self.settings.mcp_recover_timeout

    @property
    def journal(self) -> Journal:
        """What has changed lately."""
        return self.reporting.journal

    # Life of the addon

    def load(self, loader: Any) -> None:
        """Declare the options, and what there is to see and to ask for."""
        declare(loader)
        # Not as an addon of its own: mitmproxy asks every one of them at every event of every flow.
        loader.master.commands.collect_commands(self.recordings)
        self.views = install(self.shown)

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
        self.shown.status = self.settings.mcp_status
        self.reporting.open_log(self.settings.mcp_log)
        self.core.configure(self.settings.policy, time.time())
        for judging in (self.judge, self.playback):
            judging.limit(self.settings.silenced, self.settings.level)
        self.deleting.patience = self.settings.mcp_end_timeout
        self.recovering.patience = self.settings.mcp_recover_timeout
        self.identifying.enable(self.settings.mcp_identify == "on")
        if self._running and "mcp_ledger" in updated:
            self._remember()
        self.recordings.redact = self.settings.mcp_redact
        if self._running and "mcp_replay" in updated:
            self.recordings.replay(self.settings.mcp_replay)

    def running(self) -> None:
        """Mitmproxy is up: find a place in its HTTP layer."""
        self._running = True
        self.identifying.start()
        self._succeed()
        self._tasks.start(self._tick())
        self._remember()
        for view in self.views:
            view.running()
        self.recordings.replay(self.settings.mcp_replay)
        try:
            self._uninstall = resend.install()
            self.recovering.in_place = True
        except RuntimeError as e:
            logger.warning(
                f"mcp: this mitmproxy is not as expected ({e}): requests are sent again in a buffered way, "
                "so that their progress arrives at the end"
            )

    def done(self) -> Coroutine[Any, Any, None] | None:
        """Leave mitmproxy as it was found; when it ends, end the sessions that nobody else could end."""
        self.playback.play()
        self.judge.overdue(time.time())
        if self._uninstall:
            self._uninstall()
            self._uninstall = None
        self._tasks.cancel()
        self.identifying.close()
        for view in self.views:
            view.done()
        self.recordings.done()
        if self._ends:
            return self._finish()
        # Removed or loaded anew: nothing may be awaited, and nothing is ended.
        self._close()
        self.recovering.give_up()
        succession.leave(succession.Left(self.core, self.judge, self._live, self._routes))
        return None

    def _succeed(self) -> None:
        """When the script was loaded anew, go on where the instance before this one was stopped a moment ago."""
        before = succession.predecessor()
        if before is None:
            return
        self._live, self._routes = before.live, before.routes
        self._act_on(before.core, before.judge)
        self.core.telling.tell = self.reporting.tell
        self.core.telling.followers[:] = [self.journal.touch]
        self.judge.tell = self.reporting.tell
        self.judge.limit(self.settings.silenced, self.settings.level)
        self.core.configure(self.settings.policy, time.time())
        ends = self.core.resumed(time.time())
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
                logger.warning(f"mcp: {counted(left, 'session')} could not be ended before the proxy ends")
            unchecked = await self.checking.finish(CHECK_PATIENCE)
            if unchecked:
                logger.warning(f"mcp: {counted(unchecked, 'message')} not checked against the schema")
        except Exception as e:
            logger.error(f"mcp: error while ending sessions at exit: {described(e)}")
        finally:
            self.reporting.sum_up(self.settings.fail_on)
            self._close()

    def _close(self) -> None:
        self.reporting.open_log("")
        self.deleting.close()
        self.checking.close()
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
        self.identifying.watch(living)
        self.end(ends)

    async def _tick(self) -> None:
        for number in itertools.count(1):
            await asyncio.sleep(TICK)
            try:
                if number % OVERDUE_EVERY == 0:
                    self.judge.overdue(time.time())
                self.end(self.core.tick(time.time()))
                if self.remembering is not None:
                    self.remembering.tick()
            except Exception as e:
                logger.error(f"mcp: error while weighing evidence: {described(e)}")

    # What a client sends

    @fail_open
    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """The head of a request was read; one whose body is streamed goes out before the body was seen."""
        if not flow.request.stream or OWN in flow.metadata:
            return
        presented = flow.request.headers.get(h.SESSION_ID)
        if not presented:
            return
        endpoint = _endpoint(flow.request)
        connection = self.core.ledger.connections.get(flow.client_conn.id)
        set_session_id(flow.request.headers, self.core.mapped(endpoint, presented, connection))

    @fail_open
    def request(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """A request was read."""
        if not flow.live and (flow.response or flow.error) and flow not in self.recovering.shown:
            self._read.add(flow)
            return None
        self.recordings.request(flow)
        if OWN in flow.metadata or flow.client_conn.peername is None:
            return None
        request = flow.request
        endpoint = _endpoint(request)
        headers = HeaderMap(request.headers.fields)
        content = request.raw_content
        if not is_mcp(request.method, headers, content, self.core.ledger.knows(endpoint)):
            return None
        if self._filter is not None and not self._filter(flow):
            return None
        client = flow.client_conn
        connection = self.core.ledger.connections.get(client.id) or self.core.ledger.connection(
            client.id, _address(client.peername), _address(client.sockname), time.time()
        )
        return self.arriving.take(self.core, Incoming(flow, endpoint, headers, content, connection))

    def _go_on(self, incoming: Incoming) -> Coroutine[Any, Any, None] | None:
        """Enough is known about who sends a request."""
        flow, endpoint = incoming.flow, incoming.endpoint
        request = flow.request
        x = self.core.exchange(
            flow.id,
            request.method,
            f"{endpoint.origin}{_path(request)}",
            endpoint,
            incoming.headers,
            incoming.content,
            incoming.connection,
            time.time(),
        )
        live = self._live[flow.id] = Live(x, flow)
        decision = self.core.requested(x)
        if self.shown.watchers:  # somebody may look at it before it is answered
            marks.annotate(flow, x)
        if x.session is not None:
            self._routes[x.session] = flow.client_conn
        if isinstance(decision, Hold):
            self.recovering.expect(live)
            return self._held(live)
        self._carry_out_request(live, decision)
        return None

    async def _held(self, live: Live) -> None:
        decision = await self.recovering.outcome(live)
        self.core.released(live.x, time.time())
        self._carry_out_request(live, decision)

    def _carry_out_request(self, live: Live, decision: OnRequest | OnAnswer) -> None:
        match decision:
            case Forward(session_id):
                if session_id is not None and live.x.presented is not None:
                    live.flow.metadata[PRESENTED] = live.x.presented
                set_session_id(live.flow.request.headers, session_id)
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
            set_session_id(flow.response.headers, own_id)
        if x.opened is not None:
            self._routes[x.opened] = flow.client_conn
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
        if not self.shown.watchers:
            return None

        def show() -> None:
            if live.reader is not None:
                self.shown.changed(live.flow, live.reader)

        return show

    @fail_open
    def response(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """An answer was read whole, or a stream has ended."""
        if flow in self._read and flow.error is None:
            self.playback.take(flow)
            return None
        live = self._live.get(flow.id)
        if live is None or flow.response is None:
            return None
        if live.reader is not None or live.settled:
            self._over(live)
            return None
        if flow.response.stream:  # another addon, or an option, has it streamed: the client has it already
            self._over(live)
            return None
        try:
            decision = self.core.answered(live.x, content(flow.response), time.time())
        except Exception:
            self._live.pop(flow.id, None)
            raise
        return self.recovering.carry_out(live, decision)

    @fail_open
    def error(self, flow: http.HTTPFlow) -> None:
        """A flow broke off."""
        if flow in self._read:
            self.playback.take(flow)
            return
        by_client = resend.broken_by_client(flow)
        live = self._live.get(flow.id)
        if live is None:
            return
        if live.reader is not None:
            live.reader.finish()
        self._over(live, self._finish_of(live, by_client))

    def _flow_of(self, flow_id: str) -> http.HTTPFlow | None:
        live = self._live.get(flow_id)
        return None if live is None else live.flow

    def _finish_of(self, live: Live, by_client: bool) -> Finish:
        if not by_client:
            return Finish.SERVER
        last = max(live.x.connection.last_active, live.reader.read_at if live.reader else 0.0)
        if self._ends or time.time() - last >= ctx.options.tcp_timeout - 1:
            return Finish.PROXY  # it was mitmproxy that closed the connection
        return Finish.CLIENT

    def _over(self, live: Live, finish: Finish = Finish.COMPLETE) -> None:
        self._live.pop(live.flow.id, None)
        if live.reader is not None and live.reader.unread:
            live.x.unread = True
        self.shown.over(live.flow)
        ends = self.core.finished(live.x, finish, time.time())
        live.note_process(live.flow)
        marks.annotate(live.flow, live.x)
        if live.x.session is not None:
            self.journal.touch(live.x.session)
        self.end(ends)

    # Clients

    @fail_open
    def client_disconnected(self, client: mconnection.Client) -> None:
        """A client closed a connection."""
        connection = self.core.disconnected(client.id, time.time())
        if connection is None:
            return
        self.recovering.disconnected(client.id)
        self.identifying.disconnected(connection)

    def end(self, ends: list[End]) -> None:
        """Have these sessions ended."""
        self.deleting.submit(ends)


def _filter(text: str) -> Callable[[http.HTTPFlow], bool] | None:
    try:
        return flowfilter.parse(text) if text else None
    except ValueError as e:
        raise ValueError(f"mcp_filter: {e}") from None


def _judged(flow: http.HTTPFlow, rule_ids: list[str]) -> None:
    """A flow was judged later than its events: it was read from a file, or a check took its time."""
    if rule_ids:
        marks.mark_rules(flow, rule_ids)
        _refresh(flow)


def _refresh(flow: http.HTTPFlow) -> None:
    """Let mitmproxy's views draw a flow again."""
    ctx.master.addons.trigger(hooks.UpdateHook([flow]))


def _endpoint(request: http.Request) -> Endpoint:
    return Endpoint(request.scheme, request.host, request.port, _path(request).partition("?")[0])


def _path(request: http.Request) -> str:
    """Path and query, each byte one character."""
    return request.data.path.decode("latin-1")


def _address(address: Any) -> tuple[str, int]:
    return (str(address[0]), int(address[1]))
