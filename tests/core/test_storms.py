"""Many sessions that are lost at once: whose turn it is, and how fast they follow each other."""

from collections.abc import Callable

import pytest

from core.world import World, outcome
from mcp_sessions.core.decisions import HOLD, Decision, Deliver, Outcome, Resend
from mcp_sessions.core.exchange import Exchange
from mcp_sessions.core.recovery.limits import Limits
from mcp_sessions.core.session import Session
from mcp_sessions.core.states import State


class Storm(World):
    """A world with many sessions, each of which is refused a call."""

    def lose_all(self, count: int) -> list[Session]:
        self.sessions = [self.open(f"session-number-{n:04}") for n in range(count)]
        self.calls: dict[Session, Exchange] = {session: self.call(session.client_id)[0] for session in self.sessions}
        assert [self.lose(x) for x in self.calls.values()] == [HOLD] * count
        return self.sessions

    def refuse(self, session: Session, status: int = 404) -> dict[str, Decision]:
        """The handshake of a session is refused with this status; who was released."""
        (opening,) = [send for send in self.sends if send.request.session is session]
        self.sends.remove(opening)
        self.sent(opening, outcome(status, b"<html>no</html>"), self._next())
        return {release.exchange.id: release.decision for release in self.released()}


@pytest.fixture
def storm() -> Storm:
    return Storm(judged=False)


def new_id(session: Session) -> str:
    return f"new-{session.client_id}"


def test_all_of_200_sessions_are_brought_back_in_their_order(storm: Storm) -> None:
    sessions, done = storm.lose_all(200), []
    assert storm.shaking == sessions[:8]
    while storm.shaking:
        first = storm.shaking[0]
        x = storm.calls[first]
        assert storm.shake(first, new_id(first)) == {x.id: Resend(new_id(first))}
        storm.works(x)
        done.append(first)
    assert done == sessions
    assert {session.state for session in sessions} == {State.OPEN}


def test_more_go_at_once_where_they_take_long(storm: Storm) -> None:
    def widths(count: int, seconds: float) -> list[int]:
        found = []
        for session in storm.lose_all(count):
            found.append(len(storm.shaking))
            storm.wait(seconds)
            storm.shake(session, new_id(session))
        return found

    assert max(widths(100, 0.1)) == 8
    slow = widths(150, 0.14)
    assert slow[0] == 8
    assert max(slow) == 64


def test_after_a_failure_they_go_one_by_one_and_slowly_until_one_works(storm: Storm) -> None:
    sessions = storm.lose_all(20)
    for session in sessions[:8]:  # went together, so they count as one
        storm.refuse(session)
    assert storm.shaking == [sessions[8]]
    began = storm.now
    paces = []
    for session in sessions[8:13]:
        assert storm.shaking == [session], "one by one"
        storm.refuse(session)
        before = storm.now
        while not storm.shaking:
            storm.wait(0.05)
        paces.append(round(storm.now - before, 1))
    assert paces == [0.5, 1.0, 2.0, 2.0, 2.0]
    assert storm.now - began < 10
    assert storm.shaking == [sessions[13]]
    storm.shake(sessions[13], new_id(sessions[13]))
    storm.wait(2)
    assert storm.shaking == [sessions[14]], "that a handshake works is not all"
    storm.works(storm.calls[sessions[13]])
    assert storm.shaking == sessions[14:], "all that are left: there is room for eight"


def test_nobody_waits_longer_than_he_may(storm: Storm) -> None:
    sessions = storm.lose_all(30)
    released: dict[str, Decision] = {}
    for session in sessions[:8]:
        released |= storm.refuse(session)
    until = storm.now + 30
    while storm.now < until:
        for session in storm.shaking:
            released |= storm.refuse(session)
        storm.wait(0.1)
    for session in storm.shaking:
        released |= storm.refuse(session)
    released |= {release.exchange.id: release.decision for release in storm.released()}
    assert released == {x.id: Deliver() for x in storm.calls.values()}
    assert any(line.endswith(" its turn did not come in time") for line in storm.lines())
    assert storm.core.next_timer() is None or storm.core.next_timer() > storm.now + 60  # type: ignore[operator]


def test_refused_credentials_hold_up_nobody_else(storm: Storm) -> None:
    sessions = storm.lose_all(20)
    for session, status in zip(sessions[:2], (401, 403), strict=True):
        storm.refuse(session, status)
    assert storm.shaking == sessions[2:10]


def test_sessions_that_are_lost_at_their_first_use_slow_the_others_down(storm: Storm) -> None:
    sessions = storm.lose_all(20)
    for session in sessions[:8]:
        storm.shake(session, new_id(session))
    assert storm.shaking == sessions[8:16]
    for session in sessions[:8]:
        assert storm.lose(storm.calls[session]) == HOLD
    for session in sessions[8:16]:
        storm.shake(session, new_id(session))
    assert storm.shaking == [sessions[16]], "one by one"


@pytest.mark.parametrize("which", [0, 8], ids=["under way", "waiting"])
def test_a_session_that_is_forgotten_leaves_its_turn_to_the_next(storm: Storm, which: int) -> None:
    sessions = storm.lose_all(12)
    storm.core.ledger.evict(sessions[which])
    storm.fetch()
    assert len(storm.shaking) == (9 if which == 0 else 8), "the handshake of one that is gone is answered still"
    while storm.shaking:
        storm.shake(storm.shaking[0], new_id(storm.shaking[0]))
    assert {session.state for session in sessions if session is not sessions[which]} == {State.OPEN}
    assert len(storm.core._recovery.shaking.storms) == 0


def test_what_the_user_wants_does_not_wait_for_its_turn(storm: Storm) -> None:
    sessions = storm.lose_all(20)
    healthy = storm.open("a-healthy-session")
    storm.core.reinit(healthy, storm.now)
    storm.fetch()
    assert storm.shaking == [*sessions[:8], healthy]
    storm.shake(healthy, "new")
    assert storm.shaking == sessions[:8]


def test_a_reload_begins_nothing_new(storm: Storm) -> None:
    sessions = storm.lose_all(20)
    storm.sends.clear()
    storm.core.interrupted(storm.now)
    storm.fetch()
    assert storm.shaking == []
    assert {session.state for session in sessions} == {State.LOST}
    assert not storm.core._recovery.attempts
    storm.wait(1)
    assert storm.lose(storm.call(sessions[0].client_id)[0]) == HOLD
    assert storm.shaking == [sessions[0]]


def _limited(storm: Storm, limits: Limits) -> None:
    storm.core._recovery.shaking.storms.limits = limits


def test_those_who_wait_are_bounded(storm: Storm) -> None:
    _limited(storm, Limits(waiting_per_endpoint=3))
    storm.lose_all(11)
    late = storm.open("one-session-too-many")
    assert storm.lose(storm.call(late.client_id)[0]) == Deliver()
    assert any("3 sessions wait for a handshake already" in line for line in storm.lines())
    storm.shake(storm.sessions[0], "new")
    assert storm.lose(storm.call(late.client_id)[0]) == HOLD


@pytest.mark.parametrize("done", [Storm.refuse, lambda storm, session: storm.shake(session, "new")])
def test_nothing_is_left_of_a_storm(storm: Storm, done: Callable[[Storm, Session], object]) -> None:
    sessions = storm.lose_all(3)
    for session in sessions:
        done(storm, session)
    storms = storm.core._recovery.shaking.storms
    if len(storms) > 0:
        storm.wait(10)
        for session in sessions:
            x, _ = storm.call(session.client_id)
            storm.lose(x)
            storm.shake(session, new_id(session))
            storm.works(x)
            storm.wait(3)
    assert len(storms) == 0


def test_a_handshake_that_cannot_reach_the_server_keeps_its_turn(storm: Storm) -> None:
    sessions = storm.lose_all(10)
    storm.sent(storm.sends.pop(0), Outcome(problem="[Errno 111] Connect call failed"), storm.now)
    assert storm.shaking == sessions[1:8]
    storm.wait(0.1)
    assert storm.shaking == [*sessions[1:8], sessions[0]]
