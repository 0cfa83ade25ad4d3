"""Streams that were hung up: by their client, which is evidence that it is gone, or by a carrier that is ending."""

from __future__ import annotations

from collections import deque

from ..client import Client
from ..reporter import Reporter
from ..session import Session
from .evidence import Evidence

CLOSING = 5.0
"""Seconds within which a carrier that is about to end closes its connections."""

CUT_LIMIT = 10_000
"""Streams hung up by carriers that are remembered, in case that these are about to end."""


class Aborted:
    """Notes of whose stream it is to be believed that its client has hung it up. The time is the reporter's."""

    def __init__(self, evidence: Evidence, reporter: Reporter) -> None:
        self._evidence = evidence
        self._reporter = reporter
        self._cut: deque[tuple[Client, Session]] = deque(maxlen=CUT_LIMIT)
        """Sessions whose last stream a carrier has hung up, and which."""

    def by(self, session: Session, carrier: Client | None) -> None:
        """The last GET stream of a session was hung up: by its client, unless who carries it has ended."""
        if carrier is not None and carrier.gone:
            return
        session.stream_aborted_at = self._reporter.now
        self._reporter.changed(session)
        self._evidence.watch(session, self._reporter.now)
        if carrier is not None:
            self._cut.append((carrier, session))

    def ended(self, carrier: Client) -> None:
        """A carrier has ended: what was hung up just before was hung up by its end."""
        for by, session in self._cut:
            aborted = session.stream_aborted_at
            if by is carrier and aborted is not None and aborted >= self._reporter.now - CLOSING:
                session.stream_aborted_at = None
                self._reporter.changed(session)
