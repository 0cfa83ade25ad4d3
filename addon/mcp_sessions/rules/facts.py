"""What the checks remember of each endpoint, client and exchange (of sessions: see `talks`); every table bounded.

Kept by `memory.py`, read by the checks. Ids and tokens are keys as they came (`10` and `"10"` differ, `10.0` is `10`).
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from ..core.exchange import Exchange
from ..wire.jsonrpc import Message
from ..wire.revision import META_VERSION, SESSION_REVISIONS, STATELESS_REVISIONS, Era
from .places import Place
from .tables import Recent
from .talks import Stream, Talk, Token

PARTIES_LIMIT = 10_000
"""Pairs of client and endpoint."""


@dataclass(slots=True, eq=False)
class Party:
    """What is remembered of one client at one endpoint."""

    initialize_at: float = float("-inf")
    """When it last sent `initialize`."""
    opened_at: float = float("-inf")
    """When it was last given a session that was new."""
    renewed_at: float = float("-inf")
    """When an `initialize` of its was last answered with the id of a session that it has."""
    renewed: str = ""
    """That id, as the server knows it."""
    settled: bool = False
    """It has a session whose `initialize` was answered, or which was there before."""
    initialize_id: Any = None
    """The id of the latest of these."""
    initializing: Recent[str, str] = field(default_factory=lambda: Recent(16))
    """Its `initialize` requests that are not answered yet, by exchange: the versions that they ask for."""
    idless: Talk | None = None
    """Its talk with a server that assigned no id; shared if there are several clients in its process."""
    before: bool = False
    """It has spoken without an id before any `initialize` of its was answered."""


class Notes:
    """What is remembered of one exchange. Most of it stays as it stands here: only what differs takes time to set."""

    place: Place
    revision: str | None = None
    """What it is judged by, if it is stateless: then that stays the same."""
    traits: int = 0
    """What stays the same about it from its request on: see `traits`."""
    talk: Talk | None = None
    party: Party | None = None
    """Its client at its endpoint, where a check may ask for that."""
    told_at: float | None = None
    """When its client was told that its session is lost, if it has not started anew since."""
    asked: str = ""
    """The version that an `initialize` asked for."""
    untimed: bool = False
    """The times of its events are not known: it was recorded without them."""
    due: Set[Any] = frozenset()
    """Ids of its requests whose response is still missing."""
    tokens: Recent[Any, Token] | None = None
    """Its progress tokens, where they are not those of a session."""
    token_of: dict[Any, Token] | None = None
    """Its progress tokens by request id."""
    cancelled: bool = False
    acknowledged: bool = False
    """Its subscription has brought something."""
    over: bool = False
    """It is finished, answered or not."""
    replied: Set[Any] = frozenset()
    """Ids of its requests to which its own stream has brought a response."""
    responded_at: float | None = None
    """When the last response that was due arrived."""
    resulted: bool = False
    """A result, not an error, was among them."""
    stream: Stream | None = None
    unread: bool = False
    """The answer could not be read."""
    on_open: bool = False
    """An `initialize` with the id of an open session."""
    left_open_said: bool = False
    mismatch: dict[str, str] | None = None
    """Headers that do not say what the body says, and how."""
    attempts: int = 0
    """How often it was sent again, as far as is booked here."""
    broken: dict[str, int] | None = None
    """How often it has broken each rule."""

    def __init__(self, place: Place) -> None:
        self.place = place


def notes(x: Exchange) -> Notes:
    """What is remembered of this exchange."""
    kept: Notes = x.notes  # type: ignore[assignment]  # asked a dozen times for each exchange: not verified
    return kept


def talk_of(x: Exchange) -> Talk | None:
    """What was said before in the session of this exchange; None if it has none that is known."""
    kept: Notes = x.notes  # type: ignore[assignment]
    return kept.talk


def valid_key(value: Any) -> bool:
    """Whether this may be a request id or a progress token at all: a string or a whole number."""
    kind = type(value)
    return kind is int or kind is str or (kind is float and value.is_integer())


def is_integer(value: Any) -> TypeGuard[int | float]:
    """Whether it is an integer, be it written `10.0`."""
    return type(value) is int or is_whole(value)


def is_whole(value: Any) -> bool:
    """Whether it is a number such as 10.0, which JSON does not tell from 10."""
    return isinstance(value, float) and value.is_integer()


def progress_token(message: Message) -> Any:
    """The progress token that a request carries; None if there is none."""
    meta = message.params.get("_meta")
    if not isinstance(meta, dict):
        return None
    token = meta.get("progressToken")
    return token if valid_key(token) else None


def meta_of(message: Message | None) -> dict[str, Any]:
    """The `_meta` of a message's parameters; empty if there is none."""
    meta = message.params.get("_meta") if message else None
    return meta if isinstance(meta, dict) else {}


def revision_of(x: Exchange) -> str | None:
    """The revision that an exchange is judged by; None where only its era is known."""
    kept = notes(x)
    if kept.talk is not None and kept.talk.judged_by is not None:
        return kept.talk.judged_by
    if kept.revision is not None:
        return kept.revision
    header = x.headers.get("mcp-protocol-version")
    if x.era is Era.STATELESS:
        stateless = STATELESS_REVISIONS[0]
        return stateless if header == stateless or meta_of(x.message).get(META_VERSION) == stateless else None
    if x.session is not None and x.session.opened_by == "client" and x.session.revision in SESSION_REVISIONS:
        return x.session.revision
    asked = kept.asked
    if not asked and header is None and kept.party is not None and len(kept.party.initializing) == 1:
        asked = next(iter(kept.party.initializing.values()))
    named = asked or header
    return named if named in SESSION_REVISIONS else None
