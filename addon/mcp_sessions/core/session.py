"""A session: the id that its client knows, the id that the server knows, and what has happened to it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

from ..wire.headers import Fields
from ..wire.jsonrpc import dump, load
from .client import Client
from .recovery.server_state import Held
from .states import OPENED, ClientSide, Reason, ServerSide, Standing, State, Why

HISTORY_LIMIT = 200
"""Entries of a session's history that are kept; the oldest go first."""

REPLACED_LIMIT = 20
"""Server-side ids of earlier generations that are remembered, to be deleted with the session."""

SHARED_LIMIT = 4 * 1024
"""Bytes up to which such a text is shared by the sessions that have the same."""

PARAMETERS_LIMIT = 64 * 1024
"""Bytes of `initialize` parameters, or of their result, that are kept of a session."""

SHARED_LIMIT = 4 * 1024
"""Bytes of parameters, or of a result, up to which equal ones are kept once: of those, 4,096 are remembered."""

ID_LIMIT = 1024
"""Characters of a session id that is kept; a longer one is passed on, and nothing is done about its session."""

UNKNOWN_CREDENTIALS = "?"
"""In the place of a session's credentials when it was found in a ledger that does not say: equal to none."""

type Whose = tuple[str, str]
"""An address and hashed credentials, which together tell whose a session is."""

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
    """One line of a session's history."""

    at: float
    """Seconds since the epoch."""
    what: str
    detail: str = ""
    state: State | None = None
    """What the session was from then on, where this has changed it."""


def shorten(session_id: str) -> str:
    """A session id as it may stand in a log: at most eight characters, at most a third of it, and printable."""
    return _harmless(session_id[: min(8, max(1, len(session_id) // 3))])


@lru_cache(maxsize=4096)
def _harmless(head: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in head)


@lru_cache(maxsize=4096)
def _shared(text: bytes) -> bytes:
    """The same text for all: the sessions of one program open with the same few parameters."""
    return text


def packed(value: dict[str, Any] | None) -> bytes | None:
    """Parameters, or a result, as they are kept: None for what is too large to be."""
    if value is None:
        return None
    text = dump(value)
    if len(text) > PARAMETERS_LIMIT:
        return None
    return _shared(text) if len(text) <= SHARED_LIMIT else text


@dataclass(slots=True, eq=False, weakref_slot=True)
class Session:
    """One session of one client at one endpoint. Times are seconds since the epoch.

    `client_id` never changes. `server_id` does, with each recovery, which also counts `generation` up. How it stands
    changes through `Ledger.fire` alone.
    """

    endpoint: Endpoint
    client_id: str = field(repr=False)
    server_id: str = field(repr=False)
    opened: float
    last_used: float
    revision: str
    """The negotiated revision."""
    standing: Standing = OPENED
    parameters: bytes | None = field(default=None, repr=False)
    """The parameters of the client's `initialize` as JSON; None if it was not seen."""
    result: bytes | None = field(default=None, repr=False)
    """The latest result of `initialize` as JSON."""
    generation: int = 0
    owners: dict[Client, float] = field(default_factory=dict)
    """The clients that used it, with the time of their last use; the latest stands last."""
    opener: Client | None = None
    """The process that sent its `initialize`."""
    confirmer: Client | None = None
    """The process that sent `notifications/initialized`."""
    shell: Client | None = None
    """The process that has started all that used it, if these were couriers (`ending.parts`)."""
    vouched: tuple[Client, ...] = ()
    """Those of its owners that used it over a connection of which it is settled that no process is known behind it."""
    credentials: str = field(default="", repr=False)
    """Hash of the credentials with which the server accepted its client last, or opened it."""
    whose: Whose | None = None
    """By what it is found where its client's id is not enough; None for the first that was known by that id."""
    written_as: str = field(default="", repr=False)
    """By what it is written down where that id is not enough; empty before it was."""
    stored: bool = False
    """Whether it was written down: where that is no more, another proxy has ended it."""
    fields: Fields = field(default=(), repr=False)
    """What requests in the client's place take from its latest one: credentials, custom headers. In memory only."""
    url: str = field(default="", repr=False)
    """The full URL of the latest request, with its query. In memory only."""
    requests: int = 0
    """Messages other than the handshake that the client sent in it."""
    answered: int = 0
    """Those that the server answered with success."""
    answered_before: int = 0
    """What `answered` stood at when the present generation began."""
    recoveries: int = 0
    replaced: tuple[str, ...] = field(default=(), repr=False)
    """Ids of earlier generations, to be deleted with the session."""
    streams: dict[str, float] = field(default_factory=dict)
    """Open GET streams: exchange id, and since when."""
    under_way: dict[str, str] | None = None
    """Its client's messages that are not answered yet: exchange id, and the connection it came by. None for none."""
    stream_aborted_at: float | None = None
    """When the client itself hung up its last GET stream, if it has opened none since."""
    connections: Collection[str] = ()
    """Open connections that have carried it."""
    left_at: float | None = None
    """When the last of those was closed, or nothing was under way any more."""
    watched_from: float = 0.0
    """Since when its client could be observed; later than `opened` if it was found in a ledger on disk."""
    held: Held | None = None
    """What it holds at its server, to be restored after a recovery; None if that is nothing."""
    reason: Reason | None = None
    """Why it is being ended, or was, if that is so."""
    outcome: Reason | None = None
    """Why it could not be ended."""
    elsewhere: bool = False
    """Whether other proxies have seen it, as far as is known."""
    opened_by: str = "client"
    history: list[Entry] = field(default_factory=list)
    violations: dict[str, int] = field(default_factory=dict)
    route: object = None
    """The shell's: how the server of this session is reached."""
    notes: object = field(default=None, repr=False)
    """What an observer keeps of it."""
    number: int = field(default_factory=lambda: next(_numbers))
    """Tells it from every other session of this run, where its id may not be shown and its label is not enough."""

    @property
    def label(self) -> str:
        """A short name that tells sessions apart and gives no id away."""
        return shorten(self.client_id)

    @property
    def state(self) -> State:
        """How it stands, in one word."""
        return self.standing.word

    @property
    def kept(self) -> bool:
        """Whether the user protects it from being ended by the proxy."""
        return self.standing.kept

    @property
    def left(self) -> bool:
        """Whether its client has ended it, so that nobody ever brings it back."""
        return self.standing.client is ClientSide.LEFT

    @property
    def over(self) -> bool:
        """Whether it is deleted at its server."""
        return self.standing.server is ServerSide.DELETED

    @property
    def given(self) -> bool:
        """Whether its server has given the id by which it knows it, or has accepted it."""
        return self.opened_by != "unknown" or self.answered > 0 or self.generation > 0

    @property
    def ended_by(self) -> str:
        """Who has ended it, once it is over: `proxy` or `client`; empty before."""
        if not self.over:
            return ""
        return "client" if self.reason is None or self.reason.kind is Why.CLIENT_DELETE else "proxy"

    @property
    def evidence(self) -> str:
        """Why the proxy is ending it, or has, and why that failed if it did, for people to read."""
        if self.reason is None or self.reason.kind is Why.CLIENT_DELETE:
            return ""
        return self.reason.text if self.outcome is None else f"{self.reason.text}; {self.outcome.text}"

    @property
    def mapped(self) -> bool:
        """Whether client and server know it by different ids."""
        return self.client_id != self.server_id

    @property
    def client(self) -> Client | None:
        """The client that used it last."""
        return next(reversed(self.owners), None)

    @property
    def settled_owners(self) -> dict[Client, float]:
        """Its owners, less the addresses that may yet turn out to be one of the processes among them."""
        if not any(owner.is_process for owner in self.owners):
            return self.owners
        return {owner: at for owner, at in self.owners.items() if owner.is_process or owner in self.vouched}

    @property
    def client_label(self) -> str:
        """Its latest client in a log line."""
        return self.client.label if self.client else "unknown"

    @property
    def initialize(self) -> dict[str, Any] | None:
        """The parameters of the client's `initialize`; None if they are not known."""
        return load(self.parameters)

    @property
    def answer(self) -> dict[str, Any] | None:
        """The latest result of `initialize`; None if it is not known."""
        return load(self.result)

    def holding(self) -> Held:
        """What it holds, to be written to."""
        if self.held is None:
            self.held = Held()
        return self.held

    def note(self, at: float, what: str, detail: str = "", state: State | None = None) -> None:
        """Add a line to the history."""
        if len(self.history) >= HISTORY_LIMIT:
            del self.history[: HISTORY_LIMIT // 4]
        self.history.append(Entry(at, what, detail, state))
