"""What there is to remember something of: endpoints, clients at them, sessions."""

from __future__ import annotations

from itertools import islice

from ..core.client import Client, ClientKey
from ..core.session import Endpoint, Session
from .facts import PARTIES_LIMIT, Party
from .places import Place
from .tables import Recent
from .talks import Talk

OWNERS = 20
"""Clients of a session that are looked at, the latest first."""
_PLACES_LIMIT = 1_000


class Subjects:
    """Each with what is remembered of it. What is of a session hangs on it, as `Session.notes`."""

    def __init__(self) -> None:
        self._places: Recent[Endpoint, Place] = Recent(_PLACES_LIMIT)
        self._parties: Recent[tuple[ClientKey, Endpoint], Party] = Recent(PARTIES_LIMIT)

    def place(self, endpoint: Endpoint) -> Place:
        """What is remembered of an endpoint."""
        found = self._places.get(endpoint)
        if found is None:
            self._places.put(endpoint, found := Place())
        return found

    def party(self, client: Client, endpoint: Endpoint) -> Party:
        """What is remembered of a client at an endpoint."""
        key = (client.key, endpoint)
        found = self._parties.get(key)
        if found is None:
            self._parties.put(key, found := Party())
        return found

    def talk(self, session: Session) -> Talk:
        """What is remembered of a session."""
        found = session.notes
        if not isinstance(found, Talk):
            session.notes = found = Talk(self.place(session.endpoint), generation=session.generation)
        elif found.generation != session.generation:
            found.begin_generation(session.generation)
        return found

    def refresh(self, client: Client, endpoint: Endpoint, party: Party) -> None:
        """A client begins anew: it is not the oldest any more."""
        self._parties.put((client.key, endpoint), party)

    # Being told that a session is lost

    def told_lost(self, session: Session, at: float) -> None:
        """The client is given the refusal of this session; the first time counts."""
        talk = session.notes if isinstance(session.notes, Talk) else self.talk(session)
        if self.told_at(session, talk) is None:
            talk.told_at = at

    def told_at(self, session: Session, talk: Talk) -> float | None:
        """When the client of a session was told that it is lost; None if not, or if it was given another one since."""
        told = talk.told_at
        if told is not None:
            for owner in islice(reversed(session.owners), OWNERS):
                found = self._parties.get((owner.key, session.endpoint))
                if found is None:
                    continue
                if found.opened_at >= told or (found.renewed_at >= told and found.renewed == session.server_id):
                    talk.told_at = None
        return talk.told_at
