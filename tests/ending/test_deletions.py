"""The DELETEs under way, whatever happens in whatever order: few at once, none forgotten, none starved."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from mcp_sessions.core.ending.deletions import AT_ONCE, DUE_AT_ONCE, GAP, MOST, PACE, Deletion, Deletions
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.core.states import Reason, Why

SESSION = Session(Endpoint("http", "server", 80, "/mcp"), "a", "a", opened=1, last_used=1, revision="")
DOINGS_AT_MOST = 30
DOINGS = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 90)),
    st.tuples(st.just("later"), st.integers(1, DUE_AT_ONCE // DOINGS_AT_MOST)),
    st.tuples(st.just("over"), st.integers(0, MOST)),
    st.tuples(st.just("pass"), st.integers(0, 90)),
)


class Sending:
    """Sends whatever may be sent, at every moment."""

    def __init__(self) -> None:
        self.queue = Deletions()
        self.now = 1000.0
        self.put = 0
        self.under_way: deque[Deletion] = deque()
        self.sent: list[str] = []

    def one(self) -> Deletion:
        self.put += 1
        return Deletion(SESSION, Reason(Why.IDLE, ""), f"{self.put}")

    def over(self, which: int) -> None:
        self.under_way.rotate(-which)  # answers come in any order
        self.queue.over(self.under_way.popleft(), self.now + GAP)

    def look(self) -> None:
        before, queue = len(self.sent), self.queue
        while (deletion := queue.next(self.now)) is not None:
            self.under_way.append(deletion)
            self.sent.append(deletion.server_id)
        assert queue.under_way == len(self.under_way) <= MOST
        assert len(self.sent) - before <= AT_ONCE
        assert len(queue) == self.put - len(self.sent) + len(self.under_way)
        due = queue.next_timer
        assert due is None or due > self.now, "what was due was sent"
        if queue.waits and queue.under_way < MOST:
            assert due is not None
            assert due <= self.now + PACE, "nobody waits for an answer"


@given(st.lists(DOINGS, max_size=DOINGS_AT_MOST))
def test_whatever_happens(doings: list[tuple[str, int]]) -> None:
    sending = Sending()
    for what, much in doings:
        match what:
            case "put":
                for _ in range(much):
                    sending.queue.put(sending.one())
            case "later":
                for _ in range(much):
                    sending.queue.later(sending.one(), sending.now + PACE)
            case "over" if sending.under_way:
                sending.over(much)
            case "pass":
                for _ in range(much):
                    sending.now += PACE / 2
                    sending.look()
            case _:
                pass
        sending.look()
    while sending.queue.waits or sending.under_way:
        sending.now += PACE
        if sending.under_way:
            sending.over(0)
        sending.look()
    assert sorted(map(int, sending.sent)) == list(range(1, sending.put + 1)), "each once"
