"""What single rules remember of a session beyond what many share; their own checks keep it. All bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .tables import Recent

IDS_LIMIT = 1_000
"""Ids of a server's requests that are remembered of a session."""
CURSORS_LIMIT = 5_000
"""Cursors that are remembered of a session."""
PINGS_LIMIT = 100
"""Pings of a server that wait for their answer."""


@dataclass(slots=True, eq=False)
class History:
    """What was said in a session. Messages, cursors and the like are remembered as hashes."""

    asked: Recent[Any, int] = field(default_factory=lambda: Recent(IDS_LIMIT))
    """Requests of the server, by their id."""
    cursors: Recent[int, None] = field(default_factory=lambda: Recent(CURSORS_LIMIT))
    """Cursors that the server gave, with the method that they are for."""
    list_read: str = ""
    """The exchange whose list was read last."""
    blind: bool = False
    """A list could not be read."""
    doubted: bool = False
    """The latest answer said that the session is lost, under another status than 404."""
    get_404_at: float | None = None
    """When a GET was answered 404, and that did not say that the session is lost."""
    pings: Recent[Any, float] = field(default_factory=lambda: Recent(PINGS_LIMIT))
    """When the server sent the pings that are not answered."""
