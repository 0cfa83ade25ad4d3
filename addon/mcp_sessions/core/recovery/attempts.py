"""Handshakes under way: who waits for each, and when it will have taken too long."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from ...wire.headers import Fields
from ..exchange import Exchange
from ..session import Session
from .handshake import Step
from .replay import Treatment


@dataclass(slots=True, eq=False)
class Attempt:
    """A handshake under way, and who waits for it: refused exchanges with their treatment, held ones without."""

    session: Session
    url: str
    carried: Fields = field(repr=False)
    deadline: float
    x: Exchange | None = None
    """The exchange that it was begun for."""
    waiting: dict[str, tuple[Exchange, Treatment | None]] = field(default_factory=dict)
    steps: deque[Step] = field(default_factory=deque)
    """What is still to be sent."""
    under_way: int = 0
    """Messages that are not answered yet."""
    over: bool = False


class Attempts(dict[Session, Attempt]):
    """All of them. It has no clock: times come with what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self._deadlines: list[tuple[float, int, Attempt]] = []
        self._order = count()

    def time(self, attempt: Attempt) -> None:
        """Have an attempt looked at when its time is over."""
        heappush(self._deadlines, (attempt.deadline, next(self._order), attempt))

    @property
    def next_deadline(self) -> float | None:
        """When the next one will have taken too long."""
        deadlines = self._deadlines
        while deadlines and (deadlines[0][2].over or deadlines[0][0] != deadlines[0][2].deadline):
            heappop(deadlines)
        return deadlines[0][0] if deadlines else None

    def first(self) -> Attempt:
        """The one whose time is over first; it is not looked at again."""
        return heappop(self._deadlines)[2]

    def take_off(self, attempt: Attempt) -> None:
        """An attempt has come to its end."""
        del self[attempt.session]
        attempt.over = True
