"""Bringing lost sessions back: who shakes hands, what is said to the server, who waits, who is sent again.

Theory of operation
-------------------
At most one handshake is under way for a session: its `Attempt`. The first exchange that is refused begins it; all that
are refused meanwhile wait for it, and so do requests that arrive meanwhile. Its outcome releases every one of them,
once. An exchange that was sent with an older generation than the session has by now needs no handshake: it is only sent
again. Whoever hangs up is taken off the list and nothing is sent for it.

A handshake is `initialize` (INITIALIZING), then `notifications/initialized`, then all that the old session held, a few
messages at a time (RESTORING). Only the first decides whether there is a new session; what can't be restored is said.

Attempts are limited in every direction: see `limits`.
"""

from __future__ import annotations

from ...wire import headers as h
from ...wire.jsonrpc import Kind, dump
from ...wire.sse import encode
from ...wire.text import printable
from ..decisions import DELIVER, HOLD, PASS, Decision, Deliver, Forward, Outcome, Reply, Request, Resend
from ..ending.ending import Ending
from ..exchange import Exchange
from ..ledger import Ledger
from ..observer import Observer
from ..outbox import Outbox
from ..policy import Policy
from ..records import Weight
from ..reporter import Reporter
from ..session import Session, packed
from ..states import ClientSide, RecoveryState, RecoveryTrigger, ServerSide, Trigger
from . import handshake
from .attempts import Attempt, Attempts
from .dialects import Reading
from .handshake import Step
from .limits import GaveUp, Limits, Troubles
from .replay import Treatment, anew, outcome_for, treatment
from .server_state import compare
from .unreachable import Patience, may_pass


class Recovery:
    """The recovery of all sessions. The time is the reporter's."""

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        reporter: Reporter,
        observer: Observer,
        outbox: Outbox,
        ending: Ending,
        limits: Limits | None = None,
    ) -> None:
        self.policy = policy
        self.limits = limits or Limits()
        self.attempts = Attempts()
        self._patience = Patience()
        self._troubles = Troubles(self.limits)
        self._ledger = ledger
        self._reporter = reporter
        self._observer = observer
        self._outbox = outbox
        self._ending = ending

    # What happens to exchanges

    def hold(self, x: Exchange) -> Decision | None:
        """A request of a known session arrives: hold it if the session is being recovered."""
        attempt = self.attempts.get(x.session) if x.session else None
        if attempt is None:
            return None
        if x.kind is Kind.RESPONSE:
            return Reply(202)  # it answers a request of the session that is dead
        if len(attempt.waiting) >= self.limits.waiting_per_session:
            return None
        attempt.waiting[x.id] = (x, None)
        return HOLD

    def lost(self, session: Session, x: Exchange, reading: Reading) -> Decision:
        """A request was refused because the server has lost its session."""
        try:
            decision, begun = self._refused(session, x, reading)
        except GaveUp as e:
            if x.generation == session.generation:  # what an older one was told says nothing of this one
                self._ledger.fire(session, Trigger.REFUSED, self._reporter.now, reading.reason)
                self._observer.told_lost(session, self._reporter.now)
            self._reporter.change(session, "lost", f"{reading.reason}; not brought back: {e}", x, Weight.WARNING)
            return Deliver(original=x.attempts > 0)
        if begun:
            self._begin(session, reading.reason, x)
        elif isinstance(decision, Deliver):
            return Deliver(original=x.attempts > 0)
        return decision

    def _refused(self, session: Session, x: Exchange, reading: Reading) -> tuple[Decision, bool]:
        """What becomes of a refused request, and whether a handshake is to begin for it.

        Raises:
            GaveUp: when no recovery is tried; the client gets the server's answer.
        """
        if self.policy.recover == "off":
            raise GaveUp("mcp_recover is off")
        if not reading.unprocessed:
            if x.attempts:
                raise GaveUp("the new session says the same: it is not about the session")
            if session.answered > x.answered_before and x.generation == session.generation:
                raise GaveUp("the session has answered meanwhile")
        at_first_use = session.generation > 0 and session.answered == session.answered_before
        alive = session.standing.server is ServerSide.ALIVE
        died_young = at_first_use and x.generation == session.generation and alive
        if died_young and self._troubles.died_young(session, self._reporter.now):
            self._reporter.action("rests: it was lost again and again at its first use", x, Weight.WARNING)
        if not _recoverable(session):
            raise GaveUp(f"the session is {session.state}")
        what = treatment(x, self.policy.recover, unprocessed=reading.unprocessed)
        if what is Treatment.LEAVE:
            raise GaveUp("not a request that can be sent again")
        if what is Treatment.DROP:
            return Reply(202), False
        if x.attempts >= self.limits.attempts_per_exchange:
            raise GaveUp(f"sent {x.attempts} times already")
        attempt = self.attempts.get(session)
        if attempt is not None:
            if len(attempt.waiting) >= self.limits.waiting_per_session:
                raise GaveUp(f"{len(attempt.waiting)} requests wait already")
            attempt.waiting[x.id] = (x, what)
            return HOLD, False
        if x.generation < session.generation:
            return self._sent_again(x, outcome_for(session, what)), False
        self._troubles.begin(session, x.client.label, self._reporter.now)
        self.attempts[session] = self._attempt(session, x.url, h.carried_over(x.headers))
        self.attempts[session].x = x
        self.attempts[session].waiting[x.id] = (x, what)
        return HOLD, True

    def initialize_refused(self, x: Exchange) -> Decision:
        """An `initialize` was refused for the stale session id on it: it is sent again without."""
        if self.policy.recover == "off" or x.attempts:
            return Deliver(original=x.attempts > 0)
        return self._sent_again(x, Resend(""))

    def hung_up(self, x: Exchange) -> None:
        """The client of an exchange hung up: it waits no more."""
        attempt = self.attempts.get(x.session) if x.session else None
        if attempt is not None:
            attempt.waiting.pop(x.id, None)

    def first_events(self, x: Exchange) -> bytes:
        """What the client is to be told before anything else on this stream of its session."""
        session = x.session
        if session is None or session.held is None or not x.ok or not h.open_ended(x.answer_headers):
            return b""
        told, session.held.untold = session.held.untold, []
        for method in told:
            self._reporter.action(f"told the client: {method}", x)
        return b"".join(encode(dump({"jsonrpc": "2.0", "method": method})) for method in told)

    def worked(self, session: Session) -> None:
        """A request of this session's present generation was answered with success."""
        self._troubles.worked(session)

    def forget(self, session: Session) -> None:
        """The session is over, or known no more: whoever waits for it waits no more."""
        self._troubles.forget(session)
        attempt = self.attempts.get(session)
        if attempt is not None:
            self.attempts.take_off(attempt)
        for x, what in attempt.waiting.values() if attempt is not None else ():
            self._outbox.release(x, PASS if what is None else DELIVER)

    # The handshake

    def by_hand(self, session: Session) -> None:
        """Begin a handshake because the user wants it: what arrives meanwhile waits for its outcome.

        Raises:
            ValueError: one line that says why there can be none.
        """
        if not _recoverable(session):
            raise ValueError(f"session {session.label} is {session.state}")
        if session in self.attempts:
            raise ValueError(f"session {session.label} is being brought back already")
        self._troubles.begin_by_hand(session)
        self.attempts[session] = self._attempt(session, session.url, session.fields)
        self._begin(session, "by hand", None)

    def _attempt(self, session: Session, url: str, carried: h.Fields) -> Attempt:
        attempt = Attempt(session, url, carried, self._reporter.now + self.policy.recover_timeout + self.limits.slack)
        self.attempts.time(attempt)
        return attempt

    def _begin(self, session: Session, why: str, x: Exchange | None) -> None:
        now = self._reporter.now
        self._ledger.fire(session, Trigger.REFUSED, now, why)
        self._ledger.fire(session, Trigger.HANDSHAKE, now)
        if x is None:
            self._reporter.change(session, "initialized anew", why)
        else:
            self._reporter.change(session, "lost", why, x, Weight.WARNING)
        attempt = self.attempts[session]
        attempt.steps.append(handshake.opening(session))
        self._send_some(attempt, 1)

    def sent(self, step: Step, outcome: Outcome) -> None:
        """A message of a handshake was answered, or was not."""
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
        if not attempt.under_way:
            self._succeeded(attempt)

    def _initialized(self, attempt: Attempt, outcome: Outcome) -> None:
        session, opened = attempt.session, handshake.read(outcome)
        if outcome.status is None and may_pass(outcome.problem) and self._waits(attempt):
            return
        if opened.session_id is None or opened.result is None:
            session.note(self._reporter.now, "handshake failed", opened.problem)
            self._failed(attempt, opened.problem)
            return
        for difference in handshake.differences(session.answer, opened.result, session.revision):
            self._reporter.change(session, "meets another server", difference, weight=Weight.WARNING)
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
        found = message.result.get(listing.items)
        items = step.items + (found if isinstance(found, list) else [])
        cursor = message.result.get("nextCursor")
        if isinstance(cursor, str) and step.page + 1 < self.limits.pages:
            attempt.steps.append(handshake.page_of(listing, cursor, step.page + 1, items))
        elif compare(attempt.session.holding(), listing, items):
            detail = f"its {listing.items} are other ones"
            self._reporter.change(attempt.session, "meets another server", detail)

    def _not_restored(self, session: Session, what: str) -> None:
        self._reporter.change(session, "not restored in full", what, weight=Weight.WARNING)

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
            request = Request(step.what, "POST", attempt.url, attempt.carried, session, patience, headers, step.body)
            self._outbox.send(request, step)

    # How it ends

    def _succeeded(self, attempt: Attempt) -> None:
        session, now = attempt.session, self._reporter.now
        self.attempts.take_off(attempt)
        self._ledger.fire(session, Trigger.RECOVERED, now)
        self._ledger.recovered_once(session)
        session.answered_before = session.answered
        often = self._troubles.recovered(session, now)
        sent_again = []
        for x, what in attempt.waiting.values():  # before anything is told: nobody is to wait because of that
            if what is None:
                self._let_go(x, Forward(session.server_id))
            else:
                decision = outcome_for(session, what)
                sent_again += [x] if isinstance(decision, Resend) else []
                self._outbox.release(x, anew(x, decision))
        self._reporter.change(session, "recovered", f"generation {session.generation}", attempt.x)
        for x in sent_again:
            self._reporter.action("sent again", x)
        if often:
            self._reporter.change(
                session,
                "thrashes",
                f"recovered {often} times within a minute: is it behind a balancer without stickiness, or does its "
                "server keep restarting?",
                weight=Weight.WARNING,
            )
        self._ending.check(session)  # its client may be gone by now

    def _failed(self, attempt: Attempt, why: str) -> None:
        session, now = attempt.session, self._reporter.now
        self.attempts.take_off(attempt)
        self._ledger.fire(session, Trigger.NOT_RECOVERED, now, why)
        self._troubles.failed(session, now)
        for x, what in attempt.waiting.values():
            if what is None:
                self._let_go(x, Forward(session.server_id))
            else:
                self._outbox.release(x, DELIVER)
        self._observer.told_lost(session, now)
        self._reporter.change(session, "not recovered", why, attempt.x, Weight.WARNING)
        self._ending.check(session)  # its client may be gone by now

    def interrupted(self, why: str) -> None:
        """Whoever sent the messages does so no more: what was under way has failed, or is done as far as it was."""
        for attempt in list(self.attempts.values()):
            if self._troubles.of(attempt.session).state is RecoveryState.RESTORING:
                self._not_restored(attempt.session, why)
                self._succeeded(attempt)
            else:
                self._failed(attempt, why)

    @property
    def next_timer(self) -> float | None:
        """When the next handshake will have taken too long."""
        return self.attempts.next_time

    def timer(self) -> None:
        """Try those again whose server could not be reached, and give up what takes too long."""
        while (due := self.next_timer) is not None and due <= self._reporter.now:
            attempt = self.attempts.first()
            if attempt.due is not None:
                attempt.due = None
                self.attempts.time(attempt)
                attempt.steps.append(handshake.opening(attempt.session))
                self._send_some(attempt, 1)
                continue
            if self._troubles.of(attempt.session).state is RecoveryState.RESTORING:
                self._not_restored(attempt.session, "it takes too long")
                self._succeeded(attempt)
            else:
                self._failed(attempt, "not answered in time")

    # What is done for an exchange as it goes on

    def _let_go(self, x: Exchange, decision: Forward) -> None:
        """A request that was held goes out now."""
        self.goes_out(x)
        self._outbox.release(x, decision)

    def goes_out(self, x: Exchange) -> None:
        """A request of a known session goes out to the server."""
        session = x.session
        if session is None:
            return
        x.generation, x.answered_before = session.generation, session.answered
        if x.verb == "DELETE":
            self._ledger.fire(session, Trigger.DELETE_SENT, self._reporter.now)
            self._reporter.changed(session)

    def _sent_again(self, x: Exchange, decision: Decision) -> Decision:
        """If a request is sent again, its answer starts anew."""
        if isinstance(decision, Resend):
            anew(x, decision)
            self._reporter.action("sent again", x)
        return decision


def _recoverable(session: Session) -> bool:
    """Whether a session may be brought back: its client neither ended it nor is gone, nor does the proxy end it."""
    standing = session.standing
    return standing.client is ClientSide.USING and standing.server in (
        ServerSide.ALIVE,
        ServerSide.LOST,
        ServerSide.RECOVERING,
    )
