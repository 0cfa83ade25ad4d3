"""Ending sessions: when a client is gone, what is to be deleted in its place, and what came of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from ..client import Client
from ..decisions import Counsel, Matter
from ..exchange import Exchange, Finish
from ..ledger import Ledger
from ..observer import Observer
from ..outbox import Outbox, sooner
from ..policy import Policy
from ..reporter import Over, Reporter
from ..session import Session
from ..sharing import Sharing
from ..states import LIVE, ClientSide, DeleteTrigger, Reason, ServerSide, Trigger, Why
from .asking import UNSUPPORTED, Asking
from .delete_answers import ends, read
from .departures import Departures
from .elsewhere import Elsewhere
from .evidence import CERTAIN, PROCESS_GONE, Evidence, graces
from .parts import is_orphaned, mourned, start_over

AT_ONCE = 5
"""Sessions that are decided upon in one go, so that a client with a thousand of them does not make others wait."""

LOOK_EVERY = 1.0
"""Seconds between two looks at the evidence."""

PROXY_ENDS = Reason(Why.PROXY_ENDS, "the proxy ends")
"""The reason for ending a session whose client may well live."""

NEVER_GIVEN = "not asked for: the server never gave or accepted that id"
"""Why a session is over without any DELETE: whoever sends ids at random is not to have them deleted."""

BY_HAND = Reason(Why.BY_HAND, "by hand")
CUT_OFF = Reason(Why.DELETE_CUT, "its client's DELETE was cut off")


class Pending(NamedTuple):
    """A session to be decided upon: for a reason that is known already, or if its clients are all gone."""

    session: Session
    reason: Reason | None = None


class Ending:
    """Decides which sessions are to be ended, sees to it, and notes how that went. The time is the reporter's."""

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        reporter: Reporter,
        observer: Observer,
        outbox: Outbox,
        over: Callable[[Session], None],
    ) -> None:
        """`over` is told of each session that is over."""
        self.policy = policy
        self.evidence = Evidence(policy)
        self.departures = Departures(ledger, reporter, self.evidence, outbox, self._look)
        self._ledger = ledger
        self._reporter = reporter
        self._observer = observer
        self._over = over
        self.sharing = sharing = Sharing(ledger, reporter, outbox)
        """What other proxies are asked and told; by recovery, too."""
        self.elsewhere = Elsewhere(ledger, reporter, sharing, self.evidence, self._close, self.check)
        self.asking = Asking(policy, ledger, reporter, outbox, self._close, self.elsewhere.stands, sharing)
        self._backlog: deque[Pending] = deque()
        self._next_look = 0.0
        self._leaving = False

    def configure(self, policy: Policy) -> None:
        """Take over another policy."""
        before, self.policy = self.policy, policy
        self.asking.policy = policy
        if graces(policy) != graces(before):
            self.evidence.regrade(policy, self._ledger.sessions.values(), self._reporter.now)
        self.evidence.policy = policy
        if policy.end == "on" != before.end:
            waiting = [s for s in self._ledger.sessions.values() if _is_abandoned(s)]
            self._backlog.extend(Pending(session, session.reason) for session in waiting)

    # Who is gone

    def _look(self, session: Session) -> None:
        """One who used a session has ended: decide on it when it is its turn."""
        self._backlog.append(Pending(session))

    def check(self, session: Session) -> None:
        """End a session if its client has ended it and the server does not know, or if its client is gone for sure."""
        standing = session.standing
        if session.left and session.reason is None and standing.server in (ServerSide.ALIVE, ServerSide.LOST):
            self._end(session, CUT_OFF)
        elif not is_orphaned(session):
            if session.number in self._ledger.sessions:
                self.evidence.watch(session, self._reporter.now)
        elif standing.client is ClientSide.USING:  # one that is leaving is not given up: how its DELETE ends decides
            if standing.server is ServerSide.RECOVERING:
                return  # what comes of that decides by which id it is ended
            self._ledger.fire(session, Trigger.GONE, self._reporter.now)
            text = PROCESS_GONE.text.format(clients=mourned(session))
            self._end(session, Reason(Why.PROCESS_GONE, text))

    def cut_off(self, session: Session, finish: Finish) -> None:
        """The client sent DELETE, and no answer came before one side hung up: finish it in its place."""
        now = self._reporter.now
        self._ledger.fire(session, Trigger.DELETE_SENT, now)  # it may have been held until now
        has_left = self._ledger.fire(session, Trigger.DELETE_CUT, now)
        # One that could not be ended is tried again: the client may have come with other credentials.
        stuck = session.left and session.standing.server is ServerSide.STUCK
        if stuck or (has_left and session.standing.server in (ServerSide.ALIVE, ServerSide.LOST)):
            how = "was cut off" if finish is Finish.CLIENT else "was not answered"
            self._end(session, Reason(Why.DELETE_CUT, f"its client's DELETE {how}"))

    def returned(self, session: Session, x: Exchange) -> None:
        """Somebody uses a session whose client was taken for gone: it goes on."""
        if x.verb == "DELETE" or x.client.gone:
            return
        now = self._reporter.now
        self._ledger.fire(session, Trigger.RETURNED, now, f"used by {x.client.label}")
        session.reason = session.outcome = None
        start_over(session)
        self.evidence.watch(session, now)
        self._reporter.change(session, "goes on", f"used by {x.client.label}", x)

    # Ending it

    def _end(self, session: Session, reason: Reason, *, anew: bool = True, by_hand: bool = False) -> None:
        """Decide to end a session that its client has left; not `anew` if that had been decided before."""
        session.reason, session.outcome = reason, None
        if anew and reason.kind in CERTAIN:
            self._observer.abandoned(session, self._reporter.now)
        if by_hand or (self.policy.end == "on" and not session.kept):
            self._delete(session)
        else:
            self._say_not(session, reason)

    def _say_not(self, session: Session, reason: Reason) -> None:
        """Say that a session is not ended, though there is a reason."""
        if session.kept:
            self._reporter.change(session, "is kept", reason.text)
        elif self.policy.end == "log":
            self._reporter.change(session, "would be ended", reason.text)

    def _delete(self, session: Session) -> None:
        reason, now = session.reason, self._reporter.now
        if reason is None or not self._ledger.fire(session, Trigger.PROXY_DELETE, now, reason.text):
            return
        if not self._ledger.place(session.endpoint, now).ends_sessions:
            self._close(session, f"{reason.text}; {UNSUPPORTED}")
            return
        if not session.given:
            self._close(session, f"{reason.text}; {NEVER_GIVEN}")
            return
        self._reporter.change(session, "ending", reason.text)
        self.asking.ask(session, reason)

    def by_hand(self, session: Session) -> None:
        """The user wants it ended.

        Raises:
            ValueError: when it can't be ended now; says why.
        """
        if session.standing.server in (ServerSide.RECOVERING, ServerSide.DELETING, ServerSide.DELETED):
            raise ValueError(f"session {session.label} is {session.state}: it can't be ended now")
        self._ledger.fire(session, Trigger.ENDED_BY_HAND, self._reporter.now)
        self._end(session, BY_HAND, by_hand=True)

    def keep(self, session: Session, kept: bool) -> None:
        """Protect a session, or stop protecting it."""
        self._ledger.fire(session, Trigger.KEPT if kept else Trigger.NOT_KEPT, self._reporter.now)
        self._reporter.change(session, "is kept by hand" if kept else "is no longer kept")
        if not kept:
            self._backlog.append(Pending(session, session.reason if _is_abandoned(session) else None))

    def exits(self) -> None:
        """The proxy ends: the sessions that are to be ended with it, and no second attempts."""
        self._leaving = True
        which = self.policy.end_at_exit
        if which != "none" and not (self.sharing.on and which == "mapped"):  # then others know how they are mapped
            self._backlog.extend(
                Pending(session, PROXY_ENDS)
                for session in self._ledger.sessions.values()
                if session.state in LIVE and (which == "all" or session.mapped)
            )

    @property
    def left(self) -> int:
        """How many sessions are still to be ended."""
        return len(self.asking.queue) + len(self._backlog)

    @property
    def busy(self) -> bool:
        """Whether something is being ended just now, or is about to be."""
        return bool(self._backlog) or self.asking.queue.busy

    def pump(self) -> None:
        """Decide on a few more, and have the next DELETEs sent. To be called after every input."""
        for _ in range(min(AT_ONCE, len(self._backlog)) if self.asking.queue.short else 0):
            self._decide(*self._backlog.popleft())
        self.asking.pump()

    def _decide(self, session: Session, reason: Reason | None) -> None:
        if reason is None:
            self.check(session)
        elif reason is PROXY_ENDS:
            if session.standing.server is ServerSide.RECOVERING:
                return  # nobody knows by which id
            if session.kept or self.policy.end != "on":
                self._say_not(session, PROXY_ENDS)  # its client lives: it stays as it is
                return
            trigger = Trigger.DELETE_CUT if session.standing.client is ClientSide.LEAVING else Trigger.GONE
            if self._ledger.fire(session, trigger, self._reporter.now):
                self._end(session, PROXY_ENDS)
        elif _is_abandoned(session):
            self._end(session, reason, anew=False)

    def answered(self, x: Exchange) -> None:
        """The client's own DELETE was answered."""
        session, now = x.session, self._reporter.now
        assert session is not None
        assert x.status is not None
        message = x.answer.first if x.answer else None
        said = message.error_text if message else ""
        if x.generation != session.generation and session.standing.server in (ServerSide.ALIVE, ServerSide.LOST):
            self.cut_off(session, Finish.CLIENT)  # that was about an id of an earlier generation
            return
        if not ends(x.status, said):
            if self._ledger.fire(session, Trigger.DELETE_REFUSED, now, f"answered {x.status}"):
                session.reason = session.outcome = None
            return
        if read(x.status).came is DeleteTrigger.UNSUPPORTED:
            self._ledger.place(session.endpoint, now).ends_sessions = False
        self._close(session, f"DELETE of the client answered {x.status}", x)

    def _close(self, session: Session, detail: str, x: Exchange | None = None, *, left: bool = False) -> None:
        trigger = Trigger.DELETE_DONE if left or x is not None else Trigger.PROXY_DELETE_DONE
        was_over = session.over
        self._ledger.fire(session, trigger, self._reporter.now, detail)
        if was_over or not session.over:
            return
        session.outcome = None
        if trigger is Trigger.DELETE_DONE:
            session.reason = Reason(Why.CLIENT_DELETE, detail)
        self._ledger.tally.ended[session.reason.kind if session.reason else Why.UNKNOWN] += 1
        self._ledger.silent(session)
        self.evidence.forget(session)
        self._over(session)
        self._reporter.happened(Over(session))
        for old in session.replaced:  # another replica may still hold what a recovery replaced
            self.asking.discard(session, old)
        session.replaced = ()
        self._reporter.change(session, "closed", detail, x)

    def interrupted(self) -> None:
        """What was being sent was interrupted: it is to be sent again."""
        self.asking.queue.reset()
        if self.sharing.on:  # what was asked is not answered any more
            self.evidence.regrade(self.policy, self._ledger.sessions.values(), self._reporter.now)
        for session in list(self._ledger.sessions.values()):
            if session.standing.server is ServerSide.DELETING:
                self._ledger.fire(session, Trigger.INTERRUPTED, self._reporter.now)
                self._delete(session)

    # Time

    @property
    def next_timer(self) -> float | None:
        """When there is something to be done next."""
        if self._backlog and self.asking.queue.short:
            return self._reporter.now
        return sooner(sooner(self.asking.queue.next_timer, self.departures.next_timer), self._next_evidence)

    @property
    def stirs(self) -> bool:
        """Whether there is anything for `pump` to do."""
        return bool(self._backlog) or self.asking.queue.waits

    @property
    def _next_evidence(self) -> float | None:
        time = self.evidence.next_timer
        return None if time is None or self.policy.end == "off" or self._leaving else max(time, self._next_look)

    def timer(self) -> None:
        """Time has passed: the sessions that are due by evidence."""
        now = self._reporter.now
        self.departures.timer()
        due = self._next_evidence
        if due is None or due > now:
            return
        self._next_look = now + LOOK_EVERY
        for session, reason in self.evidence.due(now):
            if not self.sharing.ask(Matter.WEIGH, session, partial(self._weighed, session, reason)):
                self._weighed(session, reason, Counsel(granted=True))

    def _weighed(self, session: Session, reason: Reason, counsel: Counsel) -> None:
        """Evidence was weighed, by other proxies too, if there are any."""
        if self.elsewhere.borne_out(session, reason, counsel):
            if self._ledger.fire(session, Trigger.GONE, self._reporter.now, reason.text):
                self._end(session, reason)
        elif not session.over:
            self.evidence.again(session, self._reporter.now, alone=counsel.alone)

    # A ledger from elsewhere

    def may_return(self, session: Session) -> bool:
        """Whether a session that is over is worth remembering: its client is likely to live, and to use it again."""
        return (
            session.standing.client is ClientSide.GONE
            and session.reason is not None
            and (session.reason.kind is Why.PROXY_ENDS)
        )

    def adopt(self, sessions: Iterable[Session], gone: Iterable[Client]) -> None:
        """These sessions, and who of their clients is known to be gone, are from an earlier run."""
        for client in gone:
            self._ledger.gone(client, self._reporter.now)
        for session in sessions:
            self.evidence.watch(session, self._reporter.now)
            if session.left:
                self._backlog.append(Pending(session, session.reason or CUT_OFF))
            elif is_orphaned(session):
                self._backlog.append(Pending(session))


def _is_abandoned(session: Session) -> bool:
    """Whether a session has no client any more, and nothing has been done about that."""
    standing = session.standing
    if standing.client not in (ClientSide.GONE, ClientSide.LEFT):
        return False
    stuck = standing.server is ServerSide.STUCK and session.outcome is None
    return stuck or standing.server in (ServerSide.ALIVE, ServerSide.LOST)
