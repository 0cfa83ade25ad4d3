"""How a check is written and registered: a small function of an exchange, at one moment of its life.

A check returns None where the rule is kept or where it cannot tell, and a detail (which may be empty) where it is
broken; a list of details for several occurrences at once. A rule may have checks at several moments.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from ..core.exchange import Exchange
from ..core.session import Session
from ..wire.jsonrpc import Body, Message
from ..wire.sse import Event
from .facts import Talk


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
    at: float


class Said(NamedTuple):
    """A message by itself: all that a check needs that takes its time, and is made off the request path."""

    message: Message
    revision: str
    answers: str | None
    """The method of the request that a response answers; None if that is not known."""


type Verdict = str | list[str] | None
type OnExchange = Callable[[Exchange], Verdict]
type OnEvent = Callable[[Exchange, Arrival], Verdict]
type OnSession = Callable[[Left], Verdict]
type OnMessage = Callable[[Said], Verdict]


class Check(NamedTuple):
    """A check of exchanges, and for which of them it is asked at all."""

    rule_id: str
    moment: Moment
    check: OnExchange
    verb: str
    """Empty for any."""
    ok: bool | None
    """Only for answers with a 2xx status (or without); None for any."""


ON_EXCHANGE: list[Check] = []
ON_EVENT: list[tuple[str, OnEvent]] = []
ON_SESSION: list[tuple[str, OnSession]] = []
ON_MESSAGE: list[tuple[str, OnMessage]] = []


def on_request(rule_id: str, verb: str = "") -> Callable[[OnExchange], OnExchange]:
    """Register a check that looks when the request was read."""
    return _on_exchange(rule_id, Moment.REQUEST, verb)


def on_answer(rule_id: str, verb: str = "", *, ok: bool | None = None) -> Callable[[OnExchange], OnExchange]:
    """Register a check that looks when the answer was read, or the head of a stream."""
    return _on_exchange(rule_id, Moment.ANSWER, verb, ok)


def on_finish(rule_id: str, verb: str = "") -> Callable[[OnExchange], OnExchange]:
    """Register a check that looks when the exchange is over."""
    return _on_exchange(rule_id, Moment.FINISH, verb)


def on_event(rule_id: str) -> Callable[[OnEvent], OnEvent]:
    """Register a check that looks at each event of a stream."""

    def register(check: OnEvent) -> OnEvent:
        ON_EVENT.append((rule_id, check))
        return check

    return register


def on_abandoned(rule_id: str) -> Callable[[OnSession], OnSession]:
    """Register a check that looks when a session's client is gone."""

    def register(check: OnSession) -> OnSession:
        ON_SESSION.append((rule_id, check))
        return check

    return register


def on_message(rule_id: str) -> Callable[[OnMessage], OnMessage]:
    """Register a check that looks at each message of the rule's party by itself, later and in another thread."""

    def register(check: OnMessage) -> OnMessage:
        ON_MESSAGE.append((rule_id, check))
        return check

    return register


def _on_exchange(rule_id: str, moment: Moment, verb: str, ok: bool | None = None) -> Callable[[OnExchange], OnExchange]:
    def register(check: OnExchange) -> OnExchange:
        ON_EXCHANGE.append(Check(rule_id, moment, check, verb, ok))
        return check

    return register
