"""The core: told what happens on the wire, it keeps the ledger and decides what the shell is to do.

It does no I/O, has no clock (every call carries the time, in seconds since the epoch) and knows nothing of mitmproxy.
What to do about a lost session is decided in `recovery`, about an abandoned one in `ending`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..wire import headers as h
from ..wire.headers import HeaderMap, coded
from ..wire.jsonrpc import UNREAD, Body, Kind, Message, dump, parse
from ..wire.revision import Era, era, is_stateless
from ..wire.sse import Event, encode
from ..wire.text import printable
from .client import Client, Connection, ProcessLike
from .decisions import Deliver, End, Forward, OnAnswer, OnRequest, Release, Retry
from .ending.endings import Endings
from .exchange import Exchange, Finish
from .ledger import Ledger
from .observer import Nobody, Observer
from .policy import Policy
from .records import AnyRecord, Weight
from .recovery import dialects as classify
from .recovery import handshake
from .recovery.dialects import Verdict
from .recovery.machine import Recovery
from .recovery.recoveries import Recoveries
from .recovery.server_state import remember
from .reporter import Telling
from .session import UNKNOWN_CREDENTIALS, Endpoint, Session
from .states import Cause, State

GIVEN_UP = frozenset({State.ABANDONED, State.ENDING, State.STUCK, State.CLOSED})
"""States of a session that nobody is believed to use any more."""


class Core:
    """Ledger and policy together. `tell` gets each record as it comes about, `observer` sees all that happens."""

    def __init__(self, policy: Policy, tell: Callable[[AnyRecord], None], observer: Observer | None = None) -> None:
        self._policy = policy
        self.ledger = Ledger()
        self.telling = Telling(tell)
        self._observer = observer or Nobody()
        self._recovery = Recovery()
        self.endings = Endings(policy, self.ledger, self._recovery, self._observer, self.telling)
        self.recoveries = Recoveries(policy, self.ledger, self._recovery, self.endings, self._observer, self.telling)

    def configure(self, policy: Policy, at: float = 0.0) -> None:
        """Take over other settings."""
        self._policy = self.recoveries.policy = policy
        self.endings.configure(policy, at)

    # What a client sends

    def exchange(
        self,
        exchange_id: str,
        verb: str,
        url: str,
        endpoint: Endpoint,
        headers: HeaderMap,
        content: bytes | None,
        connection: Connection,
        at: float,
    ) -> Exchange:
        """A request that is MCP, as an exchange that has just begun."""
        connection.last_active = at
        body = _body(headers, content) if verb == "POST" else Body()
        method, params = (body.first.method, body.first.params) if body.first else (None, None)
        presented = headers.get(h.SESSION_ID)
        spoken = era(headers.get(h.PROTOCOL_VERSION), method, params)
        known = self.ledger.find(endpoint, presented) if presented else None
        if known is not None and not is_stateless(method, params):
            spoken = Era.SESSION  # whatever its header says, it speaks in a session that `initialize` opened
        return Exchange(
            exchange_id,
            at,
            verb,
            endpoint,
            url,
            headers,
            body,
            spoken,
            connection,
            self.ledger.client_of(connection, headers, at),
            self.ledger.fingerprint(headers),
        )

    def requested(self, x: Exchange) -> OnRequest:
        """A request was read. Decides what becomes of it."""
        self.telling.now = x.at
        self.ledger.endpoint(x.endpoint, x.at)
        if x.era is Era.STATELESS:
            self._observer.request(x)
            return Forward()
        if x.is_initialize and x.message:
            _introduce(x.client, x.message.params.get("clientInfo"))
        session = self.ledger.find(x.endpoint, x.presented) if x.presented else None
        if session is None:
            self._observer.request(x)
            return Forward()
        x.stranger = not _made_for(session, x)
        if x.stranger and session.mapped:
            self.telling.action("passed on unmapped: it was brought back for another client", x, Weight.WARNING)
            self._observer.request(x)
            return Forward()
        x.session = session
        self._observer.request(x)
        if x.stranger:  # until the server accepts it, it has no say in what becomes of the session
            return Forward()
        self._use(session, x)
        held = self._recovery.arrived(x)
        if held is not None:
            return held
        stale = session.state in (State.LOST, State.CLOSED)
        if x.is_initialize and stale and self._policy.recover != "off":
            return Forward("")
        self.released(x, x.at)
        return Forward(session.server_id if session.mapped else None)

    def released(self, x: Exchange, at: float) -> None:
        """A request of a known session goes out now, be it after it was held."""
        if x.session is not None:
            x.generation = x.session.generation
            if x.verb == "DELETE":
                x.session.apply(Cause.DELETE_SENT, at)
                self.telling.changed(x.session)

    def _use(self, session: Session, x: Exchange) -> None:
        if self.ledger.own(session, x.client, x.at):
            self.telling.changed(session)
        self.ledger.carry(x.connection, session)
        self.ledger.touched[session] = None
        if session.state in GIVEN_UP:
            self.endings.returned(session, x)
        if session not in self.endings.evidence:
            self.endings.evidence.watch(session, x.at)
        session.last_used = x.at
        session.credentials = x.credentials
        session.fields = x.headers.fields
        session.url = x.url
        if x.verb == "POST" and not x.is_initialize and x.method != "notifications/initialized":
            session.requests += len(x.body.messages) or 1

    # What a server answers

    def answering(self, x: Exchange, status: int, headers: HeaderMap, at: float) -> str | None:
        """The head of an answer arrived; the session id to put into it, None to leave it as it is."""
        self.telling.now = at
        x.status, x.answer_headers, x.answered_at = status, headers, at
        assigned = headers.get(h.SESSION_ID)
        if assigned is None or x.era is Era.STATELESS:
            return None
        session = self._opened(x, assigned, at) if x.is_initialize and x.ok else x.session
        if session is not None and session.mapped and assigned == session.server_id:
            return session.client_id
        return None

    def wants_stream(self, x: Exchange) -> bool:
        """Whether the answer is to be streamed: every event stream, save a refusal that may be recovered."""
        if x.answer_headers is None or x.answer_headers.content_type != h.SSE:
            return False
        x.streamed = x.ok or x.session is None
        if x.streamed:
            if x.verb == "GET" and x.session is not None:
                x.session.streams[x.id] = x.answered_at
                x.session.stream_aborted_at = None
            self._succeeded(x)
            self._observer.answer(x)
        return x.streamed

    def first_events(self, x: Exchange) -> bytes:
        """What the client is to be told before anything else on this stream of its session."""
        session = x.session
        if session is None or not session.held.untold or not x.ok:
            return b""
        told, session.held.untold = session.held.untold, []
        for method in told:
            self.telling.action(f"told the client: {method}", x)
        return b"".join(encode(dump({"jsonrpc": "2.0", "method": method})) for method in told)

    def streamed(self, x: Exchange, event: Event, at: float) -> None:
        """An event arrived on a stream."""
        self.telling.now = at
        x.events += 1
        x.connection.last_active = at
        if x.session is not None:
            x.session.last_used = at
        body = parse(event.data) if event.data else None
        message = body.first if body else None
        if message is not None and message.kind is Kind.RESPONSE and x.message and message.id == x.message.id:
            x.responded = True
            self._understood(x, message)
        self._observer.event(x, event, body, at)

    def answered(self, x: Exchange, content: bytes | None, at: float) -> OnAnswer:
        """An answer that is no stream has come in full; None if it can't be read. Decides what becomes of it."""
        self.telling.now = at
        x.connection.last_active = at
        x.answer = UNREAD if content is None else parse(content) if content else Body()
        message = x.answer.first
        if message is not None and x.message is not None and message.id == x.message.id:
            x.responded = True
        reading = self._reading(x, content or b"")
        if reading is not None and reading.dialect:
            x.dialect = reading.dialect
        self._observer.answer(x)
        if x.ok and message is not None:
            self._understood(x, message)
        if x.verb == "DELETE":
            if x.session is not None and x.status is not None and (x.ok or not x.stranger):
                self.endings.answered(x.session, x, x.status, at)
            return Deliver()
        if reading is not None:
            x.verdict = f"{reading.verdict} ({reading.reason})"
            if reading.verdict is Verdict.LOST:
                return self._lost(x, reading, at)
            if not x.ok:
                self.telling.action(f"answered {x.status}: {x.verdict}", x)
        if x.attempts and x.status is not None and x.status >= 400:
            self.telling.action(f"answered {x.status} when sent again: gets the original answer", x, Weight.WARNING)
            return Deliver(original=True)
        self._succeeded(x)
        return Deliver()

    def _lost(self, x: Exchange, reading: classify.Reading, at: float) -> OnAnswer:
        if x.is_initialize:
            return self.recoveries.initialize_refused(x)
        if x.session is None and (x.attempts or not self._policy.recover_unknown):
            return Deliver(original=x.attempts > 0)
        return self.recoveries.lost(x.session or self._presume_lost(x, at), x, reading, at)

    def _reading(self, x: Exchange, content: bytes) -> classify.Reading | None:
        if x.presented is None or x.stranger or x.status not in classify.REFUSALS or x.era is Era.STATELESS:
            return None
        if x.ok and (x.answer is None or x.answer.first is None or x.answer.first.error is None):
            return None
        text = content[: classify.TEXT_LIMIT].decode("utf-8", "replace")
        return classify.read(x, text, self._policy.dialects)

    def _succeeded(self, x: Exchange) -> None:
        """The answer is a success as far as HTTP goes: the session works."""
        session = x.session
        if not x.ok or x.era is Era.STATELESS or x.is_initialize:
            return
        if session is not None and x.stranger:
            x.stranger = False
            x.generation = session.generation
            self._use(session, x)
        if session is None:
            if not x.presented or x.stranger:
                return
            session = self._known_meanwhile(x)
            if session is None:
                session = self._presume(x, x.answered_at)
                session.answered = 1
                self.telling.change(session, "first seen", "opened before the proxy saw it", x)
                return
        session.answered += 1
        session.apply(Cause.USED, x.answered_at)
        if x.generation == session.generation:
            self._recovery.succeeded(session)

    # How a session begins

    def _opened(self, x: Exchange, assigned: str, at: float) -> Session:
        """A 2xx answer to `initialize` carries an id: that is a session."""
        existing = self.ledger.by_server_id.get((x.endpoint, assigned))
        if existing is not None and existing.state is not State.CLOSED and _made_for(existing, x):
            existing.apply(Cause.REINITIALIZED, at)
            existing.note(at, "initialized again")
            self._use(existing, x)
            return existing
        params = x.message.params if x.message else {}
        asked = params.get("protocolVersion")
        revision = printable(asked) if isinstance(asked, str) else ""
        session = Session(x.endpoint, assigned, assigned, opened=at, last_used=at, revision=revision, initialize=params)
        self._enter(session, x, at)
        return session

    def _understood(self, x: Exchange, message: Message) -> None:
        """The response to a request was read: what it means for the session, what was negotiated if it opens one."""
        request = x.message
        if request is None or message.id != request.id:
            return
        if x.session is not None:
            remember(x.session.held, request, message)
        session = x.opened
        if not x.is_initialize or session is None or message.result is None:
            return
        version = message.result.get("protocolVersion")
        session.initialize = request.params
        session.answer = message.result
        session.revision = printable(version) if isinstance(version, str) else session.revision
        self.telling.change(session, "opened", f"revision {session.revision}", x)

    def _presume_lost(self, x: Exchange, at: float) -> Session:
        """A session that is lost and was opened before the proxy saw it."""
        known = self._known_meanwhile(x)
        if known is not None:
            return known
        session = self._presume(x, at)
        session.revision, session.initialize = handshake.presumed(x.headers)
        self.telling.change(session, "first seen", "lost, and opened before the proxy saw it", x, Weight.WARNING)
        return session

    def _known_meanwhile(self, x: Exchange) -> Session | None:
        """The session that was not known when the request came, and is by now: others have used it, too."""
        session = self.ledger.find(x.endpoint, x.presented) if x.presented else None
        if session is None or not _made_for(session, x):
            return None
        x.session = session
        self._use(session, x)
        return session

    def wants_identity(self, session: Session | None, content: bytes | None) -> bool:
        """Whether it has to be known first which process sends a request: it opens a session, or uses a mapping."""
        return bool(content and b'"initialize"' in content) or (session is not None and session.mapped)

    def mapped(self, endpoint: Endpoint, presented: str, connection: Connection | None) -> str | None:
        """The id to put into a request of which only the head is known; None to leave it as it is."""
        session = self.ledger.find(endpoint, presented)
        if session is None or not session.mapped or connection is None or connection.client not in session.owners:
            return None
        return session.server_id

    def _presume(self, x: Exchange, at: float) -> Session:
        assert x.presented is not None
        revision, _ = handshake.presumed(x.headers) if h.PROTOCOL_VERSION in x.headers else ("", None)
        session = Session(
            x.endpoint, x.presented, x.presented, opened=at, last_used=at, revision=revision, opened_by="unknown"
        )
        x.session = session
        self._enter(session, x, at)
        return session

    def _enter(self, session: Session, x: Exchange, at: float) -> None:
        self.ledger.open(session)
        self.ledger.endpoint(x.endpoint, at).issued += 1
        self._use(session, x)
        x.opened = session
        session.note(at, "opened", f"by {x.client.label}")

    # A recovery under way

    def reinit(self, session: Session, at: float) -> None:
        """The user wants a new handshake for a session; raises ValueError if it can't be."""
        self.telling.now = at
        self.recoveries.by_hand(session, at)

    def shaken(self, session: Session, status: int, headers: HeaderMap, answer: Body | None, at: float) -> bool:
        """The server answered the proxy's `initialize`; whether there is a new session."""
        self.telling.now = at
        return self.recoveries.shaken(session, status, headers, answer, at)

    def recovered(self, session: Session, at: float) -> tuple[list[Release], list[End]]:
        """The handshake is complete."""
        self.telling.now = at
        return self.recoveries.succeeded(session, at)

    def not_recovered(self, session: Session, reason: str, at: float) -> tuple[list[Release], list[End]]:
        """The handshake failed, or was not answered in time."""
        self.telling.now = at
        return self.recoveries.failed(session, reason, at)

    def resumed(self, at: float) -> list[End]:
        """Whoever carried out what was decided was replaced: what was under way has failed, or is to be done again.

        Nobody waits for a recovery any more: who did was let go.
        """
        ends = self.endings.resume(at)
        for session in self.ledger.live():
            if session.state is State.RECOVERING:
                ends += self.not_recovered(session, "the script was loaded anew", at)[1]
        return ends

    # How an exchange ends, and a client

    def finished(self, x: Exchange, finish: Finish, at: float) -> list[End]:
        """An exchange is over, one way or another."""
        self.telling.now = at
        x.finish, x.finished_at = finish, at
        x.connection.last_active = at
        session = x.session
        ends: list[End] = []
        if session is not None:
            if session.streams.pop(x.id, None) is not None and finish is Finish.CLIENT and not session.streams:
                session.stream_aborted_at = at
            if x.verb == "DELETE" and finish is not Finish.COMPLETE and not x.stranger:
                ends = self.endings.cut_off(session, finish, at)
            if x.verb == "DELETE":  # refused, and its client may be gone by now
                ends += self.endings.orphaned(session, at)
            if session.stream_aborted_at == at:
                self.ledger.touched[session] = None
                self.endings.evidence.watch(session, at)
        self._observer.finish(x)
        if x.opened is not None:  # its client may be gone by now: it was opened while exiting
            ends += self.endings.orphaned(x.opened, at)
        return ends

    def identified(
        self, connection: Connection, process: ProcessLike | None, at: float, *, vanished: bool = False
    ) -> list[End]:
        """It was found out which process is behind a connection, or that this can't be known.

        `vanished`: because the connection was closed before anybody could look.
        """
        self.ledger.identified(connection, process, at, vanished=vanished)
        ends: list[End] = []
        for session in connection.sessions:
            self.telling.changed(session)
            ends += self.endings.orphaned(session, at)
        return ends

    def disconnected(self, connection_id: str, at: float) -> Connection | None:
        """A connection of a client was closed. That proves nothing."""
        self.telling.now = at
        connection = self.ledger.disconnected(connection_id, at)
        if connection is not None:
            for session in connection.sessions:
                if not session.connections:
                    self.endings.evidence.watch(session, at)
        return connection

    def outlived(self, process: ProcessLike, heir: ProcessLike, at: float) -> None:
        """A process is about to be reported as gone whose connections another process holds."""
        self.telling.now = at
        self.endings.outlived(process, heir, at)

    def at_exit(self, at: float) -> list[End]:
        """The proxy ends."""
        self.telling.now = at
        return self.endings.at_exit(at)

    def gone(self, process: ProcessLike, at: float) -> list[End]:
        """A process of this host has ended."""
        self.telling.now = at
        return self.endings.gone(process, at)

    def tick(self, at: float) -> list[End]:
        """A second has passed, or so."""
        self.telling.now = at
        return self.endings.tick(at)

    def taken_over(self, sessions: list[Session], gone: list[Client], at: float) -> list[End]:
        """Sessions of an earlier run were found, which the ledger holds by now, and who of their clients is gone."""
        self.telling.now = at
        return self.endings.taken_over(sessions, gone, at)

    def more(self, at: float) -> list[End]:
        """The next sessions to be ended, as long as `endings.has_more`."""
        self.telling.now = at
        return self.endings.more(at)

    def ended(
        self, end: End, status: int | None, problem: str, at: float, *, said: str = "", retry_after: str | None = None
    ) -> Retry | None:
        """The proxy's own DELETE was answered, or could not be delivered (no status); perhaps it is to be sent again.

        `said` is the error message in the answer, `retry_after` the header of that name.
        """
        self.telling.now = at
        return self.endings.ended(end, status, problem, at, said=said, retry_after=retry_after)

    def end_by_hand(self, session: Session, at: float) -> list[End]:
        """End a session because the user wants it.

        Raises:
            ValueError: when it can't be ended now; says why.
        """
        self.telling.now = at
        return self.endings.by_hand(session, at)

    def keep(self, session: Session, kept: bool, at: float) -> None:
        """Protect a session from being ended by the proxy, or protect it no longer."""
        self.telling.now = at
        self.endings.keep(session, kept, at)


def _body(headers: HeaderMap, content: bytes | None) -> Body:
    return UNREAD if content is None or coded(headers) else parse(content)


def _introduce(client: Client, info: Any) -> None:
    if isinstance(info, dict):
        client.info = {key: printable(info[key]) for key in ("name", "version") if isinstance(info.get(key), str)}


def _made_for(session: Session, x: Exchange) -> bool:
    """Whether a session is this client's: the same process, or the same address with the same credentials."""
    if x.client in session.owners:
        return True
    if session.credentials not in (x.credentials, UNKNOWN_CREDENTIALS):
        return False
    return any(owner.host == x.client.host for owner in session.owners)
