"""Evidence that a client is gone, weighed: which sessions of clients that nobody can see are due to be ended.

Theory of operation
-------------------
A process of this host is seen to end, so nothing needs to be guessed about it: while one of a session's owners is a
living process, the session is not due, whatever its connections do. Everybody else is known by traffic only, and a
closed connection proves nothing: live clients hold none between two requests. What does count:

- the client itself aborted the session's last GET stream, has sent nothing in the session since, and no connection
  is left of the session or of any client that used it: due after `stream` seconds;
- no connection that carried the session is left and no request came: due after `idle` seconds. Clients of one host
  with the same User-Agent and credentials can't be told apart, so here only the session's own connections count,
  or one living client would keep the sessions of all its like for good.

Both kinds of evidence can be wrong. So a session that was ended on it, and whose client turns up after all, may be
brought back.

A session is looked at when it may be due at the earliest, not at every tick: `_next` says when, the heap orders them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import count
from typing import NamedTuple

from ..session import Session
from ..states import State

WATCHED = frozenset({State.OPEN, State.LOST})
"""States in which a session may come to be due."""

PASSING = frozenset({State.RECOVERING, State.LEAVING})
"""States that something under way will end soon."""

LOOKS_AT_ONCE = 500
"""Sessions that one tick looks at; the others are looked at in the next one."""


class Graces(NamedTuple):
    """How long evidence must stand before a session is ended, in seconds."""

    stream: float
    idle: float


class Due(NamedTuple):
    """What speaks for a client's being gone."""

    evidence: str


def weigh(session: Session, graces: Graces, at: float) -> Due | float | None:
    """What the evidence amounts to now: due; or the time of the next look; or None, nothing is to be watched."""
    if session.state in PASSING:
        return at + graces.stream
    if session.state not in WATCHED:
        return None
    if session.streams or session.connections or any(owner.is_process and not owner.gone for owner in session.owners):
        return at + max(graces)
    quiet_since = max(session.last_used, session.left_at or 0.0, session.watched_from)
    idle_due = quiet_since + graces.idle
    if idle_due <= at:
        return Due(f"no connection and no request for {graces.idle:g} s")
    aborted = session.stream_aborted_at
    if aborted is None or session.last_used > aborted:
        return idle_due
    strangers = [owner for owner in session.owners if not owner.is_process]
    if any(owner.connections for owner in strangers):
        return min(idle_due, at + graces.stream)
    stream_due = max(aborted, quiet_since, *(owner.left_at or 0.0 for owner in strangers)) + graces.stream
    if stream_due <= at:
        return Due(f"stream aborted by its client, and no connection left for {graces.stream:g} s")
    return min(idle_due, stream_due)


class Evidence:
    """Watches sessions and says which are due. Has no clock: every call carries the time."""

    def __init__(self, graces: Graces) -> None:
        self.graces = graces
        self._next: dict[Session, float] = {}
        self._heap: list[tuple[float, int, Session]] = []
        self._order = count()

    def __contains__(self, session: Session) -> bool:
        return session in self._next

    def watch(self, session: Session, at: float) -> None:
        """Something happened after which this session may be due sooner than thought, or at all."""
        self._look(session, at + min(self.graces))

    def regrade(self, graces: Graces, sessions: Iterable[Session], at: float) -> None:
        """Take over other grace times."""
        self.graces = graces
        self._heap.clear()
        self._next.clear()
        for session in sessions:
            self._look(session, at)

    def forget(self, session: Session) -> None:
        """The session is over."""
        self._next.pop(session, None)

    def due(self, at: float) -> Iterator[tuple[Session, Due]]:
        """The sessions that are due now; at most `LOOKS_AT_ONCE` are looked at."""
        for _ in range(LOOKS_AT_ONCE):
            if not self._heap or self._heap[0][0] > at:
                return
            time, _, session = heappop(self._heap)
            if self._next.get(session) != time:
                continue  # it was told to look sooner, or to forget it
            del self._next[session]
            found = weigh(session, self.graces, at)
            if isinstance(found, Due):
                yield session, found
            elif found is not None:
                # Never in the past, and never twice in one tick.
                self._look(session, max(found, at + 0.001))

    def _look(self, session: Session, time: float) -> None:
        if time < self._next.get(session, float("inf")):
            self._next[session] = time
            heappush(self._heap, (time, next(self._order), session))
