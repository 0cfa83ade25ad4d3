"""Handshakes as they go on: what is sent next, what the answers mean, and when it has taken too long."""

from __future__ import annotations

from collections.abc import Callable

from ...wire import headers as h
from ...wire.text import printable
from ..decisions import Outcome, Request
from ..ending.ending import Ending
from ..exchange import Exchange
from ..ledger import Ledger
from ..outbox import Outbox
from ..records import Weight
from ..reporter import Reporter
from ..session import Endpoint, Session, packed
from ..states import Failure, RecoveryState, RecoveryTrigger, WhyNot
from . import handshake
from .attempts import Attempt, Attempts, Lane
from .handshake import Step
from .joint import Joint
from .limits import Limits, Troubles
from .server_state import compare, digests
from .storms import Storms
from .unreachable import Patience, may_pass


class Shaking:
    """The handshakes of all sessions. The time is the reporter's."""

    def __init__(
        self,
        limits: Limits,
        troubles: Troubles,
        ledger: Ledger,
        reporter: Reporter,
        outbox: Outbox,
        ending: Ending,
        ended: Callable[[Attempt, Failure | None], None],
    ) -> None:
        """`ended` is told of each that is over, and why it failed; of those that have worked, None."""
        self.limits = limits
        self.attempts = Attempts()
        self.storms = Storms(limits, self.attempts)
        self._patience = Patience()
        self._troubles = troubles
        self._ledger = ledger
        self._reporter = reporter
        self._outbox = outbox
        self._ending = ending
        self._ended = ended
        self._joint = Joint(ending.sharing, ending.asking.discard)
        self.accepted: Callable[[Session, Exchange], None] = lambda *_: None
        """Told of a session that the ledger does not know and its server has accepted, and of who is to have it."""

    # How it begins

    def enter(self, attempt: Attempt) -> None:
        """A handshake is to begin, as soon as it is its turn; at once if it is for no exchange but the user."""
        if attempt.x is None:
            self.storms.jump(attempt, self._reporter.now)
            self._begin(attempt)
            return
        self.attempts.time(attempt)
        self.storms.enter(attempt)
        self._next_turns(attempt.lane)

    def worked(self, endpoint: Endpoint) -> None:
        """A session of this endpoint that was brought back works."""
        if self.storms.worked(Lane(endpoint)):
            self._next_turns(Lane(endpoint))

    def _next_turns(self, lane: Lane) -> None:
        for attempt in self.storms.turns(lane, self._reporter.now):
            self._begin(attempt)

    def _begin(self, attempt: Attempt) -> None:
        left = attempt.deadline - self._reporter.now
        attempt.deadline += self.limits.slack
        self.attempts.time(attempt)
        self._joint.begin(attempt, left, self._open, self._settled)

    def _settled(self, attempt: Attempt, why_not: Failure | None) -> None:
        """Another proxy has brought the session back, or this one may not."""
        if why_not is None:
            self._enter_ledger(attempt)
            self._troubles.of(attempt.session).fire(RecoveryTrigger.ANSWERED)
            self._end(attempt)
        else:
            self._end(attempt, why_not, for_all=False)

    def _enter_ledger(self, attempt: Attempt) -> None:
        if attempt.x is not None and attempt.session.number not in self._ledger.sessions:
            self.accepted(attempt.session, attempt.x)

    def _open(self, attempt: Attempt) -> None:
        attempt.steps.append(handshake.opening(attempt.session))
        self._send_some(attempt, 1)

    def _send_some(self, attempt: Attempt, at_once: int) -> None:
        session = attempt.session
        while attempt.steps and attempt.under_way < at_once:
            step = attempt.steps.popleft()
            step.attempt = attempt
            attempt.under_way += 1
            first = step.kind is handshake.Kind.INITIALIZE
            headers = () if first else h.of_session(session.server_id, session.revision)
            left = attempt.deadline - self.limits.slack - self._reporter.now
            patience = left if first else self.limits.step
            about = (step.what, "POST", attempt.url, attempt.carried, session, patience, headers, step.body)
            self._outbox.send(Request(*about, cause=attempt.x), step)

    # What is answered

    def sent(self, step: Step, outcome: Outcome) -> None:
        """A message was answered, or was not."""
        attempt = step.attempt
        assert isinstance(attempt, Attempt)
        if self.attempts.get(attempt.session) is not attempt:  # it was given up meanwhile
            late = handshake.read(outcome).session_id if step.kind is handshake.Kind.INITIALIZE else None
            if late is not None:
                self._ending.asking.discard(attempt.session, late)
            return
        attempt.under_way -= 1
        match step.kind:
            case handshake.Kind.INITIALIZE:
                self._initialized(attempt, outcome)
                return
            case handshake.Kind.INITIALIZED:
                attempt.steps.extend(handshake.restoring(attempt.session))
            case handshake.Kind.RESTORE if not outcome.succeeded:
                self._not_restored(attempt.session, f"{printable(step.what)}: {outcome.why_not}")
            case handshake.Kind.LIST:
                self._listed(attempt, step, outcome)
        self._send_some(attempt, self.limits.at_once)
        if not attempt.under_way and not attempt.committing:
            self._complete(attempt)

    def _initialized(self, attempt: Attempt, outcome: Outcome) -> None:
        session, opened = attempt.session, handshake.read(outcome)
        if outcome.status is None and may_pass(outcome.problem) and self._waits(attempt):
            return
        if opened.session_id is None or opened.result is None:
            session.note(self._reporter.now, "handshake failed", opened.problem)
            # From credentials that were refused nothing follows for others.
            kind = WhyNot.UNREACHABLE if outcome.status is None else WhyNot.REFUSED
            self._end(attempt, Failure(kind, opened.problem), for_all=outcome.status not in (401, 403))
            return
        for difference in handshake.differences(session.answer, opened.result, session.revision):
            self._reporter.change(session, "finds its server changed", difference, weight=Weight.WARNING)
        self._enter_ledger(attempt)
        session.result = packed(opened.result)
        self._ledger.remap(session, opened.session_id)
        self._troubles.of(session).fire(RecoveryTrigger.ANSWERED)
        attempt.deadline = self._reporter.now + self.limits.restoring
        self.attempts.time(attempt)
        attempt.steps.append(handshake.initialized())
        self._send_some(attempt, 1)

    def _waits(self, attempt: Attempt) -> bool:
        """The server was not reached: whether the handshake is tried again in a while."""
        due = self._reporter.now + self._patience.step(attempt.refusals + 1)
        if due >= attempt.deadline - self.limits.slack:
            return False
        attempt.due, attempt.refusals = due, attempt.refusals + 1
        self.attempts.time(attempt)
        if attempt.refusals == 1:
            self._reporter.change(attempt.session, "the handshake waits: its server can't be reached")
        return True

    def _listed(self, attempt: Attempt, step: Step, outcome: Outcome) -> None:
        message, listing = outcome.answer.first if outcome.answer else None, step.listing
        if message is None or message.result is None or listing is None:
            return  # what can't be read can't be compared
        items = message.result.get(listing.items)
        found, _ = digests(items if isinstance(items, list) else [], step.found)
        cursor = message.result.get("nextCursor")
        if isinstance(cursor, str) and step.page + 1 < self.limits.pages:
            attempt.steps.append(handshake.page_of(listing, cursor, step.page + 1, found))
        elif compare(attempt.session.holding(), listing, found):
            detail = f"its {listing.items} are other ones"
            self._reporter.change(attempt.session, "finds its server changed", detail)

    def _not_restored(self, session: Session, what: str) -> None:
        self._reporter.change(session, "not restored in full", what, weight=Weight.WARNING)

    # How it ends

    def _complete(self, attempt: Attempt) -> None:
        """All that can be restored is: once it is known that this result stands, it is one."""
        if not attempt.committing and self._joint.commit(attempt, self._end):
            attempt.deadline = self._reporter.now + self.limits.slack
            self.attempts.time(attempt)
        else:
            self._end(attempt)

    def _end(self, attempt: Attempt, why_not: Failure | None = None, *, for_all: bool = True) -> None:
        """A handshake has worked, or failed in a way that says something of all others at its server."""
        if why_not is None:
            self.storms.succeeded(attempt, self._reporter.now)
        elif for_all and attempt.begun is not None and not attempt.guest:
            self.storms.failed(attempt.lane, attempt.begun, self._reporter.now)
        self._take_off(attempt, why_not.text if why_not else "")
        self._ended(attempt, why_not)
        self._next_turns(attempt.lane)

    def _take_off(self, attempt: Attempt, why_not: str = "") -> None:
        self.attempts.take_off(attempt)
        self._joint.conclude(attempt, why_not)
        self.storms.leave(attempt)

    def give_up(self, attempt: Attempt) -> None:
        """Nobody wants this handshake any more."""
        self._take_off(attempt)
        self._next_turns(attempt.lane)

    def _cut_short(self, attempt: Attempt, why: Failure, *, for_all: bool = True) -> None:
        """A handshake comes to no end: what is done by now has to do."""
        if attempt.committing:
            self._end(attempt)
        elif self._troubles.of(attempt.session).state is RecoveryState.RESTORING:
            self._not_restored(attempt.session, why.text)
            self._complete(attempt)
        else:
            self._end(attempt, why, for_all=for_all)

    def interrupted(self, why: str) -> None:
        """Whoever sent the messages does so no more: what was under way has failed, or is done as far as it was."""
        for attempt in sorted(self.attempts.values(), key=lambda one: one.begun is not None):  # none takes a turn now
            self._cut_short(attempt, Failure(WhyNot.INTERRUPTED, why), for_all=False)

    def timer(self) -> None:
        """Look at those whose time has come."""
        while (due := self.attempts.next_time) is not None and due <= self._reporter.now:
            attempt = self.attempts.first()
            if attempt.due is not None:
                attempt.due = None
                self.attempts.time(attempt)
                if attempt.begun is None:
                    self._next_turns(attempt.lane)
                else:
                    self._open(attempt)
            elif attempt.begun is None:
                self._end(attempt, Failure(WhyNot.TOO_LATE, "its turn did not come in time"))
            else:
                restoring = self._troubles.of(attempt.session).state is RecoveryState.RESTORING
                why = "it takes too long" if restoring else "not answered in time"
                self._cut_short(attempt, Failure(WhyNot.TOO_LATE, why))
