"""Quiet streams: which are to give their client a sign of life now, and when to look again. Times are seconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

SIGN = b": keep-alive\n\n"
"""A comment, which clients pass over; the empty line after it ends no event, for it stands between two."""

SOONEST, LATEST = 0.1, 5.0
"""Between two looks."""


class Stream(Protocol):
    """A stream to a client."""

    @property
    def quiet_since(self) -> float:
        """When it was given something last; never, if a sign of life can't be put into it where it stands."""


def quiet[S: Stream](streams: Iterable[S], every: float, now: float) -> tuple[list[S], float]:
    """The streams that were quiet for so long, and how long to wait before the next look."""
    due, wait = [], min(every, LATEST)
    for stream in streams:
        left = stream.quiet_since + every - now
        if left <= 0:
            due.append(stream)
        elif left < wait:
            wait = left
    return due, max(wait, SOONEST)
