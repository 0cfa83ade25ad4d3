"""Whoever looks on: told of each exchange before the core acts on it, and after; it has no say in what is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..wire.jsonrpc import Body
    from ..wire.sse import Event
    from .exchange import Exchange
    from .session import Session


WORDS = 20
"""Errors of an observer that are told of."""


class Observer(Protocol):
    """What the judge implements. Times are seconds since the epoch.

    What it keeps of an exchange is `Exchange.notes`, and of a session `Session.notes`.
    """

    def request(self, x: Exchange) -> None:
        """A request was read; the ledger still stands as it was before it."""

    def answer(self, x: Exchange) -> None:
        """An answer was read, or its head if it is a stream; the ledger stands as before it."""

    def event(self, x: Exchange, event: Event, body: Body | None, at: float) -> None:
        """An event arrived on a stream."""

    def finish(self, x: Exchange) -> None:
        """An exchange is over."""

    def abandoned(self, session: Session, at: float) -> None:
        """The client of this session is gone beyond doubt, and it has not ended the session."""

    def told_lost(self, session: Session, at: float) -> None:
        """The client is given the refusal that says that this session is lost; it may be so several times."""


class Guarded:
    """An observer that may fail: nothing comes of it but a word, once for each kind of error."""

    def __init__(self, observer: Observer, failed: Callable[[str], None]) -> None:
        self._observer = observer
        self._failed = failed
        self._said: set[str] = set()

    def request(self, x: Exchange) -> None:
        """As the observer does."""
        self._try(self._observer.request, x)

    def answer(self, x: Exchange) -> None:
        """As the observer does."""
        self._try(self._observer.answer, x)

    def event(self, x: Exchange, event: Event, body: Body | None, at: float) -> None:
        """As the observer does."""
        self._try(self._observer.event, x, event, body, at)

    def finish(self, x: Exchange) -> None:
        """As the observer does."""
        self._try(self._observer.finish, x)

    def abandoned(self, session: Session, at: float) -> None:
        """As the observer does."""
        self._try(self._observer.abandoned, session, at)

    def told_lost(self, session: Session, at: float) -> None:
        """As the observer does."""
        self._try(self._observer.told_lost, session, at)

    def _try[*Ts](self, look: Callable[[*Ts], None], *what: *Ts) -> None:
        try:
            look(*what)
        except Exception as e:
            place = e.__traceback__.tb_next if e.__traceback__ is not None else None
            where = f"{look.__name__}, {type(e).__name__}" + (f" in line {place.tb_lineno}" if place else "")
            if where not in self._said and len(self._said) < WORDS:
                self._said.add(where)
                self._failed(where)


class Nobody:
    """Looks at nothing."""

    def request(self, x: Exchange) -> None:
        """Nothing."""

    def answer(self, x: Exchange) -> None:
        """Nothing."""

    def event(self, x: Exchange, event: Event, body: Body | None, at: float) -> None:
        """Nothing."""

    def finish(self, x: Exchange) -> None:
        """Nothing."""

    def abandoned(self, session: Session, at: float) -> None:
        """Nothing."""

    def told_lost(self, session: Session, at: float) -> None:
        """Nothing."""
