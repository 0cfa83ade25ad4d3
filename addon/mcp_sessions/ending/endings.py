"""Ending sessions: when a client is gone, what is to be deleted in its place, and what came of it."""

from __future__ import annotations

from ..decisions import End
from ..exchange import Exchange
from ..ledger import Cause, ClientKey, Ledger, Session, State
from ..ledger.client import ProcessLike
from ..options import Settings
from ..records import Change, Weight
from ..recovery.machine import Recovery
from ..rules import Judge
from ..telling import Telling

ENDED_BY = frozenset({404, 405})
"""Statuses besides 2xx that end a session: it is not there, or the server does not end sessions."""


def ends(status: int) -> bool:
    """Whether a DELETE that was answered so has ended its session."""
    return 200 <= status < 300 or status in ENDED_BY


class Endings:
    """Decides which sessions are to be ended, and notes how that went."""

    def __init__(self, settings: Settings, ledger: Ledger, recovery: Recovery, judge: Judge, telling: Telling) -> None:
        self.settings = settings
        self._ledger = ledger
        self._recovery = recovery
        self._judge = judge
        self._telling = telling

    def gone(self, process: ProcessLike, at: float) -> list[End]:
        """A process of this host has ended: a client is gone, beyond doubt."""
        client = self._ledger.clients.get(ClientKey(pid=process.pid, started=process.started))
        if client is None or client.gone:
            return []
        client.gone_at = at
        held = [session for session in client.sessions if session.state is not State.CLOSED]
        self._telling.tell(Change(at=at, what="gone", client=client.label, detail=f"held {len(held)} sessions"))
        return [end for session in held for end in self.orphaned(session, at)]

    def orphaned(self, session: Session, at: float) -> list[End]:
        """End a session if every client that used it is known to be gone."""
        if not session.orphaned or not session.apply(Cause.ORPHANED, at):
            return []
        gone = ", ".join(owner.label for owner in session.owners)
        return self.end(session, f"process gone: {gone}", at)

    def cut_off(self, session: Session, at: float) -> list[End]:
        """The client sent DELETE and hung up before it was answered: finish it in its place."""
        if not session.apply(Cause.DELETE_CUT, at):
            return []
        return self.end(session, "its client's DELETE was cut off", at)

    def end(self, session: Session, evidence: str, at: float) -> list[End]:
        """Decide to end a session that its client has left."""
        session.evidence = evidence
        self._judge.abandoned(session, at)
        if self.settings.mcp_end == "off" or not session.apply(Cause.ENDING, at, evidence):
            return []
        self._telling.change(session, "ending", evidence)
        return [End(session, evidence, session.server_id)]

    def ended(self, end: End, status: int | None, problem: str, at: float) -> None:
        """The proxy's own DELETE was answered, or could not be delivered (no status)."""
        session = end.session
        if status is not None and ends(status):
            self._close(session, at, f"{end.evidence}; DELETE answered {status}")
            return
        why = problem or f"DELETE answered {status}"
        session.apply(Cause.NOT_ENDED, at, why)
        self._telling.change(session, "not ended", why, weight=Weight.WARNING)

    def answered(self, session: Session, x: Exchange, status: int, at: float) -> None:
        """The client's own DELETE was answered."""
        if not ends(status):
            session.apply(Cause.DELETE_REFUSED, at, f"answered {status}")
            return
        if status == 405:
            self._ledger.endpoint(session.endpoint, at).ends_sessions = False
        self._close(session, at, f"DELETE of the client answered {status}", x)

    def _close(self, session: Session, at: float, detail: str, x: Exchange | None = None) -> None:
        if session.apply(Cause.DELETE_ANSWERED, at, detail):
            session.streams.clear()
            self._recovery.forget(session)
            self._telling.change(session, "closed", detail, x)
