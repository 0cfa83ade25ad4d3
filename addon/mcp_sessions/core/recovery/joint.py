"""One handshake among several proxies: who shakes hands, who goes on with its result, and whose result stands."""

from __future__ import annotations

from collections.abc import Callable

from ..decisions import Counsel, Matter
from ..session import Session
from ..sharing import Sharing, is_newer
from ..states import Failure, WhyNot
from .attempts import Attempt

BUSY = "another proxy shakes hands, and does not come to an end"
LEFT = Failure(WhyNot.ELSEWHERE, "its client has ended it through another proxy")


class Joint:
    """Without other proxies everything is allowed at once."""

    def __init__(self, sharing: Sharing, discard: Callable[[Session, str], None]) -> None:
        """`discard` gets the server's id of a handshake whose result does not stand."""
        self._sharing = sharing
        self._discard = discard

    def begin(
        self,
        attempt: Attempt,
        patience: float,
        go: Callable[[Attempt], None],
        settled: Callable[[Attempt, Failure | None], None],
    ) -> None:
        """Have `go` called once this proxy may shake hands; or `settled`, with a reason if there is no new session."""

        def advised(counsel: Counsel) -> None:
            session = attempt.session
            if attempt.over:
                self._sharing.conclude(session)
            elif counsel.news is not None and self._sharing.learn(session, counsel.news):
                settled(attempt, None)
            elif counsel.left:
                settled(attempt, LEFT)
            elif counsel.granted or counsel.alone:
                go(attempt)
            else:
                settled(attempt, Failure(WhyNot.ELSEWHERE, counsel.problem or BUSY))

        if not self._sharing.ask(Matter.HANDSHAKE, attempt.session, advised, patience):
            go(attempt)

    def commit(self, attempt: Attempt, done: Callable[[Attempt], None]) -> bool:
        """Have `done` called once it is known whose result stands; False if nobody else can have one."""

        def advised(counsel: Counsel) -> None:
            session, news = attempt.session, counsel.news
            if attempt.over:
                return
            if not counsel.granted and news is not None and is_newer(news, session):
                own, before = session.server_id, session.replaced
                self._sharing.learn(session, news)
                session.replaced = before
                self._discard(session, own)
            done(attempt)

        attempt.committing = self._sharing.ask(Matter.COMMIT, attempt.session, advised)
        return attempt.committing

    def conclude(self, attempt: Attempt, problem: str = "") -> None:
        """An attempt is over: others may try."""
        self._sharing.conclude(attempt.session, problem)
