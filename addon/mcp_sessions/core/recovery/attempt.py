"""One attempt to bring a session back: what is still to be said to the server, and who waits for it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ...wire import headers as h
from ..exchange import Exchange
from ..session import Session
from .handshake import Step
from .replay import Treatment


@dataclass(slots=True, eq=False)
class Attempt:
    """A handshake under way, and who waits for it: refused exchanges with their treatment, held ones without."""

    session: Session
    url: str
    carried: h.Fields = field(repr=False)
    deadline: float
    waiting: dict[str, tuple[Exchange, Treatment | None]] = field(default_factory=dict)
    steps: deque[Step] = field(default_factory=deque)
    """What is still to be sent."""
    under_way: int = 0
    """Messages that are not answered yet."""
    refusals: int = 0
    """How often the server could not be reached for it."""
    due: float | None = None
    """When to try again then."""
