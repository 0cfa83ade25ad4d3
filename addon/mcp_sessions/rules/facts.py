"""What the checks remember: of each session, each client, each endpoint and each exchange; every table bounded.

Kept by `memory.py`, read by the checks. Ids and tokens are keys as they came (`10` and `"10"` differ, `10.0` is `10`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..core.client import Client
from ..core.exchange import Exchange
from ..core.session import Session
from ..wire.jsonrpc import Message
from ..wire.revision import META_VERSION, REVISIONS, SESSION_REVISIONS, STATELESS_REVISIONS, Era

IDS_LIMIT = 10_000
"""Request ids that are remembered of a session."""
TOKENS_LIMIT = 1_000
"""Progress tokens that are remembered of a session."""
EVENTS_LIMIT = 5_000
"""Event ids that are remembered of a session."""
MESSAGES_LIMIT = 200
"""Server messages of a session that are compared with what its other streams bring."""
PENDING_LIMIT = 1_000
"""Requests of a session that wait for their response."""
PARTIES_LIMIT = 10_000
"""Pairs of client and endpoint."""
ASSIGNED_LIMIT = 10_000
"""Session ids of an endpoint of which it is known that they were handed out (as hashes)."""
TOOLS_LIMIT = 2_000
"""Tools of an endpoint whose `x-mcp-header` annotations are known."""
LINGERING_LIMIT = 1_000
"""POST streams that are still open after their response."""


class Recent[K, V](dict[K, V]):
    """A table of the latest entries; `overflowed` once one was pushed out."""

    __slots__ = ("limit", "overflowed")

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.overflowed = False

    def put(self, key: K, value: V) -> None:
        """Enter it as the latest; the oldest goes if there is no room."""
        self.pop(key, None)
        if len(self) >= self.limit:
            del self[next(iter(self))]
            self.overflowed = True
        self[key] = value


@dataclass(slots=True, eq=False)
class Asked:
    """A request id that was used, by whom, and what became of the request."""

    client: Client
    refused: int | None = None
    """Hash of the message, once it was refused unprocessed or cut off: the same may be sent again."""


@dataclass(slots=True, eq=False)
class Token:
    """A progress token."""

    active: int = 0
    """Unanswered requests that carry it."""
    last: float | None = None
    ended_at: float = 0.0
    ended_on: str = ""
    """The exchange that brought the answer."""
    task: bool = False
    """Belongs to a task and outlives its request."""


@dataclass(slots=True, eq=False)
class Stream:
    """An event stream."""

    exchange: str
    resumes: bool = False
    retry: int | None = None
    """Milliseconds, the last that was given."""
    ids: int = 0
    """Events with an id."""
    ended_at: float | None = None
    by_client: bool = False


class Seen(NamedTuple):
    """An event id that was used: for which data, and on which stream (None: on several)."""

    data: int
    stream: Stream | None


@dataclass(slots=True, eq=False)
class Talk:
    """What was said in one session, or between a client and a server that assigns no id. Times as the exchanges'."""

    place: Place
    shared: bool = False
    """Several clients may be behind it: nothing is said that needs their history told apart."""
    known_at: float | None = None
    """When the result of `initialize` was read; None if it was not seen."""
    revision: str = ""
    connection: str = ""
    """The connection that opened it."""
    client_can: dict[str, Any] = field(default_factory=dict)
    server_can: dict[str, Any] = field(default_factory=dict)
    initialized: bool = False
    used: bool = False
    """Anything but the handshake was sent in it."""
    worked: int = 0
    """2xx answers other than to the handshake."""
    called: int = 0
    """Requests other than `ping` that were answered."""
    unread: bool = False
    """A POST of it could not be read."""
    delete_sent: bool = False
    deleted_at: float | None = None
    """When the client's own `DELETE` was answered 2xx, in full."""
    lost_at: float | None = None
    """When a 404 said that the session is lost, if nothing has succeeded since."""
    lost_plainly: bool = False
    """It said so with a JSON-RPC error about the session."""
    generation: int = 0
    ids: Recent[Any, Asked] = field(default_factory=lambda: Recent(IDS_LIMIT))
    tokens: Recent[Any, Token] = field(default_factory=lambda: Recent(TOKENS_LIMIT))
    pending: Recent[Any, Notes] = field(default_factory=lambda: Recent(PENDING_LIMIT))
    server_asked: Recent[Any, str] = field(default_factory=lambda: Recent(PENDING_LIMIT))
    """Methods of the server's requests, by request id; empty where that does not tell what the answer must be like."""
    event_ids: Recent[str, Seen] = field(default_factory=lambda: Recent(EVENTS_LIMIT))
    open: dict[str, Stream] = field(default_factory=dict)
    """Streams that are open, by exchange."""
    messages: Recent[int, tuple[str, float]] = field(default_factory=lambda: Recent(MESSAGES_LIMIT))
    credentials: Recent[str, float] = field(default_factory=lambda: Recent(8))
    """Credentials that were used, and when they were replaced."""
    said: set[str] = field(default_factory=set)
    """What is complained of once only and was."""

    def once(self, what: str) -> bool:
        """Whether it is the first time that this is complained of."""
        if what in self.said:
            return False
        self.said.add(what)
        return True

    @property
    def known(self) -> bool:
        """Whether its history is known from the beginning."""
        return self.known_at is not None and not self.shared


class Annotated(NamedTuple):
    """A parameter of a tool that is to be mirrored into a header."""

    path: tuple[str, ...]
    header: str
    kind: str


@dataclass(slots=True, eq=False)
class Place:
    """What is remembered of an endpoint."""

    assigns: bool = False
    """It assigned a session id to some `initialize`."""
    modern: bool = False
    """It has shown that it speaks 2026-07-28."""
    refuses_delete: bool = False
    latest: Recent[str, None] = field(default_factory=lambda: Recent(16))
    handed_out: Recent[int, None] = field(default_factory=lambda: Recent(ASSIGNED_LIMIT))
    tools: Recent[tuple[str, str], tuple[float, tuple[Annotated, ...]]] = field(
        default_factory=lambda: Recent(TOOLS_LIMIT)
    )
    """By credentials and name: until when it holds, and what is annotated."""
    said: set[str] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class Party:
    """What is remembered of one client at one endpoint."""

    initialize_at: float = float("-inf")
    """When it last sent `initialize`."""
    initializing: Recent[str, None] = field(default_factory=lambda: Recent(16))
    """Its `initialize` requests that are not answered yet."""
    idless: Talk | None = None
    """Its talk with a server that assigned no id."""


@dataclass(slots=True, eq=False)
class Notes:
    """What is remembered of one exchange."""

    place: Place
    party: Party
    sessions: Mapping[Session, Talk]
    """What was said in all sessions."""
    talk: Talk | None = None
    asked: str = ""
    """The version that an `initialize` asked for."""
    untimed: bool = False
    """The times of its events are not known: it was recorded without them."""
    due: set[Any] = field(default_factory=set)
    """Ids of its requests whose response is still missing."""
    tokens: dict[Any, Token] = field(default_factory=dict)
    """Its progress tokens."""
    token_of: dict[Any, Token] = field(default_factory=dict)
    """The same by request id."""
    cancelled: bool = False
    responded_at: float | None = None
    """When the last response that was due arrived."""
    resulted: bool = False
    """A result, not an error, was among them."""
    error_code: int | None = None
    stream: Stream | None = None
    unread: bool = False
    """The answer could not be read."""
    on_open: bool = False
    """An `initialize` with the id of an open session."""
    left_open_said: bool = False
    mismatch: dict[str, str] | None = None
    """Headers that do not say what the body says, and how; None until they were compared."""
    attempts: int = 0
    """How often it was sent again, as far as is booked here."""


def notes(x: Exchange) -> Notes:
    """What is remembered of this exchange."""
    assert isinstance(x.notes, Notes)
    return x.notes


def talk_of(x: Exchange) -> Talk | None:
    """What was said before in the session of this exchange; None if it has none that is known."""
    return notes(x).talk


def valid_key(value: Any) -> bool:
    """Whether this may be a request id or a progress token at all: a string or a whole number."""
    return (isinstance(value, (str, int)) and not isinstance(value, bool)) or is_whole(value)


def is_whole(value: Any) -> bool:
    """Whether it is a number such as 10.0, which JSON does not tell from 10."""
    return isinstance(value, float) and value.is_integer()


def progress_token(message: Message) -> Any:
    """The progress token that a request carries; None if there is none."""
    meta = message.params.get("_meta")
    token = meta.get("progressToken") if isinstance(meta, dict) else None
    return token if valid_key(token) else None


def meta_of(message: Message | None) -> dict[str, Any]:
    """The `_meta` of a message's parameters; empty if there is none."""
    meta = message.params.get("_meta") if message else None
    return meta if isinstance(meta, dict) else {}


def revision_of(x: Exchange) -> str | None:
    """The revision that an exchange is judged by; None where only its era is known."""
    header = x.headers.get("mcp-protocol-version")
    if x.era is Era.STATELESS:
        stateless = STATELESS_REVISIONS[0]
        return stateless if header == stateless or meta_of(x.message).get(META_VERSION) == stateless else None
    kept = notes(x)
    talk = kept.talk
    if talk is not None and talk.revision in SESSION_REVISIONS:
        return talk.revision
    if x.session is not None and x.session.opened_by == "client" and x.session.revision in SESSION_REVISIONS:
        return x.session.revision
    if kept.asked:
        return kept.asked if kept.asked in SESSION_REVISIONS else None
    return header if header in REVISIONS and header not in STATELESS_REVISIONS else None
