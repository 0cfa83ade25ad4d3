"""How far the bringing back of sessions goes, and what is remembered of it to stop in time."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..session import Session
from ..states import RECOVERY, RecoveryState, RecoveryTrigger, WhyNot


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits. Times are seconds."""

    attempts_per_exchange: int = 3
    waiting_per_session: int = 1000
    handshakes: int = 8
    """Under way at one endpoint, to begin with; the others wait for their turn."""
    handshakes_at_most: int = 64
    slow: float = 1.0
    """Handshakes that take longer make room for more of them."""
    waiting_per_endpoint: int = 10_000
    pace: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    """How long after the n-th handshake in a row that came to nothing the next one at that endpoint may begin."""
    storms: int = 1_000
    """Endpoints of which it is remembered how their handshakes go."""
    recoveries_per_minute: int = 60
    """Of one session."""
    deaths: int = 3
    """Generations in a row that were lost before a single request had succeeded."""
    rest: float = 60.0
    """How long a session that keeps dying is left alone."""
    backoff: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
    """How long after the n-th failed handshake in a row the next one may begin."""
    thrash: int = 5
    """Recoveries of one session within a minute that are called a thrash."""
    step: float = 5.0
    """Within which each message after the `initialize` must be answered; it is not waited for longer."""
    restoring: float = 30.0
    """Within which all of them must be; what is not restored by then never is."""
    slack: float = 5.0
    """What the shell may take beyond the time that a request has."""
    at_once: int = 8
    """Messages that restore a session, under way at the same time."""
    pages: int = 20
    """Pages of a list that are read."""
    troubles: int = 10_000
    """Sessions of which it is remembered what went wrong lately."""


MINUTE = 60.0

ASKED = 64
"""Entries of a full table that are asked in turn whether they can be spared."""


class GaveUp(Exception):
    """No recovery is tried; the text says why."""

    def __init__(self, kind: WhyNot, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(slots=True, eq=False)
class Trouble:
    """What went wrong with a session lately, and how its recovery stands."""

    state: RecoveryState = RecoveryState.IDLE
    until: float = 0.0
    """When a backoff is over."""
    failures: int = 0
    """Handshakes in a row that failed."""
    deaths: int = 0
    recoveries: deque[float] = field(default_factory=deque)
    """When it was brought back, the latest last, and never more than the limit of a minute."""
    thrash_said: float = float("-inf")

    def fire(self, trigger: RecoveryTrigger) -> None:
        """Go where the table leads."""
        self.state = RECOVERY[self.state].get(trigger, self.state)


class Troubles:
    """What went wrong lately, by session; bounded. It has no clock: times come with what it is told."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._sessions: dict[Session, Trouble] = {}

    def of(self, session: Session) -> Trouble:
        """What is known of a session."""
        trouble = self._sessions.get(session)
        if trouble is None:
            if len(self._sessions) >= self.limits.troubles:
                self._make_room()
            trouble = self._sessions[session] = Trouble()
        return trouble

    def _make_room(self) -> None:
        """The oldest goes that is not being brought back just now; of those there are no more than recoveries."""
        for _ in range(ASKED):
            session = next(iter(self._sessions))
            trouble = self._sessions.pop(session)
            if trouble.state in (RecoveryState.IDLE, RecoveryState.BACKOFF):
                return
            self._sessions[session] = trouble

    def forget(self, session: Session) -> None:
        """The session is over."""
        self._sessions.pop(session, None)

    def worked(self, session: Session) -> bool:
        """A request of this session's present generation was answered with success; whether there was any trouble."""
        trouble = self._sessions.get(session)
        if trouble is None:
            return False
        trouble.deaths = trouble.failures = 0
        trouble.fire(RecoveryTrigger.WORKED)
        return True

    def begin(self, session: Session, now: float) -> None:
        """A handshake is to begin.

        Raises:
            GaveUp: when it may not.
        """
        trouble = self.of(session)
        if trouble.state is RecoveryState.BACKOFF and now >= trouble.until:
            trouble.fire(RecoveryTrigger.WAITED)
        if trouble.state is RecoveryState.BACKOFF:
            why = f"{trouble.failures} handshakes failed" if trouble.failures else "it keeps dying at its first use"
            raise GaveUp(WhyNot.BACKOFF, f"{why}; next attempt in {trouble.until - now:.1f} s")
        if len(trouble.recoveries) >= self.limits.recoveries_per_minute and now - trouble.recoveries[0] < MINUTE:
            raise GaveUp(WhyNot.TOO_OFTEN, f"brought back {len(trouble.recoveries)} times within a minute")
        trouble.fire(RecoveryTrigger.BEGUN)

    def begin_by_hand(self, session: Session) -> None:
        """A handshake begins because the user wants it, backoff or not."""
        trouble = self.of(session)
        trouble.fire(RecoveryTrigger.WAITED)
        trouble.fire(RecoveryTrigger.BEGUN)

    def recovered(self, session: Session, now: float) -> int:
        """The handshake is complete. How often that was so in the last minute, if it is worth saying; else 0."""
        trouble = self.of(session)
        trouble.fire(RecoveryTrigger.RESTORED)
        trouble.failures = 0
        trouble.recoveries.append(now)
        if len(trouble.recoveries) > self.limits.recoveries_per_minute:
            trouble.recoveries.popleft()
        lately = sum(1 for time in trouble.recoveries if now - time < MINUTE)
        if lately < self.limits.thrash or now - trouble.thrash_said < MINUTE:
            return 0
        trouble.thrash_said = now
        return lately

    def failed(self, session: Session, now: float) -> None:
        """The handshake failed: the next one waits."""
        trouble = self.of(session)
        trouble.fire(RecoveryTrigger.FAILED)
        trouble.failures += 1
        steps = self.limits.backoff
        trouble.until = now + steps[min(trouble.failures, len(steps)) - 1]

    def recovered_at(self, session: Session) -> float:
        """When it was brought back last, as far as that is remembered."""
        trouble = self._sessions.get(session)
        return trouble.recoveries[-1] if trouble is not None and trouble.recoveries else float("-inf")

    def died_young(self, session: Session, now: float) -> bool:
        """The session was lost before its present generation answered anything; whether it is to rest now."""
        trouble = self.of(session)
        trouble.deaths += 1
        if trouble.deaths < self.limits.deaths:
            return False
        trouble.deaths = 0
        trouble.fire(RecoveryTrigger.WAITED)
        trouble.fire(RecoveryTrigger.TIRED)
        trouble.until = now + self.limits.rest
        return True
