"""What the core answers: decisions, which the shell carries out without a thought of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .session import Session

# On a request


@dataclass(frozen=True, slots=True)
class Forward:
    """Let the request pass, with this session id (None: as it is; empty: without the header)."""

    session_id: str | None = None
    drop_last_event_id: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the request until the session's recovery has come to an end; a `Release` will follow."""

    session: Session


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer in the server's place with this status and no body."""

    status: int


# On an answer


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give the client the server's answer, or, after a resend, the server's original one."""

    original: bool = False


@dataclass(frozen=True, slots=True)
class Shake:
    """Begin a handshake for the session, and keep this exchange waiting for its outcome."""

    session: Session


@dataclass(frozen=True, slots=True)
class Wait:
    """A handshake is under way already: keep the exchange waiting for its outcome."""

    session: Session


@dataclass(frozen=True, slots=True)
class Resend:
    """Send the request again, with this session id (empty: without the header)."""

    session_id: str
    drop_last_event_id: bool = False


type OnRequest = Forward | Hold | Reply
type OnAnswer = Deliver | Shake | Wait | Resend | Reply


@dataclass(frozen=True, slots=True)
class Release:
    """The outcome for an exchange that was kept waiting."""

    exchange_id: str
    decision: OnRequest | OnAnswer


# At any time


@dataclass(frozen=True, slots=True)
class End:
    """Send `DELETE` for this session, for this reason."""

    session: Session
    evidence: str
    server_id: str = field(repr=False)
    final: bool = True
    """False for the id of an earlier generation, whose answer changes nothing."""
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Retry:
    """Send this `DELETE` again, after so many seconds."""

    end: End
    seconds: float
