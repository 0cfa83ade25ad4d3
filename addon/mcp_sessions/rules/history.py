"""What single rules remember of a session beyond what many share; their own checks keep it. All bounded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .tables import Recent

IDS_LIMIT = 1_000
"""Ids of a server's requests that are remembered of a session."""
CURSORS_LIMIT = 5_000
"""Cursors that are remembered of a session."""
WANTED_LIMIT = 50
"""Questions of a session whose answers are looked at."""
PINGS_LIMIT = 100
"""Pings of a server that wait for their answer."""


TASKS_LIMIT = 1_000
"""Tasks, and tools that may be called as tasks, that are remembered of a session."""


@dataclass(slots=True, eq=False)
class Task:
    """A task, as its receiver told of it."""

    status: str = ""
    ended_at: float = 0.0
    """When it was first told that it is over."""
    resulted_at: float | None = None
    poll: float | None = None
    """Milliseconds to wait before the next question."""
    told_at: float = 0.0


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
    wanted: Recent[Any, Any] = field(default_factory=lambda: Recent(WANTED_LIMIT))
    """What the server's elicitations ask for, and which tools its samplings allow, by their ids."""
    tasks: Recent[str, Task] = field(default_factory=lambda: Recent(TASKS_LIMIT))
    task_requests: Recent[Any, None] = field(default_factory=lambda: Recent(TASKS_LIMIT))
    """Ids of the requests that became tasks."""
    supports: Recent[str, str] = field(default_factory=lambda: Recent(TASKS_LIMIT))
    """What tools say of being called as tasks."""
    tokens: Recent[Any, float | None] = field(default_factory=lambda: Recent(IDS_LIMIT))
    """Progress tokens of the server's requests, and the last progress."""
    opened: list[float] = field(default_factory=list)
    """When its client opened the latest streams."""
    listening: str = ""
    """The exchange of the latest GET stream."""
    listed: tuple[int, str] | None = None
    """The latest list of tools, and the stream that was open then; None once a change was told of."""
    authorized: object = None
    """The client whose request carried a token last."""
