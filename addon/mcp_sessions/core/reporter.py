"""How the core says what happened: records about sessions and exchanges, made in one place."""

from __future__ import annotations

from collections.abc import Callable

from ..wire.text import printable
from .exchange import Exchange
from .records import Action, AnyRecord, Change, Weight
from .session import Session


class Telling:
    """Makes records and hands them to whoever listens. `now` is the time of what is being told about."""

    def __init__(self, tell: Callable[[AnyRecord], None]) -> None:
        self.tell = tell
        self.now = 0.0
        self.followers: list[Callable[[Session], None]] = []
        """Called with each session that has changed; to be quick."""

    def changed(self, session: Session) -> None:
        """A session changed in a way that is not worth a word."""
        for follower in self.followers:
            follower(session)

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
            )
        )

    def action(self, what: str, x: Exchange, weight: Weight = Weight.INFO) -> None:
        """The proxy did something about an exchange, or decided not to."""
        self.tell(
            Action(
                at=self.now,
                what=what,
                client=x.client.label,
                session=x.session.label if x.session else "",
                flow=x.id,
                detail=printable(x.what),
                weight=weight,
            )
        )
