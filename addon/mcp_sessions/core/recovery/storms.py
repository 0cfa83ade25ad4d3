"""Whose turn it is to shake hands: so many at a time in one lane, the others in the order in which they came.

Theory of operation
-------------------
A server that restarts loses all its sessions at once. Each of them is brought back, but not all at the same moment: who
has no room waits for its turn, no longer than any request waits for a recovery. Where handshakes are slow, more of them
go at once, so that such a server is done in time as well.

Once a handshake fails, or makes a session that is lost before its first use, they go one by one, each some time after
the one before, until a session that was brought back works: a server that refuses everybody is asked now and then.

Whom the server has not accepted yet has a lane of his own: those that it has never wait for him, nor for what he tries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..states import WhyNot
from .attempts import Attempt, Attempts, Lane
from .limits import GaveUp, Limits


@dataclass(slots=True)
class Storm:
    """The handshakes in one lane of an endpoint. Times are seconds since the epoch."""

    width: int
    """How many may be under way."""
    under_way: int = 0
    waiting: dict[Attempt, None] = field(default_factory=dict)
    failures: int = 0
    """Handshakes in a row that came to nothing."""
    failed_at: float = float("-inf")
    not_before: float = float("-inf")
    """When the next one may begin."""

    @property
    def calm(self) -> bool:
        """Whether nothing is under way."""
        return not self.under_way and not self.waiting


class Storms:
    """All of them. It has no clock: times come with what it is told."""

    def __init__(self, limits: Limits, attempts: Attempts) -> None:
        self.limits = limits
        self._attempts = attempts
        self._storms: dict[Lane, Storm] = {}

    def __len__(self) -> int:
        """Of how many lanes something is remembered."""
        return len(self._storms)

    def admit(self, lane: Lane) -> None:
        """Somebody wants to shake hands.

        Raises:
            GaveUp: when too many wait for their turn already.
        """
        storm = self._storms.get(lane)
        if storm is not None and len(storm.waiting) >= self.limits.waiting_per_endpoint:
            raise GaveUp(WhyNot.TOO_MANY_WAIT, f"{len(storm.waiting)} sessions wait for a handshake already")

    def enter(self, attempt: Attempt) -> None:
        """An attempt waits for its turn."""
        self._at(attempt.lane).waiting[attempt] = None

    def jump(self, attempt: Attempt, now: float) -> None:
        """An attempt that the user wants does not wait for its turn."""
        self._at(attempt.lane).under_way += 1
        attempt.begun = now

    def turns(self, lane: Lane, now: float) -> Iterator[Attempt]:
        """Those whose turn it is."""
        storm = self._storms.get(lane)
        while storm is not None and storm.waiting and storm.under_way < storm.width:
            attempt = next(iter(storm.waiting))
            if now < storm.not_before:
                if storm.not_before < attempt.deadline:
                    attempt.due = storm.not_before
                    self._attempts.time(attempt)
                return
            del storm.waiting[attempt]
            storm.under_way += 1
            attempt.begun, attempt.due = now, None
            yield attempt

    def leave(self, attempt: Attempt) -> None:
        """An attempt has come to its end."""
        lane = attempt.lane
        storm = self._storms[lane]
        if attempt.begun is None:
            del storm.waiting[attempt]
        else:
            storm.under_way -= 1
        if storm.calm and not storm.failures:
            del self._storms[lane]

    def succeeded(self, attempt: Attempt, now: float) -> None:
        """A handshake has worked."""
        storm = self._storms[attempt.lane]
        if attempt.begun is not None and now - attempt.begun > self.limits.slow and not storm.failures:
            storm.width = min(storm.width + 1, self.limits.handshakes_at_most)

    def failed(self, lane: Lane, began: float, now: float) -> None:
        """What `began` then has come to nothing: the next one has time. Of those that went together one counts."""
        storm = self._at(lane)
        storm.width = 1
        if began >= storm.failed_at:
            storm.failures += 1
            storm.failed_at = now
            storm.not_before = now + self.limits.pace[min(storm.failures, len(self.limits.pace)) - 1]

    def worked(self, lane: Lane) -> bool:
        """A session that was brought back works; whether others have waited for that."""
        storm = self._storms.get(lane)
        if storm is None or not storm.failures:
            return False
        storm.failures, storm.width, storm.not_before = 0, self.limits.handshakes, float("-inf")
        if storm.calm:
            del self._storms[lane]
        return True

    def _at(self, lane: Lane) -> Storm:
        storm = self._storms.get(lane)
        if storm is None:
            if len(self._storms) >= self.limits.storms:
                calm = next((one for one, storm in self._storms.items() if storm.calm), lane)
                self._storms.pop(calm, None)
            storm = self._storms[lane] = Storm(self.limits.handshakes)
        return storm
