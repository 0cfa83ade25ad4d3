"""What has changed lately: the sessions in the order of their last change, and the violations by rule.

So that whoever follows the ledger (the page, a status line) asks only for what is new. No I/O and no clock.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from ..core.ledger import OVER_LIMIT, SESSION_LIMIT
from ..core.records import AnyRecord, Violation
from ..core.session import Session

LATEST = 50
"""Violations of one rule that are kept; the oldest go first, the count goes on."""


@dataclass(slots=True)
class Broken:
    """How a rule was broken: how often, and the latest times."""

    times: int = 0
    latest: deque[Violation] = field(default_factory=lambda: deque(maxlen=LATEST))
    version: int = 0


class Journal:
    """Counts changes: each gets a version, and every session remembers its latest."""

    def __init__(self, limit: int = SESSION_LIMIT) -> None:
        self.version = 0
        self.rules: dict[str, Broken] = {}
        self.listeners: set[Callable[[], None]] = set()
        """Called after each change, and to be quick."""
        self.hearers: list[Callable[[AnyRecord], None]] = []
        """Told of each record, and to be quick."""
        self._limit = limit
        self._sessions: OrderedDict[Session, int] = OrderedDict()
        self._over: dict[Session, None] = {}
        """Those that are over, in the order of their last change: the ledger lets go of all but the latest, too."""

    def touch(self, session: Session) -> None:
        """Something about a session changed."""
        self.version += 1
        self._sessions[session] = self.version
        self._sessions.move_to_end(session)
        self._over.pop(session, None)
        if session.over:
            self._over[session] = None
        if len(self._over) > OVER_LIMIT:
            self._forget(next(iter(self._over)))
        if len(self._sessions) > self._limit:
            self._forget(next(iter(self._sessions)))
        for listener in tuple(self.listeners):
            listener()

    def _forget(self, session: Session) -> None:
        del self._sessions[session]
        self._over.pop(session, None)

    def told(self, record: AnyRecord) -> None:
        """Something was said; violations are kept, in tables as long as the catalogue."""
        for hear in self.hearers:
            hear(record)
        if isinstance(record, Violation):
            self.version += 1
            broken = self.rules.setdefault(record.rule, Broken())
            broken.times += record.times
            broken.latest.append(record)
            broken.version = self.version
            for listener in tuple(self.listeners):
                listener()

    def since(self, version: int, limit: int) -> tuple[list[Session], int, bool]:
        """The sessions changed after that version, oldest change first.

        Returns:
            at most `limit` of them, the version to ask with next, and whether more are waiting.
        """
        changed: list[tuple[Session, int]] = []
        for session, at in reversed(self._sessions.items()):
            if at <= version:
                break
            changed.append((session, at))
        changed.reverse()
        if len(changed) > limit:
            page = list(islice(changed, limit))
            return [session for session, _ in page], page[-1][1], True
        return [session for session, _ in changed], self.version, False

    def find(self, number: int) -> Session | None:
        """The session of this number."""
        return next((session for session in self._sessions if session.number == number), None)
