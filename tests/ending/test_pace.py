"""How fast DELETEs go: how many at once, which is next, and when to look again."""

from __future__ import annotations

import pytest

from core.test_tables import a_session
from mcp_sessions.core.ending import deletions as module
from mcp_sessions.core.ending.deletions import AT_ONCE, DUE_AT_ONCE, MOST, PACE, Deletion, Deletions
from mcp_sessions.core.states import DeleteState, DeleteTrigger, Reason, Why

SESSION = a_session()


def a_deletion(server_id: str = "id", *, final: bool = True) -> Deletion:
    return Deletion(SESSION, Reason(Why.IDLE, "for a test"), server_id, final)


def queued(count: int) -> tuple[Deletions, list[Deletion]]:
    queue, made = Deletions(), [a_deletion(f"{n}") for n in range(count)]
    assert all(queue.put(one) for one in made)
    return queue, made


def taken(queue: Deletions, now: float) -> list[Deletion]:
    found = []
    while (one := queue.next(now)) is not None:
        found.append(one)
    return found


def test_a_few_go_at_once_and_each_of_the_others_when_one_is_answered() -> None:
    queue, made = queued(AT_ONCE + 3)
    assert (queue.short, queue.waits, queue.busy, queue.under_way, len(queue)) == (False, True, True, 0, AT_ONCE + 3)
    assert queue.next_timer == 0.0
    assert taken(queue, 10.0) == made[:AT_ONCE]
    assert (queue.short, queue.under_way, len(queue)) == (True, AT_ONCE, AT_ONCE + 3)
    assert queue.next_timer == 10.0 + PACE
    queue.over(made[1], 10.002)
    assert queue.next_timer == 10.002
    assert taken(queue, 10.001) == []
    assert taken(queue, 10.002) == [made[AT_ONCE]]
    assert queue.next_timer == 10.002 + PACE


def test_where_answers_take_long_one_more_goes_from_time_to_time_up_to_a_number() -> None:
    queue, made = queued(MOST + 2)
    now, found = 10.0, taken(queue, 10.0)
    while len(found) < MOST:
        assert taken(queue, now + PACE - 0.001) == []
        now += PACE
        assert queue.next_timer is not None
        assert queue.next_timer <= now
        new = taken(queue, now)
        assert len(new) == 1
        found += new
    assert (found, queue.under_way, queue.next_timer) == (made[:MOST], MOST, None)
    assert taken(queue, now + 100) == []
    queue.over(made[MOST - 1], now)  # it had no slot
    assert len(queue._slots) == 0
    assert taken(queue, now + 100) == [made[MOST]]


def test_who_waits_for_a_time_goes_when_it_has_come_in_that_order() -> None:
    queue, _ = queued(0)
    late, early, also_early = a_deletion("late"), a_deletion("early"), a_deletion("also early")
    for one, at in ((late, 30.0), (early, 20.0), (also_early, 20.0)):
        one.fire(DeleteTrigger.SENDING)
        one.fire(DeleteTrigger.AGAIN)
        queue.later(one, at)
    assert (queue.next_timer, queue.waits, queue.busy, len(queue), queue.short) == (20.0, True, False, 3, True)
    assert queue.next(19.9) is None
    assert taken(queue, 20.0) == [early, also_early]
    assert (early.state, late.state, queue.next_timer) == (DeleteState.QUEUED, DeleteState.BACKOFF, 30.0)
    assert taken(queue, 30.0) == [late]
    assert queue.next_timer is None


def test_so_many_whose_time_has_come_are_queued_in_one_go() -> None:
    queue, _ = queued(0)
    for n in range(DUE_AT_ONCE + 5):
        queue.later(a_deletion(f"{n}"), 1.0)
    assert queue.next(1.0) is not None
    assert (len(queue._queue), len(queue._later)) == (DUE_AT_ONCE - 1, 5)
    assert queue.next(1.0) is not None
    assert (len(queue._queue), len(queue._later)) == (DUE_AT_ONCE + 3, 0)


def test_there_is_no_room_for_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 2)
    queue, _ = queued(2)
    assert not queue.put(a_deletion())
    assert queue.next(1.0) is not None
    assert queue.put(a_deletion())


def test_whoever_has_sent_them_is_replaced() -> None:
    queue, made = queued(AT_ONCE + 1)
    earlier = [a_deletion("old-0", final=False), a_deletion("old-1", final=False), a_deletion("old-2", final=False)]
    assert queue.put(earlier[0])
    queue.later(earlier[1], 50.0)
    queue.later(a_deletion("final"), 40.0)
    sent = taken(queue, 10.0)
    assert sent == made[:AT_ONCE]
    queue.put(earlier[2])
    queue.reset()
    assert [one.server_id for one in queue._queue] == ["old-0", "old-2", "old-1"]
    assert all(one.state is DeleteState.QUEUED and one not in earlier for one in queue._queue)
    assert {one.state for one in (*made, *earlier)} == {DeleteState.DROPPED}
    assert (queue.under_way, len(queue), queue._slots) == (0, 3, [0.0] * AT_ONCE)
    assert [one.server_id for one in taken(queue, 10.0)] == ["old-0", "old-2", "old-1"]


def test_a_deletion_goes_where_the_table_leads() -> None:
    one = a_deletion()
    assert (one.attempt, one.final, one.state) == (1, True, DeleteState.QUEUED)
    assert one.fire(DeleteTrigger.ENDED) is DeleteState.QUEUED, "it was not sent yet"
    assert one.fire(DeleteTrigger.SENDING) is one.state is DeleteState.SENT
    assert one.fire(DeleteTrigger.ENDED) is DeleteState.DONE
