"""What is known of an endpoint, and how its sessions are found: by the client's id and by the server's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .session import Endpoint, Session, Whose
from .states import ClientSide, ServerSide


@dataclass(slots=True)
class Place:
    """An endpoint.

    Clients may know several sessions by one id: a server may give the same to everybody, or give one again, and who
    comes with other credentials than the session's client has one of his own. The first of them is found by the id
    alone, the others by whose they are.
    """

    endpoint: Endpoint
    first_seen: float
    ends_sessions: bool = True
    """False once it answered a DELETE with 405 or 501."""
    not_before: float = 0.0
    """It asked to be left alone until then."""
    url: str = ""
    """The URL that was used last."""
    sessions: dict[str, Session] = field(default_factory=dict)
    """By the id that the client knows: the first."""
    beside: dict[str, dict[Whose, Session]] = field(default_factory=dict)
    """The others, by the same id."""
    mapped: dict[str, tuple[Session, ...]] = field(default_factory=dict)
    """By the id that the server knows, where that is another one."""

    written: dict[str, Session] = field(default_factory=dict)
    """Those that are written down by more than their id, by what they are."""
    unwritten: dict[Session, None] = field(default_factory=dict)
    """Those that will be: it was not asked yet by what."""

    def enter(self, session: Session, whose: Whose | None) -> None:
        """Enter a session: the first, unless there is one and it is said whose this one is."""
        first = self.sessions.get(session.client_id)
        if first is None or whose is None:
            self.sessions[session.client_id] = session
            if first is not None and first.whose is not None:
                self._put_beside(first, first.whose)
        else:
            self._put_beside(session, whose)
        if session.whose is not None:
            self.unwritten[session] = None
        self.map(session)

    def _put_beside(self, session: Session, whose: Whose) -> None:
        session.whose = whose
        self.beside.setdefault(session.client_id, {})[whose] = session

    def leave(self, session: Session) -> None:
        """Find a session no more."""
        name, beside = session.client_id, self.beside.get(session.client_id, {})
        if self.sessions.get(name) is session:
            del self.sessions[name]
            if beside:
                self.sessions[name] = beside.pop(next(iter(beside)))
        elif session.whose is not None and beside.get(session.whose) is session:
            del beside[session.whose]
        if not beside:
            self.beside.pop(name, None)
        self.unwritten.pop(session, None)
        self.written.pop(session.written_as, None)
        self.unmap(session)

    def renew(self, session: Session, whose: Whose) -> None:
        """Find a session by other credentials from now on."""
        beside = self.beside.get(session.client_id, {})
        if session.whose is None or whose in beside:
            return
        if beside.get(session.whose) is session:
            del beside[session.whose]
            beside[whose] = session
        session.whose = whose

    def map(self, session: Session) -> None:
        """Note by which id the server knows a session."""
        if session.mapped:
            self.mapped[session.server_id] = (*self.mapped.get(session.server_id, ()), session)

    def unmap(self, session: Session) -> None:
        """The server knows a session by this id no more."""
        others = tuple(one for one in self.mapped.pop(session.server_id, ()) if one is not session)
        if others:
            self.mapped[session.server_id] = others

    def named(self, client_id: str) -> Iterator[Session]:
        """The sessions that clients know by this id, the first one first."""
        first = self.sessions.get(client_id)
        if first is not None:
            yield first
            yield from self.beside.get(client_id, {}).values()

    def stands(self, client_id: str, whose: Whose | None) -> bool:
        """Whether a session is known by this id that is found by these credentials, or without any (None)."""
        first = self.sessions.get(client_id)
        return first is not None and (first.whose == whose or whose in self.beside.get(client_id, {}))

    def at_server(self, server_id: str) -> Iterator[Session]:
        """The sessions that the server knows by this id."""
        yield from self.mapped.get(server_id, ())
        yield from (session for session in self.named(server_id) if not session.mapped)

    def shared(self, server_id: str, but: Session | None = None) -> bool:
        """Whether the server knows a session by this id that a client uses, or that is being ended; `but` this one."""
        return any(
            other.standing.client in (ClientSide.USING, ClientSide.LEAVING)
            or other.standing.server is ServerSide.DELETING
            for other in self.at_server(server_id)
            if other is not but and not other.over
        )
