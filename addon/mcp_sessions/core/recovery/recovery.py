"""Bringing lost sessions back: who shakes hands, what is said to the server, who waits, who is sent again.

Theory of operation
-------------------
At most one handshake is under way for a session: its `Attempt`. The first exchange that is refused begins it; all that
are refused meanwhile wait for it, and so do requests that arrive meanwhile. Its outcome releases every one of them,
once. An exchange that was sent with an older generation than the session has by now needs no handshake: it is only sent
again. Whoever hangs up is taken off the list and nothing is sent for it.

A handshake is `initialize` (INITIALIZING), then `notifications/initialized`, then all that the old session held, a few
messages at a time (RESTORING). Only the first decides whether there is a new session; what can't be restored is said.

What is said in it is the matter of `shaking`, whose turn it is that of `storms`. Attempts are limited in every
direction: see `limits`.
"""

from __future__ import annotations

from ...wire import headers as h
from ...wire.jsonrpc import Kind, dump
from ...wire.sse import encode
from ..decisions import DELIVER, HOLD, PASS, Decision, Deliver, Forward, Outcome, Reply, Resend
from ..ending.ending import Ending
from ..exchange import Exchange
from ..ledger import Ledger
from ..observer import Observer
from ..outbox import Outbox
from ..policy import Policy
from ..records import Weight
from ..reporter import Recovery as Recovered
from ..reporter import Reporter
from ..session import Session
from ..states import ClientSide, Failure, ServerSide, Trigger, WhyNot
from ..tally import BY_STATUS, Wait
from .attempts import Attempt, Lane
from .dialects import Reading
from .handshake import Step
from .limits import GaveUp, Limits, Troubles
from .replay import Treatment, anew, outcome_for, treatment
from .shaking import Shaking


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
        self._troubles = Troubles(self.limits)
        self._ledger = ledger
        self._reporter = reporter
        self._observer = observer
        self._outbox = outbox
        self._ending = ending
        self.shaking = Shaking(self.limits, self._troubles, ledger, reporter, outbox, ending, self._ended)
        self.attempts = self.shaking.attempts

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
        self._ledger.tally.held[Wait.RECOVERING] += 1
        return HOLD

    def lost(self, session: Session, x: Exchange, reading: Reading) -> Decision:
        """A request was refused because the server has lost its session."""
        try:
            decision, begun = self._refused(session, x, reading)
        except GaveUp as e:
            self._ledger.tally.not_recovered[e.kind] += 1
            if x.generation == session.generation:  # what an older one was told says nothing of this one
                self._fire_lost(session, reading)
                self._observer.told_lost(session, self._reporter.now)
            self._reporter.change(session, "lost", f"{reading.reason}; not brought back: {e}", x, Weight.WARNING)
            # What may be the answer itself is given to the client: it must not think that nothing was done.
            return Deliver(original=x.attempts > 0 and (reading.unprocessed or x.verb == "GET"))
        if decision is HOLD:
            self._ledger.tally.held[Wait.REFUSED] += 1
        if begun:
            self._fire_lost(session, reading)
            self._begin(session, reading.reason, x)
        elif isinstance(decision, Deliver):
            return Deliver(original=x.attempts > 0)
        return decision

    def _fire_lost(self, session: Session, reading: Reading) -> None:
        if self._ledger.fire(session, Trigger.REFUSED, self._reporter.now, reading.reason):
            self._ledger.tally.lost[reading.dialect or BY_STATUS] += 1

    def _refused(self, session: Session, x: Exchange, reading: Reading) -> tuple[Decision, bool]:
        """What becomes of a refused request, and whether a handshake is to begin for it.

        Raises:
            GaveUp: when no recovery is tried; the client gets the server's answer.
        """
        if self.policy.recover == "off":
            raise GaveUp(WhyNot.OFF, "mcp_recover is off")
        if not reading.unprocessed:
            if x.attempts:
                raise GaveUp(WhyNot.NOT_THE_SESSION, "the new session says the same: it is not about the session")
            if session.answered > x.answered_before and x.generation == session.generation:
                raise GaveUp(WhyNot.NOT_THE_SESSION, "the session has answered meanwhile")
        at_first_use = session.generation > 0 and session.answered == session.answered_before
        alive = session.standing.server is ServerSide.ALIVE
        if at_first_use and x.generation == session.generation and alive:
            now = self._reporter.now
            if self._troubles.of(session).deaths == 0:  # what follows is limited session by session
                self.shaking.storms.failed(Lane(session.endpoint), self._troubles.recovered_at(session), now)
            if self._troubles.died_young(session, now):
                self._reporter.action(
                    "not brought back for a while: it was lost again and again at its first use", x, Weight.WARNING
                )
        if not _recoverable(session):
            raise GaveUp(WhyNot.NOT_USED, f"the session is {session.state}")
        what = treatment(x, self.policy.recover, unprocessed=reading.unprocessed)
        if what is Treatment.LEAVE:
            raise GaveUp(WhyNot.NOT_REPEATABLE, "not a request that can be sent again")
        if what is Treatment.DROP:
            return Reply(202), False
        if x.attempts >= self.limits.attempts_per_exchange:
            raise GaveUp(WhyNot.TOO_OFTEN, f"sent {x.attempts} times already")
        attempt = self.attempts.get(session)
        if attempt is not None:
            if len(attempt.waiting) >= self.limits.waiting_per_session:
                raise GaveUp(WhyNot.TOO_MANY_WAIT, f"{len(attempt.waiting)} requests wait already")
            attempt.waiting[x.id] = (x, what)
            return HOLD, False
        if x.generation < session.generation:
            return self._sent_again(x, outcome_for(session, what)), False
        self.shaking.storms.admit(Lane(session.endpoint, self._is_guest(session)))
        self._troubles.begin(session, self._reporter.now)
        self._attempt(session, x.url, h.carried_over(x.headers), x).waiting[x.id] = (x, what)
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
        if self._troubles.worked(session):
            self.shaking.worked(session.endpoint)

    def forget(self, session: Session) -> None:
        """The session is over, or known no more: whoever waits for it waits no more."""
        self._troubles.forget(session)
        attempt = self.attempts.get(session)
        if attempt is None:
            return
        for x, what in attempt.waiting.values():
            self._outbox.release(x, PASS if what is None else DELIVER)
        self.shaking.give_up(attempt)

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
        self._attempt(session, session.url, session.fields)
        self._ledger.fire(session, Trigger.REFUSED, self._reporter.now, "by hand")
        self._begin(session, "by hand", None)

    def _attempt(self, session: Session, url: str, carried: h.Fields, x: Exchange | None = None) -> Attempt:
        now = self._reporter.now
        deadline = now + self.policy.recover_timeout
        attempt = Attempt(session, url, carried, deadline, x, self._is_guest(session), now)
        self.attempts[session] = attempt
        return attempt

    def _is_guest(self, session: Session) -> bool:
        return session.number not in self._ledger.sessions

    def _begin(self, session: Session, why: str, x: Exchange | None) -> None:
        self._ledger.fire(session, Trigger.HANDSHAKE, self._reporter.now)
        if x is None:
            self._reporter.change(session, "initialized anew", why)
        else:
            self._reporter.change(session, "lost", why, x, Weight.WARNING)
        self.shaking.enter(self.attempts[session])

    def sent(self, step: Step, outcome: Outcome) -> None:
        """A message of a handshake was answered, or was not."""
        self.shaking.sent(step, outcome)

    def _ended(self, attempt: Attempt, why_not: Failure | None) -> None:
        self._reporter.happened(Recovered(attempt.session, attempt.x, attempt.since, why_not))
        if why_not is None:
            self._succeeded(attempt)
        else:
            self._failed(attempt, why_not)

    # How it ends

    def _succeeded(self, attempt: Attempt) -> None:
        session, now = attempt.session, self._reporter.now
        self._ledger.fire(session, Trigger.RECOVERED, now)
        self._ledger.recovered_once(session)
        self._ledger.tally.recovery.add(now - attempt.since)
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
        self._reporter.change(session, "recovered", f"in {now - attempt.since:.2f} s", attempt.x)
        for x in sent_again:
            self._reporter.action("sent again", x)
        if often:
            self._reporter.change(
                session,
                "is lost again and again",
                f"recovered {often} times within a minute: is it behind a balancer without stickiness, or does its "
                "server keep restarting?",
                weight=Weight.WARNING,
            )
        self._ending.check(session)  # its client may be gone by now

    def _failed(self, attempt: Attempt, failure: Failure) -> None:
        session, now, why = attempt.session, self._reporter.now, failure.text
        self._ledger.tally.not_recovered[failure.kind] += 1
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
        self.shaking.interrupted(why)

    @property
    def next_timer(self) -> float | None:
        """When the next handshake is to be looked at."""
        return self.attempts.next_time

    def timer(self) -> None:
        """Go on with the handshakes that wait for something, and give up what takes too long."""
        self.shaking.timer()

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
        x.generation, x.server_id, x.answered_before = session.generation, session.server_id, session.answered
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
