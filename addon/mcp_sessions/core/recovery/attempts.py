"""Handshakes under way: who waits for each, and when it is to be looked at."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from ...wire.headers import Fields
from ..exchange import Exchange
from ..session import Endpoint, Session
from .handshake import Step
from .replay import Treatment


class Lane(NamedTuple):
    """Those who wait for each other before they may shake hands."""

    endpoint: Endpoint
    guest: bool = False
    """Those whom the server has not accepted yet: others do not wait for them, however many they are."""


@dataclass(slots=True, eq=False)
class Attempt:
    """A handshake under way, and who waits for it: refused exchanges with their treatment, held ones without."""

    session: Session
    url: str
    carried: Fields = field(repr=False)
    deadline: float
    x: Exchange | None = None
    """The exchange that it is for."""
    guest: bool = False
    """Whether the server has not accepted yet who it is for."""
    since: float = 0.0
    """When the session was found to be lost."""
    begun: float | None = None
    """When its `initialize` went out first; none while it waits for its turn."""
    waiting: dict[str, tuple[Exchange, Treatment | None]] = field(default_factory=dict)
    steps: deque[Step] = field(default_factory=deque)
    """What is still to be sent."""
    under_way: int = 0
    """Messages that are not answered yet."""
    refusals: int = 0
    """How often the server could not be reached for it."""
    due: float | None = None
    """When to try again then, or to ask again whose turn it is."""
    committing: bool = False
    """Its result is being entered where other proxies see it."""
    over: bool = False

    @property
    def lane(self) -> Lane:
        """Among whom it waits for its turn."""
        return Lane(self.session.endpoint, self.guest)

    @property
    def time(self) -> float:
        """When it is to be looked at."""
        return self.deadline if self.due is None else self.due


class Attempts(dict[Session, Attempt]):
    """All of them. It has no clock: times come with what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self._times: list[tuple[float, int, Attempt]] = []
        self._order = count()

    def time(self, attempt: Attempt) -> None:
        """Have an attempt looked at when its time has come."""
        heappush(self._times, (attempt.time, next(self._order), attempt))

    @property
    def next_time(self) -> float | None:
        """When the next one is to be looked at."""
        times = self._times
        while times and (times[0][2].over or times[0][0] != times[0][2].time):
            heappop(times)
        return times[0][0] if times else None

    def first(self) -> Attempt:
        """The one whose time comes first; it is not looked at again."""
        return heappop(self._times)[2]

    def take_off(self, attempt: Attempt) -> None:
        """An attempt has come to its end."""
        del self[attempt.session]
        attempt.over = True
