"""What the user chose, as the core needs it: when to bring sessions back, and when to end them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

type Recover = Literal["on", "read-only", "reinit", "off"]
type End = Literal["on", "log", "off"]
type AtExit = Literal["mapped", "all", "none"]


@dataclass(frozen=True, slots=True)
class Policy:
    """The choices. Times are seconds."""

    recover: Recover = "on"
    """What is done about a session that the server has lost: `read-only` sends no call again that may do harm, `reinit`
    sends nothing again."""
    dialects: frozenset[int] = frozenset({400})
    """Statuses other than 404 that may mean a lost session."""
    recover_unknown: bool = True
    """Whether sessions are brought back, too, that were opened before the proxy saw them."""
    recover_timeout: float = 30.0
    """Within which a handshake in a client's place must be answered, and a server that is down be back."""
    end: End = "on"
    """Whether `DELETE` is sent for sessions whose client is gone; `log` only says so."""
    end_timeout: float = 10.0
    """Within which a `DELETE` must be answered."""
    end_after_stream: float = 60.0
    """How long after its client has aborted its stream and closed its connections a session is ended."""
    end_after_idle: float = 1800.0
    """How long a session without connection or request is kept."""
    end_superseded: bool = False
    """Whether a session is ended that its client has left alone since it opened another, though the client lives."""
    end_after_superseded: float = 300.0
    """How long after that."""
    end_at_exit: AtExit = "mapped"
    """Which sessions are ended when the proxy ends."""

    def passive(self) -> Policy:
        """The same, but nothing is ever sent: for looking at what has happened."""
        return replace(self, recover="off", end="off")
