"""Who sends: the process at the other end of a connection, or, where none is known, an address with its credentials."""

from __future__ import annotations

from ..wire.text import printable
from .bounded import vouch, with_one, without
from .client import Client, ClientKey, Connection, ProcessLike
from .decisions import Ask
from .exchange import Exchange
from .ledger import Ledger
from .session import ID_LIMIT, Session


class Senders:
    """Tells whose a connection is, and who sends a request."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def ask(self, x: Exchange, *, plain: bool) -> Ask | None:
        """What is to be found out before a request goes on, if anything. `plain`: that it is its session's client's."""
        identity = not x.connection.identified
        if x.presented and x.session is None:
            return Ask(identity, recall=len(x.presented) <= ID_LIMIT)
        if not identity:
            return None
        # Who opens a session is its owner from the beginning, and who is its owner may come from another address.
        opens = any(message.method == "initialize" for message in x.body.messages) or x.body.sniffed
        return Ask(identity=True) if opens or (x.session is not None and not plain) else None

    def identified(
        self, connection: Connection, process: ProcessLike | None, now: float, *, vanished: bool = False
    ) -> Client | None:
        """Note which process is behind a connection, or that this can't be known; the client, if it is one.

        `vanished`: it can't be known because the connection was closed meanwhile.
        """
        connection.identified, connection.vanished = True, vanished
        if process is None:
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
            )
            self._ledger.client(client)
        self._join(connection, client, now)
        return client

    def of(self, x: Exchange) -> Client:
        """The client behind a request; one by address and credentials where no process was found (yet)."""
        connection, headers = x.connection, x.headers
        client = connection.client
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

    def _join(self, connection: Connection, client: Client, now: float) -> None:
        before = connection.client
        if before is client:
            return
        if before is not None:
            before.connections = without(before.connections, connection.id)
            if client.is_process and not before.is_process:
                self._inherit(before, client, connection)
        connection.client = client
        if connection.id in self._ledger.connections:  # it may be closed by the time its process is found
            client.connections = with_one(client.connections, connection.id)
        client.last_seen = now

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
            # Gone before one could look: it was most likely a process that is known to use the session anyway.
            if vanished and any(owner.is_process for owner in session.owners):
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
