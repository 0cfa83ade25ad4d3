"""How a check is written and registered: a small function of an exchange, at one moment of its life.

A check returns None where the rule is kept or where it cannot tell, and a detail (which may be empty) where it is
broken; a list of details for several occurrences at once. A rule may have checks at several moments.

With what it is registered decides whether it is asked at all: it can rely on that.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from ..core.exchange import Exchange
from ..core.session import Session
from ..wire.jsonrpc import Body, Message
from ..wire.sse import Event
from .talks import Talk
from .traits import VERBS, Condition, bit_of


class Moment(Enum):
    """When a check looks."""

    REQUEST = auto()  # the request was read; all facts still stand as they were before it
    ANSWER = auto()  # the answer was read, or its headers if it is a stream; the ledger stands as before it
    EVENT = auto()  # an event arrived on a stream
    FINISH = auto()  # the exchange is over
    ABANDONED = auto()  # the client of a session is gone, and the session was not ended


class Arrival(NamedTuple):
    """An event as it arrived, what its data is (None where it has none), and when."""

    event: Event
    body: Body | None
    at: float


class Left(NamedTuple):
    """A session whose client is gone, what was said in it, and when that was found."""

    session: Session
    talk: Talk
    told_at: float | None
    """When the client was told that it is lost, if it has not started anew since."""
    at: float


class Said(NamedTuple):
    """A message by itself: all that a check needs that takes its time, and is made off the request path."""

    message: Message
    revision: str
    answers: str | None
    """The method of the request that a response answers; None if that is not known."""
    x: Exchange | None = None
    """Where it was said."""


class Part(str):
    """The detail of what breaks a part of a rule that stands on a clause of its own: `Rule.parts` says on which."""

    __slots__ = ("name",)
    name: str

    def __new__(cls, name: str, detail: str) -> Part:
        """`name` is that of the part."""
        part = super().__new__(cls, detail)
        part.name = name
        return part


type Verdict = str | list[str] | None
type OnExchange = Callable[[Exchange], Verdict]
type OnEvent = Callable[[Exchange, Arrival], Verdict]
type OnSession = Callable[[Left], Verdict]
type OnMessage = Callable[[Said], Verdict]


class Check[F](NamedTuple):
    """A check, and what an exchange is like in which it can find anything: bits of `traits`."""

    rule_id: str
    check: F
    needs: int
    """All of these."""
    any_of: int = 0
    """One of these at least, if there are any."""
    none_of: int = 0
    """None of these."""

    def fits(self, traits: int) -> bool:
        """Whether it is to be asked about an exchange like this."""
        return (
            self.needs & traits == self.needs
            and (not self.any_of or bool(self.any_of & traits))
            and not self.none_of & traits
        )


ON_REQUEST: list[Check[OnExchange]] = []
ON_ANSWER: list[Check[OnExchange]] = []
ON_FINISH: list[Check[OnExchange]] = []
ON_EVENT: list[Check[OnEvent]] = []
ON_SESSION: list[tuple[str, OnSession]] = []
type When = Callable[[Exchange, Message], bool]


class MessageCheck(NamedTuple):
    """A check of a message by itself."""

    rule_id: str
    check: OnMessage
    about: frozenset[str]
    """Methods; none for any message."""
    when: When | None
    """Whether there is anything in it to be looked at; asked on the request path."""


ON_MESSAGE: list[MessageCheck] = []


def on_request(
    rule_id: str, verb: str = "", *, sent: int = 0, needs: int = 0, unless: int = 0, headers: Condition | None = None
) -> Callable[[OnExchange], OnExchange]:
    """Register a check that looks when the request was read.

    Args:
        rule_id: the rule that it is for.
        verb: the only verb that it concerns; empty for any.
        sent: kinds of messages that it concerns; 0 for any.
        needs: what else has to be so.
        unless: what must not be so.
        headers: a condition on the request's headers.
    """
    return _registered(ON_REQUEST, rule_id, needs | VERBS.get(verb, 0) | bit_of(headers), sent, unless)


def on_answer(
    rule_id: str,
    verb: str = "",
    *,
    sent: int = 0,
    needs: int = 0,
    unless: int = 0,
    headers: Condition | None = None,
    told: Condition | None = None,
) -> Callable[[OnExchange], OnExchange]:
    """Register a check that looks when the answer was read, or the head of a stream. `told`: its headers are so."""
    needs |= VERBS.get(verb, 0) | bit_of(headers) | bit_of(told, of_answer=True)
    return _registered(ON_ANSWER, rule_id, needs, sent, unless)


def on_finish(rule_id: str, verb: str = "", *, needs: int = 0, unless: int = 0) -> Callable[[OnExchange], OnExchange]:
    """Register a check that looks when the exchange is over."""
    return _registered(ON_FINISH, rule_id, needs | VERBS.get(verb, 0), 0, unless)


def on_event(
    rule_id: str, verb: str = "", *, said: int = 0, needs: int = 0, unless: int = 0
) -> Callable[[OnEvent], OnEvent]:
    """Register a check that looks at each event of a stream. `said`: kinds of messages in it; 0 for any, or none."""
    return _registered(ON_EVENT, rule_id, needs | VERBS.get(verb, 0), said, unless)


def on_abandoned(rule_id: str) -> Callable[[OnSession], OnSession]:
    """Register a check that looks when a session's client is gone."""

    def register(check: OnSession) -> OnSession:
        ON_SESSION.append((rule_id, check))
        return check

    return register


def on_message(rule_id: str, *about: str, when: When | None = None) -> Callable[[OnMessage], OnMessage]:
    """Register a check that looks at messages of the rule's party by themselves, later and in another thread.

    At those of the methods that it is `about`, and the responses to these; at each, if it is about none.
    """

    def register(check: OnMessage) -> OnMessage:
        ON_MESSAGE.append(MessageCheck(rule_id, check, frozenset(about), when))
        return check

    return register


def _registered[F](rows: list[Check[F]], rule_id: str, needs: int, any_of: int, none_of: int) -> Callable[[F], F]:
    def register(check: F) -> F:
        rows.append(Check(rule_id, check, needs, any_of, none_of))
        return check

    return register
