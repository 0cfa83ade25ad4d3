"""Whose a session is: how it begins, whom it is seen with, and who may use it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from ..wire import headers as h
from ..wire.jsonrpc import Message
from ..wire.text import counted, printable
from .claims import Claims
from .client import Client
from .ending import parts
from .ending.ending import Ending
from .exchange import Exchange
from .ledger import Ledger
from .records import Weight
from .recovery import handshake, own_id
from .recovery.server_state import KEEPERS, remember
from .reporter import Reporter
from .session import ID_LIMIT, Session, packed
from .states import ClientSide, Trigger
from .tally import Found

CROWDED_EVERY = 60.0
"""Seconds between two complaints that there are too many sessions."""


class Belonging:
    """Enters sessions into the ledger, and notes who uses them. The time is the reporter's."""

    def __init__(self, ledger: Ledger, claims: Claims, reporter: Reporter, ending: Ending) -> None:
        self._ledger = ledger
        self._claims = claims
        self._reporter = reporter
        self._ending = ending
        self._long_said = False
        self._large_said = False
        self._crowded_until = float("-inf")
        ledger.crowded = self._crowded

    def keeps(self, session_id: str, x: Exchange) -> bool:
        """Whether an id is short enough to be kept; if not, this is said once."""
        if len(session_id) <= ID_LIMIT:
            return True
        if not self._long_said:
            self._long_said = True
            what = f"not kept: a session id of {len(session_id)} characters, more than {ID_LIMIT}"
            self._reporter.action(what, x, Weight.WARNING)
        return False

    def _crowded(self, session: Session, now: float) -> None:
        """There is no room for the session of a client that may live: said at most once a minute."""
        if now >= self._crowded_until:
            self._crowded_until = now + CROWDED_EVERY
            self._reporter.change(session, "forgotten", "there are too many sessions", weight=Weight.WARNING)

    def use(self, session: Session, x: Exchange) -> None:
        """The client of this request, who is the session's, uses it."""
        ledger = self._ledger
        if x.client not in session.owners:
            x.client = ledger.client(x.client)  # it may have been forgotten while the request was under way
        if ledger.own(session, x.client, x.at):
            self._reporter.changed(session)
        ledger.carry(x.connection, session)
        if session.standing.client is ClientSide.GONE:
            self._ending.returned(session, x)
        if x.method == parts.ENDED:
            parts.note(session, x, parts.ENDED)
            self._reporter.changed(session)
        session.last_used = x.at
        ledger.touched[session] = None
        if session not in self._ending.evidence:
            self._ending.evidence.watch(session, x.at)
        if session.credentials != x.credentials:
            session.credentials = x.credentials
            ledger.place(session.endpoint, x.at).renew(session, (x.client.host, x.credentials))
        carried = h.carried_on(session.fields, x.headers)
        if carried is not session.fields:
            session.fields = carried
            self._say_left_out(x)
        session.url = x.url
        if x.verb == "POST":
            if x.session is session and not x.finished_at:
                ledger.asks(session, x.id, x.connection.id)
            if not x.is_initialize and x.method != "notifications/initialized":
                session.requests += len(x.body.messages) or 1

    def _say_left_out(self, x: Exchange) -> None:
        """A request has more headers than are kept: said once."""
        count = h.left_out(x.headers)
        if count and not self._large_said:
            self._large_said = True
            self._reporter.action(f"not kept, for want of room: {counted(count, 'header')}", x, Weight.WARNING)

    def is_unproven(self, x: Exchange) -> bool:
        """Whether the head of a stream alone does not show that the server has accepted who asks."""
        return x.verb == "POST" and x.presented is not None and (x.stranger or x.session is None)

    def works(self, x: Exchange) -> Session | None:
        """The session in which a request was answered with success; a stranger is its client by that. None if none."""
        session = x.session
        if session is not None and not x.stranger:
            return session
        if x.presented is None or not self.keeps(x.presented, x) or not (x.streamed or own_id.accepted(x)):
            return None
        session = session or self._claims.meant(x)
        if session is None:
            self._first_seen(x)
            return None
        if x.stranger and session.mapped:
            return None  # what the server knows by that id now is not this session
        x.stranger, x.akin = False, None
        x.session, x.generation = session, session.generation
        self.use(session, x)
        return session

    def _first_seen(self, x: Exchange) -> None:
        """A session that the ledger does not know works."""
        session = self.presume(x)
        session.answered = 1
        self._reporter.change(session, "first seen", "opened before the proxy saw it", x)

    def look_again(self, x: Exchange) -> None:
        """It may be known by now which process is behind the connection of a stranger: then it may be no stranger."""
        client = x.connection.client
        if client is None or client is x.client or not client.is_process:
            return
        x.client = client
        session = self._claims.meant(x)
        if session is not None and not x.stranger:
            x.session = session
            x.generation = session.generation - 1 if session.mapped else session.generation  # it went out as it came
            self.use(session, x)

    def lost(self, x: Exchange) -> Session:
        """The session that a refused request was to be in: perhaps one that nobody knew of, or a stranger's own."""
        if x.akin is not None:
            return self._claims.apart(x)
        return x.session or self._presume_lost(x)

    def accepted(self, session: Session, x: Exchange) -> None:
        """The server has accepted a stranger who is to have a session of his own: it is entered."""
        means = x.akin
        self._claims.accepted(session, x)
        self._enter(session, x)
        if means is not None and means.held is not None and session.held is None:
            what = "what it held: other credentials were used then"
            self._reporter.change(session, "not restored in full", what, x, Weight.WARNING)

    def opened(self, x: Exchange, assigned: str) -> Session | None:
        """A 2xx answer to `initialize` carries an id: that is a session, if it can be kept."""
        if not self.keeps(assigned, x):
            return None
        now = self._reporter.now
        existing = self._claims.known(x, assigned)
        if existing is not None and not existing.over:
            self._ledger.fire(existing, Trigger.REINITIALIZED, now)
            existing.note(now, "initialized again")
            self.use(existing, x)
            parts.note(existing, x, parts.BEGUN)
            return existing
        params = x.message.params if x.message else {}
        asked = params.get("protocolVersion")
        revision = printable(asked) if isinstance(asked, str) else ""
        session = Session(
            x.endpoint, assigned, assigned, opened=now, last_used=now, revision=revision, parameters=packed(params)
        )
        parts.note(session, x, parts.BEGUN)
        self._enter(session, x)
        return session

    def understood(self, x: Exchange, message: Message | None) -> None:
        """The response to a request was read: what it means for the session, what was negotiated if it opens one."""
        request = x.message
        if request is None or message is None or not x.ok or message.id != request.id:
            return
        if x.session is not None and not x.stranger and request.method in KEEPERS:
            held = x.session.holding()
            if not remember(held, request, message) and not held.full:
                held.full = True
                self._reporter.change(x.session, "holds more than is kept", "", x, Weight.WARNING)
        session = x.opened
        if not x.is_initialize or session is None or message.result is None:
            return
        version = message.result.get("protocolVersion")
        session.parameters = packed(request.params)
        session.result = packed(message.result)
        session.revision = printable(version) if isinstance(version, str) else session.revision
        self._reporter.change(session, "opened", f"revision {session.revision}", x)

    def broken_off(self, x: Exchange) -> None:
        """The server has hung up before an exchange was over."""
        if x.responded or x.hung_up:
            return
        how = "got no answer: its server hung up" if x.status is None else "broken off by its server"
        what = f"{how} after {x.finished_at - x.at:.2f} s"
        if x.session is not None:
            x.session.note(x.finished_at, "broken off", f"{printable(x.what)}: {what}")
            self._reporter.changed(x.session)
        if x.verb == "POST":  # a stream that is opened by GET may end at any time
            self._reporter.action(what, x, Weight.WARNING, lost=True)

    def _presume_lost(self, x: Exchange) -> Session:
        """A session that is lost and was opened before the proxy saw it, unless it is known by now."""
        known = self._claims.meant(x)
        if known is not None and x.akin is not None:
            return self._claims.apart(x)
        if known is not None and not x.stranger:
            x.session = known
            self.use(known, x)
            return known
        session = self.presume(x)
        session.revision, params = handshake.presumed(x.headers)
        session.parameters = packed(params)
        self._reporter.change(session, "first seen", "lost, and opened before the proxy saw it", x, Weight.WARNING)
        return session

    def presume(self, x: Exchange) -> Session:
        """Enter a session that was opened before the proxy saw it."""
        assert x.presented is not None
        now, said = x.answered_at, x.headers.get(h.PROTOCOL_VERSION)
        revision = handshake.presumed(x.headers)[0] if said is not None else ""
        session = Session(
            x.endpoint, x.presented, x.presented, opened=now, last_used=now, revision=revision, opened_by="unknown"
        )
        x.session = session
        self._enter(session, x)
        return session

    def _enter(self, session: Session, x: Exchange) -> None:
        before = self._claims.own(x, session.client_id)
        if before is not None:
            self._ledger.evict(before)
        self._ledger.open(session, self._reporter.now, (x.client.host, x.credentials))
        self._ledger.tally.found[Found.OPENED if x.is_initialize else Found.FIRST_SEEN] += 1
        self.use(session, x)
        x.opened = session
        session.note(self._reporter.now, "opened", f"by {x.client.label}", session.state)


def introduce(client: Client, info: Any) -> None:
    """Note what a client calls itself in its `initialize`."""
    if isinstance(info, dict):
        given = ((key, info.get(key)) for key in ("name", "version"))
        client.info = _shared(tuple((key, printable(value)) for key, value in given if isinstance(value, str)))


@lru_cache(maxsize=1024)
def _shared(info: tuple[tuple[str, str], ...]) -> Mapping[str, str]:
    """The same object for all clients that are one program."""
    return MappingProxyType(dict(info))
