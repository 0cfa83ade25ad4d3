"""Recovering sessions: from a refusal to a new generation, in the words of the ledger."""

from __future__ import annotations

from typing import Any

from ...wire.headers import HeaderMap
from ...wire.jsonrpc import Body
from ...wire.text import printable
from ..decisions import Deliver, End, OnAnswer, Release, Resend, Shake
from ..ending.endings import Endings
from ..exchange import Exchange
from ..ledger import Ledger
from ..observer import Observer
from ..policy import Policy
from ..records import Weight
from ..reporter import Telling
from ..session import Session
from ..states import RECOVERABLE, Cause, State
from . import handshake
from .dialects import Reading
from .machine import GaveUp, Recovery
from .replay import treatment
from .server_state import Listing, compare


class Recoveries:
    """Tells the machine what happened, and the ledger and the log what came of it."""

    def __init__(
        self,
        policy: Policy,
        ledger: Ledger,
        recovery: Recovery,
        endings: Endings,
        observer: Observer,
        telling: Telling,
    ) -> None:
        self.policy = policy
        self._ledger = ledger
        self._recovery = recovery
        self._endings = endings
        self._observer = observer
        self._telling = telling

    def lost(self, session: Session, x: Exchange, reading: Reading, at: float) -> OnAnswer:
        """A request was refused because the server has lost its session."""
        try:
            if self.policy.recover == "off":
                raise GaveUp("mcp_recover is off")
            at_first_use = session.generation > 0 and session.answered == session.answered_before
            if at_first_use and x.generation == session.generation and session.state is State.OPEN:
                self._died_young(session, x, at)
            decision = self._recovery.refused(x, treatment(x, self.policy.recover), at)
        except GaveUp as e:
            if x.generation == session.generation:  # what an older one was told says nothing of this one
                session.apply(Cause.REFUSED, at, reading.reason)
                self._observer.told_lost(session, at)
            self._telling.change(session, "lost", f"{reading.reason}; not brought back: {e}", x, Weight.WARNING)
            return Deliver(original=x.attempts > 0)
        if isinstance(decision, Shake):
            session.apply(Cause.REFUSED, at, reading.reason)
            session.apply(Cause.HANDSHAKE, at)
            self._telling.change(session, "lost", reading.reason, x, Weight.WARNING)
        elif isinstance(decision, Deliver):
            return Deliver(original=x.attempts > 0)
        return decision

    def initialize_refused(self, x: Exchange) -> OnAnswer:
        """An `initialize` was refused for the stale session id on it: it is sent again without."""
        if self.policy.recover == "off" or x.attempts:
            return Deliver(original=x.attempts > 0)
        return Resend("")

    def following(self, session: Session) -> handshake.Following:
        """What is to be sent once the handshake's `initialize` was answered."""
        return handshake.following(session.held, session.answer)

    def listed(self, session: Session, listing: Listing, items: list[Any]) -> None:
        """A list that the client knows was read anew from the new server."""
        if compare(session.held, listing, items):
            self._telling.change(session, "meets another server", f"its {listing.items} are other ones")

    def not_restored(self, session: Session, what: str, why: str) -> None:
        """A part of what the session held could not be restored."""
        self._telling.change(session, "not restored in full", f"{printable(what)}: {why}", weight=Weight.WARNING)

    def _died_young(self, session: Session, x: Exchange, at: float) -> None:
        if self._recovery.died_young(session, at):
            self._telling.action("rests: it was lost again and again at its first use", x, Weight.WARNING)

    def by_hand(self, session: Session, at: float) -> None:
        """Begin a handshake because the user wants it: what arrives meanwhile waits for its outcome.

        Raises:
            ValueError: one line that says why there can be none.
        """
        if session.state not in RECOVERABLE:
            raise ValueError(f"session {session.label} is {session.state}")
        if not self._recovery.begin(session, at):
            raise ValueError(f"session {session.label} is being brought back already")
        session.apply(Cause.REFUSED, at, "by hand")
        session.apply(Cause.HANDSHAKE, at)
        self._telling.change(session, "initialized anew", "by hand")

    def resent(self, x: Exchange) -> None:
        """A request is sent again: its answer starts anew."""
        x.attempts += 1
        x.generation = x.session.generation if x.session else 0
        x.status, x.answer_headers, x.answer, x.events, x.responded = None, None, None, 0, False
        x.actions.append("sent again")
        self._telling.action("sent again", x)

    def hung_up(self, x: Exchange) -> None:
        """The client of an exchange that is kept waiting hung up."""
        x.hung_up = True
        self._recovery.left(x)

    def shaken(self, session: Session, status: int, headers: HeaderMap, answer: Body | None, at: float) -> bool:
        """The server answered the proxy's `initialize`; whether there is a new session.

        `succeeded` is to follow if there is, `failed` if not.
        """
        outcome = handshake.read(status, headers, answer)
        if outcome.session_id is None or outcome.result is None:
            session.note(at, "handshake failed", outcome.problem)
            return False
        for difference in handshake.differences(session.answer, outcome.result, session.revision):
            self._telling.change(session, "meets another server", difference, weight=Weight.WARNING)
        session.answer = outcome.result
        self._ledger.remap(session, outcome.session_id)
        return True

    def succeeded(self, session: Session, at: float) -> tuple[list[Release], list[End]]:
        """The handshake is complete."""
        session.apply(Cause.RECOVERED, at)
        session.recoveries += 1
        session.answered_before = session.answered
        self._telling.change(session, "recovered", f"generation {session.generation}")
        releases = self._recovery.recovered(session, at)
        often = self._recovery.thrashes(session, at)
        if often:
            self._telling.change(
                session,
                "thrashes",
                f"recovered {often} times within a minute: is it behind a balancer without stickiness, or does its "
                "server keep restarting?",
                weight=Weight.WARNING,
            )
        return releases, self._endings.orphaned(session, at)

    def failed(self, session: Session, reason: str, at: float) -> tuple[list[Release], list[End]]:
        """The handshake failed, or was not answered in time."""
        session.apply(Cause.NOT_RECOVERED, at, reason)
        self._observer.told_lost(session, at)
        self._telling.change(session, "not recovered", reason, weight=Weight.WARNING)
        return self._recovery.failed(session, at), self._endings.orphaned(session, at)
