"""Whose a session is: how it begins, whom it is seen with, and who may use it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from ..wire import headers as h
from ..wire.jsonrpc import Message
from ..wire.text import counted, printable
from .client import Client
from .ending.ending import Ending
from .exchange import Exchange
from .ledger import Ledger
from .records import Weight
from .recovery import handshake
from .recovery.server_state import KEEPERS, remember
from .reporter import Reporter
from .session import ID_LIMIT, UNKNOWN_CREDENTIALS, Session, packed
from .states import ClientSide, Trigger

CROWDED_EVERY = 60.0
"""Seconds between two complaints that there are too many sessions."""


class Belonging:
    """Enters sessions into the ledger, and notes who uses them. The time is the reporter's."""

    def __init__(self, ledger: Ledger, reporter: Reporter, ending: Ending) -> None:
        self._ledger = ledger
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

    def found(self, x: Exchange) -> Session | None:
        """The session that a request means by its id, whoever sends it."""
        return self._ledger.find(x.endpoint, x.presented) if x.presented else None

    def use(self, session: Session, x: Exchange) -> None:
        """The client of this request uses a session."""
        ledger = self._ledger
        if ledger.own(session, x.client, x.at):
            self._reporter.changed(session)
        ledger.carry(x.connection, session)
        if session.standing.client is ClientSide.GONE:
            self._ending.returned(session, x)
        session.last_used = x.at
        ledger.touched[session] = None
        if session not in self._ending.evidence:
            self._ending.evidence.watch(session, x.at)
        session.credentials = x.credentials
        carried = h.carried_on(session.fields, x.headers)
        if carried is not session.fields:
            session.fields = carried
            self._say_left_out(x)
        session.url = x.url
        if x.verb == "POST" and not x.is_initialize and x.method != "notifications/initialized":
            session.requests += len(x.body.messages) or 1

    def _say_left_out(self, x: Exchange) -> None:
        """A request has more headers than are kept: said once."""
        count = h.left_out(x.headers)
        if count and not self._large_said:
            self._large_said = True
            self._reporter.action(f"not kept, for want of room: {counted(count, 'header')}", x, Weight.WARNING)

    def first_seen(self, x: Exchange) -> None:
        """A session that the ledger does not know works."""
        session = self.presume(x)
        session.answered = 1
        self._reporter.change(session, "first seen", "opened before the proxy saw it", x)

    def opened(self, x: Exchange, assigned: str) -> Session | None:
        """A 2xx answer to `initialize` carries an id: that is a session, if it can be kept."""
        if not self.keeps(assigned, x):
            return None
        now = self._reporter.now
        existing = self._ledger.find_by_server_id(x.endpoint, assigned)
        if existing is not None and not existing.over and made_for(existing, x):
            self._ledger.fire(existing, Trigger.REINITIALIZED, now)
            existing.note(now, "initialized again")
            self.use(existing, x)
            return existing
        params = x.message.params if x.message else {}
        asked = params.get("protocolVersion")
        revision = printable(asked) if isinstance(asked, str) else ""
        session = Session(
            x.endpoint, assigned, assigned, opened=now, last_used=now, revision=revision, parameters=packed(params)
        )
        self._enter(session, x)
        return session

    def understood(self, x: Exchange, message: Message) -> None:
        """The response to a request was read: what it means for the session, what was negotiated if it opens one."""
        request = x.message
        if request is None or message.id != request.id:
            return
        if x.session is not None and request.method in KEEPERS:
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

    def presume_lost(self, x: Exchange) -> Session:
        """A session that is lost and was opened before the proxy saw it."""
        known = self.known_meanwhile(x)
        if known is not None:
            return known
        session = self.presume(x)
        session.revision, params = handshake.presumed(x.headers)
        session.parameters = packed(params)
        self._reporter.change(session, "first seen", "lost, and opened before the proxy saw it", x, Weight.WARNING)
        return session

    def known_meanwhile(self, x: Exchange) -> Session | None:
        """The session that was not known when the request came, and is by now: others have used it, too."""
        session = self.found(x)
        if session is None or not made_for(session, x):
            return None
        x.session = session
        self.use(session, x)
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
        self._ledger.open(session, self._reporter.now)
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


def made_for(session: Session, x: Exchange) -> bool:
    """Whether a session is this client's: the same process, or the same address with the same credentials."""
    if x.client in session.owners:
        return True
    if session.credentials not in (x.credentials, UNKNOWN_CREDENTIALS):
        return False
    return any(owner.host == x.client.host for owner in session.owners)
