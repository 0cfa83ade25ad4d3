"""What other proxies know of a session's end: whether a reason to end it stands, and that it is over already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..decisions import Counsel
from ..ledger import Ledger
from ..reporter import Reporter
from ..session import Session
from ..sharing import Sharing
from ..states import ClientSide, Reason, ServerSide, Trigger, Why
from .evidence import WEIGHED, Evidence
from .parts import is_orphaned

OVER = "ended by another proxy"


class Close(Protocol):
    """Has a session closed: it is over at its server."""

    def __call__(self, session: Session, detail: str, *, left: bool = False) -> None:
        """`left`: because its client has ended it."""


class Elsewhere:
    """Takes in what they say. The time is the reporter's."""

    def __init__(
        self,
        ledger: Ledger,
        reporter: Reporter,
        sharing: Sharing,
        evidence: Evidence,
        close: Close,
        check: Callable[[Session], None],
    ) -> None:
        """`check` is to look whether a session is to be ended."""
        self._ledger = ledger
        self._reporter = reporter
        self._sharing = sharing
        self._evidence = evidence
        self._close = close
        self._check = check
        sharing.heard = self._heard

    def borne_out(self, session: Session, reason: Reason, counsel: Counsel) -> bool:
        """Whether a reason to end a session stands after what other proxies have said."""
        news = counsel.news
        if news is not None:
            self._sharing.learn(session, news)
        if counsel.over:
            self._over(session, counsel)
            return False
        if reason.kind is Why.PROCESS_GONE:
            return is_orphaned(session)
        if reason.kind not in WEIGHED:
            return True
        seen = news is not None and (news.streams or news.connections)
        return not counsel.alone and not seen and self._evidence.stands(session, reason.kind, self._reporter.now)

    def stands(self, session: Session, counsel: Counsel) -> bool:
        """Whether a session is still to be ended that is about to be; if not, it goes on."""
        reason, now = session.reason, self._reporter.now
        if reason is None or self.borne_out(session, reason, counsel):
            return session.standing.server is ServerSide.DELETING
        if not session.over and self._ledger.fire(session, Trigger.RETURNED, now, "used through another proxy"):
            session.reason = session.outcome = None
            self._evidence.watch(session, now)
            self._reporter.change(session, "goes on", "used through another proxy")
        return False

    def _heard(self, session: Session, counsel: Counsel) -> None:
        """Other proxies have changed something, and nobody had asked."""
        if session.standing.server is ServerSide.RECOVERING or session.over:
            return  # what comes of that asks them
        if counsel.over:
            self._over(session, counsel)
            return
        if counsel.news is not None:
            self._sharing.learn(session, counsel.news)
        self._check(session)

    def _over(self, session: Session, counsel: Counsel) -> None:
        now = self._reporter.now
        if session.over or session.standing.client is ClientSide.LEAVING:
            return  # its client's own DELETE is answered here
        if not counsel.left and session.standing.client is ClientSide.USING and session.last_used > counsel.over:
            self._ledger.fire(
                session, Trigger.PROXY_DELETE_DONE, now, OVER
            )  # somebody turned up: it can be brought back
            return
        session.replaced = ()  # those are that proxy's to delete
        if not counsel.left:
            session.reason = session.reason or Reason(Why.UNKNOWN, OVER)
            self._ledger.fire(session, Trigger.GONE, now, OVER)
            self._ledger.fire(session, Trigger.PROXY_DELETE, now, OVER)
        self._close(session, OVER, left=counsel.left)
