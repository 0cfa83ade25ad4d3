"""What is remembered of a session. There may be 100,000: whatever most of them have no use for is made when needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .history import History
from .places import Place
from .tables import Ids, Recent

TOKENS_LIMIT = 1_000
"""Progress tokens that are remembered of a session."""
EVENTS_LIMIT = 5_000
"""Event ids that are remembered of a session."""
MESSAGES_LIMIT = 200
"""Server messages of a session that are compared with what its other streams bring."""
PENDING_LIMIT = 1_000
"""Requests of a session that wait for their response."""
CREDENTIALS_LIMIT = 8
"""Credentials that are remembered of a session."""


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
    ambiguous: bool = False
    """Several unanswered requests carry it, or did at a time: it can't be told for which progress is."""


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
    of: Stream | None = None
    """The stream that it goes on with, if that is known."""


type Seen = tuple[int, Stream | None]
"""An event id that was used: the hash of its data (0 if it had none), and on which stream (None: on several)."""


def hash_of(data: bytes | None) -> int:
    """What the data of an event is known again by."""
    return hash(data) if data else 0


@dataclass(slots=True, eq=False)
class Talk:
    """What was said in one session, or between a client and a server that assigns no id. Times as the exchanges'.

    A table is None as long as nothing was entered.
    """

    place: Place
    shared: bool = False
    """Several clients may be behind it: nothing is said that needs their history told apart."""
    known_at: float | None = None
    """When the result of `initialize` was read; None if it was not seen."""
    revision: str = ""
    judged_by: str | None = None
    """The same, if it is one that has rules."""
    connection: str = ""
    """The connection that opened it."""
    client_can: frozenset[str] = frozenset()
    """What its client has declared, of what a check asks for."""
    server_can: frozenset[str] = frozenset()
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
    told_at: float | None = None
    """When its client was first given the refusal that says it is lost, if nothing has succeeded since."""
    generation: int = 0
    ids: Ids | None = None
    """The ids of the client's requests."""
    tokens: Recent[Any, Token] | None = None
    pending: dict[Any, Any] | None = None
    """Requests without a response, each with the `Notes` of its exchange; None again once there are none."""
    pending_overflowed: bool = False
    server_asked: Recent[Any, str] | None = None
    """Methods of the server's requests, by request id; empty where that does not tell what the answer must be like."""
    event_ids: Recent[str, Seen] | None = None
    open: dict[str, Stream] | None = None
    """Streams that are open, by exchange; None again once there are none."""
    messages: Recent[int, tuple[str, float]] | None = None
    credentials: str | None = None
    """The credentials that were used last; None before the first."""
    replaced: Recent[str, float] | None = None
    """Credentials that were used before, and when they were replaced."""
    said: set[str] | None = None
    """What is complained of once only and was."""
    resent: bool = False
    """The proxy sent a request of it again, the answers to which are not looked at, or a stream may pass unread."""
    history: History | None = None
    """What single rules remember of it."""

    def once(self, what: str) -> bool:
        """Whether it is the first time that this is complained of."""
        if self.said is None:
            self.said = set()
        elif what in self.said:
            return False
        self.said.add(what)
        return True

    @property
    def known(self) -> bool:
        """Whether its history is known from the beginning."""
        return self.known_at is not None and not self.shared

    def wait(self, request_id: Any, kept: Any) -> None:
        """A request waits for its response."""
        waiting = self.pending
        if waiting is None:
            self.pending = {request_id: kept}
            return
        waiting.pop(request_id, None)
        if len(waiting) >= PENDING_LIMIT:
            del waiting[next(iter(waiting))]
            self.pending_overflowed = True
        waiting[request_id] = kept

    def waiting(self, request_id: Any) -> Any:
        """The notes of the exchange whose request of this id waits for its response."""
        return self.pending.get(request_id) if self.pending is not None else None

    def settle(self, request_id: Any) -> None:
        """A request does not wait any more."""
        if self.pending is not None:
            self.pending.pop(request_id, None)
            if not self.pending:
                self.pending = None

    def opened(self, exchange: str, stream: Stream) -> None:
        """A stream was opened."""
        if self.open is None:
            self.open = {}
        self.open[exchange] = stream

    def closed(self, exchange: str) -> None:
        """A stream is over, if it was one."""
        if self.open is not None:
            self.open.pop(exchange, None)
            if not self.open:
                self.open = None

    def authorized(self, credentials: str, at: float) -> None:
        """Other credentials are used than before."""
        if self.replaced is not None:
            self.replaced.pop(credentials, None)
        if self.credentials is not None:
            if self.replaced is None:
                self.replaced = Recent(CREDENTIALS_LIMIT - 1)
            self.replaced.put(self.credentials, at)
        self.credentials = credentials

    def begin_generation(self, number: int) -> None:
        """The server knows nothing of the generation before: neither of its events nor of its loss."""
        self.generation = number
        self.event_ids = self.server_asked = self.lost_at = self.history = None

    def saw(self, event_id: str, data: bytes | None, stream: Stream) -> None:
        """An event with an id arrived on a stream."""
        if self.event_ids is None:
            self.event_ids = Recent(EVENTS_LIMIT)
        before = self.event_ids.get(event_id)
        known = before is None or before[1] is stream or stream.resumes
        what = hash_of(data) or (before[0] if before is not None and known else 0)
        self.event_ids.put(event_id, (what, stream if known else None))

    def seen(self, event_id: str) -> Seen | None:
        """What is known of an event id."""
        return self.event_ids.get(event_id) if self.event_ids is not None else None


def history(talk: Talk) -> History:
    """What single rules remember of a session."""
    if talk.history is None:
        talk.history = History()
    return talk.history


OF_SERVERS = (
    "tools",
    "tools.listChanged",
    "prompts",
    "prompts.listChanged",
    "resources",
    "resources.subscribe",
    "resources.listChanged",
    "completions",
    "tasks",
    "tasks.list",
    "tasks.cancel",
    "tasks.requests.tools.call",
    "logging",
)
"""What a check asks for that a server has declared: a member of a member after a dot."""
OF_CLIENTS = ("sampling", "elicitation", "roots")
"""The same for clients."""
PARTS_OF_CLIENTS = (
    "sampling.tools",
    "sampling.context",
    "elicitation.form",
    "elicitation.url",
    "roots.listChanged",
    "tasks.requests.sampling.createMessage",
    "tasks.requests.elicitation.create",
)
"""The same for members of what clients declare."""


def declared_by_server(capabilities: Any) -> frozenset[str]:
    """Which of `OF_SERVERS` is there, and neither null nor false."""
    return _shared(frozenset(name for name in OF_SERVERS if _has(capabilities, name)))


def declared_by_client(capabilities: Any) -> frozenset[str]:
    """Which of `OF_CLIENTS` is an object, and which of `PARTS_OF_CLIENTS` is there."""
    here = capabilities if isinstance(capabilities, dict) else {}
    found = [name for name in OF_CLIENTS if isinstance(here.get(name), dict)]
    return _shared(frozenset([*found, *(name for name in PARTS_OF_CLIENTS if _has(here, name))]))


def _has(capabilities: Any, name: str) -> bool:
    """Whether a member of a member is there, and neither null nor false."""
    here = capabilities
    for part in name.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return here not in (None, False)


@lru_cache(maxsize=512)
def _shared(found: frozenset[str]) -> frozenset[str]:
    """The one set of these names: sessions by the thousand have declared the same."""
    return found
