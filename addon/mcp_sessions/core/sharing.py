"""Other proxies that share the ledger: what they are asked before this one acts for a session, and what they tell.

Theory of operation
-------------------
Each proxy has a core of its own, which knows of a session what has passed through it. Before a core acts in a session's
place, where two of them would do harm, it consults the others, if there are any: an effect goes out, and later a
`Counsel` comes in, like the outcome of a request. Nothing else waits for it.

- HANDSHAKE: one at a time may shake hands. Who is told of a newer generation goes on with that instead.
- COMMIT: what the handshake came to is entered, unless another one was faster: then that one's result stands.
- WEIGH: evidence that a client is gone counts what all have seen. Nothing is ended by it while nobody can be asked.
- DELETE: one at a time may end it, and only for a reason that still stands.

What others have seen is taken in without being asked, too: `learn`. The time is the reporter's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .decisions import Conclude, Consult, Counsel, Matter, News, Tag
from .ledger import Ledger
from .outbox import Outbox
from .reporter import Reporter
from .session import Session
from .states import ServerSide, Trigger


@dataclass(slots=True, eq=False)
class Consultation(Tag):
    """One question, and who waits for the answer."""

    then: Callable[[Counsel], None]


class Sharing:
    """Asks, tells and takes in. Without other proxies it does nothing, and everybody goes on at once."""

    def __init__(self, ledger: Ledger, reporter: Reporter, outbox: Outbox) -> None:
        self.on = False
        """Whether the ledger may be shared with others."""
        self.heard: Callable[[Session, Counsel], None] = lambda *_: None
        """Told of what others say without being asked."""
        self._ledger = ledger
        self._reporter = reporter
        self._outbox = outbox

    def ask(self, matter: Matter, session: Session, then: Callable[[Counsel], None], patience: float = 5.0) -> bool:
        """Ask the others; False if there are none, so that one may go on."""
        if self.on:
            self._outbox.put(Consult(matter, session, Consultation(then), patience))
        return self.on

    def conclude(self, session: Session, problem: str = "") -> None:
        """What was asked for is done, or has failed."""
        if self.on:
            self._outbox.put(Conclude(session, problem))

    def advised(self, tag: Tag, counsel: Counsel, now: float) -> None:
        """The others have answered."""
        self._reporter.now = now
        assert isinstance(tag, Consultation)
        tag.then(counsel)

    def told(self, session: Session, counsel: Counsel, now: float) -> None:
        """The others have changed something about a session, and say so unasked."""
        self._reporter.now = now
        self.heard(session, counsel)

    def learn(self, session: Session, news: News) -> bool:
        """Take in what others know; whether they have brought the session back."""
        for client, at in news.owners:
            if at > session.owners.get(client, float("-inf")):
                self._ledger.own(session, client, at)
        session.elsewhere = session.elsewhere or news.elsewhere
        session.last_used = max(session.last_used, news.last_used)
        session.left_at = _later(session.left_at, news.left_at)
        if not session.streams:
            session.stream_aborted_at = _later(session.stream_aborted_at, news.stream_aborted_at)
        if session.opened_by == "unknown" != news.opened_by:  # the opening was seen elsewhere
            session.parameters, session.opened_by = news.parameters, news.opened_by
            session.revision, session.result = news.revision, session.result or news.result
        if news.held is not None:
            held = session.holding()
            held.level = held.level or news.held.level
            held.subscriptions = {**news.held.subscriptions, **held.subscriptions}
        if not is_newer(news, session):
            return False
        self._ledger.follow(session, news.server_id, news.generation)
        session.result = news.result or session.result
        session.answered_before = session.answered
        if session.standing.server is ServerSide.LOST:
            self._ledger.fire(session, Trigger.REINITIALIZED, self._reporter.now, "by another proxy")
        self._reporter.change(session, "follows", f"generation {session.generation}, brought back by another proxy")
        return True


def is_newer(news: News, session: Session) -> bool:
    """Whether others know a session by another id, which counts: they have brought it back, later or as late."""
    ahead = news.generation - session.generation
    return ahead > 0 or (ahead == 0 and news.server_id != session.server_id)


def _later(one: float | None, other: float | None) -> float | None:
    return max((time for time in (one, other) if time is not None), default=None)
