"""The ledger: clients, their connections and their sessions, found by what a request shows; bounded in every table."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ..wire import headers as h
from ..wire.text import printable
from .client import Client, ClientKey, Connection, ProcessLike
from .session import Endpoint, Session
from .states import LIVE, State

SESSION_LIMIT = 50_000
CLIENT_LIMIT = 10_000
CONNECTION_LIMIT = 20_000
ENDPOINT_LIMIT = 1_000


@dataclass(slots=True)
class EndpointFacts:
    """What was learnt about an endpoint."""

    first_seen: float
    ends_sessions: bool = True
    """False once it answered a DELETE with 405 or 501."""
    not_before: float = 0.0
    """It asked to be left alone until then."""
    issued: int = 0
    """Sessions it has opened."""


@dataclass(slots=True)
class Ledger:
    """All that is known. It does no I/O and has no clock: times come with what it is told."""

    sessions: dict[tuple[Endpoint, str], Session] = field(default_factory=dict)
    """By the id that the client knows."""
    by_server_id: dict[tuple[Endpoint, str], Session] = field(default_factory=dict)
    clients: dict[ClientKey, Client] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)
    endpoints: dict[Endpoint, EndpointFacts] = field(default_factory=dict)
    touched: dict[Session, None] = field(default_factory=dict)
    """Sessions that were used or changed since somebody last emptied this."""
    dropped: int = 0
    """Entries that a limit pushed out."""
    _salt: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def fingerprint(self, headers: h.HeaderMap) -> str:
        """The credentials of a request as a keyed hash: equal when they are equal, and of no use to anybody else."""
        if h.CREDENTIALS.isdisjoint(headers):
            return ""
        found = sorted((name, value) for name, value in headers.items() if name in h.CREDENTIALS)
        digest = hashlib.blake2b(key=self._salt, digest_size=12)
        for name, value in found:
            digest.update(f"{name}\0{value}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    # Connections and clients

    def connection(self, connection_id: str, peer: tuple[str, int], local: tuple[str, int], at: float) -> Connection:
        """The connection of that id, entered at first sight."""
        connection = self.connections.get(connection_id)
        if connection is None:
            connection = Connection(connection_id, peer, local, opened=at, last_active=at)
            self._bounded(self.connections, CONNECTION_LIMIT, leave=lambda oldest: self._leave(oldest, at))
            self.connections[connection_id] = connection
        connection.last_active = at
        return connection

    def identified(
        self, connection: Connection, process: ProcessLike | None, at: float, *, vanished: bool = False
    ) -> Client | None:
        """Note which process is behind a connection, or that this can't be known; the client, if it is one.

        `vanished`: it can't be known because the connection was closed meanwhile.
        """
        connection.identified, connection.vanished = True, vanished
        if process is None:
            self._settle_unknown(connection, vanished)
            return connection.client
        key = ClientKey(pid=process.pid, started=process.started)
        client = self.clients.get(key)
        if client is None:
            client = Client(
                key,
                printable(process.name, 40),
                connection.peer[0],
                first_seen=at,
                last_seen=at,
                pid=process.pid,
                started=process.started,
                parent=process.parent,
            )
            self._enter(client)
        self._join(connection, client, at)
        return client

    def client_of(self, connection: Connection, headers: h.HeaderMap, at: float) -> Client:
        """The client behind a request; one by address and credentials where no process was found (yet)."""
        client = connection.client
        user_agent = headers.get("user-agent", "")
        # A proxy in front may carry many clients over one connection: without a process, each request tells anew.
        if client is None or not client.is_process:
            key = ClientKey(host=connection.peer[0], user_agent=user_agent[:200], credentials=self.fingerprint(headers))
            client = self.clients.get(key)
            if client is None:
                client = Client(key, printable(connection.peer[0]), connection.peer[0], first_seen=at, last_seen=at)
                self._enter(client)
            self._join(connection, client, at)
        client.last_seen = at
        client.requests += 1
        if user_agent and not client.user_agent:
            client.user_agent = printable(user_agent)
        return client

    def disconnected(self, connection_id: str, at: float) -> Connection | None:
        """Forget a connection; it, if it was one that carried MCP."""
        connection = self.connections.pop(connection_id, None)
        if connection is not None:
            self._leave(connection, at)
        return connection

    def _leave(self, connection: Connection, at: float) -> None:
        for session in connection.sessions:
            session.connections.discard(connection.id)
            session.left_at = at
        if connection.client:
            connection.client.connections.discard(connection.id)
            connection.client.left_at = at

    def _join(self, connection: Connection, client: Client, at: float) -> None:
        before = connection.client
        if before is client:
            return
        if before is not None:
            before.connections.discard(connection.id)
            if client.is_process and not before.is_process:
                self._inherit(before, client, connection)
        connection.client = client
        if connection.id in self.connections:  # it may be closed by the time its process is found
            client.connections.add(connection.id)
        client.last_seen = at

    def _inherit(self, anonymous: Client, process: Client, connection: Connection) -> None:
        """Hand on what was booked to an address before it was known which process it is."""
        for session in connection.sessions:
            self.own(session, process, process.last_seen)
            self._disclaim(session, anonymous, connection)
        if anonymous.connections or anonymous.sessions:
            return
        process.requests += anonymous.requests
        process.user_agent = process.user_agent or anonymous.user_agent
        process.info = process.info or anonymous.info
        self.clients.pop(anonymous.key, None)

    def _settle_unknown(self, connection: Connection, vanished: bool) -> None:
        client = connection.client
        if client is None or client.is_process:
            return
        for session in connection.sessions:
            # Gone before one could look: it was most likely a process that is known to use the session anyway.
            if vanished and any(owner.is_process for owner in session.owners):
                self._disclaim(session, client, connection)
            else:
                client.vouched.add(session)

    def _disclaim(self, session: Session, anonymous: Client, connection: Connection) -> None:
        """What seemed to be another client was not: take it off the owners, if nothing else speaks for it."""
        if session in anonymous.vouched:
            return
        others = (self.connections[one] for one in anonymous.connections if one != connection.id)
        if not any(session in other.sessions and not other.identified for other in others):
            session.owners.pop(anonymous, None)
            anonymous.sessions.pop(session, None)

    def client(self, client: Client) -> Client:
        """The client of that key: this one, unless it is known already."""
        known = self.clients.get(client.key)
        if known is None:
            self._enter(client)
        return known or client

    def _enter(self, client: Client) -> None:
        self._bounded(self.clients, CLIENT_LIMIT, lambda c: not c.connections)
        self.clients[client.key] = client

    # Sessions

    def knows(self, endpoint: Endpoint) -> bool:
        """Whether this endpoint has been seen to speak MCP."""
        return endpoint in self.endpoints

    def endpoint(self, endpoint: Endpoint, at: float) -> EndpointFacts:
        """What is known of an endpoint, entered at first sight."""
        facts = self.endpoints.get(endpoint)
        if facts is None:
            facts = EndpointFacts(at)
            self._bounded(self.endpoints, ENDPOINT_LIMIT)
            self.endpoints[endpoint] = facts
        return facts

    def find(self, endpoint: Endpoint, session_id: str) -> Session | None:
        """The session that a client means by this id."""
        return self.sessions.get((endpoint, session_id))

    def open(self, session: Session) -> None:
        """Enter a new session."""
        self._bounded(self.sessions, SESSION_LIMIT, lambda s: s.state is State.CLOSED, self._unindex)
        self.sessions[session.endpoint, session.client_id] = session
        self.by_server_id[session.endpoint, session.server_id] = session

    def remap(self, session: Session, server_id: str) -> None:
        """Give a session the id of its next generation at the server."""
        self.by_server_id.pop((session.endpoint, session.server_id), None)
        if session.server_id != session.client_id or session.generation == 0:
            session.replaced.append(session.server_id)
        session.server_id = server_id
        session.generation += 1
        self.by_server_id[session.endpoint, server_id] = session

    def own(self, session: Session, client: Client, at: float) -> bool:
        """Note that this client uses the session; whether it is new to it."""
        new = session.owners.pop(client, None) is None
        session.owners[client] = at  # the latest stands last
        client.sessions[session] = None
        return new

    def holds(self, client: Client, endpoint: Endpoint) -> Session | None:
        """The newest session that this client is believed to hold at the endpoint."""
        newest = islice(reversed(client.sessions), 20)
        return next((s for s in newest if s.endpoint == endpoint and s.state in LIVE), None)

    def live(self) -> Iterator[Session]:
        """The sessions that a client is believed to hold."""
        return (session for session in list(self.sessions.values()) if session.state in LIVE)

    def named(self, text: str) -> list[Session]:
        """Sessions whose id, or short label, begins with this text."""
        return [s for s in self.sessions.values() if s.client_id.startswith(text) or s.label == text]

    def carry(self, connection: Connection, session: Session) -> None:
        """Note that a connection carries a session."""
        client = connection.client
        if connection.identified and not connection.vanished and client is not None and not client.is_process:
            client.vouched.add(session)
        if connection.id in self.connections:
            connection.sessions[session] = None
            session.connections.add(connection.id)

    def _unindex(self, session: Session) -> None:
        self.touched.pop(session, None)
        for one in session.connections:
            if one in self.connections:
                self.connections[one].sessions.pop(session, None)
        self.by_server_id.pop((session.endpoint, session.server_id), None)
        for owner in session.owners:
            owner.sessions.pop(session, None)
            owner.vouched.discard(session)

    def _bounded(self, table: dict[Any, Any], limit: int, spare: Any = None, leave: Any = None) -> None:
        """Make room in a table: the oldest entry that can be spared goes, else the oldest."""
        if len(table) < limit:
            return
        candidates: Iterable[Any] = table.items()
        key = next((k for k, v in candidates if spare is None or spare(v)), next(iter(table)))
        value = table.pop(key)
        if leave:
            leave(value)
        self.dropped += 1
