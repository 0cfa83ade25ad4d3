"""The one door of the core: told what happens, it keeps the ledger and decides.

No I/O, no clock, nothing of mitmproxy. Every input carries the time, `now`, in seconds since the epoch, and is answered
with a `Decision` where an exchange waits for one. All else is fetched with `effects` after every input, and `timer` is
called at `next_timer`. A lost session is the matter of `recovery`, one whose client is gone that of `ending`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from ..wire import headers as h
from ..wire.headers import HeaderMap
from ..wire.jsonrpc import UNREAD, Body, Kind, parse
from ..wire.revision import Era, era, is_stateless
from ..wire.sse import Event
from .belonging import Belonging, introduce
from .claims import Claims
from .client import Client, Connection, ProcessLike
from .credentials import Fingerprints
from .decisions import DELIVER, PASS, Ask, Decision, Deliver, Effect, Forward, Head, Outcome, Tag
from .ending.deletions import Deletion
from .ending.ending import Ending
from .exchange import Exchange, Finish
from .ledger import Ledger
from .observer import Guarded, Nobody, Observer
from .outbox import Outbox, sooner
from .policy import Policy
from .records import Weight
from .recovery import dialects, own_id
from .recovery.dialects import Reading, Verdict
from .recovery.handshake import Step
from .recovery.recovery import Recovery
from .recovery.unreachable import Unreachable
from .reporter import Reporter
from .senders import Senders
from .session import Session
from .states import ServerSide, Trigger
from .tally import Found

NO_HEAD = Head()


class Core:
    """Ledger and policy together."""

    def __init__(self, policy: Policy, reporter: Reporter, observer: Observer | None = None) -> None:
        """`reporter` gets each record as it comes about, `observer` sees all that happens."""
        self._policy = policy
        self.reporter = reporter
        self._observer = Nobody() if observer is None else Guarded(observer, reporter.could_not_look)
        self._outbox = Outbox()
        self.fingerprints = Fingerprints()
        self.ledger = Ledger(evicted=self._forget)
        self.claims = Claims(self.ledger, self.fingerprints)
        self.ending = Ending(policy, self.ledger, reporter, self._observer, self._outbox, self._forget)
        self.senders = Senders(self.ledger, self.ending.departures.carries)
        self._belonging = Belonging(self.ledger, self.claims, reporter, self.ending)
        self._recovery = Recovery(policy, self.ledger, reporter, self._observer, self._outbox, self.ending)
        self._recovery.shaking.accepted = self._belonging.accepted
        self._unreachable = Unreachable(policy, reporter, self._outbox, self.ledger.tally)

    # What the shell asks after every input

    @property
    def still(self) -> bool:
        """Whether there are no effects, and no timer to be set: as nearly always."""
        return self._outbox.empty and not self.ending.stirs and self.next_timer() is None

    def effects(self) -> Sequence[Effect]:
        """What is to be done besides the exchange at hand; each effect is given out once."""
        self.ending.pump()
        return self._outbox.fetch()

    def next_timer(self) -> float | None:
        """When `timer` is to be called; None if nothing is due."""
        recovery = sooner(self._recovery.next_timer, self._unreachable.next_timer)
        return sooner(sooner(self.ending.next_timer, recovery), self.reporter.next_timer)

    def timer(self, now: float) -> None:
        """It is time to look at what takes too long, and at what is due."""
        self._at(now)
        self._recovery.timer()
        self._unreachable.timer()
        self.ending.timer()
        self.reporter.settle()

    def _at(self, now: float) -> None:
        """Set the time of everything that this input brings about."""
        self.reporter.now = now

    # A request

    def arrived(self, x: Exchange, now: float) -> Ask | None:
        """A request that is MCP has arrived. What is to be found out before it is told as `requested`, if anything."""
        self._at(now)
        x.session = self.ledger.find(x.endpoint, x.presented) if x.presented else None
        x.credentials = self.claims.credentials(x)
        return self.senders.ask(x, self.claims.plain)

    def requested(self, x: Exchange, now: float) -> Decision:
        """A request was read, and what was asked about it found out as far as that can be."""
        self._at(now)
        x.at = now
        connection, ledger, method = x.connection, self.ledger, x.method
        connection.last_active = now
        params = x.message.params if x.message else None
        x.client = self.senders.of(x)
        x.era = era(x.headers.get(h.PROTOCOL_VERSION), method, params)
        ledger.place(x.endpoint, now)
        session = self.claims.meant(x)
        x.session = None  # until it is known whether it is this client's
        if session is not None and x.era is Era.STATELESS and not is_stateless(method, params):
            x.era = Era.SESSION  # whatever its header says, it speaks in a session that `initialize` opened
        if x.era is Era.STATELESS:
            self._observer.request(x)
            return PASS
        if x.is_initialize and params is not None:
            introduce(x.client, params.get("clientInfo"))
        if session is None:
            self._observer.request(x)
            return PASS
        if x.stranger and session.mapped:
            if x.akin is None:
                what = "passed on as it is: its session was brought back for another client"
                self.reporter.action(what, x, Weight.WARNING)
            self._observer.request(x)
            return PASS
        x.session = session
        self._observer.request(x)
        if x.stranger:  # until the server accepts it, it has no say in what becomes of the session
            return PASS
        self._belonging.use(session, x)
        held = self._recovery.hold(x)
        if held is not None:
            return held
        stale = session.standing.server in (ServerSide.LOST, ServerSide.DELETED)
        if x.is_initialize and stale and self._policy.recover != "off":
            return Forward("")
        self._recovery.goes_out(x)
        return Forward(session.server_id) if session.mapped else PASS

    def unreachable(self, x: Exchange, problem: str, now: float) -> Decision:
        """The connect for a request has failed: it was not sent. A `Release` of who waits means to connect again."""
        self._at(now)
        return self._unreachable.refused(x, problem)

    def reached(self, x: Exchange, now: float) -> Decision:
        """A request whose connect had failed is about to go out after all."""
        self._at(now)
        self._recovery.goes_out(x)
        return self._unreachable.reached(x)

    # Its answer

    def head(self, x: Exchange, status: int, headers: HeaderMap, now: float) -> Head:
        """The head of an answer has arrived."""
        self._at(now)
        x.status, x.answer_headers, x.answered_at = status, headers, now
        assigned = headers.get(h.SESSION_ID)
        session_id = None
        if assigned and x.era is not Era.STATELESS:
            session = self._belonging.opened(x, assigned) if x.is_initialize and x.ok else x.session
            if session is not None and session.mapped and assigned in (session.server_id, x.server_id):
                session_id = session.client_id
        if headers.content_type != h.SSE and not x.listens:
            return NO_HEAD if session_id is None else Head(session_id)
        # Every event stream is streamed, save a refusal that may be recovered.
        x.streamed = x.ok or (x.session is None and x.akin is None)
        if not x.streamed:
            return Head(session_id)
        x.unproven = self._belonging.is_unproven(x)
        if not x.unproven:
            self._succeeded(x)
        if x.verb == "GET" and x.session is not None and not x.stranger:
            self.ledger.listens(x.session, x.id, now)
            self.reporter.changed(x.session)
        self._observer.answer(x)
        return Head(session_id, stream=True, first=self._recovery.first_events(x))

    def event(self, x: Exchange, event: Event, now: float) -> None:
        """An event arrived on a stream."""
        self._at(now)
        x.events += 1
        x.connection.last_active = now
        if x.session is not None and not x.stranger:
            x.session.last_used = now
        body = parse(event.data) if event.data else None
        message = body.first if body else None
        if x.unproven and message is not None and own_id.grants(x, message):
            x.unproven = False
            self._succeeded(x)
        if message is not None and message.kind is Kind.RESPONSE and x.message and message.id == x.message.id:
            x.response = message
            self._belonging.understood(x, message)
        self._observer.event(x, event, body, now)

    def answered(self, x: Exchange, content: bytes | None, now: float) -> Decision:
        """An answer that is no stream has come in full; None if it can't be read."""
        self._at(now)
        x.connection.last_active = now
        x.answer = UNREAD if content is None else parse(content) if content else Body()
        message = x.answer.first
        if message is not None and x.message is not None and message.id == x.message.id:
            x.response = message
        if x.stranger:
            self._belonging.look_again(x)
        reading = dialects.reading(x, content, self._policy.dialects)
        if reading is not None:
            x.dialect = reading.dialect
        self._observer.answer(x)
        if x.verb == "DELETE":
            if x.session is not None and not x.stranger:
                self.ending.answered(x)
            return DELIVER
        own = reading is not None and reading.verdict is Verdict.ANSWERED
        if reading is not None:
            x.verdict = f"{reading.verdict} ({reading.reason})"
            if reading.verdict is Verdict.LOST:
                return self._lost(x, reading)
            if not x.ok:
                self.reporter.action(f"answered {x.status}: {x.verdict}", x)
        if x.attempts and x.status is not None and x.status >= 400 and not (own or x.responded):
            self.reporter.action(f"answered {x.status} when sent again: gets the original answer", x, Weight.WARNING)
            return Deliver(original=True)
        self._succeeded(x)
        self._belonging.understood(x, message)
        return DELIVER

    def _lost(self, x: Exchange, reading: Reading) -> Decision:
        if x.is_initialize:
            return self._recovery.initialize_refused(x)
        unknown = x.session is None and not x.stranger
        if unknown and (x.attempts or not self._policy.recover_unknown):
            return Deliver(original=x.attempts > 0)
        if unknown and x.presented is not None and not self._belonging.keeps(x.presented, x):
            return DELIVER
        return self._recovery.lost(self._belonging.lost(x), x, reading)

    def _succeeded(self, x: Exchange) -> None:
        """The answer is a success as far as HTTP goes: the session works."""
        if not x.ok or x.era is Era.STATELESS or x.is_initialize:
            return
        session = self._belonging.works(x)
        if session is None:
            return
        session.answered += 1
        self.ledger.fire(session, Trigger.SUCCEEDED, x.answered_at)
        if x.generation == session.generation:
            self._recovery.worked(session)

    # How an exchange ends

    def finished(self, x: Exchange, finish: Finish, now: float) -> None:
        """An exchange is over, one way or another."""
        self._at(now)
        x.finish, x.finished_at = finish, now
        x.connection.last_active, x.connection.answered = now, x.connection.answered or x.delivered
        session = x.session
        self._unreachable.over(x)
        if session is not None:
            if finish is not Finish.COMPLETE:
                self._recovery.hung_up(x)
            if self.ledger.asks_no_more(session, x.id, now) and finish is Finish.CLIENT and not session.streams:
                self.ending.departures.aborted.by(session, x.connection.carrier)
            if x.verb == "DELETE":
                if finish is not Finish.COMPLETE and not x.stranger:
                    self.ending.cut_off(session, finish)
                self.ending.check(session)  # refused, and its client may be gone by now
        if finish is Finish.SERVER:
            self._belonging.broken_off(x)
        self._observer.finish(x)
        if x.opened is not None:
            self.ending.check(x.opened)  # its client may be gone by now: it was opened while exiting

    def hung_up(self, x: Exchange, now: float) -> None:
        """The client of an exchange that is kept waiting hung up: nothing is sent for it any more."""
        self._at(now)
        x.hung_up = True
        self._recovery.hung_up(x)
        self._unreachable.over(x)

    # Clients

    def connected(self, connection_id: str, peer: tuple[str, int], local: tuple[str, int], now: float) -> Connection:
        """The connection that carries MCP, as the ledger has it."""
        return self.ledger.connection(connection_id, peer, local, now)

    def identified(
        self,
        connection: Connection,
        process: ProcessLike | None,
        now: float,
        *,
        vanished: bool = False,
        visited: bool = False,
    ) -> None:
        """It was found out which process is behind a connection, and if it has others connected to it (`visited`).

        Or that this can't be known; `vanished`: because the connection was closed before anybody could look.
        """
        self._at(now)
        client = self.senders.identified(connection, process, now, vanished=vanished, visited=visited)
        # If it carries none, there is at least one client less than there seemed to be.
        for session in tuple(connection.sessions or islice(reversed(client.sessions if client else {}), 1)):
            self.reporter.changed(session)
            self.ending.check(session)
        self.reporter.settle()

    def disconnected(self, connection_id: str, now: float) -> Connection | None:
        """A connection of a client was closed. That proves nothing."""
        self._at(now)
        connection = self.ledger.disconnected(connection_id, now)
        for session in connection.sessions if connection is not None else ():
            if not session.connections:
                self.ending.evidence.watch(session, now)
        return connection

    def outlived(self, process: ProcessLike, heir: ProcessLike, now: float) -> None:
        """A process is about to be reported as gone whose connections another process holds."""
        self._at(now)
        self.ending.departures.outlived(process, heir)

    def gone(self, process: ProcessLike, now: float, left: Sequence[ProcessLike] = ()) -> None:
        """A process of this host has ended, and has left these of its children behind."""
        self._at(now)
        self.ending.departures.gone(process, left)

    # What came of effects

    def sent(self, tag: Tag, outcome: Outcome, now: float) -> None:
        """What came of a request that was to be sent in a client's place."""
        self._at(now)
        if isinstance(tag, Step):
            self._recovery.sent(tag, outcome)
            return
        assert isinstance(tag, Deletion)
        self.ending.asking.sent(tag, outcome)

    def interrupted(self, now: float) -> None:
        """Whoever carried out what was decided was replaced: what was under way has failed, or is to be done again."""
        self._at(now)
        self._outbox.fetch()
        self.ending.interrupted()
        self._recovery.interrupted("the script was loaded anew")
        self._outbox.drop_releases()

    # What others want

    def configure(self, policy: Policy, now: float) -> None:
        """Take over another policy."""
        self._at(now)
        self._policy = self._recovery.policy = self._unreachable.policy = policy
        self.ending.configure(policy)

    def reinit(self, session: Session, now: float) -> None:
        """The user wants a new handshake for a session.

        Raises:
            ValueError: one line that says why there can be none.
        """
        self._at(now)
        self._recovery.by_hand(session)

    def end(self, session: Session, now: float) -> None:
        """The user wants a session ended.

        Raises:
            ValueError: when it can't be ended now; says why.
        """
        self._at(now)
        self.ending.by_hand(session)

    def keep(self, session: Session, kept: bool, now: float) -> None:
        """Protect a session from being ended by the proxy, or protect it no longer."""
        self._at(now)
        self.ending.keep(session, kept)

    def adopt(self, sessions: Iterable[Session], gone: Iterable[Client], now: float) -> list[Session]:
        """Sessions of an earlier run, or of another proxy, and who of their clients is gone; those that are new."""
        self._at(now)
        new = [session for session in sessions if not self.ledger.stands(session)]  # a client may have been faster
        for session in new:
            self.ledger.open(session, now, session.whose)
            self.ledger.tally.found[Found.ADOPTED] += 1
        self.ending.adopt(new, gone)
        return new

    def exits(self, now: float) -> None:
        """The proxy ends."""
        self._at(now)
        self.ending.exits()
        self.reporter.flush()

    def _forget(self, session: Session) -> None:
        """A session is over, or known no more."""
        self.reporter.changed(session)
        self._recovery.forget(session)
        self.ending.evidence.forget(session)
