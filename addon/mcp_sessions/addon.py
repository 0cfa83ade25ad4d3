"""The hooks and the wiring: what mitmproxy reports is handed to the rooms, and they to each other.

No policy lives here. A hook that fails says so in the log and lets the traffic pass as if the addon were not there.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from weakref import WeakSet

from mitmproxy import connection as mconnection
from mitmproxy import ctx, exceptions, hooks, http

from .core.core import Core
from .core.reporter import Reporter
from .core.session import Session
from .options import Settings, declare, settings, take_over, unknown
from .proxy import clock, marks, resend
from .proxy import reload as succession
from .proxy.checking import Checking
from .proxy.effects import Effects
from .proxy.exchanges import Exchanges
from .proxy.failing import described, fail_open
from .proxy.flows import Live
from .proxy.hosts import Hosts
from .proxy.identification import Identifying
from .proxy.metadata import OWN
from .proxy.outbound import OwnRequests
from .proxy.strategy import Strategy
from .proxy.tasks import Tasks
from .recordings.addon import Recordings
from .recordings.playback import Playback
from .rules import Judge
from .store import Keeping, keep
from .store.redis import Address
from .views.elsewhere import recorder
from .views.reporting import Reporting
from .views.shown import Shown, View
from .views.started import started
from .views.views import install
from .wire.text import counted

logger = logging.getLogger(__name__)

EXIT_PATIENCE = 5.0
"""Seconds that ending sessions may take when the proxy ends, and then the checks of messages."""
BEYOND = 60.0
"""Seconds beyond a handshake after which an exchange that waits is let go: something has gone wrong."""


class McpSessions:
    """The addon."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.reporting = Reporting()
        self.playback = Playback(self.reporting.tell, _judged, self.reporting.journal.touch)
        self.own = OwnRequests()
        self.recordings = Recordings()
        self.shown = Shown(
            ledger=lambda: self.playback.beside(self.core.ledger),
            journal=self.reporting.journal,
            end=lambda session: self._do_for(session, lambda: self.core.end(session, clock.now())),
            reinit=lambda session: self._do_for(session, lambda: self.core.reinit(session, clock.now())),
            keep=lambda session, keep: self._do_for(session, lambda: self.core.keep(session, keep, clock.now())),
            export=self.recordings.write,
            lookout=lambda: self.keeping.others.lookout if self.keeping and self.keeping.others else None,
            refresh=_refresh,
            waiting=lambda: self.effects.waiting,
        )
        self.recordings.recorder = lambda flows: recorder(self.shown.lookout(), flows)
        self.views: list[View] = []
        self.keeping: Keeping | None = None
        self._tasks = Tasks()
        self._read: WeakSet[http.HTTPFlow] = WeakSet()
        """Flows that were read from a file."""
        self._filter: Callable[[http.HTTPFlow], bool] | None = None
        self._uninstall: Callable[[], None] | None = None
        self._strategy, self._hosts = Strategy(), Hosts()
        self._running = self._refused = False
        self.checking = Checking(lambda flow_id: self.exchanges.flow_of(flow_id), _judged)
        reporter = Reporter(self.reporting.tell)
        judge = Judge(reporter.tell)
        self._act_on(Core(self.settings.policy, reporter, judge), judge)

    def _act_on(self, core: Core, judge: Judge, live: dict[str, Live] | None = None) -> None:
        """Carry out what this core decides, while this judge looks on."""
        self.core, self.judge = core, judge
        core.reporter.sink = self.reporting.tell
        core.reporter.followers[:], core.reporter.listeners[:] = [self.reporting.journal.touch], [self.shown.happened]
        self.checking.serve(judge)
        self.effects = Effects(core, self.own, lambda: self.keeping)
        self.identifying = Identifying(core, self._tasks, self.effects.fetch)
        self.effects.watch = self.identifying.watch_process
        self.exchanges = Exchanges(
            core,
            self.effects,
            self.own,
            self._tasks,
            self.identifying,
            lambda: self.keeping,
            self.shown,
            live,
        )
        self.exchanges.ends = lambda: self._ends

    def _do(self, what: Callable[[], None]) -> None:
        """Do what a user wants, and carry out what comes of it."""
        what()
        self.effects.fetch()

    def _do_for(self, session: Session, what: Callable[[], None]) -> None:
        """Do this for a session, unless it is none that the proxy could do anything for."""
        if self.playback.has(session):
            raise ValueError(f"session {session.label} was read from a file: nothing is done")
        self._do(what)

    # Life of the addon

    def load(self, loader: Any) -> None:
        """Declare the options, and what there is to see and to ask for."""
        declare(loader)
        self._refuse(take_over(loader.master.options))
        # Not as an addon of its own: mitmproxy asks every one of them at every event of every flow.
        loader.master.commands.collect_commands(self.recordings)
        self.views = install(self.shown)

    def _refuse(self, complaints: list[str]) -> None:
        """What is set is wrong: at the start, an error in the log makes mitmproxy exit with status 1.

        An error raised there would leave it running without the addon, or show a traceback. If it has started before,
        nothing is watched, and nothing done, until the addon is loaded anew.
        """
        for complaint in complaints:
            logger.error(f"mcp: {complaint}")
            self._refused = True

    def configure(self, updated: set[str]) -> None:
        """Take over the options; a wrong value is refused in one line."""
        try:
            self._configure(updated)
        except exceptions.OptionsError as e:
            if self._running:
                raise
            self._refuse([str(e)])

    def _configure(self, updated: set[str]) -> None:
        if self._running and "mode" in updated:
            self._hosts.keep()
        if self._refused or not any(name.startswith("mcp_") for name in updated):
            return
        try:
            chosen = settings({name: getattr(ctx.options, name) for name in Settings.model_fields})
        except ValueError as e:
            raise exceptions.OptionsError(str(e)) from None
        self.reporting.expect(chosen.mcp_baseline)
        self.reporting.open_log(chosen.mcp_log)
        self.settings, self._filter = chosen, chosen.filter
        self._apply()
        if self._running and {"mcp_ledger", "mcp_ledger_key"} & updated:
            self._remember()
        if self._running and "mcp_replay" in updated:
            self.recordings.replay(chosen.mcp_replay)

    def _apply(self) -> None:
        """Hand the settings to whoever is concerned."""
        chosen = self.settings
        self.shown.status, self.shown.metrics, self.shown.otel = chosen.mcp_status, chosen.mcp_metrics, chosen.mcp_otel
        self.recordings.redact = chosen.mcp_redact
        self.identifying.enable(chosen.mcp_identify == "on")
        self.exchanges.body_limit = chosen.body_limit
        self.exchanges.in_use.every = chosen.mcp_keepalive
        self.exchanges.answers.patience = chosen.mcp_recover_timeout
        self.effects.patience = chosen.mcp_recover_timeout + BEYOND
        for judging in (self.judge, self.playback):
            judging.limit(chosen.silenced, chosen.level)
        self.core.configure(chosen.policy, clock.now())
        if self._running:
            self.effects.fetch()
            for view in self.views:
                view.configured()
        self._connect_late(possible=self._uninstall is not None or not self._running)

    def _connect_late(self, *, possible: bool) -> None:
        """Have mitmproxy connect so late that clients can wait for their server, if it is `possible` and wanted."""
        if possible and self.settings.mcp_recover != "off" and ctx.options.server:
            self._strategy.lazy()
        else:
            self._strategy.undo()

    def running(self) -> None:
        """Mitmproxy is up, and so is every addon: find a place in its HTTP layer."""
        self._refuse(unknown(ctx.options.deferred))
        if self._refused:
            return
        self._running = True
        if gc.get_freeze_count() < 10_000:  # Python 3.12 begins with a few hundred of its own
            # What was loaded by now stays: looking at all of it for garbage would hold up the event loop for 0.1 s.
            gc.freeze()
        self._succeed()
        self.identifying.start()
        self.identifying.watch([client for client in self.core.ledger.clients.values() if not client.gone])
        self._tasks.start(self.checking.watch())
        self._tasks.start(self.exchanges.in_use.watch())
        self._remember()
        for view in self.views:
            view.running()
        self.recordings.replay(self.settings.mcp_replay)
        self.effects.fetch()
        try:
            self._uninstall = resend.install()
            self.exchanges.answers.in_place = True
        except RuntimeError as e:
            logger.warning(
                f"mcp: this mitmproxy is not as expected ({e}): requests are sent again in a buffered way, "
                "so that their progress arrives at the end, and mcp_keepalive does nothing"
            )
        self._connect_late(possible=self._uninstall is not None)
        self._hosts.keep()
        ledger = "off, for saved flows are read" if self._reads else self._ledger
        changed = (self._strategy.said, self._hosts.said)
        logger.info(started(self.settings, ledger, changed=changed, page=self.shown.page))

    def _succeed(self) -> None:
        """When the script was loaded anew, go on where the instance before this one was stopped a moment ago."""
        before = succession.predecessor()
        if before is None:
            return
        before.core.interrupted(clock.now())
        self._act_on(before.core, before.judge, before.live)
        self._apply()

    def done(self) -> Coroutine[Any, Any, None] | None:
        """Leave mitmproxy as it was found; when it ends, end the sessions that nobody else could end."""
        self.playback.play()
        self.judge.overdue(clock.now())
        if self._uninstall:
            self._uninstall()
            self._uninstall = None
            self._strategy.undo()
        self._hosts.undo()
        self._tasks.cancel()
        self.identifying.close()
        for view in self.views:
            view.done()
        self.recordings.done()
        if self._ends:
            return self._finish()
        # Removed or loaded anew: nothing may be awaited, and nothing is ended.
        self.effects.give_up()
        self._close()
        succession.leave(succession.Left(self.core, self.judge, self.exchanges.live))
        return None

    @property
    def accounted_for(self) -> bool:
        """Whether it runs, or has said why it does not."""
        return self._running or self._refused

    @property
    def _ends(self) -> bool:
        """Whether mitmproxy itself is about to end."""
        return self._running and ctx.master.should_exit.is_set()

    async def _finish(self) -> None:
        try:
            self._do(lambda: self.core.exits(clock.now()))
            left = await self.effects.finish(EXIT_PATIENCE)
            if left:
                logger.warning(f"mcp: {counted(left, 'session')} could not be ended before the proxy ends")
            if self.keeping is not None:
                await self.keeping.finish()
            unchecked = await self.checking.finish(EXIT_PATIENCE)
            if unchecked:
                logger.warning(f"mcp: {counted(unchecked, 'message')} not checked against the schema")
        except Exception as e:
            logger.error(f"mcp: error while ending sessions at exit: {described(e)}")
        finally:
            self.effects.give_up()
            self.judge.rest(clock.now())
            self.core.reporter.flush()
            self.reporting.sum_up(self.settings.fail_on)
            self._close()

    def _close(self) -> None:
        self.reporting.open_log("")
        self.checking.close()
        self._forget()

    def _remember(self) -> None:
        """Begin to keep the ledger on disk, or cease to, as the option says."""
        self._forget()
        if (where := self._ledger) is not None:
            self.keeping = keep(
                self.core, where, clock.now, self.identifying.watch, self.effects.fetch, self.settings.key
            )

    @property
    def _reads(self) -> bool:
        """Whether saved flows are what there is to be seen: nothing is remembered, and what was is let be."""
        return not ctx.options.server or bool("rfile" in ctx.options and ctx.options.rfile)

    @property
    def _ledger(self) -> Address | Path | None:
        """Where sessions are remembered."""
        return None if self._reads else self.settings.ledger_in(ctx.options.confdir)

    def _forget(self) -> None:
        if self.keeping is not None:
            self.keeping.close()
            self.keeping = None

    # The hooks

    @fail_open
    def requestheaders(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """The head of a request was read; without a place in the HTTP layer this is the last before it goes out."""
        self._hosts.name(flow)
        return self.mcp_streamed(flow) if flow.request.stream and not self._uninstall else None

    @fail_open
    def mcp_streamed(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """The head of a request is about to go out, before its body was read."""
        return None if OWN in flow.metadata or self._refused else self.exchanges.streamed(flow, self._filter)

    @fail_open
    def request(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """A request was read."""
        if self._refused:
            return None
        if not flow.live and (flow.response or flow.error) and flow not in self.exchanges.answers.shown:
            self._read.add(flow)
            return None
        self.recordings.request(flow)
        if OWN in flow.metadata or flow.client_conn.peername is None:
            return None
        return self.exchanges.request(flow, self._filter)

    @fail_open
    def responseheaders(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """The head of an answer was read."""
        if OWN not in flow.metadata:
            return self.exchanges.responseheaders(flow)
        self.own.responseheaders(flow)
        return None

    @fail_open
    def mcp_unreachable(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """The connect for a request has failed."""
        return None if OWN in flow.metadata else self.exchanges.unreachable(flow)

    @fail_open
    def mcp_reached(self, flow: http.HTTPFlow) -> None:
        """A connect that was tried again has worked."""
        self.exchanges.reached(flow)

    @fail_open
    def mcp_hung_up(self, flow: http.HTTPFlow) -> None:
        """The client of a request that waits for its server has hung up."""
        self.exchanges.hung_up(flow)

    @fail_open
    def response(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """An answer was read whole, or a stream has ended."""
        if flow in self._read and flow.error is None:
            self.playback.take(flow)
            return None
        return self.exchanges.response(flow)

    @fail_open
    def error(self, flow: http.HTTPFlow) -> Coroutine[Any, Any, None] | None:
        """A flow broke off."""
        if flow in self._read:
            self.playback.take(flow)
            return None
        return self.exchanges.error(flow)

    @fail_open
    def client_disconnected(self, client: mconnection.Client) -> None:
        """A client closed a connection."""
        connection = self.exchanges.disconnected(client.id)
        if connection is not None:
            self.identifying.disconnected(connection)


def _judged(flow: http.HTTPFlow, rule_ids: list[str]) -> None:
    """A flow was judged later than its events: it was read from a file, or a check took its time."""
    if rule_ids:
        marks.mark_rules(flow, rule_ids)
        _refresh(flow)


def _refresh(flow: http.HTTPFlow) -> None:
    """Let mitmproxy's views draw a flow again."""
    ctx.master.addons.trigger(hooks.UpdateHook([flow]))
