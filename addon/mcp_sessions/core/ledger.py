"""The ledger: clients, their connections and their sessions, found by what a request shows; bounded in every table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .bounded import make_room, vouch, with_one, without
from .client import Client, ClientKey, Connection
from .place import Place
from .session import REPLACED_LIMIT, Endpoint, Session, Whose
from .states import ClientSide, Trigger
from .tally import Tally

SESSION_LIMIT = 200_000
OVER_LIMIT = 5_000
"""Sessions that are over and still known: a client that comes back with one is told from a stranger, and people see
what became of it. Some 25 MB."""
CLIENT_LIMIT = 200_000
CONNECTION_LIMIT = 200_000
ENDPOINT_LIMIT = 1_000

OWNERS_LIMIT = 64
"""Clients of one session, beyond which the oldest goes that is gone, or known by its address only."""


@dataclass(slots=True)
class Ledger:
    """All that is known. It does no I/O and has no clock: times come with what it is told."""

    sessions: dict[int, Session] = field(default_factory=dict)
    """By number: the oldest first."""
    clients: dict[ClientKey, Client] = field(default_factory=dict)
    connections: dict[str, Connection] = field(default_factory=dict)
    endpoints: dict[Endpoint, Place] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    """What has happened to all sessions there were, counted."""
    recovered: int = 0
    """Recoveries, also those of sessions that were found elsewhere."""
    streams: int = 0
    """Open GET streams."""
    clients_gone: int = 0
    touched: dict[Session, None] = field(default_factory=dict)
    """Sessions that were used since somebody last emptied this."""
    dropped: int = 0
    """Entries that a limit pushed out."""
    evicted: Callable[[Session], None] = lambda _: None
    """Told of each session that a limit pushes out."""
    crowded: Callable[[Session, float], None] = lambda *_: None
    """Told, with the time, of each session that a limit is about to push out although its client may live."""
    _over: dict[Session, None] = field(default_factory=dict)
    """Sessions that are deleted at their server: the first to go where room is needed."""
    _left: dict[Session, None] = field(default_factory=dict)
    """Sessions whose client is gone or has left: the next to go."""

    # Connections and clients

    def connection(self, connection_id: str, peer: tuple[str, int], local: tuple[str, int], now: float) -> Connection:
        """The connection of that id, entered at first sight."""
        connection = self.connections.get(connection_id)
        if connection is None:
            connection = Connection(connection_id, peer, local, opened=now, last_active=now)
            oldest = make_room(self.connections, CONNECTION_LIMIT)
            if oldest is not None:
                self.dropped += 1
                self._leave(oldest, now)
            self.connections[connection_id] = connection
        connection.last_active = now
        return connection

    def disconnected(self, connection_id: str, now: float) -> Connection | None:
        """Forget a connection; it, if it was one that carried MCP."""
        connection = self.connections.pop(connection_id, None)
        if connection is not None:
            self._leave(connection, now)
        return connection

    def gone(self, client: Client, now: float) -> None:
        """Note that a client is gone for good."""
        if not client.gone:
            client.gone_at = now
            self.clients_gone += 1

    def client(self, client: Client) -> Client:
        """The client of that key: this one, unless it is known already."""
        known = self.clients.get(client.key)
        if known is None:
            self._enter(client)
        return known or client

    def _leave(self, connection: Connection, now: float) -> None:
        for session in connection.sessions:
            session.connections = without(session.connections, connection.id)
            session.left_at = now
            if session.under_way:
                session.under_way = {x: by for x, by in session.under_way.items() if by != connection.id} or None
        if connection.client:
            connection.client.connections = without(connection.client.connections, connection.id)
            connection.client.left_at = now
            self.let_go(connection.client)

    def _enter(self, client: Client) -> None:
        # Never one that has a session: its end could not be seen any more. There are no more of these than sessions.
        spared = make_room(
            self.clients, CLIENT_LIMIT, lambda one: not one.connections and not one.sessions, force=False
        )
        if spared is not None:
            self.dropped += 1
            self.clients_gone -= spared.gone
        self.clients[client.key] = client

    # Sessions

    def knows(self, endpoint: Endpoint) -> bool:
        """Whether this endpoint has been seen to speak MCP."""
        return endpoint in self.endpoints

    def place(self, endpoint: Endpoint, now: float) -> Place:
        """What is known of an endpoint, entered at first sight."""
        place = self.endpoints.get(endpoint)
        if place is None:
            place = Place(endpoint, now)
            oldest = make_room(self.endpoints, ENDPOINT_LIMIT, lambda one: not one.sessions)
            if oldest is not None:
                self.dropped += 1
                for session in [one for name in oldest.sessions for one in oldest.named(name)]:
                    self._push_out(session, now)
            self.endpoints[endpoint] = place
        return place

    def find(self, endpoint: Endpoint, session_id: str) -> Session | None:
        """The session that a client means by this id."""
        place = self.endpoints.get(endpoint)
        return None if place is None else place.sessions.get(session_id)

    def stands(self, session: Session) -> bool:
        """Whether one is known in the place of this session."""
        place = self.endpoints.get(session.endpoint)
        return place is not None and place.stands(session.client_id, session.whose)

    def open(self, session: Session, now: float, whose: Whose | None = None) -> None:
        """Enter a new session: in the place of the one that clients knew by the same id, unless `whose` is given.

        Then it stands beside that one, if it is not over.
        """
        if len(self.sessions) >= SESSION_LIMIT:
            self.dropped += 1
            self._push_out(next(iter(self._over or self._left or self.sessions.values())), now)
        place = self.place(session.endpoint, now)
        while (before := place.sessions.get(session.client_id)) is not None and (
            before.over or (whose is None and before.whose is None)
        ):
            self.evict(before)
        session.endpoint = place.endpoint  # one object for all
        place.enter(session, whose)
        self.sessions[session.number] = session
        self.tally.states[session.state] += 1
        self.recovered += session.recoveries
        self._sort(session)

    def fire(self, session: Session, trigger: Trigger, now: float, detail: str = "") -> bool:
        """Let something happen to a session; whether that changed how it stands."""
        before, following = session.standing, session.standing.following.get(trigger)
        if following is None:
            return False
        session.standing = following
        if before.word is following.word:
            session.note(now, trigger.value, detail)
        else:
            session.note(now, trigger.value, detail, following.word)
        self.tally.fired(trigger, before, following)
        if session.number in self.sessions:
            if before.word is not following.word:
                self.tally.states[before.word] -= 1
                self.tally.states[following.word] += 1
            if before.server is not following.server or before.client is not following.client:
                self._sort(session)
        return True

    def _sort(self, session: Session) -> None:
        """Note when a session is to go if room is needed."""
        self._over.pop(session, None)
        self._left.pop(session, None)
        if session.over:
            self._over[session] = None
            if len(self._over) > OVER_LIMIT:
                self.evict(next(iter(self._over)))
        elif session.standing.client in (ClientSide.GONE, ClientSide.LEFT):
            self._left[session] = None

    def _push_out(self, session: Session, now: float) -> None:
        """Forget a session for want of room."""
        if session not in self._over and session not in self._left:
            self.crowded(session, now)
        self.evict(session)

    def remap(self, session: Session, server_id: str) -> None:
        """Give a session the id of its next generation at the server."""
        place = self.place(session.endpoint, session.last_used)
        place.unmap(session)
        earlier = (*session.replaced, session.server_id) if session.given else session.replaced
        session.replaced = tuple(dict.fromkeys(one for one in earlier if one != server_id))[-REPLACED_LIMIT:]
        session.server_id = server_id
        session.generation += 1
        if session.number in self.sessions:
            place.map(session)

    def follow(self, session: Session, server_id: str, generation: int) -> None:
        """Give a session the id and the generation that another proxy has brought it back with."""
        self.remap(session, server_id)
        session.generation = generation

    def own(self, session: Session, client: Client, now: float) -> bool:
        """Note that this client uses the session; whether it is new to it."""
        owners = session.owners
        if len(owners) == 1 and client in owners:
            owners[client] = now
            return False
        new = owners.pop(client, None) is None
        if new and len(owners) >= OWNERS_LIMIT:
            self._make_room(session)
        owners[client] = now  # the latest stands last
        client.sessions[session] = None
        return new

    def _make_room(self, session: Session) -> None:
        """Make room among the owners of a session, but never by one whose end is still to be seen."""
        spare = next((owner for owner in session.owners if owner.gone or not owner.is_process), None)
        if spare is not None:
            del session.owners[spare]
            spare.sessions.pop(session, None)
            session.vouched = tuple(one for one in session.vouched if one is not spare)

    def named(self, text: str) -> list[Session]:
        """Sessions whose id, or short label, begins with this text."""
        return [s for s in self.sessions.values() if s.client_id.startswith(text) or s.label == text]

    def carry(self, connection: Connection, session: Session) -> None:
        """Note that a connection carries a session."""
        client = connection.client
        if connection.identified and not connection.vanished and client is not None and not client.is_process:
            vouch(session, client)
        if session in connection.sessions or self.connections.get(connection.id) is not connection:
            return
        if connection.carrier is not None and connection.sessions:
            connection.shared = True
            for other in connection.sessions:
                other.connections = without(other.connections, connection.id)
        connection.sessions[session] = None
        if not connection.shared:
            session.connections = with_one(session.connections, connection.id)

    def listens(self, session: Session, exchange_id: str, now: float) -> None:
        """Note that a client has opened a GET stream."""
        self.streams += exchange_id not in session.streams
        session.streams[exchange_id] = now
        session.stream_aborted_at = None

    def asks(self, session: Session, exchange_id: str, connection_id: str) -> None:
        """Note that a client has sent something that is to be answered."""
        if session.under_way is None:
            session.under_way = {}
        session.under_way[exchange_id] = connection_id

    def asks_no_more(self, session: Session, exchange_id: str, now: float) -> bool:
        """Note that an exchange is over; whether it was a GET stream."""
        if session.under_way and session.under_way.pop(exchange_id, "") and not session.under_way:
            session.under_way, session.left_at = None, now
        was = session.streams.pop(exchange_id, None) is not None
        self.streams -= was
        if was:
            session.last_used = now  # until it ended
        return was

    def silent(self, session: Session) -> None:
        """Note that a session has no stream any more."""
        self.streams -= len(session.streams)
        session.streams.clear()

    def recovered_once(self, session: Session) -> None:
        """Count a recovery."""
        session.recoveries += 1
        self.recovered += 1

    def evict(self, session: Session) -> None:
        """Forget a session, whatever becomes of it."""
        self._unindex(session)
        if not session.over:  # of one that is, all was told when it ended
            self.evicted(session)

    def _unindex(self, session: Session) -> None:
        self.sessions.pop(session.number, None)
        self.tally.states[session.state] -= 1
        self.streams -= len(session.streams)
        self._over.pop(session, None)
        self._left.pop(session, None)
        self.touched.pop(session, None)
        for one in session.connections:
            if one in self.connections:
                self.connections[one].sessions.pop(session, None)
        session.connections = ()
        place = self.endpoints.get(session.endpoint)
        if place is not None:
            place.leave(session)
        for owner in session.owners:
            owner.sessions.pop(session, None)
            self.let_go(owner)

    def let_go(self, client: Client) -> None:
        """Forget a client of which nothing is to be expected any more."""
        idle = not client.sessions and not client.connections and (client.gone or client.pid is None)
        if idle and self.clients.get(client.key) is client:
            del self.clients[client.key]
            self.clients_gone -= client.gone
