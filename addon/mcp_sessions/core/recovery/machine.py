"""Recovery as a state machine: who shakes hands, who waits, who is sent again, and when to stop trying.

Theory of operation
-------------------
At most one handshake is under way for a session: its `Attempt`. The first exchange that is refused begins it; all
that are refused meanwhile wait for it, and so do requests that arrive meanwhile. Its outcome releases every one of
them, once.
An exchange that was sent with an older generation than the session has by now needs no handshake: it is only sent
again. Whoever hangs up is taken off the list and nothing is sent for it.

Attempts are limited in every direction: per exchange, per session (a session that dies at its first use again and
again rests for a while; a handshake that fails makes the next one wait), per client and minute, and in the number
of exchanges that wait.

This machine has no clock and does no I/O: it is told what happened, with a time, and answers what is to be done.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ...wire.jsonrpc import Kind
from ..decisions import Deliver, Forward, Hold, OnAnswer, OnRequest, Release, Reply, Resend, Shake, Wait
from ..exchange import Exchange
from ..session import Session
from ..states import RECOVERABLE, State
from .replay import Treatment


@dataclass(frozen=True, slots=True)
class Limits:
    """How far recovery goes. Times are seconds."""

    attempts_per_exchange: int = 3
    waiting_per_session: int = 1000
    handshakes_per_client_minute: int = 60
    deaths: int = 3
    """Generations in a row that were lost before a single request had succeeded."""
    rest: float = 60.0
    """How long a session that keeps dying is left alone."""
    backoff: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
    """How long after the n-th failed handshake in a row the next one may begin."""
    thrash: int = 5
    """Recoveries of one session within a minute that are called a thrash."""


@dataclass(slots=True, eq=False)
class Trouble:
    """What went wrong with a session lately."""

    failures: int = 0
    not_before: float = 0.0
    deaths: int = 0
    recoveries: deque[float] = field(default_factory=lambda: deque(maxlen=100))
    thrash_said: float = float("-inf")


@dataclass(slots=True, eq=False)
class Attempt:
    """A handshake under way, and who waits for it: refused exchanges with their treatment, held ones without."""

    session: Session
    began: float
    generation: int
    waiting: dict[str, tuple[Exchange, Treatment | None]] = field(default_factory=dict)


class GaveUp(Exception):
    """No recovery is tried; the text says why."""


class Recovery:
    """The recovery of all sessions."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.attempts: dict[Session, Attempt] = {}
        self.troubles: dict[Session, Trouble] = {}
        self._minutes: dict[str, deque[float]] = {}

    # What happens to exchanges

    def arrived(self, x: Exchange) -> OnRequest | None:
        """A request of a known session arrives: hold it if the session is being recovered."""
        session = x.session
        attempt = self.attempts.get(session) if session else None
        if session is None or attempt is None:
            return None
        if x.kind is Kind.RESPONSE:
            return Reply(202)  # it answers a request of the session that is dead
        if len(attempt.waiting) >= self.limits.waiting_per_session:
            return None
        attempt.waiting[x.id] = (x, None)
        return Hold(session)

    def refused(self, x: Exchange, treatment: Treatment, at: float) -> OnAnswer:
        """A request was refused because its session is lost.

        Raises:
            GaveUp: when no recovery is tried; the client gets the server's answer.
        """
        session = x.session
        if session is None:
            raise GaveUp("nothing is known of the session")
        if session.state not in RECOVERABLE:
            raise GaveUp(f"the session is {session.state}")
        if treatment is Treatment.LEAVE:
            raise GaveUp("not a request that can be sent again")
        if treatment is Treatment.DROP:
            return Reply(202)
        if x.attempts >= self.limits.attempts_per_exchange:
            raise GaveUp(f"sent {x.attempts} times already")
        attempt = self.attempts.get(session)
        if attempt is not None:
            if len(attempt.waiting) >= self.limits.waiting_per_session:
                raise GaveUp(f"{len(attempt.waiting)} requests wait already")
            attempt.waiting[x.id] = (x, treatment)
            return Wait(session)
        if x.generation < session.generation:
            return _outcome(session, treatment)
        self._may_shake(x, session, at)
        self.attempts[session] = Attempt(session, at, session.generation, {x.id: (x, treatment)})
        return Shake(session)

    def left(self, x: Exchange) -> None:
        """The client of this exchange hung up: it waits no more."""
        attempt = self.attempts.get(x.session) if x.session else None
        if attempt is not None:
            attempt.waiting.pop(x.id, None)

    def succeeded(self, session: Session) -> None:
        """A request of this session's present generation was answered with success."""
        trouble = self.troubles.get(session)
        if trouble is not None:
            trouble.deaths = trouble.failures = 0
            trouble.not_before = 0.0

    # What happens to handshakes

    def begin(self, session: Session, at: float) -> bool:
        """Begin a handshake that no exchange asked for; False if one is under way."""
        if session in self.attempts:
            return False
        self.attempts[session] = Attempt(session, at, session.generation)
        return True

    def recovered(self, session: Session, at: float) -> list[Release]:
        """The handshake made a new session, which the ledger has by now mapped. Release all who wait."""
        attempt = self.attempts.pop(session, None)
        trouble = self._trouble(session)
        trouble.failures = 0
        trouble.not_before = 0.0
        trouble.recoveries.append(at)
        if attempt is None:
            return []
        return [
            Release(x.id, Forward(session.server_id) if treatment is None else _outcome(session, treatment))
            for x, treatment in attempt.waiting.values()
        ]

    def failed(self, session: Session, at: float) -> list[Release]:
        """The handshake failed. Release all who wait with what they had."""
        attempt = self.attempts.pop(session, None)
        trouble = self._trouble(session)
        trouble.failures += 1
        steps = self.limits.backoff
        trouble.not_before = at + steps[min(trouble.failures, len(steps)) - 1]
        if attempt is None:
            return []
        return [
            Release(x.id, Deliver() if treatment is not None else Forward(session.server_id))
            for x, treatment in attempt.waiting.values()
        ]

    def died_young(self, session: Session, at: float) -> bool:
        """The session was lost before its present generation answered anything; whether it is to rest now."""
        trouble = self._trouble(session)
        trouble.deaths += 1
        if trouble.deaths < self.limits.deaths:
            return False
        trouble.deaths = 0
        trouble.not_before = at + self.limits.rest
        return True

    def thrashes(self, session: Session, at: float) -> int:
        """How often the session was recovered in the last minute, if that is worth saying (once a minute); else 0."""
        trouble = self._trouble(session)
        lately = sum(1 for time in trouble.recoveries if at - time < 60)
        if lately < self.limits.thrash or at - trouble.thrash_said < 60:
            return 0
        trouble.thrash_said = at
        return lately

    def forget(self, session: Session) -> None:
        """The session is over."""
        self.troubles.pop(session, None)

    def _may_shake(self, x: Exchange, session: Session, at: float) -> None:
        trouble = self.troubles.get(session)
        if trouble is not None and at < trouble.not_before:
            why = f"{trouble.failures} handshakes failed" if trouble.failures else "it keeps dying at its first use"
            raise GaveUp(f"{why}; next attempt in {trouble.not_before - at:.1f} s")
        label = x.client.label
        minute = self._minutes.setdefault(label, deque(maxlen=self.limits.handshakes_per_client_minute))
        if len(minute) == minute.maxlen and at - minute[0] < 60:
            raise GaveUp(f"{len(minute)} handshakes for this client within a minute")
        minute.append(at)
        if len(self._minutes) > 10_000:
            self._minutes.pop(next(iter(self._minutes)))

    def _trouble(self, session: Session) -> Trouble:
        trouble = self.troubles.get(session)
        if trouble is None:
            if len(self.troubles) >= 10_000:
                self.troubles.pop(next(iter(self.troubles)))
            trouble = self.troubles[session] = Trouble()
        return trouble


def _outcome(session: Session, treatment: Treatment) -> Resend | Reply | Deliver:
    """What becomes of a refused exchange once there is a new generation."""
    if session.state is not State.OPEN:
        return Deliver()
    match treatment:
        case Treatment.RESEND:
            return Resend(session.server_id)
        case Treatment.REOPEN:
            return Resend(session.server_id, drop_last_event_id=True)
        case Treatment.ACCEPT:
            return Reply(202)
        case _:
            return Deliver()
