"""The DELETEs of the proxy's own under way: a few at a time, so that live traffic goes on beside them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count

from ..decisions import Tag
from ..outbox import sooner
from ..session import Session
from ..states import DELETE, DeleteState, DeleteTrigger, Reason

AT_ONCE = 4
"""DELETEs that are sent as soon as there are any. More would not end a thousand sessions sooner where answers come at
once, for one event loop does it all, but make live calls wait longer."""

GAP = 0.005
"""Seconds that are left to live traffic after each answered DELETE while others wait."""

PACE = 0.01
"""Seconds after the last DELETE when another is sent in any case. Where answers take long, as a busy event loop looks
at them late, a few at a time would fall ever more behind."""

MOST = 64
"""DELETEs that are under way at once, at most."""

DUE_AT_ONCE = 100
"""DELETEs that are queued again in one go when their time has come."""

LIMIT = 400_000
"""DELETEs that may wait: all sessions that the ledger can hold, some with earlier ids."""


@dataclass(slots=True, eq=False)
class Deletion(Tag):
    """One DELETE, from the decision until it has come to its end."""

    session: Session
    reason: Reason
    server_id: str = field(repr=False)
    final: bool = True
    """False for the id of an earlier generation, whose answer changes nothing."""
    attempt: int = 1
    state: DeleteState = DeleteState.QUEUED

    def fire(self, trigger: DeleteTrigger) -> DeleteState:
        """Go where the table leads; how it stands then."""
        self.state = DELETE[self.state].get(trigger, self.state)
        return self.state


class Deletions:
    """Which DELETE is sent next, and when. It has no clock: times come with what it is told."""

    def __init__(self) -> None:
        self._queue: deque[Deletion] = deque()
        self._slots = [0.0] * AT_ONCE
        """When each free slot may be used next, as a heap; those that are not here are in use."""
        self._sent: dict[Deletion, bool] = {}
        """Those that are under way, and whether they use a slot."""
        self._next_beyond = 0.0
        """When one may be sent without a slot."""
        self._later: list[tuple[float, int, Deletion]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._queue) + len(self._later) + self.under_way

    @property
    def under_way(self) -> int:
        """How many were sent and not answered yet."""
        return len(self._sent)

    @property
    def short(self) -> bool:
        """Whether so few wait that more may be decided upon."""
        return len(self._queue) < AT_ONCE

    @property
    def waits(self) -> bool:
        """Whether any is not under way."""
        return bool(self._queue) or bool(self._later)

    @property
    def busy(self) -> bool:
        """Whether something is under way, or about to be sent."""
        return bool(self._queue) or self.under_way > 0

    def put(self, deletion: Deletion) -> bool:
        """Have it sent as soon as there is room; False if there are too many."""
        if len(self._queue) >= LIMIT:
            return False
        self._queue.append(deletion)
        return True

    def later(self, deletion: Deletion, at: float) -> None:
        """Have it sent at a time, or soon after."""
        heappush(self._later, (at, next(self._order), deletion))

    def next(self, now: float) -> Deletion | None:
        """The next one that may be sent now; it is counted as under way."""
        for _ in range(DUE_AT_ONCE):
            if not self._later or self._later[0][0] > now:
                break
            deletion = heappop(self._later)[2]
            deletion.fire(DeleteTrigger.DUE)
            self._queue.append(deletion)
        slot = bool(self._slots) and self._slots[0] <= now
        if not self._queue or self.under_way >= MOST or not (slot or self._next_beyond <= now):
            return None
        if slot:
            heappop(self._slots)
        self._next_beyond = now + PACE
        deletion = self._queue.popleft()
        self._sent[deletion] = slot
        return deletion

    def over(self, deletion: Deletion, free_at: float) -> None:
        """One that was under way is not any more; its slot, if it has one, may be used again at that time."""
        if self._sent.pop(deletion):
            heappush(self._slots, free_at)

    def reset(self) -> None:
        """Whoever sent them does so no more: forget those of sessions, which begin anew; send all others once more."""
        old = [*self._sent, *self._queue, *(deletion for _, _, deletion in self._later)]
        for deletion in old:
            deletion.state = DeleteState.DROPPED  # what still comes of it means nothing
        self._queue = deque(replace(one, state=DeleteState.QUEUED) for one in old if not one.final)
        self._later.clear()
        self._sent.clear()
        self._slots = [0.0] * AT_ONCE

    @property
    def next_timer(self) -> float | None:
        """When there is something to be done next; None if that takes an answer."""
        later = self._later[0][0] if self._later else None
        if not self._queue or self.under_way >= MOST:
            return later
        return sooner(later, sooner(self._slots[0] if self._slots else None, self._next_beyond))
