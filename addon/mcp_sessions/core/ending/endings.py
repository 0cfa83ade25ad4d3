"""Ending sessions: when a client is gone, what is to be deleted in its place, and what came of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from ...wire.text import counted
from ..client import Client, ClientKey, ProcessLike
from ..decisions import End, Retry
from ..exchange import Exchange, Finish
from ..ledger import Ledger
from ..observer import Observer
from ..policy import Policy
from ..records import Change, Weight
from ..recovery.machine import Recovery
from ..reporter import Telling
from ..session import Session
from ..states import LIVE, Cause, State
from .delete_answers import Result, result, wait
from .evidence import Evidence, Graces

AT_ONCE = 5
"""Sessions that are decided upon in one go, so that a client with a thousand of them does not make others wait."""

AT_EXIT = "the proxy ends"
"""The reason for ending a session whose client may well live."""


class Endings:
    """Decides which sessions are to be ended, and notes how that went."""

    def __init__(
        self, policy: Policy, ledger: Ledger, recovery: Recovery, observer: Observer, telling: Telling
    ) -> None:
        self.policy = policy
        self.evidence = Evidence(_graces(policy))
        self._ledger = ledger
        self._recovery = recovery
        self._observer = observer
        self._telling = telling
        self._backlog: deque[Session] = deque()
        self._replaced: deque[End] = deque()

    def configure(self, policy: Policy, at: float) -> None:
        """Take over other settings."""
        before, self.policy = self.policy, policy
        if _graces(policy) != self.evidence.graces:
            self.evidence.regrade(_graces(policy), self._ledger.sessions.values(), at)
        if policy.end == "on" != before.end:
            self._backlog.extend(s for s in self._ledger.sessions.values() if s.state is State.ABANDONED)

    # Who is gone

    def gone(self, process: ProcessLike, at: float) -> list[End]:
        """A process of this host has ended: a client is gone, beyond doubt. There may be `more`."""
        client = self._ledger.clients.get(ClientKey(pid=process.pid, started=process.started))
        if client is None or client.gone:
            return []
        client.gone_at = at
        held = [session for session in client.sessions if session.state is not State.CLOSED]
        self._telling.tell(
            Change(at=at, what="gone", client=client.label, detail=f"held {counted(len(held), 'session')}")
        )
        self._backlog.extend(held)
        return self.more(at)

    def outlived(self, process: ProcessLike, heir: ProcessLike, at: float) -> None:
        """A process has ended, but another one holds its connections: what it opened belongs to both."""
        client = self._ledger.clients.get(ClientKey(pid=process.pid, started=process.started))
        following = self._ledger.clients.get(ClientKey(pid=heir.pid, started=heir.started))
        if client is None or following is None or following is client:
            return
        for session in client.sessions:
            if session.state is not State.CLOSED and self._ledger.own(session, following, at):
                self._telling.change(session, "handed over", f"from {client.label} to {following.label}")

    @property
    def has_more(self) -> bool:
        """Whether `more` has something to say."""
        return bool(self._backlog or self._replaced)

    def more(self, at: float) -> list[End]:
        """The next few sessions to be ended, of those that wait to be decided upon."""
        found: list[End] = []
        for _ in range(min(AT_ONCE, len(self._backlog))):
            session = self._backlog.popleft()
            if session.state is State.ABANDONED:
                found += self.end(session, session.evidence, at, certain=False)
            else:
                found += self.orphaned(session, at)
        while self._replaced and len(found) < AT_ONCE:
            found.append(self._replaced.popleft())
        return found

    def tick(self, at: float) -> list[End]:
        """Time has passed: the sessions that are due by evidence, and what else waits. To be called every second."""
        found = self.more(at)
        if self.policy.end == "off":
            return found
        for session, due in self.evidence.due(at):
            if session.apply(Cause.ORPHANED, at, due.evidence):
                session.returnable = True
                found += self.end(session, due.evidence, at, certain=False)
        return found

    def orphaned(self, session: Session, at: float) -> list[End]:
        """End a session if every client that used it is known to be gone."""
        if session.left and session.state in (State.OPEN, State.LOST):
            return self.end(session, "its client's DELETE was cut off", at)
        if not session.orphaned:
            self.evidence.watch(session, at)
            return []
        if session.state is State.LEAVING:  # its DELETE is under way: how that ends decides
            return []
        if not session.apply(Cause.ORPHANED, at):
            return []
        # Not its client's own wish: should somebody turn up who carries it on, it may be brought back.
        session.returnable = True
        return self.end(session, f"process gone: {', '.join(owner.label for owner in session.owners)}", at)

    def cut_off(self, session: Session, finish: Finish, at: float) -> list[End]:
        """The client sent DELETE, and no answer came before one side hung up: finish it in its place."""
        if session.state is State.RECOVERING:  # ended as soon as it is known by which id
            session.left = True
            return []
        if not session.apply(Cause.DELETE_CUT, at):
            return []
        session.left = True
        how = "was cut off" if finish is Finish.CLIENT else "was not answered"
        return self.end(session, f"its client's DELETE {how}", at)

    def returned(self, session: Session, x: Exchange) -> None:
        """Somebody uses a session that was given up: it goes on, if its client had not ended it."""
        if x.verb == "DELETE" or session.left or x.client.gone:
            return
        if session.state is State.CLOSED:
            if not session.returnable:
                return
            session.apply(Cause.RETURNED, x.at, f"used by {x.client.label}")
        else:
            session.apply(Cause.ADOPTED, x.at, f"used by {x.client.label}")
        session.evidence = ""
        self.evidence.watch(session, x.at)
        self._telling.change(session, "goes on", f"used by {x.client.label}", x)

    # Ending it

    def end(
        self, session: Session, evidence: str, at: float, *, certain: bool = True, by_hand: bool = False
    ) -> list[End]:
        """Decide to end a session that its client has left."""
        session.evidence = evidence
        if certain and not by_hand:
            self._observer.abandoned(session, at)
        mode = "on" if by_hand else self.policy.end
        if session.kept and not by_hand:
            self._telling.change(session, "is kept", evidence)
        elif mode == "log":
            self._telling.change(session, "would be ended", evidence)
        elif mode == "on":
            return self._delete(session, evidence, at)
        return []

    def _delete(self, session: Session, evidence: str, at: float) -> list[End]:
        if not session.apply(Cause.ENDING, at, evidence):
            return []
        if not self._ledger.endpoint(session.endpoint, at).ends_sessions:
            self._close(session, at, f"{evidence}; {Result.UNSUPPORTED.value}")
            return []
        self._telling.change(session, "ending", evidence)
        return [End(session, evidence, session.server_id)]

    def by_hand(self, session: Session, at: float) -> list[End]:
        """The user wants it ended.

        Raises:
            ValueError: when it can't be ended now; says why.
        """
        found = self.end(session, "by hand", at, by_hand=True)
        if not found and session.state is not State.CLOSED:
            raise ValueError(f"session {session.label} is {session.state}: it can't be ended now")
        session.kept = False
        session.returnable = False
        return found

    def keep(self, session: Session, kept: bool, at: float) -> None:
        """Protect a session, or stop protecting it."""
        session.kept = kept
        session.note(at, "kept by hand" if kept else "no longer kept")
        self._telling.change(session, "is kept by hand" if kept else "is no longer kept")
        if not kept:
            self._backlog.append(session)

    def at_exit(self, at: float) -> list[End]:
        """The proxy ends: the sessions that are to be ended with it."""
        which = self.policy.end_at_exit
        if which == "none":
            return []
        found: list[End] = []
        for session in list(self._ledger.sessions.values()):
            if session.state in LIVE and (which == "all" or session.mapped):
                session.returnable = True
                found += self.end(session, AT_EXIT, at, certain=False)
        return found

    def wait(self, end: End, at: float) -> float | None:
        """Seconds to wait before this DELETE is sent; None if it is not to be sent any more."""
        session = end.session
        facts = self._ledger.endpoint(session.endpoint, at)
        if end.final and session.state is not State.ENDING:
            return None
        if not facts.ends_sessions:
            if end.final:
                self._close(session, at, f"{end.evidence}; {Result.UNSUPPORTED.value}")
            return None
        return max(0.0, facts.not_before - at)

    def ended(
        self, end: End, status: int | None, problem: str, at: float, *, said: str = "", retry_after: str | None = None
    ) -> Retry | None:
        """The proxy's own DELETE was answered, or could not be delivered (no status)."""
        session, came = end.session, result(status, said)
        facts = self._ledger.endpoint(session.endpoint, at)
        if came is Result.UNSUPPORTED and facts.ends_sessions:
            facts.ends_sessions = False
            self._telling.change(session, "not asked again", f"DELETE answered {status}: {came.value}")
        if not end.final:
            session.note(at, "earlier id deleted", f"answered {status}" if status else problem)
            return None
        if came in (Result.ENDED, Result.UNSUPPORTED):
            self._gone_at_server(session, at, f"{end.evidence}; DELETE answered {status}")
            return None
        why = f"DELETE answered {status}" if status else problem or "no answer"
        seconds = wait(end.attempt, retry_after) if came is Result.AGAIN else None
        if seconds is not None and session.state is State.ENDING:
            session.note(at, "DELETE to be sent again", f"{why}; in {seconds:g} s")
            if status in (429, 503):
                facts.not_before = max(facts.not_before, at + seconds)
            if end.attempt == 1:
                self._telling.change(session, "not ended yet", f"{why}; next attempt in {seconds:g} s")
            return Retry(replace(end, attempt=end.attempt + 1), seconds)
        if came is Result.CREDENTIALS:
            why = f"{came.value} ({why})"
        elif came is Result.AGAIN:
            why = f"{why}, {end.attempt} times"
        if session.apply(Cause.NOT_ENDED, at, why):
            session.evidence = f"{end.evidence}; {why}"
            self._telling.change(session, "not ended", why, weight=Weight.WARNING)
        return None

    def _gone_at_server(self, session: Session, at: float, detail: str) -> None:
        if session.state is State.ENDING:
            self._close(session, at, detail)
        elif session.apply(Cause.REFUSED, at, detail):
            # Somebody turned up while the DELETE was on its way: it will be brought back.
            self._telling.change(session, "lost", detail, weight=Weight.WARNING)

    def answered(self, session: Session, x: Exchange, status: int, at: float) -> None:
        """The client's own DELETE was answered."""
        message = x.answer.first if x.answer else None
        said = str((message.error or {}).get("message", "")) if message else ""
        if result(status, said) not in (Result.ENDED, Result.UNSUPPORTED):
            session.apply(Cause.DELETE_REFUSED, at, f"answered {status}")
            return
        if result(status) is Result.UNSUPPORTED:
            self._ledger.endpoint(session.endpoint, at).ends_sessions = False
        session.left = True
        self._close(session, at, f"DELETE of the client answered {status}", x)

    def _close(self, session: Session, at: float, detail: str, x: Exchange | None = None) -> None:
        if session.apply(Cause.DELETE_ANSWERED, at, detail):
            session.streams.clear()
            self._recovery.forget(session)
            self.evidence.forget(session)
            if self.policy.end == "on" and self._ledger.endpoint(session.endpoint, at).ends_sessions:
                # Another replica may still hold what a recovery replaced.
                self._replaced.extend(End(session, "replaced", old, final=False) for old in session.replaced)
                session.replaced.clear()
            self._telling.change(session, "closed", detail, x)

    def resume(self, at: float) -> list[End]:
        """What was being sent was interrupted: it is to be sent again."""
        found: list[End] = []
        for session in list(self._ledger.sessions.values()):
            if session.state is State.ENDING and session.apply(Cause.NOT_ENDED, at, "interrupted"):
                found += self._delete(session, session.evidence, at)
        return found

    # A ledger from disk

    def may_return(self, session: Session) -> bool:
        """Whether a session that is over is worth remembering: its client is likely to live, and to use it again."""
        return session.returnable and session.evidence == AT_EXIT

    def taken_over(self, sessions: Iterable[Session], gone: Iterable[Client], at: float) -> list[End]:
        """These sessions, and who of their clients is known to be gone, are from an earlier run."""
        for client in gone:
            client.gone_at = at
        for session in sessions:
            self.evidence.watch(session, at)
            if session.left and session.apply(Cause.ORPHANED, at, "left by its client"):
                session.evidence = "its client's DELETE was cut off"
            if session.left or session.orphaned:
                self._backlog.append(session)
        return self.more(at)


def _graces(policy: Policy) -> Graces:
    return Graces(policy.end_after_stream, policy.end_after_idle)
