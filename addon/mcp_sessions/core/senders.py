"""Who sends: the process at the other end of a connection, or, where none is known, an address with its credentials.

A process that passes on what others send (`carriers`) is nobody who sends.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from ..wire.text import printable
from .bounded import vouch, with_one, without
from .carriers import VISITED, sign_of
from .client import Client, ClientKey, Connection, ProcessLike
from .decisions import Ask
from .ending.parts import BEGUN, ENDED, settle
from .exchange import Exchange
from .ledger import Ledger
from .session import ID_LIMIT, Session

LIKELY = 4
"""Clients of a session that are looked at before all other processes."""


class Senders:
    """Tells whose a connection is, and who sends a request."""

    def __init__(self, ledger: Ledger, carries: Callable[[Client], None] = lambda _: None) -> None:
        """`carries` is told of each process that turns out to be a carrier."""
        self._ledger = ledger
        self._carries = carries

    def ask(self, x: Exchange, plain: Callable[[Exchange], bool]) -> Ask | None:
        """What is to be found out before a request goes on, if anything. `plain` says whose it is for sure."""
        connection, client = x.connection, x.connection.client
        known = connection.identified
        if known and client is not None and client.is_process and not client.alone and _opens(x):
            known = False  # it is to be looked at while it waits
        strange = bool(x.presented) and not (_at_home(x) or plain(x))
        # Who opens a session is its owner from the beginning, who shakes hands for it is its client, and who is its
        # owner may come from another address.
        identity = not known and (strange or _opens(x) or x.method == ENDED)
        x.kept_back = identity
        connection.kept_back += identity
        recall = strange and x.presented is not None and len(x.presented) <= ID_LIMIT
        return Ask(identity, recall) if identity or recall else None

    def doubts(self, x: Exchange) -> bool:
        """Whether it is to be found out who sent a request before its answer goes on.

        Who has its answer may be gone before one can look, and would not be missed when the others in its session end.
        """
        return not x.connection.identified and x.session is not None and not x.stranger

    def likely(self, x: Exchange) -> list[Client]:
        """Who probably sends a request, the likeliest first: to be looked at before all others."""
        owners = reversed(x.session.owners) if x.session is not None else ()
        return list(islice((owner for owner in owners if owner.is_process and not owner.gone), LIKELY))

    def wonders(self, process: ProcessLike) -> bool:
        """Whether it is to be found out of a process if others are connected to it."""
        client = self._ledger.clients.get(ClientKey(pid=process.pid, started=process.started))
        return client is None or not (client.carrier or client.alone)

    def identified(
        self,
        connection: Connection,
        process: ProcessLike | None,
        now: float,
        *,
        vanished: bool = False,
        visited: bool = False,
    ) -> Client | None:
        """Note which process is behind a connection, or that this can't be known; the client, if it is one.

        `vanished`: it can't be known because the connection was closed meanwhile. `visited`: others were connected to
        the process, at this moment.
        """
        connection.identified, connection.vanished = True, vanished
        if process is None:
            connection.steps = ()
            self._settle_unknown(connection, vanished)
            return connection.client
        key = ClientKey(pid=process.pid, started=process.started)
        client = self._ledger.clients.get(key)
        if client is None:
            client = Client(
                key,
                printable(process.name, 40),
                connection.peer[0],
                first_seen=now,
                last_seen=now,
                pid=process.pid,
                started=process.started,
                parent=process.parent,
                above=process.above,
            )
            self._ledger.client(client)
        client.above = client.above or process.above
        if visited and not client.alone:
            self._carry(client, VISITED)
        elif connection.kept_back:
            client.alone = True
        if client.carrier:
            connection.carrier, connection.steps = client, ()
            self._settle_unknown(connection, vanished=False)
            return connection.client
        self._join(connection, client, now)
        settle(connection, client)
        return client

    def of(self, x: Exchange) -> Client:
        """The client behind a request; one by address and credentials where no process was found (yet)."""
        connection, headers = x.connection, x.headers
        connection.kept_back -= x.kept_back
        client = connection.client
        if client is not None and client.is_process and (sign := sign_of(client, x)):
            self._carry(client, sign)
        # A proxy in front may carry many clients over one connection: without a process, each request tells anew.
        if client is None or not client.is_process:
            key = ClientKey(
                host=connection.peer[0], user_agent=headers.get("user-agent", "")[:200], credentials=x.credentials
            )
            client = self._ledger.clients.get(key)
            if client is None:
                client = Client(key, printable(connection.peer[0]), connection.peer[0], first_seen=x.at, last_seen=x.at)
                self._ledger.client(client)
            self._join(connection, client, x.at)
        client.last_seen = x.at
        client.requests += 1
        if not client.user_agent and (user_agent := headers.get("user-agent")):
            client.user_agent = printable(user_agent)
        return client

    def _carry(self, client: Client, sign: str) -> None:
        """A process has turned out to be a carrier: its connections are those of others."""
        if client.carrier:
            return
        client.carrier = sign
        for connection_id in client.connections:
            connection = self._ledger.connections[connection_id]
            connection.carrier, connection.client = client, None
        client.connections = ()
        self._carries(client)

    def _join(self, connection: Connection, client: Client, now: float) -> None:
        before = connection.client
        if before is client:
            return
        if before is not None:
            before.connections = without(before.connections, connection.id)
            if client.is_process and not before.is_process:
                self._inherit(before, client, connection)
        connection.client = client
        if self._ledger.connections.get(connection.id) is connection:  # it may be closed by now
            client.connections = with_one(client.connections, connection.id)
        client.last_seen = now
        if before is not None:
            self._ledger.let_go(before)

    def _inherit(self, anonymous: Client, process: Client, connection: Connection) -> None:
        """Hand on what was booked to an address before it was known which process it is."""
        for session in connection.sessions:
            self._ledger.own(session, process, process.last_seen)
            self._disclaim(session, anonymous, connection)
        if anonymous.connections or anonymous.sessions:
            return
        process.requests += anonymous.requests
        process.user_agent = process.user_agent or anonymous.user_agent
        process.info = process.info or anonymous.info
        self._ledger.clients.pop(anonymous.key, None)

    def _settle_unknown(self, connection: Connection, vanished: bool) -> None:
        client = connection.client
        if client is None or client.is_process:
            return
        for session in connection.sessions:
            # Gone before one could look, and before an answer: whoever it was, the end of those who are known counts.
            if vanished and not connection.answered and any(owner.is_process for owner in session.owners):
                self._disclaim(session, client, connection)
            else:
                vouch(session, client)

    def _disclaim(self, session: Session, anonymous: Client, connection: Connection) -> None:
        """What seemed to be another client was not: take it off the owners, if nothing else speaks for it."""
        if anonymous in session.vouched:
            return
        others = (self._ledger.connections[one] for one in anonymous.connections if one != connection.id)
        if not any(session in other.sessions and not other.identified for other in others):
            session.owners.pop(anonymous, None)
            anonymous.sessions.pop(session, None)
            self._ledger.let_go(anonymous)


def _opens(x: Exchange) -> bool:
    """Whether a request opens a session, or may."""
    return any(message.method == BEGUN for message in x.body.messages) or x.body.sniffed


def _at_home(x: Exchange) -> bool:
    """Whether a request is beyond doubt in the session that was found for it, as nearly all are."""
    session = x.session
    return session is not None and session.credentials == x.credentials and x.connection.client in session.owners
