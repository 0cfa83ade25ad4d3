"""Whoever looks on: told of each exchange before the core acts on it, and after; it has no say in what is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..wire.jsonrpc import Body
    from ..wire.sse import Event
    from .exchange import Exchange
    from .session import Session


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
