"""A script that is loaded anew: its next instance takes over from the one that was stopped a moment ago."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..core.core import Core
from ..rules import Judge
from .flows import Live

WITHIN = 5.0
"""Seconds between the end of one instance and the start of the next when a script is loaded anew."""


@dataclass(frozen=True, slots=True)
class Left:
    """What an instance leaves to the next: the traffic goes on meanwhile."""

    core: Core
    judge: Judge
    live: dict[str, Live]
    """The exchanges that are under way, by the id of their flow."""


_stopped: list[tuple[float, Left]] = []


def leave(left: Left) -> None:
    """Note that an instance was stopped, though mitmproxy goes on."""
    _stopped[:] = [(time.monotonic(), left)]


def predecessor() -> Left | None:
    """What the instance that was stopped a moment ago has left; only the first to ask gets it."""
    at, left = _stopped.pop() if _stopped else (0.0, None)
    return left if time.monotonic() - at <= WITHIN else None
