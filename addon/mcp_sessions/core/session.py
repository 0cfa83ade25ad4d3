"""A session: the id that its client knows, the id that the server knows, and what has happened to it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

from ..wire.headers import Fields
from .client import Client
from .recovery.server_state import Held
from .states import Cause, State, step

HISTORY_LIMIT = 200
"""Entries of a session's history that are kept; the oldest go first."""

REPLACED_LIMIT = 20
"""Server-side ids of earlier generations that are remembered, to be deleted with the session."""


UNKNOWN_CREDENTIALS = "?"
"""In the place of a session's credentials when it was found in a ledger on disk, which holds none."""
_numbers = count(1)


class Endpoint(NamedTuple):
    """Where a server speaks MCP. The query is left out: it may carry a secret."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def origin(self) -> str:
        """Scheme, host and port, as an URL begins."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.origin}{self.path}"


class Entry(NamedTuple):
    """One line of a session's history: when (seconds since the epoch), what, and any detail."""

    at: float
    what: str
    detail: str = ""


@lru_cache(maxsize=4096)
def shorten(session_id: str) -> str:
    """A session id as it may stand in a log: at most eight characters, at most a third of it, and printable."""
    head = session_id[: min(8, max(1, len(session_id) // 3))]
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in head)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Session:
    """One session of one client at one endpoint.

    `client_id` never changes. `server_id` does, with each recovery, which also counts `generation` up.
    """

    endpoint: Endpoint
    client_id: str = field(repr=False)
    server_id: str = field(repr=False)
    opened: float
    last_used: float
    revision: str
    """The negotiated revision."""
    initialize: dict[str, Any] | None = None
    """The parameters of the client's `initialize`; None if the session was opened before the proxy saw it."""
    answer: dict[str, Any] | None = None
    """The latest result of `initialize`."""
    state: State = State.OPEN
    generation: int = 0
    owners: dict[Client, float] = field(default_factory=dict)
    """The clients that used it, with the time of their last use."""
    credentials: str = field(default="", repr=False)
    """Keyed hash of the credentials that opened it or used it last."""
    fields: Fields = field(default=(), repr=False)
    """Headers of the latest request, for requests in the client's place. In memory only."""
    url: str = field(default="", repr=False)
    """The full URL of the latest request, with its query. In memory only."""
    requests: int = 0
    """Messages other than the handshake that the client sent in it."""
    answered: int = 0
    """Those that the server answered with success."""
    answered_before: int = 0
    """What `answered` stood at when the present generation began."""
    recoveries: int = 0
    replaced: deque[str] = field(default_factory=lambda: deque(maxlen=REPLACED_LIMIT), repr=False)
    streams: dict[str, float] = field(default_factory=dict)
    """Open GET streams: exchange id, and since when."""
    stream_aborted_at: float | None = None
    """When the client itself hung up its last GET stream, if it has opened none since."""
    connections: set[str] = field(default_factory=set)
    """Open connections that have carried it."""
    left_at: float | None = None
    """When the last of those was closed."""
    watched_from: float = 0.0
    """Since when its client could be observed; later than `opened` if it was found in a ledger on disk."""
    left: bool = False
    """Its client sent DELETE, answered or not: it is never brought back."""
    returnable: bool = False
    """The proxy ended it without its client's word: should that client turn up, it may be brought back."""
    kept: bool = False
    """Protected by hand: never ended by the proxy."""
    held: Held = field(default_factory=Held)
    """What it holds at its server, to be restored after a recovery."""
    notes: object = field(default=None, repr=False)
    """What an observer keeps of it."""
    evidence: str = ""
    """Why it was ended, once it was."""
    opened_by: str = "client"
    history: deque[Entry] = field(default_factory=lambda: deque(maxlen=HISTORY_LIMIT))
    violations: dict[str, int] = field(default_factory=dict)
    number: int = field(default_factory=lambda: next(_numbers))
    """Tells it from every other session of this run, where its id may not be shown and its label is not enough."""

    @property
    def label(self) -> str:
        """A short name that tells sessions apart and gives no id away."""
        return shorten(self.client_id)

    @property
    def mapped(self) -> bool:
        """Whether client and server know it by different ids."""
        return self.client_id != self.server_id

    @property
    def client(self) -> Client | None:
        """The client that used it last."""
        return next(reversed(self.owners), None)

    @property
    def orphaned(self) -> bool:
        """Whether every client that ever used it is known to be gone."""
        return bool(self.owners) and all(owner.gone for owner in self.owners)

    @property
    def settled_owners(self) -> dict[Client, float]:
        """Its owners, less the addresses that may yet turn out to be one of the processes among them."""
        if not any(owner.is_process for owner in self.owners):
            return self.owners
        return {owner: at for owner, at in self.owners.items() if owner.is_process or self in owner.vouched}

    @property
    def client_label(self) -> str:
        """Its latest client in a log line."""
        return self.client.label if self.client else "unknown"

    def note(self, at: float, what: str, detail: str = "") -> None:
        """Add a line to the history."""
        self.history.append(Entry(at, what, detail))

    def apply(self, cause: Cause, at: float, detail: str = "") -> bool:
        """Let something happen to it; whether that changed its state."""
        following = step(self.state, cause)
        if following is None:
            return False
        self.state = following
        self.note(at, cause.value, detail)
        return True
