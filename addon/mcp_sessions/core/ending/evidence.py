"""Evidence that a client is gone, weighed: which sessions of clients that nobody can see are due to be ended.

Theory of operation
-------------------
A process of this host is seen to end, so nothing needs to be guessed about it: while one of a session's owners is a
living process, the session is not due, whatever its connections do. Everybody else is known by traffic only, and a
closed connection proves nothing: live clients hold none between two requests. What does count is in `KINDS`.

Whoever comes by a carrier (`core.carriers`) is known by traffic only, too. An open connection of a carrier speaks for
the one session that it has carried, and for none if it has carried several; a stream that ends with its carrier was
not aborted by its client.

Clients that open one session after the other and use few leave the others behind while they live. A session that its
client has left alone since it opened another one is due, whoever is seen, if the user wants that (`SUPERSEDED`).

Whoever waits for an answer lives, by whatever connection, as long as that is open.

Clients of one host with the same User-Agent and credentials can't be told apart, so for idleness only the session's own
connections count, or one living client would keep the sessions of all its like for good.

All this evidence can be wrong. So a session that was ended on it, and whose client turns up after all, may be brought
back.

A session is looked at when it may be due at the earliest, not at every tick: `_next` says when, the heap orders them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count, islice

from ..client import Client
from ..outbox import sooner
from ..policy import Policy
from ..session import Session
from ..states import Reason, State, Why
from .parts import is_seen

WATCHED = frozenset({State.OPEN, State.LOST})
"""States in which a session may come to be due."""

PASSING = frozenset({State.RECOVERING, State.LEAVING})
"""States that something under way will end soon."""

NEWER_LIMIT = 64
"""Sessions of a client that are looked at for one that was opened later."""

LOOKS_AT_ONCE = 500
"""Sessions that one tick looks at; the others are looked at in the next one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of evidence: nobody is seen, and this much time has passed since something."""

    why: Why
    option: str
    """Of `Policy`: the grace time in seconds."""
    since: Callable[[Session], float | None]
    """Since when the evidence stands; None if there is none of this kind."""
    certain: bool
    """Whether the client is gone beyond doubt, or that is only likely."""
    text: str
    """For people; `{grace}` is filled in."""


def _quiet_since(session: Session) -> float:
    return max(session.last_used, session.left_at or 0.0, session.watched_from)


def _aborted_since(session: Session) -> float | None:
    """Since when the client has aborted its stream, sent nothing, and no connection is left of anybody who used it."""
    aborted = session.stream_aborted_at
    if aborted is None or session.last_used > aborted:
        return None
    strangers = [owner for owner in session.owners if not owner.is_process]
    if any(owner.connections for owner in strangers):
        return None
    return max(aborted, _quiet_since(session), *(owner.left_at or 0.0 for owner in strangers))


def _superseded_since(session: Session) -> float | None:
    """Since when its one client has another session at the endpoint, and has left this one alone."""
    client = _one_client(session)
    if client is None or session.streams or session.under_way:
        return None
    quiet, since, exhausted = max(session.last_used, session.watched_from), None, True
    for other in islice(reversed(client.sessions), NEWER_LIMIT):
        if other.opened <= quiet:
            exhausted = False
        elif other.endpoint == session.endpoint and other is not session:
            since = other.opened
    # Of so many opened since, the first was opened long ago, or its client is in a hurry.
    return quiet if exhausted and since is not None and len(client.sessions) > NEWER_LIMIT else since


def _one_client(session: Session) -> Client | None:
    """The client that uses a session, if it is certain that there is no other."""
    living = [owner for owner in session.owners if not owner.gone]
    if len(living) != 1 or not (living[0].is_process or living[0].key.credentials):
        return None
    return living[0]


KINDS = (
    Kind(
        Why.STREAM_ABORTED,
        "end_after_stream",
        _aborted_since,
        certain=False,
        text="stream aborted by its client, and no connection left for {grace:g} s",
    ),
    Kind(
        Why.IDLE,
        "end_after_idle",
        _quiet_since,
        certain=False,
        text="no connection and no request for {grace:g} s",
    ),
)

SUPERSEDED = Kind(
    Why.SUPERSEDED,
    "end_after_superseded",
    _superseded_since,
    certain=False,
    text="not used for {grace:g} s since its client opened another session",
)
"""What is weighed of clients that live, if the user wants that."""

PROCESS_GONE = Kind(Why.PROCESS_GONE, "", lambda _: None, certain=True, text="process gone: {clients}")
"""What is seen rather than weighed: every client that used the session is a process that has ended."""


WEIGHED = frozenset(kind.why for kind in (*KINDS, SUPERSEDED) if not kind.certain)
"""What is only likely, and counts what all proxies saw."""

ALONE = 5.0
"""Seconds until evidence is looked at again that could not be compared with what other proxies saw."""

CERTAIN = frozenset(kind.why for kind in (*KINDS, PROCESS_GONE) if kind.certain) | {Why.DELETE_CUT}
"""What leaves no doubt that a client is gone; that it wished to go leaves none either."""


def graces(policy: Policy) -> list[float]:
    """The grace times that count, in seconds."""
    return [getattr(policy, kind.option) for kind in (KINDS if not policy.end_superseded else (*KINDS, SUPERSEDED))]


def _speaking(session: Session, policy: Policy) -> tuple[Kind, ...]:
    """The kinds of evidence that count for a session as it is now."""
    held = is_seen(session) or session.streams or session.connections or session.under_way
    return (() if held else KINDS[::-1]) + ((SUPERSEDED,) if policy.end_superseded else ())


def weigh(session: Session, policy: Policy, now: float) -> Reason | float | None:
    """What the evidence amounts to: a reason to end it; or the time of the next look; or None, nothing is watched."""
    if session.state in PASSING:
        return now + policy.end_after_stream
    if session.state not in WATCHED:
        return None
    # The end of a process will be seen.
    look = None if is_seen(session) else now + max(getattr(policy, kind.option) for kind in KINDS)
    if policy.end_superseded:
        look = sooner(look, now + policy.end_after_superseded)
    for kind in _speaking(session, policy):
        grace = getattr(policy, kind.option)
        since = kind.since(session)
        if since is None:
            if session.stream_aborted_at is not None and session.last_used <= session.stream_aborted_at:
                look = sooner(look, now + grace)  # of others who used it there are connections still
            continue
        if since + grace <= now:
            return Reason(kind.why, kind.text.format(grace=grace))
        look = sooner(look, since + grace)
    return look


class Evidence:
    """Watches sessions and says which are due. It has no clock: times come with what it is told."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._next: dict[Session, float] = {}
        self._heap: list[tuple[float, int, Session]] = []
        self._order = count()

    def __contains__(self, session: Session) -> bool:
        return session in self._next

    @property
    def next_timer(self) -> float | None:
        """When there is something to look at."""
        return self._heap[0][0] if self._heap else None

    def watch(self, session: Session, now: float) -> None:
        """Something happened after which this session may be due sooner than thought, or at all."""
        if self.policy.end_superseded or not is_seen(session):
            self._look(session, now + min(graces(self.policy)))

    def regrade(self, policy: Policy, sessions: Iterable[Session], now: float) -> None:
        """Take over other grace times."""
        self.policy = policy
        self._heap.clear()
        self._next.clear()
        for session in sessions:
            self._look(session, now)

    def again(self, session: Session, now: float, *, alone: bool) -> None:
        """The evidence was not borne out, or nobody could be asked (`alone`): it is looked at again."""
        if alone:
            self._look(session, now + ALONE)
        else:
            self.watch(session, now)

    def stands(self, session: Session, why: Why, now: float) -> bool:
        """Whether there is this kind of evidence now."""
        for kind in _speaking(session, self.policy):
            since = kind.since(session) if kind.why is why else None
            if since is not None and since + getattr(self.policy, kind.option) <= now:
                return True
        return False

    def forget(self, session: Session) -> None:
        """The session is over."""
        self._next.pop(session, None)

    def due(self, now: float) -> Iterator[tuple[Session, Reason]]:
        """The sessions that are due now; at most `LOOKS_AT_ONCE` are looked at."""
        for _ in range(LOOKS_AT_ONCE):
            if not self._heap or self._heap[0][0] > now:
                return
            time, _, session = heappop(self._heap)
            if self._next.get(session) != time:
                continue  # it was told to look sooner, or to forget it
            del self._next[session]
            found = weigh(session, self.policy, now)
            if isinstance(found, Reason):
                yield session, found
            elif found is not None:
                # Never in the past, and never twice in one tick.
                self._look(session, max(found, now + 0.001))

    def _look(self, session: Session, time: float) -> None:
        if time < self._next.get(session, float("inf")):
            self._next[session] = time
            heappush(self._heap, (time, next(self._order), session))
