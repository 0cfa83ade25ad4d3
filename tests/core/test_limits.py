"""How far the bringing back of sessions goes, in figures: each limit to the moment, and each text to the word."""

from __future__ import annotations

import pytest

from core.test_tables import a_session
from core.world import ENDPOINT
from mcp_sessions.core.bounded import make_room
from mcp_sessions.core.ending.delete_answers import BACKOFF, wait
from mcp_sessions.core.outbox import sooner
from mcp_sessions.core.policy import Policy
from mcp_sessions.core.recovery.attempts import Attempt, Attempts, Lane
from mcp_sessions.core.recovery.limits import MINUTE, GaveUp, Limits, Troubles
from mcp_sessions.core.recovery.storms import Storm, Storms
from mcp_sessions.core.recovery.unreachable import Patience, may_pass
from mcp_sessions.core.session import Endpoint, Session
from mcp_sessions.core.states import RecoveryState, WhyNot

LANE = Lane(ENDPOINT)


def an_attempt(session: Session | None = None, deadline: float = 100.0) -> Attempt:
    return Attempt(session or a_session(), "", (), deadline)


# One session


def test_after_each_failure_the_next_handshake_waits_longer() -> None:
    limits = Limits()
    troubles, session = Troubles(limits), a_session()
    now = 1000.0
    for n, pause in enumerate((*limits.backoff, limits.backoff[-1], limits.backoff[-1]), 1):
        troubles.begin(session, now)
        troubles.failed(session, now)
        assert troubles.of(session).until == now + pause
        if pause:
            with pytest.raises(GaveUp) as gave_up:
                troubles.begin(session, now + pause - 0.25)
            assert str(gave_up.value) == f"{n} handshakes failed; next attempt in 0.2 s"
            assert gave_up.value.kind is WhyNot.BACKOFF
        now += pause
    troubles.begin(session, now)
    assert troubles.of(session).state is RecoveryState.INITIALIZING


def test_what_the_user_wants_does_not_wait() -> None:
    troubles, session = Troubles(Limits()), a_session()
    troubles.begin(session, 1.0)
    troubles.failed(session, 1.0)
    troubles.of(session).until = 99.0
    troubles.begin_by_hand(session)
    assert troubles.of(session).state is RecoveryState.INITIALIZING


def test_a_session_that_dies_young_again_and_again_rests() -> None:
    limits = Limits()
    troubles, session = Troubles(limits), a_session()
    assert [troubles.died_young(session, 5.0) for _ in range(limits.deaths)] == [False] * (limits.deaths - 1) + [True]
    assert (troubles.of(session).until, troubles.of(session).deaths) == (5.0 + limits.rest, 0)
    with pytest.raises(GaveUp, match=r"^it keeps dying at its first use; next attempt in 59\.0 s$"):
        troubles.begin(session, 6.0)
    troubles.begin(session, 5.0 + limits.rest)
    assert not troubles.died_young(session, 70.0), "it begins anew"
    assert troubles.of(session).deaths == 1


def test_a_session_is_brought_back_so_often_in_a_minute_and_no_more() -> None:
    troubles, session = Troubles(Limits(recoveries_per_minute=2, thrash=9)), a_session()
    assert troubles.recovered_at(session) == float("-inf")
    for now in (10.0, 20.0):
        troubles.begin(session, now)
        troubles.recovered(session, now)
    with pytest.raises(GaveUp, match=r"^brought back 2 times within a minute$") as gave_up:
        troubles.begin(session, 10.0 + MINUTE - 0.5)
    assert gave_up.value.kind is WhyNot.TOO_OFTEN
    troubles.begin(session, 10.0 + MINUTE)
    troubles.recovered(session, 10.0 + MINUTE)
    assert [*troubles.of(session).recoveries] == [20.0, 70.0]
    troubles.forget(session)
    troubles.forget(session)
    assert troubles.recovered_at(session) == float("-inf")


def test_recoveries_that_follow_each_other_fast_are_called_so_once_a_minute() -> None:
    troubles, session = Troubles(Limits(thrash=2)), a_session()
    assert [troubles.recovered(session, now) for now in (0.0, 59.5, 60.0, 119.0, 119.5, 120.0)] == [0, 2, 0, 0, 3, 0]


# One server


def test_handshakes_that_fail_together_count_as_one_and_the_pace_slows_down() -> None:
    limits = Limits()
    storms = Storms(limits, Attempts())
    began = 10.0
    for n, pause in enumerate((*limits.pace, limits.pace[-1])):
        now = 11.0 + 10 * n
        storms.failed(LANE, began, now)
        storms.failed(LANE, now - 0.5, now + 0.1)  # went before that was known
        storm = storms._storms[LANE]
        assert (storm.failures, storm.width, storm.not_before) == (n + 1, 1, now + pause)
        began = now
    assert storms.worked(LANE)
    assert not storms._storms
    assert not storms.worked(LANE)


def test_others_who_wait_go_on_once_a_session_works() -> None:
    attempts = Attempts()
    storms, waiting = Storms(Limits(), attempts), an_attempt()
    storms.enter(waiting)
    assert not storms.worked(LANE), "nothing was wrong"
    storms.failed(LANE, 1.0, 1.0)
    storms.failed(LANE, 2.0, 2.0)
    assert [*storms.turns(LANE, 2.25)] == []
    assert (waiting.due, attempts.next_time) == (2.5, 2.5), "it is looked at when its turn may come"
    assert storms.worked(LANE)
    assert [*storms.turns(LANE, 2.25)] == [waiting]
    assert (waiting.begun, waiting.due) == (2.25, None)
    assert storms._storms[LANE] == Storm(Limits().handshakes, under_way=1, failed_at=2.0)
    storms.leave(waiting)
    assert len(storms) == 0


def test_whose_turn_would_come_too_late_is_not_looked_at_again() -> None:
    storms, waiting = Storms(Limits(), Attempts()), an_attempt(deadline=2.5)
    storms.enter(waiting)
    for now in (1.0, 2.0):
        storms.failed(LANE, now, now)
    assert [*storms.turns(LANE, 2.25)] == []
    assert waiting.due is None
    assert [*storms.turns(LANE, 2.5)] == [waiting], "to the moment"


def test_slow_handshakes_make_room_for_one_more_each() -> None:
    limits = Limits(handshakes=2, handshakes_at_most=4)
    storms = Storms(limits, Attempts())
    attempts = [an_attempt() for _ in range(6)]
    for one in attempts:
        storms.enter(one)
    assert [*storms.turns(LANE, 0.0)] == attempts[:2]
    widths = []
    for seconds in (limits.slow, limits.slow + 0.01, 5.0, 5.0):
        storms.succeeded(attempts[0], seconds)
        widths.append(storms._storms[LANE].width)
    assert widths == [2, 3, 4, 4]
    storms.succeeded(attempts[5], 9.0)  # has not begun
    storms.failed(LANE, 9.0, 9.0)
    storms.succeeded(attempts[0], 10.0)
    assert storms._storms[LANE].width == 1, "not while others fail"


def test_so_many_may_wait() -> None:
    storms = Storms(Limits(waiting_per_endpoint=2), Attempts())
    for _ in range(2):
        storms.admit(LANE)
        storms.enter(an_attempt())
    with pytest.raises(GaveUp, match=r"^2 sessions wait for a handshake already$") as gave_up:
        storms.admit(LANE)
    assert gave_up.value.kind is WhyNot.TOO_MANY_WAIT
    storms.admit(Lane(ENDPOINT, guest=True))


def test_a_lane_is_one_servers_and_guests_have_their_own() -> None:
    session = a_session()
    assert (an_attempt(session).lane, Attempt(session, "", (), 1.0, guest=True).lane) == (LANE, Lane(ENDPOINT, True))
    storms = Storms(Limits(storms=1), Attempts())
    busy = an_attempt()
    storms.enter(busy)
    storms.failed(Lane(Endpoint("http", "other", 80, "/")), 1.0, 1.0)
    assert len(storms) == 2, "who waits is not forgotten"


def test_attempts_are_looked_at_in_the_order_of_their_times() -> None:
    attempts = Attempts()
    late, early, moved = an_attempt(deadline=9.0), an_attempt(deadline=3.0), an_attempt(deadline=1.0)
    for one in (late, early, moved):
        attempts[one.session] = one
        attempts.time(one)
    moved.due = 5.0
    attempts.time(moved)
    assert attempts.next_time == 3.0, "its earlier time means nothing any more"
    assert attempts.first() is early
    attempts.take_off(early)
    assert (early.over, attempts.next_time) == (True, 5.0)
    attempts.take_off(moved)
    assert attempts.next_time == 9.0
    attempts.take_off(late)
    assert attempts.next_time is None


# A server that is down


def test_how_long_who_was_refused_waits() -> None:
    patience = Patience()
    assert [patience.step(n) for n in range(8)] == [0.1, 0.1, 0.2, 0.3, 0.5, 1.0, 1.0, 1.0]


def test_only_the_beginning_of_a_problem_is_looked_at() -> None:
    refused = "[Errno 111]"
    assert may_pass("." * (1000 - len(refused)) + refused)
    assert not may_pass("." * (1001 - len(refused)) + refused)


# A DELETE


def test_when_a_delete_is_sent_again() -> None:
    assert [wait(n) for n in range(1, len(BACKOFF) + 2)] == [*BACKOFF, None]
    assert [wait(1, after) for after in ("7", "0", "-7", "7.5", "\u0667", "", None, "9999")] == [
        *(7.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
        120.0,
    ]


# Other figures


def test_the_sooner_of_two() -> None:
    assert [sooner(1.0, 2.0), sooner(2.0, 1.0), sooner(None, 1.0), sooner(1.0, None), sooner(None, None)] == [
        *(1.0, 1.0, 1.0, 1.0),
        None,
    ]
    assert sooner(0.0, None) == sooner(None, 0.0) == 0.0


def test_to_look_at_what_has_happened_nothing_is_sent() -> None:
    chosen = Policy(recover_timeout=7.0, end_at_exit="all")
    passive = chosen.passive()
    assert (passive.recover, passive.end) == ("off", "off")
    assert (passive.recover_timeout, passive.end_at_exit) == (7.0, "all")
    assert (chosen.recover, chosen.end) == ("on", "on")


def test_room_is_made_in_a_table_that_is_full_and_no_sooner() -> None:
    assert make_room({1: "a"}, 2) is None
    assert make_room({1: "a"}, 1) == "a"
    assert make_room({1: "a"}, 1, force=False) is None
