"""What has happened, counted: since the start, and by reasons of which there is a fixed number.

Whoever tells others of it (`views/telemetry`) reads it when asked. It only ever grows, unlike what the ledger counts of
the sessions that it still knows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from .states import DeleteState, ServerSide, Standing, State, Trigger, Why, WhyNot


class Found(StrEnum):
    """How the ledger has come by a session."""

    OPENED = "opened"  # its client's initialize was answered with it
    FIRST_SEEN = "first seen"  # it was used, and had been opened before the proxy saw it
    ADOPTED = "adopted"  # from the ledger of an earlier run, or of other proxies


class Wait(StrEnum):
    """Why a call was kept waiting."""

    REFUSED = "refused"  # the server has lost its session, and it is sent again
    RECOVERING = "recovering"  # its session was being brought back when it arrived
    UNREACHABLE = "unreachable"  # its server can't be reached


BY_STATUS = "404"
"""The dialect of the specification."""

ENDED_TOO_SOON = "ended by the proxy"
"""In the place of a dialect: the session was ended, and its client turned up after all."""


class Spread:
    """How often something took how many seconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, *bounds: float) -> None:
        """The upper bounds, in rising order; what lies above the last is counted, too."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def up_to(self) -> Sequence[tuple[float, int]]:
        """How many took no longer than each bound, the last of which is infinite."""
        found, so_far = [], 0
        for bound, here in zip((*self.bounds, float("inf")), self.counts, strict=True):
            so_far += here
            found.append((bound, so_far))
        return found


def _recovery() -> Spread:
    return Spread(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def _exit() -> Spread:
    return Spread(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10, 60)


@dataclass(slots=True)
class Tally:
    """The figures."""

    states: Counter[State] = field(default_factory=Counter)
    """Sessions that the ledger knows, by how they stand. Alone of all figures this one goes down, too."""
    found: Counter[Found] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    """Sessions that their server did not know any more, by the dialect in which it said so."""
    not_recovered: Counter[WhyNot] = field(default_factory=Counter)
    """Handshakes that have failed, and refused calls for which none was begun."""
    ended: Counter[Why] = field(default_factory=Counter)
    """Sessions that are over at their server; `Why.UNKNOWN`: another proxy has ended them."""
    stuck: Counter[Why] = field(default_factory=Counter)
    """Times that a session was to be ended and could not be."""
    returned: int = 0
    """Sessions whose client turned up after it was taken for gone."""
    deletes: Counter[DeleteState] = field(default_factory=Counter)
    """DELETEs of the proxy's own that were answered, or not, by what came of each."""
    held: Counter[Wait] = field(default_factory=Counter)
    """Calls that were kept waiting."""
    recovery: Spread = field(default_factory=_recovery)
    """From the refusal until the session was brought back: as many as there were recoveries."""
    exit: Spread = field(default_factory=_exit)
    """From the end of a session's last process, as the proxy saw it, until its DELETE went out."""

    def fired(self, trigger: Trigger, before: Standing, after: Standing) -> None:
        """How a session stands has changed, in a way that needs no other reason than the trigger."""
        self.returned += trigger is Trigger.RETURNED
        if after.server is ServerSide.LOST and trigger in (Trigger.PROXY_DELETE_DONE, Trigger.RETURNED):
            self.lost[ENDED_TOO_SOON] += before.server is not ServerSide.LOST
