"""A script that is loaded anew: its next instance takes over from the one that was stopped a moment ago."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..addon import McpSessions

WITHIN = 5.0
"""Seconds between the end of one instance and the start of the next when a script is loaded anew."""

_stopped: list[tuple[float, McpSessions]] = []


def leave(instance: McpSessions) -> None:
    """Note that an instance was stopped, though mitmproxy goes on."""
    _stopped[:] = [(time.monotonic(), instance)]


def predecessor() -> McpSessions | None:
    """The instance that was stopped a moment ago; only the first to ask gets it."""
    at, instance = _stopped.pop() if _stopped else (0.0, None)
    return instance if time.monotonic() - at <= WITHIN else None
