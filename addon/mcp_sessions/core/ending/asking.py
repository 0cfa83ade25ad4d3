"""Asking a server to end a session: the DELETEs that are sent, and what their answers mean."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...wire import headers as h
from ..decisions import Counsel, Matter, Outcome, Request
from ..ledger import Ledger
from ..outbox import Outbox
from ..policy import Policy
from ..records import Weight
from ..reporter import Reporter
from ..session import Session
from ..sharing import Sharing
from ..states import ClientSide, DeleteState, DeleteTrigger, Reason, ServerSide, Trigger, Why
from .delete_answers import read, wait
from .deletions import GAP, LIMIT, Deletion, Deletions
from .evidence import CERTAIN, WEIGHED

UNSUPPORTED = DeleteState.UNSUPPORTED.value

SHARED = "not asked for: the server knows another client's session by that id"
"""Why a session is over without any DELETE."""

AT_ONCE = 100
"""DELETEs that are put off in one go, where a server asks to be left alone."""

BUSY = 1.0
"""Seconds until a session is looked at again that another proxy ends, or of which nobody can say whether it does."""

OUTCOMES = {
    DeleteState.NEEDS_CREDENTIALS: Why.NEEDS_CREDENTIALS,
    DeleteState.REFUSED: Why.REFUSED,
    DeleteState.GIVEN_UP: Why.NO_ANSWER,
}
"""Why a session could not be ended, by how its DELETE stands."""


class Asking:
    """Sends DELETEs, again if need be. The time is the reporter's."""

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        reporter: Reporter,
        outbox: Outbox,
        close: Callable[[Session, str], None],
        stands: Callable[[Session, Counsel], bool],
        sharing: Sharing,
    ) -> None:
        """`close` is told of a session that is over at its server, with the reason in words.

        `stands` is asked whether a session is still to be ended after what other proxies have said.
        """
        self.policy = policy
        self.queue = Deletions()
        self._ledger = ledger
        self._reporter = reporter
        self._outbox = outbox
        self._close = close
        self._stands = stands
        self._sharing = sharing

    def ask(self, session: Session, reason: Reason) -> None:
        """Have a session ended."""
        self._put(Deletion(session, reason, session.server_id))

    def discard(self, session: Session, server_id: str) -> None:
        """Nobody uses this id of a server any more: it is of an earlier generation, or of a handshake that was late."""
        if self.policy.end == "on" and self._ledger.place(session.endpoint, self._reporter.now).ends_sessions:
            self._put(Deletion(session, Reason(Why.UNKNOWN, "not used by anybody"), server_id, final=False))

    def _put(self, deletion: Deletion) -> None:
        if not self.queue.put(deletion):
            self._reporter.change(deletion.session, "not ended", f"{LIMIT} others wait for it", weight=Weight.ERROR)

    def pump(self) -> None:
        """Have the next ones sent, as far as there is room."""
        now = self._reporter.now
        parked = 0
        while parked < AT_ONCE and (deletion := self.queue.next(now)) is not None:
            session = deletion.session
            place = self._ledger.place(session.endpoint, now)
            stale = deletion.server_id != session.server_id or session.standing.server is not ServerSide.DELETING
            if deletion.final and stale:
                deletion.fire(DeleteTrigger.MOOT)
                self.queue.over(deletion, now)
            elif not place.ends_sessions:
                deletion.fire(DeleteTrigger.MOOT)
                self.queue.over(deletion, now)
                if deletion.final:
                    self._close(session, f"{deletion.reason.text}; {UNSUPPORTED}")
            elif place.shared(deletion.server_id, session if deletion.final else None):
                deletion.fire(DeleteTrigger.MOOT)
                self.queue.over(deletion, now)
                if deletion.final:
                    self._close(session, f"{deletion.reason.text}; {SHARED}")
            elif place.not_before > now:
                self.queue.over(deletion, now)
                self.queue.later(deletion, place.not_before)
                parked += 1
            else:
                deletion.fire(DeleteTrigger.SENDING)
                if not (deletion.final and self._sharing.ask(Matter.DELETE, session, partial(self._advised, deletion))):
                    self._send(deletion)

    def _advised(self, deletion: Deletion, counsel: Counsel) -> None:
        """Other proxies have said whether this one may end a session."""
        session, now = deletion.session, self._reporter.now
        if deletion.state is not DeleteState.SENT:  # it was interrupted
            self._sharing.conclude(session)
            return
        if counsel.alone and not session.elsewhere and deletion.reason.kind not in WEIGHED:
            self._send(deletion)  # nobody else can know better
            return
        stands = counsel.alone or self._stands(session, counsel)
        moved = session.server_id != deletion.server_id  # it was brought back elsewhere meanwhile
        if stands and counsel.granted and not moved:
            self._send(deletion)
            return
        self.queue.over(deletion, now)
        self._sharing.conclude(session)
        if stands and not moved:
            deletion.fire(DeleteTrigger.AGAIN)
            self.queue.later(deletion, now + BUSY)
            return
        deletion.fire(DeleteTrigger.MOOT)
        if stands:
            self.ask(session, deletion.reason)

    def _send(self, deletion: Deletion) -> None:
        session = deletion.session
        # What is only likely may look otherwise to a proxy that the client went to.
        likely = deletion.final and deletion.reason.kind not in CERTAIN and deletion.reason.kind is not Why.BY_HAND
        # The URL and headers of the latest request: with the latest credentials.
        request = Request(
            "DELETE session",
            "DELETE",
            session.url,
            session.fields,
            session,
            self.policy.end_timeout,
            h.of_session(deletion.server_id, session.revision),
            unless_elsewhere=likely,
        )
        self._outbox.send(request, deletion)
        if deletion.reason.kind is Why.PROCESS_GONE and deletion.attempt == 1:
            ends = [owner.gone_at for owner in session.owners if owner.gone_at is not None]
            self._ledger.tally.exit.add(self._reporter.now - max(ends, default=self._reporter.now))

    def sent(self, deletion: Deletion, outcome: Outcome) -> None:
        """A DELETE was answered, or could not be delivered."""
        if deletion.state is not DeleteState.SENT:
            return  # it was interrupted
        now, session, status = self._reporter.now, deletion.session, outcome.status
        self._sharing.conclude(session)
        self.queue.over(deletion, now + GAP if self.queue.waits else now)
        final = deletion.final and deletion.server_id == session.server_id
        if outcome.elsewhere:
            deletion.fire(DeleteTrigger.ELSEWHERE)
            deleting = session.standing.server is ServerSide.DELETING  # nobody has used it here meanwhile
            if final and deleting and session.number in self._ledger.sessions:
                self._reporter.change(session, "left to another proxy", "it was used there")
                self._ledger.evict(session)
            return
        row, place = read(status, outcome.said), self._ledger.place(session.endpoint, now)
        why = f"DELETE answered {status}" if status else outcome.problem or "no answer"
        seconds = None
        if row.came is DeleteTrigger.AGAIN:
            if final and session.standing.server is ServerSide.DELETING:
                seconds = wait(deletion.attempt, outcome.headers.get("retry-after") if outcome.headers else None)
            state = deletion.fire(DeleteTrigger.AGAIN if seconds is not None else DeleteTrigger.EXHAUSTED)
        else:
            state = deletion.fire(row.came)
        self._ledger.tally.deletes[state] += 1
        if state is DeleteState.UNSUPPORTED and place.ends_sessions:
            place.ends_sessions = False
            self._reporter.change(session, "not asked again", f"{why}: {UNSUPPORTED}")
        if not final:
            session.note(now, "earlier id deleted", f"answered {status}" if status else outcome.problem)
        elif state in (DeleteState.DONE, DeleteState.UNSUPPORTED):
            self._gone_at_server(session, f"{deletion.reason.text}; {why}")
        elif seconds is not None:
            self._again(deletion, why, seconds)
            if row.leave_alone:
                place.not_before = max(place.not_before, now + seconds)
        else:
            self._stuck(deletion, why)

    def _again(self, deletion: Deletion, why: str, seconds: float) -> None:
        now, session = self._reporter.now, deletion.session
        session.note(now, "DELETE to be sent again", f"{why}; in {seconds:g} s")
        if deletion.attempt == 1:
            self._reporter.change(session, "not ended yet", f"{why}; next attempt in {seconds:g} s")
        deletion.attempt += 1
        self.queue.later(deletion, now + seconds)

    def _stuck(self, deletion: Deletion, why: str) -> None:
        session = deletion.session
        if deletion.state is DeleteState.NEEDS_CREDENTIALS:
            why = f"{deletion.state.value} ({why})"
        elif deletion.state is DeleteState.GIVEN_UP:
            why = f"{why}, {deletion.attempt} times"
        if self._ledger.fire(session, Trigger.PROXY_DELETE_FAILED, self._reporter.now, why):
            self._ledger.tally.stuck[OUTCOMES[deletion.state]] += 1
            session.reason, session.outcome = deletion.reason, Reason(OUTCOMES[deletion.state], why)
            self._reporter.change(session, "not ended", why, weight=Weight.WARNING)

    def _gone_at_server(self, session: Session, detail: str) -> None:
        if session.standing.server in (ServerSide.DELETING, ServerSide.STUCK):
            self._close(session, detail)
            return
        changed = self._ledger.fire(session, Trigger.PROXY_DELETE_DONE, self._reporter.now, detail)
        if changed and session.standing.client is ClientSide.USING:
            # Somebody turned up while the DELETE was on its way: it will be brought back.
            self._reporter.change(session, "lost", detail, weight=Weight.WARNING)
