"""What the core answers: a decision for the exchange at hand, and effects for everything else that it wants done."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ..wire.headers import Fields, HeaderMap
from ..wire.jsonrpc import Body
from .client import Client, ProcessLike
from .exchange import Exchange
from .recovery.server_state import Held
from .session import Session

# Decisions, which the shell carries out without a thought of its own


@dataclass(frozen=True, slots=True)
class Ask:
    """Find out more before the request is told as `requested`: who sends it, or what another proxy knows of its id."""

    identity: bool = False
    recall: bool = False


@dataclass(frozen=True, slots=True)
class Forward:
    """Let the request pass, with this session id (None: as it is; empty: without the header)."""

    session_id: str | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the exchange waiting, be it for its request to go out or for its answer; a `Release` will follow."""


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer in the server's place with this status, and with this JSON if there is any."""

    status: int
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give the client the server's answer, or, after a resend, the server's original one."""

    original: bool = False


@dataclass(frozen=True, slots=True)
class Resend:
    """Send the request again, with this session id (empty: without the header)."""

    session_id: str
    drop_last_event_id: bool = False


type Decision = Forward | Hold | Reply | Deliver | Resend

PASS = Forward()
HOLD = Hold()
DELIVER = Deliver()


@dataclass(frozen=True, slots=True)
class Head:
    """What is to be done with an answer of which the head has arrived."""

    session_id: str | None = None
    """The session id to put in; None to leave it as it is."""
    stream: bool = False
    """Whether it is to be streamed to the client."""
    first: bytes = b""
    """Events that the client is to be given before those of the server."""


# Effects, which the shell fetches after every input


@dataclass(frozen=True, slots=True)
class Request:
    """A request in a client's place."""

    what: str
    """For the flow list, such as `initialize` or `DELETE session`."""
    verb: str
    url: str
    carried: Fields = field(repr=False)
    """Credentials and custom headers of the client's."""
    session: Session
    """Whose place it is sent in."""
    patience: float
    """Seconds within which it must be answered."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    content: bytes = field(default=b"", repr=False)
    cause: Exchange | None = field(default=None, repr=False)
    """The exchange that it is sent for, if it is for one: a recovery is."""
    unless_elsewhere: bool = False
    """Not to be sent if another proxy sees to the session's end by now; nor if that can't be known."""


@dataclass(slots=True, eq=False)
class Tag:
    """What a request is for: given out with it, and handed in with what came of it. Means nothing to the shell."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this, and tell `Core.sent` what came of it."""

    request: Request
    tag: Tag


@dataclass(frozen=True, slots=True)
class Release:
    """The outcome for an exchange that was kept waiting."""

    exchange: Exchange
    decision: Decision


class Matter(StrEnum):
    """What other proxies are asked about a session."""

    WEIGH = "whether anybody has seen its client"
    HANDSHAKE = "who shakes hands for it"
    COMMIT = "whether what the handshake came to stands"
    DELETE = "who ends it"


@dataclass(frozen=True, slots=True)
class Consult:
    """Ask the proxies that share the ledger, and tell `Core.sent` what they say."""

    matter: Matter
    session: Session
    tag: Tag
    patience: float
    """Seconds within which an answer must come."""


@dataclass(frozen=True, slots=True)
class Conclude:
    """What this proxy alone was allowed to do for a session is done; if it failed, the others need not try at once."""

    session: Session
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Watch:
    """Tell `Core.gone` when this process has ended."""

    process: ProcessLike


type Effect = Send | Release | Consult | Conclude | Watch


@dataclass(frozen=True, slots=True)
class News:
    """What other proxies know of a session. Times are seconds since the epoch."""

    server_id: str = field(repr=False)
    generation: int
    revision: str
    parameters: bytes | None = field(repr=False)
    result: bytes | None = field(repr=False)
    opened_by: str
    last_used: float
    stream_aborted_at: float | None
    left_at: float | None
    """When the last connection that carried it was closed."""
    streams: int
    """Open GET streams through other proxies."""
    connections: int
    """Open connections to other proxies that have carried it."""
    owners: tuple[tuple[Client, float], ...]
    """All clients that used it, with the time of their last use."""
    held: Held | None
    elsewhere: bool
    """Whether another proxy that lives has seen it."""


@dataclass(frozen=True, slots=True)
class Counsel:
    """What other proxies say."""

    granted: bool = False
    """Whether this proxy may do it, and no other until it has concluded."""
    alone: bool = False
    """They can't be asked now."""
    over: float = 0.0
    """When the session was over at its server, seconds since the epoch; 0 if it is not."""
    left: bool = False
    """Because its client has ended it."""
    news: News | None = None
    problem: str = ""
    """Why not, if this proxy may not."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request of the proxy's own: a status and headers, or none and a problem."""

    status: int | None = None
    headers: HeaderMap | None = None
    answer: Body | None = None
    problem: str = ""
    elsewhere: bool = False
    """It was not sent: another proxy sees to the session's end."""

    @property
    def said(self) -> str:
        """The message of the JSON-RPC error that the answer is; empty if it is none."""
        message = self.answer.first if self.answer else None
        return message.error_text if message else ""

    @property
    def succeeded(self) -> bool:
        """Whether it was answered with a JSON-RPC result."""
        message = self.answer.first if self.answer else None
        return message is not None and message.result is not None

    @property
    def why_not(self) -> str:
        """Why it did not succeed, in a few words."""
        return self.problem or f"answered {self.status}"
