"""Who means a session by its id, and whether it is his: by credentials and address, and by what the server accepts.

Theory of operation
-------------------
A session is its client's: who comes with the credentials that the server has accepted last, from a client or an address
that has used it. Nothing else gives anybody a say, not even that it is the same process: a gateway carries many users.
Anybody else is a stranger. His request goes out as it came, counts for nothing, and is never given the id that the
server knows of another's session. If the server accepts it, he is the session's client from then on.

If the server refuses it as a lost session, a stranger of the same address or process (`Exchange.akin`) may well be the
client, with credentials that were renewed. So a session *of his own* is brought back for him, with his credentials: the
server decides whether they are worth anything. Until it has, that session is in nobody's ledger. From then on there
are two sessions under one id, told apart by address and credentials, and neither client is ever given the other's.
"""

from __future__ import annotations

from itertools import islice

from ..wire import headers as h
from .bounded import make_room
from .credentials import Fingerprints
from .exchange import Exchange
from .ledger import Ledger
from .place import Place
from .recovery import handshake
from .session import Endpoint, Session, Whose, packed
from .states import ServerSide

TRIED_LIMIT = 1_000
"""Sessions of their own that are remembered while no server has accepted who wants them."""

LOOKS = 1_000
"""Sessions under one id among which the one is looked for that a stranger means."""


class Claims:
    """Tells whose session a request means. It has no clock: times come with what it is told."""

    def __init__(self, ledger: Ledger, fingerprints: Fingerprints) -> None:
        self._ledger = ledger
        self._fingerprints = fingerprints
        self._tried: dict[tuple[Endpoint, str, Whose], Session] = {}

    def credentials(self, x: Exchange) -> str:
        """The credentials of a request, as a hash."""
        return self._fingerprints.of(x.headers, x.url)

    def owns(self, session: Session, x: Exchange) -> bool:
        """Whether a request comes from a session's client."""
        if session.credentials != x.credentials and not self._fingerprints.same(session.credentials, x.credentials):
            return False
        return x.client in session.owners or _at(session, x.client.host)

    def plain(self, x: Exchange) -> bool:
        """Whether it is plain that a request comes from a session's client, whoever is behind its connection."""
        place, host = self._ledger.endpoints.get(x.endpoint), x.connection.peer[0]
        first = place.sessions.get(x.presented) if place is not None and x.presented else None
        if first is None or place is None:
            return False
        if self._fingerprints.same(first.credentials, x.credentials) and _at(first, host):
            return True
        return self._beside(place, first.client_id, (host, x.credentials)) is not None

    def own(self, x: Exchange, client_id: str) -> Session | None:
        """The session that the sender of a request knows by this id."""
        place = self._ledger.endpoints.get(x.endpoint)
        first = place.sessions.get(client_id) if place is not None else None
        if first is None or place is None or self.owns(first, x):
            return first
        return self._beside(place, client_id, _whose(x))

    def _beside(self, place: Place, client_id: str, whose: Whose) -> Session | None:
        beside = place.beside.get(client_id)
        if not beside:
            return None
        return beside.get(whose) or beside.get((whose[0], self._fingerprints.read(whose[1])))

    def names(self, x: Exchange) -> list[str]:
        """By what a session may have been written down that a request means, and that is not known here."""
        place, whose = self._ledger.endpoints.get(x.endpoint), (x.connection.peer[0], x.credentials)
        if not x.presented or self.plain(x):
            return []
        names = [x.presented] if place is None or x.presented not in place.sessions else []
        return [*names, self._fingerprints.name(x.presented, whose)] if self._fingerprints.key else names

    def known(self, x: Exchange, server_id: str) -> Session | None:
        """The session of the sender of a request that the server knows by this id."""
        own = self.own(x, server_id)
        if own is not None and own.server_id == server_id:
            return own
        place = self._ledger.endpoints.get(x.endpoint)
        others = place.mapped.get(server_id, ()) if place is not None else ()
        return next((one for one in others if self.owns(one, x)), None)

    def meant(self, x: Exchange) -> Session | None:
        """The session that a request means by its id: its client's own if there is one. Notes on it if it is not."""
        x.stranger, x.akin = False, None
        place = self._ledger.endpoints.get(x.endpoint)
        first = place.sessions.get(x.presented) if place is not None and x.presented else None
        if first is None or place is None or x.presented is None or self.owns(first, x):
            return first
        own = self._beside(place, x.presented, _whose(x))
        if own is not None:
            return own
        x.stranger = True
        # It goes out as it came: then the server takes it for what it knows by that id.
        there = [one for one in islice(place.named(x.presented), LOOKS) if not one.mapped]
        session = next((one for one in there if x.client in one.owners), there[0] if there else first)
        if x.client in session.owners or _at(session, x.client.host):
            x.akin = session
        return session

    # A session of one's own

    def apart(self, x: Exchange) -> Session:
        """The session of his own that a refused stranger is to have, in the place of the one that he means."""
        means, whose = x.akin, _whose(x)
        assert means is not None
        assert x.presented is not None
        key = x.endpoint, x.presented, whose
        own = self.own(x, x.presented) or self._tried.get(key)
        if own is None:
            make_room(self._tried, TRIED_LIMIT, lambda one: one.standing.server is not ServerSide.RECOVERING)
            own = self._tried[key] = _apart(means, x)
        x.session, x.stranger = own, False
        return own

    def accepted(self, session: Session, x: Exchange) -> None:
        """The server has accepted who was to have a session of his own."""
        self._tried.pop((session.endpoint, session.client_id, _whose(x)), None)
        session.owners.pop(x.client, None)


def _whose(x: Exchange) -> Whose:
    return x.client.host, x.credentials


def _at(session: Session, host: str) -> bool:
    return any(owner.host == host for owner in session.owners)


def _apart(means: Session, x: Exchange) -> Session:
    revision, presumed = handshake.presumed(x.headers)
    session = Session(
        means.endpoint,
        means.client_id,
        means.client_id,
        opened=x.answered_at,
        last_used=x.answered_at,
        revision=means.revision or revision,
        parameters=means.parameters or packed(presumed),
        result=means.result,
        owners={x.client: x.answered_at},
        credentials=x.credentials,
        fields=h.carried_over(x.headers),
        url=x.url,
        route=means.route,
        whose=_whose(x),
        opened_by="unknown",
    )
    if x.client.is_process and x.client in means.owners:  # then it is the same client, with other credentials
        session.opener, session.confirmer = means.opener, means.confirmer
        session.held = means.held.copy() if means.held is not None else None
    return session
