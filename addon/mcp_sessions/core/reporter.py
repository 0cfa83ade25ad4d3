"""How the core says what happened: records about sessions and exchanges, made in one place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from ..wire.jsonrpc import Kind
from ..wire.text import printable
from .client import Client, Connection
from .exchange import Exchange
from .records import Action, AnyRecord, Change, Weight
from .session import Session
from .states import Failure


class Recovery(NamedTuple):
    """A session was brought back, or not."""

    session: Session
    x: Exchange | None
    """The exchange that it was for; none if the user wanted it."""
    since: float
    failure: Failure | None


class Over(NamedTuple):
    """A session is over at its server."""

    session: Session


type Episode = Recovery | Over

WAITING_LIMIT = 1_000
"""Records that may wait until it is known whose they are."""

PATIENCE = 1.0
"""Seconds that they may wait."""


class Reporter:
    """Makes records and hands them to whoever listens, in order. `now` is the time of what is being told about.

    A record about a connection of which it is about to be known which process is behind it waits for that, and all that
    follow wait with it: so each record names its client by the name that it goes by from then on.
    """

    def __init__(self, sink: Callable[[AnyRecord], None]) -> None:
        self.sink = sink
        self.now = 0.0
        self.followers: list[Callable[[Session], None]] = []
        """Called with each session that has changed; to be quick."""
        self.listeners: list[Callable[[Episode, float], None]] = []
        """Told of episodes in the life of a session, and of the time; to be quick."""
        self._waiting: deque[tuple[AnyRecord, Connection | None, float]] = deque()

    def tell(self, record: AnyRecord, connection: Connection | None = None) -> None:
        """Hand on a record, about this connection if it is about any."""
        if not self._waiting and (connection is None or connection.identified):
            self.sink(_named(record, connection))
            return
        self._waiting.append((record, connection, self.now + PATIENCE))
        if len(self._waiting) > WAITING_LIMIT:
            self.flush()

    def settle(self) -> None:
        """Hand on what need not wait any longer."""
        while self._waiting:
            record, connection, until = self._waiting[0]
            if connection is not None and not connection.identified and self.now < until:
                return
            self._waiting.popleft()
            self.sink(_named(record, connection))

    def flush(self) -> None:
        """Hand on all that waits."""
        while self._waiting:
            record, connection, _ = self._waiting.popleft()
            self.sink(_named(record, connection))

    @property
    def next_timer(self) -> float | None:
        """When the first that waits has waited long enough."""
        return self._waiting[0][2] if self._waiting else None

    def changed(self, session: Session) -> None:
        """A session changed in a way that is not worth a word."""
        for follower in self.followers:
            follower(session)

    def happened(self, episode: Episode) -> None:
        """Something of a session's has come to its end."""
        for listener in self.listeners:
            listener(episode, self.now)

    def change(
        self, session: Session, what: str, detail: str = "", x: Exchange | None = None, weight: Weight = Weight.INFO
    ) -> None:
        """A session changed."""
        self.changed(session)
        self.tell(
            Change(
                at=self.now,
                what=what,
                client=session.client_label,
                session=session.label,
                endpoint=printable(session.endpoint, 200),
                flow=x.id if x else "",
                detail=detail,
                weight=weight,
            ),
            x.connection if x else None,
        )

    def could_not_look(self, where: str) -> None:
        """The observer has failed, through no fault of the traffic's."""
        what = "could not judge, please report it"
        self.tell(Action(at=self.now, what=what, detail=printable(where, 200), weight=Weight.ERROR))

    def client(self, client: Client, what: str, detail: str) -> None:
        """A client changed."""
        self.tell(Change(at=self.now, what=what, client=client.label, detail=detail))

    def action(self, what: str, x: Exchange, weight: Weight = Weight.INFO, *, lost: bool = False) -> None:
        """The proxy did something about an exchange, or decided not to; `lost`: so it gets no answer."""
        self.tell(
            Action(
                at=self.now,
                what=what,
                client=x.client.label,
                session=x.session.label if x.session else "",
                endpoint=printable(x.endpoint, 200),
                flow=x.id,
                detail=printable(x.what),
                lost=lost and x.kind is Kind.REQUEST,
                weight=weight,
            ),
            x.connection,
        )


def _named(record: AnyRecord, connection: Connection | None) -> AnyRecord:
    """A record with the name that its client goes by now, if that was an address when it was made."""
    client = connection.client if connection is not None else None
    if client is None or connection is None or not client.is_process or record.client != connection.peer[0]:
        return record
    return record.model_copy(update={"client": client.label})
